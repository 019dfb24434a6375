"""How well scores rank positives above negatives, for many bootstrap samples of patients at a time."""

from __future__ import annotations

import numpy as np

BLOCK = 2_000_000
"""Numbers of a bootstrap block in memory."""


def patient_draws(subjects: np.ndarray, repetitions: int, seed: int) -> np.ndarray:
    """How often each row counts: once in the first sample, then as often as its patient was drawn.

    Returns
    -------
    numpy.ndarray
        (1 + repetitions, n) float32.
    """
    people, member = np.unique(subjects, return_inverse=True)
    rng = np.random.default_rng((seed, 26))
    drawn = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), repetitions)
    return np.concatenate([np.ones((1, len(subjects))), drawn[:, member]]).astype(np.float32)


def ranking_figures(scores: np.ndarray, labels: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Area under the ROC curve and average precision of weighted samples.

    Parameters
    ----------
    scores
        (n,).
    labels
        (n,) 1, 0, or NaN for unknown (left out).
    draws
        (R, n): how often each row counts in each sample.

    Returns
    -------
    numpy.ndarray
        (2, R): AUROC, ties counted half, and average precision (the sum over thresholds of the precision times the
        gain of recall); NaN where a sample has no positive or no negative.

    References
    ----------
    Hanley & McNeil 1982; Zhu 2004, "Recall, Precision and Average Precision".
    """
    known = np.flatnonzero(~np.isnan(labels))
    order = known[np.argsort(-scores[known], kind="stable")]
    ordered, positive = scores[order], labels[order] == 1
    found = np.full((2, len(draws)), np.nan)
    if not positive.any() or positive.all():
        return found
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    step = max(BLOCK // len(order), 1)
    for start in range(0, len(draws), step):
        block = draws[start : start + step, order].astype(np.float64)
        true = np.cumsum(block * positive, 1)[:, ends]
        false = np.cumsum(block * ~positive, 1)[:, ends]
        more_true, more_false = (np.diff(part, axis=1, prepend=0) for part in (true, false))
        with np.errstate(divide="ignore", invalid="ignore"):
            area = (more_false * (true - more_true / 2)).sum(1) / (true[:, -1] * false[:, -1])
            precision = np.nan_to_num(true / (true + false))
            average = (more_true * precision).sum(1) / true[:, -1]
        average[false[:, -1] == 0] = np.nan
        found[:, start : start + step] = area, average
    return found
