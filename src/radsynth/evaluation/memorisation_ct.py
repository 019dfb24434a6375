"""Does the MRI to CT model answer with the CT of a person it was trained on?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from radsynth.evaluation.entries import entry
from radsynth.evaluation.patients import mean_over_patients
from radsynth.training.slices import Heads

HU_RANGE = (-1024.0, 2000.0)
"""HU outside are clipped: metal would outvote all else."""
VOXELS = 200_000
"""Voxels of a head to compare, at most; the grid is thinned by whole steps."""
LEAST_TRAINING = 5
"""Training CTs below which the mean of the others is so few people that it makes all differences to it alike."""


@dataclass(frozen=True)
class CtMatch:
    """A CT on the thinned grid beside the training CT that it is nearest to, with heads' masks; HU."""

    name: str
    ct: np.ndarray
    neighbour: str
    neighbour_ct: np.ndarray
    correlation: float
    mae_hu: float


class CtGallery:
    """Training CTs on a thinned grid; how like one of them is another CT?

    Heads are alike in what every head has. What tells people apart is the difference to the mean head, so the measure
    is the correlation of the differences to the mean of the training CTs, inside both heads: about 0 for different
    people, 1 for a copy, about 0 also for the mean head itself, whose mean absolute error to everybody is smaller than
    that between two people and would look like a copy.
    """

    def __init__(self, heads: Heads) -> None:
        z, y, x = heads.images.shape[1:]
        step = 1
        while (z // step) * (y // step) * (x // step) > VOXELS:
            step += 1
        self.step = step
        self.subjects = heads.subjects
        volumes = [heads.volume(place) for place in range(len(heads.rows))]
        self.cts = np.stack([self.thin(ct) for ct, _ in volumes])
        self.inside = np.stack([depth[::step, ::step, ::step] > 0 for _, depth in volumes])
        self.mean = self.cts.mean(0, dtype=np.float64)

    def thin(self, ct: np.ndarray) -> np.ndarray:
        """A CT on the thinned grid, clipped to `HU_RANGE`, float32."""
        return ct[:: self.step, :: self.step, :: self.step].astype(np.float32).clip(*HU_RANGE)

    def compare(self, ct: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """(N, 2): correlation with, and mean absolute error in HU to, every training CT; thinned grid.

        NaN where the two heads hardly overlap.
        """
        found = np.full((len(self.cts), 2), np.nan)
        for place, (own, own_inside) in enumerate(zip(self.cts, self.inside, strict=True)):
            both = inside & own_inside
            if both.sum() < 100:
                continue
            one, other = ct[both] - self.mean[both], own[both] - self.mean[both]
            one, other = one - one.mean(), other - other.mean()
            length = np.sqrt((one @ one) * (other @ other))
            found[place] = (one @ other) / length if length > 0 else 0.0, np.abs(ct[both] - own[both]).mean()
        return found


MOVED_MM = 2.0
"""How far a copy may be moved and, as the width of a Gaussian, blurred, and must be known again."""
PLANTED: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    "exact": lambda ct, mm, rng: ct,
    "shift": lambda ct, mm, rng: shift(ct, (0, 0, MOVED_MM / mm[2]), order=1, mode="nearest"),
    "blur": lambda ct, mm, rng: gaussian_filter(ct, MOVED_MM / mm),
    "noise": lambda ct, mm, rng: ct + rng.normal(0, 50, ct.shape).astype(np.float32),
    "offset": lambda ct, mm, rng: 0.9 * ct - 30,
}
"""Copies of a training CT that the audit must find, from CT (Z, Y, X) and voxel size, mm (z, y, x): moved along x,
blurred, with noise of 50 HU, with another scale. In mm: a voxel of a coarse grid is farther than any registration errs.
"""


def audit_mri_to_ct(
    synthesize: Callable[[np.ndarray, np.ndarray], np.ndarray],
    held_out_mr: list[Heads],
    held_out_ct: list[Heads],
    train_ct: Heads,
    margin: float,
    *,
    spacing_mm: tuple[float, float, float],
    repetitions: int,
    seed: int,
) -> tuple[dict[str, Any], list[CtMatch]]:
    """Compare the synthetic CT of every held-out MR with every training CT, and real people with each other.

    Parameters
    ----------
    synthesize
        (MR 0..1, depth_mm), each (Z, Y, X) -> synthetic CT in HU.
    spacing_mm
        Voxel size of the common grid, (x, y, z).

    Returns
    -------
    dict
        ``mri_to_ct_passed``: False where a synthetic CT is more like a training CT than any two real people
        are, by more than `margin`; None, with ``mri_to_ct_reason``, where nothing can be compared or the
        planted copies were not found.
    list of CtMatch
        Every held-out MR's synthetic CT with its nearest training CT, the most alike first.
    """
    mrs = [(heads, place) for heads in held_out_mr for place in range(len(heads.rows))]
    count = len(train_ct.rows)
    if count < LEAST_TRAINING or not mrs:
        reason = (
            f"{count} training CTs: with fewer than {LEAST_TRAINING} real people cannot be compared with each other"
            if count < LEAST_TRAINING
            else "no held-out MR to make a CT of"
        )
        return {"mri_to_ct_passed": None, "mri_to_ct_reason": reason, "figures": {}}, []
    gallery = CtGallery(train_ct)
    step = gallery.step
    real: list[tuple[str, float, float]] = []
    for heads in held_out_ct:
        for place, subject in enumerate(heads.subjects):
            ct, depth = heads.volume(place)
            scores = gallery.compare(gallery.thin(ct), depth[::step, ::step, ::step] > 0)
            scores[[s == subject for s in gallery.subjects]] = np.nan
            real.append((subject, *_nearest(scores)))
    among = []
    for place in range(count):
        scores = gallery.compare(gallery.cts[place], gallery.inside[place])
        scores[place] = np.nan
        among.append(_nearest(scores)[0])
    matches = []
    for heads, place in mrs:
        mr, depth = heads.volume(place)
        ct = gallery.thin(synthesize(mr, depth))
        scores = gallery.compare(ct, depth[::step, ::step, ::step] > 0)
        nearest, mae = _nearest(scores)
        who = int(np.nanargmax(scores[:, 0]))
        matches.append(CtMatch(heads.subjects[place], ct, gallery.subjects[who], gallery.cts[who], nearest, mae))
    matches.sort(key=lambda match: -match.correlation)
    highest = max([*among, *(r[1] for r in real)])
    limit = highest + margin
    rng = np.random.default_rng((seed, 10))
    planted = {}
    for name, plant in PLANTED.items():
        hits = []
        for place in range(min(count, 4)):
            ct = train_ct.volume(place)[0].astype(np.float32)
            scores = gallery.compare(gallery.thin(plant(ct, np.array(spacing_mm[::-1]), rng)), gallery.inside[place])
            hits.append(bool(scores[place, 0] > limit and np.nanargmax(scores[:, 0]) == place))
        planted[name] = hits
    found = float(np.mean([hit for hits in planted.values() for hit in hits]))
    copies = [match for match in matches if match.correlation > limit]
    able = found >= 0.8
    people = np.array([m.name for m in matches])
    values, errors = (np.array([getattr(m, key) for m in matches]) for key in ("correlation", "mae_hu"))
    floor = (
        mean_over_patients(np.array([r[1] for r in real]), np.array([r[0] for r in real]), repetitions, seed)
        if real
        else float(np.mean(among))
    )
    meaning = {"split": "validation and test MR against training CT", "seeds": [seed], "feature_space": None}
    where = f"inside both heads, every {step}th voxel, HU clipped to {HU_RANGE[0]:.0f}..{HU_RANGE[1]:.0f}"
    figures = {
        "ct_nearest_correlation": entry(
            mean_over_patients(values, people, repetitions, seed), **meaning,
            floor=floor, worst_case=1.0,
            definition="correlation of a synthetic CT with the training CT most like it, of their differences to the "
            f"mean of the training CTs, {where}; floor: real held-out CTs; worst case: a copy",
        ),
        "ct_nearest_mae_hu": entry(
            mean_over_patients(errors, people, repetitions, seed), **meaning,
            floor=float(np.mean([r[2] for r in real])) if real else None, worst_case=0.0,
            definition=f"smallest mean absolute error to a training CT, {where}; floor: real held-out CTs; no verdict "
            "rests on it, for a smooth mean head is nearer to everybody than people are to each other",
        ),
        "ct_canaries_found": entry(
            found, **meaning, n=sum(map(len, planted.values())),
            definition="share of training CTs, passed off as synthetic after being "
            f"{', '.join(PLANTED)}, that lie above the limit; n: copies planted",
        ),
    }  # fmt: skip
    reason = None
    if copies:
        reason = f"{len(copies)} of {len(matches)} synthetic CTs are more like a training CT than two people are"
    elif not able:
        reason = f"the audit is blind: {found:.0%} of the planted copies found, 80% needed"
    return {
        "mri_to_ct_passed": False if copies else (True if able else None),
        "mri_to_ct_reason": reason,
        "ct_limit": round(limit, 4),
        "ct_limit_rule": f"highest correlation of two real people, held out or trained on, plus {margin}",
        "ct_most_alike_people": round(highest, 4),
        "ct_most_alike_synthetic": round(matches[0].correlation, 4),
        "ct_canaries_by_change": {name: f"{sum(hits)} of {len(hits)}" for name, hits in planted.items()},
        **{name: figure["value"] for name, figure in figures.items()},
        "figures": figures,
        "ct_nearest": [
            {"subject": m.name, "training_subject": m.neighbour, "correlation": round(m.correlation, 4),
             "mae_hu": round(m.mae_hu, 1)}
            for m in matches
        ],
    }, matches  # fmt: skip


def _nearest(scores: np.ndarray) -> tuple[float, float]:
    """Highest correlation and smallest error of `CtGallery.compare`; -1 and NaN where there is none."""
    if np.isnan(scores[:, 0]).all():
        return -1.0, float("nan")
    return float(np.nanmax(scores[:, 0])), float(np.nanmin(scores[:, 1]))
