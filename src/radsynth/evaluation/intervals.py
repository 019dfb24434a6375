"""Percentile bootstrap intervals: how sure a figure over few patients is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A figure and its interval: `low <= value <= high` but for very skewed samples; `n` independent units."""

    value: float
    low: float
    high: float
    n: int


def bootstrap_interval(
    values: np.ndarray,
    statistic: Callable[..., np.ndarray] = np.mean,
    repetitions: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Bootstrap a statistic over independent units (patients, never slices or pixels of one patient).

    Parameters
    ----------
    values
        (n,) or (n, ...): one row a unit; every row is drawn as a whole.
    statistic
        Called as ``statistic(sample, axis=1)`` on an array (repetitions, n, ...) and as ``statistic(values[None],
        axis=1)`` for the figure itself; returns one number a repetition.
    repetitions
        Samples drawn with replacement.
    level
        Share of the samples' statistics that lies inside the interval.
    seed
        Of the drawing.

    Returns
    -------
    Interval
        With one unit the interval has no width: it cannot say anything, and `n` tells so.

    Raises
    ------
    ValueError
        Where there is no unit, or a value is not finite.

    References
    ----------
    Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    if n == 0:
        raise ValueError("no values to bootstrap")
    if not np.isfinite(values).all():
        raise ValueError("values to bootstrap must be finite")
    rows = np.random.default_rng(seed).integers(0, n, (repetitions, n))
    tail = (1 - level) / 2
    low, high = np.quantile(statistic(values[rows], axis=1), [tail, 1 - tail])
    return Interval(float(statistic(values[None], axis=1)[0]), float(low), float(high), n)
