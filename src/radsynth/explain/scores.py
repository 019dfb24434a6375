"""Scores of maps over true lesions as figures: with intervals over patients, beside maps that know no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from radsynth.evaluation.entries import entry
from radsynth.evaluation.intervals import Interval
from radsynth.evaluation.patients import mean_over_patients
from radsynth.explain.localisation import (
    centre_map,
    edge_maps,
    energy_inside,
    overlap_at_equal_area,
    pointing_hits,
    random_maps,
)

MEASURES = {
    "hit_rate": "share of maps whose highest place lies in the true lesion or within {tolerance} pixels of it",
    "energy_inside": "share of the map's positive evidence that lies in the true lesion",
    "overlap": "intersection over union of the lesion and as many of the map's highest pixels as the lesion has",
}


def measures(maps: np.ndarray, masks: np.ndarray, tolerance: int) -> dict[str, np.ndarray]:
    """Each of `MEASURES` for every map, float (n,)."""
    return {
        "hit_rate": pointing_hits(maps, masks, tolerance).astype(float),
        "energy_inside": energy_inside(maps, masks),
        "overlap": overlap_at_equal_area(maps, masks),
    }


def without_network(
    pictures: np.ndarray,
    findings: Sequence[str],
    training_masks: np.ndarray,
    training_findings: np.ndarray,
    seed: int,
) -> dict[str, np.ndarray]:
    """Maps (n, S, S) of pictures (n, S, S) that know no network.

    ``random`` smooth noise; ``centre`` a Gaussian on the picture's middle; ``edges`` Sobel's; ``prior`` where training
    lesions lie, of whatever finding; ``prior_of_finding`` where those of the same finding lie, which is told to nobody
    who looks at the picture alone. The last two only where there are training masks.
    """
    size = pictures.shape[-1]
    found = {
        "random": random_maps(len(pictures), size, 8, seed),
        "centre": np.broadcast_to(centre_map(size), pictures.shape),
        "edges": edge_maps(pictures),
    }
    if len(training_masks):
        mean = training_masks.mean(0)
        of = {f: training_masks[training_findings == f].mean(0) for f in set(training_findings)}
        found["prior"] = np.broadcast_to(mean, pictures.shape)
        found["prior_of_finding"] = np.stack([of.get(f, mean) for f in findings])
    return found


def lesion_figures(
    name: str,
    scored: dict[str, np.ndarray],
    others: dict[str, dict[str, np.ndarray]],
    patients: np.ndarray,
    *,
    split: str,
    seed: int,
    repetitions: int,
    tolerance: int,
    what: str,
) -> dict[str, Any]:
    """Entries of the measures of one kind of map, their worst case random maps, and the gains on the priors.

    Parameters
    ----------
    scored
        `measures` of the maps.
    others
        `measures` of each of the maps `without_network`.
    """
    found: dict[str, Any] = {}
    common = {"split": split, "seeds": [seed]}

    def mean(values: np.ndarray) -> Interval:
        return mean_over_patients(values, patients, repetitions, seed)

    for measure, definition in MEASURES.items():
        found[f"{name}_{measure}"] = entry(
            mean(scored[measure]),
            **common,
            floor=1.0,
            worst_case=mean(others["random"][measure]),
            definition=f"{what}: {definition.format(tolerance=tolerance)}; floor: the lesion itself; "
            "worst case: smooth random maps",
        )
    for other in ("centre", "prior", "prior_of_finding", "edges"):
        if other in others:
            found[f"{name}_hit_rate_gain_on_{other}"] = entry(
                mean(scored["hit_rate"] - others[other]["hit_rate"]),
                **common,
                worst_case=mean(others["random"]["hit_rate"] - others[other]["hit_rate"]),
                definition=f"{what}: hit rate minus that of {SAID[other]}, paired by lesion; worst case: random maps'",
            )
    return found


SAID = {
    "centre": "a Gaussian on the picture's middle",
    "prior": "the mean mask of all training lesions",
    "prior_of_finding": "the mean mask of the training lesions of the same finding",
    "edges": "a map of the picture's edges (Sobel)",
    "random": "smooth random maps",
}


def prior_figures(
    others: dict[str, dict[str, np.ndarray]], patients: np.ndarray, *, split: str, seed: int, repetitions: int
) -> dict[str, Any]:
    """Hit rates of the maps `without_network`, which do not depend on what is explained."""
    return {
        f"hit_rate_{name}": entry(
            mean_over_patients(one["hit_rate"], patients, repetitions, seed),
            split=split,
            seeds=[seed],
            floor=1.0,
            worst_case=mean_over_patients(others["random"]["hit_rate"], patients, repetitions, seed),
            definition=f"no network: hit rate of {SAID[name]} on the same lesions",
        )
        for name, one in others.items()
    }


def by_finding(
    scored: dict[str, np.ndarray], prior: np.ndarray | None, findings: Sequence[str]
) -> list[dict[str, Any]]:
    """One row a finding: lesions, hit rate, energy, overlap, and the prior's hit rate."""
    names = np.array(findings)
    rows = []
    for finding in sorted(set(findings)):
        row: dict[str, Any] = {"finding": finding, "lesions": int((names == finding).sum())}
        row |= {measure: round(float(v[names == finding].mean()), 4) for measure, v in scored.items()}
        row["hit_rate_prior"] = None if prior is None else round(float(prior[names == finding].mean()), 4)
        rows.append(row)
    return rows
