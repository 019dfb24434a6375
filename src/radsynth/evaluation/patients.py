"""Means over pictures, with intervals over the patients whom they show."""

from __future__ import annotations

import numpy as np

from radsynth.evaluation.intervals import Interval, bootstrap_interval


def mean_over_patients(values: np.ndarray, patients: np.ndarray, repetitions: int, seed: int) -> Interval:
    """The mean of (n,) values, NaN left out, with its bootstrap interval over patients; NaN where no value is known."""
    known = np.isfinite(values)
    if not known.any():
        return Interval(np.nan, np.nan, np.nan, 0)
    _, member = np.unique(patients[known], return_inverse=True)
    sums = np.stack([np.bincount(member, values[known].astype(np.float64)), np.bincount(member)], 1)

    def mean(samples: np.ndarray, axis: int) -> np.ndarray:
        total = samples.sum(axis)
        return total[..., 0] / total[..., 1]

    return bootstrap_interval(sums, mean, repetitions, seed=seed)
