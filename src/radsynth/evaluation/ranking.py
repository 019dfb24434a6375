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
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    positive, negative = (rows[np.argsort(scores[rows], kind="stable")] for rows in (positive, negative))
    found = np.full((2, len(draws)), np.nan)
    if not len(positive) or not len(negative):
        return found
    thresholds, starts = np.unique(scores[positive], return_index=True)  # only positives gain recall
    lower, upper = (np.searchsorted(scores[negative], thresholds, side) for side in ("left", "right"))
    step = max(BLOCK // (len(positive) + len(negative)), 1)
    for start in range(0, len(draws), step):
        block = draws[start : start + step]
        gained = np.add.reduceat(block[:, positive], starts, axis=1, dtype=np.float64)
        below = np.zeros((len(block), len(negative) + 1))
        np.cumsum(block[:, negative], axis=1, out=below[:, 1:])
        true, false = gained[:, ::-1].cumsum(1)[:, ::-1], below[:, -1:] - below[:, lower]  # at or above a threshold
        with np.errstate(divide="ignore", invalid="ignore"):
            area = (gained * (below[:, lower] + below[:, upper])).sum(1) / (2 * true[:, 0] * below[:, -1])
            average = (gained * np.nan_to_num(true / (true + false))).sum(1) / true[:, 0]
        average[below[:, -1] == 0] = np.nan
        found[:, start : start + step] = area, average
    return found
