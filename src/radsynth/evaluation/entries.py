"""One shape for every figure: its value, how sure it is, on what it was measured, and what the best and worst are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from radsynth.evaluation.intervals import Interval


def entry(
    value: Interval | float | None,
    *,
    split: str,
    seeds: Sequence[int],
    feature_space: str | None = None,
    floor: Interval | float | None = None,
    worst_case: Interval | float | None = None,
    definition: str | None = None,
    n: int | None = None,
) -> dict[str, Any]:
    """A figure as it stands in `metrics/<stage>.json`: plain numbers, None where nothing can be known.

    Parameters
    ----------
    value, floor, worst_case
        The figure; the same measured on real against real pictures; and on input that is as bad as can be. An
        `Interval` carries its 95 % interval over patients.
    split, seeds
        Which pictures were measured, and the seeds of what was drawn.
    feature_space
        Name and digest of the features.
    definition
        What the figure is, with its constants, and what the floor and the worst case are.
    n
        Patients, where `value` is a plain number.
    """
    interval = value if isinstance(value, Interval) else None
    return {
        "value": _number(interval.value if interval else value),
        "low": _number(interval.low) if interval else None,
        "high": _number(interval.high) if interval else None,
        "n": interval.n if interval else n,
        "split": split,
        "seeds": [int(seed) for seed in seeds],
        "feature_space": feature_space,
        "floor": _with_interval(floor),
        "worst_case": _with_interval(worst_case),
        "definition": definition,
    }


def _number(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{float(value):.6g}")


def _with_interval(value: Interval | float | None) -> Any:
    if isinstance(value, Interval):
        return {"value": _number(value.value), "low": _number(value.low), "high": _number(value.high), "n": value.n}
    return _number(value)


def over_patients(figure: Callable[..., float], groups: Sequence[np.ndarray], repetitions: int, seed: int) -> Interval:
    """Bootstrap a figure over the patients of one or several independent groups.

    Parameters
    ----------
    figure
        Called with one array of row numbers a group: ``figure(rows_of_first, rows_of_second, ...)``.
    groups
        For each group (n,) the patient of every row: the patients of each are drawn with replacement, all rows of a
        patient together.

    Returns
    -------
    Interval
        `n` counts the patients of all groups; values that are not finite are left out of the interval.
    """
    rng = np.random.default_rng(seed)
    members = []
    for subjects in groups:
        people, member = np.unique(subjects, return_inverse=True)
        members.append([np.flatnonzero(member == person) for person in range(len(people))])
    value = figure(*(np.arange(len(subjects)) for subjects in groups))
    samples = []
    for _ in range(repetitions):
        drawn = (np.concatenate([rows[person] for person in rng.integers(0, len(rows), len(rows))]) for rows in members)
        samples.append(figure(*drawn))
    finite = np.array(samples)[np.isfinite(samples)]
    low, high = np.quantile(finite, [0.025, 0.975]) if len(finite) else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high), sum(len(rows) for rows in members))
