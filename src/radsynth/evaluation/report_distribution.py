"""Drawn X-rays against real ones as distributions, in every feature space, with floors and worst cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radsynth.evaluation.copies import from_array, packed
from radsynth.evaluation.distribution import GROUPS, NEIGHBOURS, SUBSET, compared_by_halves, half_splits, kid, ms_ssim
from radsynth.evaluation.entries import entry
from radsynth.evaluation.features import FeatureSpace, extract
from radsynth.evaluation.patients import mean_over_patients
from radsynth.evaluation.report_agreement import pairwise_spread
from radsynth.training.device import Device

SPLITS = 10
"""Random halvings of the patients that floors are averaged over."""

HALVES = (
    f"real pictures of half the patients against drawn ones of the other half, mean of {SPLITS} random halvings; "
    f"interval: jackknife over {GROUPS} groups of patients; "
    "floor: real against real in the same way; worst case: uniform noise"
)
DEFINITIONS = {
    "kid": f"unbiased squared MMD, kernel (a.b/d + 1)^3, subsets of at most {SUBSET}, pairs of one patient left out; "
    f"floor: real halves by patient, mean of {SPLITS}; worst case: uniform noise",
    "frechet": f"Frechet distance of Gaussians; {HALVES}",
    "precision": f"Kynkaanniemi 2019, k {NEIGHBOURS}; {HALVES}",
    "recall": f"Kynkaanniemi 2019, k {NEIGHBOURS}; {HALVES}",
    "density": f"Naeem 2020, k {NEIGHBOURS}; {HALVES}",
    "coverage": f"Naeem 2020, k {NEIGHBOURS}; {HALVES}",
    "feature_diversity": "mean distance between features of pictures drawn from one report; floor: of real pictures of "
    "different patients with equal findings; worst case: one picture a report",
    "ms_ssim_within_report": "MS-SSIM between pictures drawn from one report, lower is more diverse; floor: between "
    "real pictures of different patients with equal findings; worst case: one picture a report",
}


def distribution_figures(
    spaces: dict[str, FeatureSpace],
    real: np.ndarray,
    drawn: np.ndarray,
    labels: np.ndarray,
    subjects: np.ndarray,
    *,
    split: str,
    seeds: Sequence[int],
    repetitions: int,
    seed: int,
    device: Device,
    read: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    folder: str | Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure drawn pictures against the real pictures of the same reports.

    Parameters
    ----------
    spaces
        Suffix of the figures' names -> feature space; ``""`` for the leading one.
    real
        (n, S, S) in -1..1.
    drawn
        (k, n, S, S): k pictures of each report.
    labels, subjects
        (n, K) findings and (n,) patients of the reports.
    read
        Suffix -> features of `real` and of `drawn` in that space, where they were read before.
    folder
        Where the pictures of noise lie; None keeps them in memory.

    Returns
    -------
    dict
        Name -> `entries.entry`.
    """
    alike = _alike(labels, subjects, np.random.default_rng((seed, 31)))
    noise = np.random.default_rng((seed, 32))
    noisy = packed(
        lambda rows: noise.uniform(-1, 1, (len(rows), *real.shape[1:])),
        real.shape,
        None if folder is None else Path(folder) / "noise.npy",
    )
    figures: dict[str, dict[str, Any]] = {}
    for suffix, space in spaces.items():
        on_noise = extract(space, from_array(noisy), len(noisy), device)
        if read and suffix in read:
            on_real, on_drawn = read[suffix]
        else:
            on_real = extract(space, from_array(real), len(real), device)
            on_drawn = np.stack([extract(space, from_array(p), len(p), device) for p in drawn])
        figures |= {
            f"{name}{suffix}": {**value, "feature_space": str(space), "definition": DEFINITIONS[name]}
            for name, value in _in_space(
                on_real, on_drawn, on_noise, subjects, alike, split, seeds, repetitions, seed
            ).items()
        }
    if len(drawn) > 1:
        pairs = [(j, j + 1) for j in range(0, len(drawn) - 1, 2)]
        within = np.mean([ms_ssim(drawn[i], drawn[j]) for i, j in pairs], 0)
        figures["ms_ssim_within_report"] = entry(
            mean_over_patients(within, subjects, repetitions, seed),
            split=split,
            seeds=seeds,
            feature_space=f"pixels {real.shape[-1]}x{real.shape[-1]}",
            floor=mean_over_patients(
                ms_ssim(real[alike[:, 0]], real[alike[:, 1]]), subjects[alike[:, 0]], repetitions, seed
            )
            if len(alike)
            else None,
            worst_case=1.0,
            definition=DEFINITIONS["ms_ssim_within_report"],
        )
    return figures


def _in_space(
    real: np.ndarray,
    drawn: np.ndarray,
    noise: np.ndarray,
    subjects: np.ndarray,
    alike: np.ndarray,
    split: str,
    seeds: Sequence[int],
    repetitions: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Figures of features: real (n, d), drawn (k, n, d), noise (n, d)."""
    every = drawn.reshape(-1, drawn.shape[-1])
    floors = [
        kid(real[a], real[b], subjects[a], subjects[b], repetitions=0).value
        for a, b in half_splits(subjects, SPLITS, seed)
    ]
    found = {
        "kid": entry(
            kid(real, every, subjects, np.tile(subjects, len(drawn)), repetitions=repetitions, seed=seed),
            split=split,
            seeds=seeds,
            floor=float(np.mean(floors)),
            worst_case=kid(real, noise, subjects, subjects, repetitions=0).value,
        )
    }
    values, floor, worst = (
        compared_by_halves(real, other, subjects, seed=seed, splits=SPLITS) for other in (drawn[0], real, noise)
    )
    for name, value in values.items():
        found[name] = entry(value, split=split, seeds=seeds[:1], floor=floor[name], worst_case=worst[name].value)
    if len(drawn) > 1:
        within = np.array([pairwise_spread(drawn[:, i]) for i in range(drawn.shape[1])])
        apart = np.linalg.norm(real[alike[:, 0]] - real[alike[:, 1]], axis=1)
        found["feature_diversity"] = entry(
            mean_over_patients(within, subjects, repetitions, seed),
            split=split,
            seeds=seeds,
            floor=mean_over_patients(apart, subjects[alike[:, 0]], repetitions, seed) if len(alike) else None,
            worst_case=0.0,
        )
    return found


def _alike(labels: np.ndarray, subjects: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For every row that has one, a random row of another patient with equal findings: (pairs, 2)."""
    found = []
    known = np.nan_to_num(labels, nan=2)
    for row in range(len(known)):
        others = np.flatnonzero((known == known[row]).all(1) & (subjects != subjects[row]))
        if len(others):
            found.append((row, rng.choice(others)))
    return np.array(found, int).reshape(-1, 2)
