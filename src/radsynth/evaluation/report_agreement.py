"""Do drawn X-rays show what their reports say, do they differ, and do they look like real ones?"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from radsynth.evaluation.intervals import Interval
from radsynth.evaluation.ranking import patient_draws, ranking_figures


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half.

    Parameters
    ----------
    scores
        (n,) any real numbers.
    labels
        (n,) 1, 0, or NaN for unknown (left out).

    Returns
    -------
    float
        NaN where positives or negatives are missing.

    References
    ----------
    Hanley & McNeil 1982; computed from ranks (Mann-Whitney U).
    """
    from scipy.stats import rankdata

    known = ~np.isnan(labels)
    scores, labels = scores[known], labels[known]
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def mean_auroc(scores: np.ndarray, labels: np.ndarray, columns: np.ndarray) -> float:
    """Mean AUROC over `columns` of (n, K) scores and labels, columns without both classes left out."""
    values = [auroc(scores[:, k], labels[:, k]) for k in columns]
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def auroc_share(
    drawn: list[np.ndarray],
    real: np.ndarray,
    labels: np.ndarray,
    columns: np.ndarray,
    subjects: np.ndarray,
    repetitions: int,
    seed: int,
) -> dict[str, Any]:
    """How much of what the judge reads off real pictures it also reads off drawn ones.

    ``share = (mean AUROC drawn - 0.5) / (mean AUROC real - 0.5)``; 1 means as readable as real, 0 chance.

    Parameters
    ----------
    drawn
        The judge's logits (n, K) on pictures drawn from the same n reports, one array a noise seed.
    real
        Its logits (n, K) on the real pictures of these reports.
    labels
        (n, K) 1, 0 or NaN.
    columns
        Which findings count.
    subjects
        (n,) patient of each report: the bootstrap draws patients.

    Returns
    -------
    dict
        Intervals of ``share``, ``drawn`` and ``real`` (the mean AUROCs); ``by_finding`` holds for each of `columns` the
        intervals of its AUROC ``(drawn, real)``.
    """
    draws = patient_draws(subjects, repetitions, seed)
    people = len(np.unique(subjects))
    of_drawn = [np.mean([ranking_figures(d[:, k], labels[:, k], draws)[0] for d in drawn], 0) for k in columns]
    of_real = [ranking_figures(real[:, k], labels[:, k], draws)[0] for k in columns]
    on_drawn, on_real = (_mean_of_known(found, len(draws)) for found in (of_drawn, of_real))
    return {
        "share": _interval((on_drawn - 0.5) / (on_real - 0.5), people),
        "drawn": _interval(on_drawn, people),
        "real": _interval(on_real, people),
        "by_finding": [(_interval(d, people), _interval(r, people)) for d, r in zip(of_drawn, of_real, strict=True)],
    }


def _mean_of_known(rows: list[np.ndarray], width: int) -> np.ndarray:
    """Column means over what is not NaN."""
    values = np.array(rows).reshape(-1, width)
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)


def _interval(values: np.ndarray, people: int) -> Interval:
    """The first value, with the 95 % interval of the others."""
    drawn = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high), people)


def pairwise_spread(features: np.ndarray, subjects: np.ndarray | None = None) -> float:
    """Mean Euclidean distance between all pairs of rows of (n, d), of different subjects (n,) where these are given."""
    from scipy.spatial.distance import pdist

    distances = pdist(features)
    if subjects is not None:
        one, other = np.triu_indices(len(features), 1)
        distances = distances[subjects[one] != subjects[other]]
    return float(distances.mean()) if len(distances) else float("nan")


def spread_share(
    drawn: np.ndarray, real: np.ndarray, label_sets: np.ndarray, least: int = 4, subjects: np.ndarray | None = None
) -> tuple[float, float, float, int]:
    """Spread between samples of one report as a share of that between different real patients with its findings.

    Parameters
    ----------
    drawn
        Features (n, k, d) of k samples a report.
    real
        Features (n, d) of the reports' real pictures.
    label_sets
        (n, K): reports with equal rows share their findings.
    least
        Fewest real pictures of a label set that count.
    subjects
        (n,) patient of each report: pairs of one patient are left out. None where each is another's.

    Returns
    -------
    tuple
        Share, spread drawn, spread real, number of reports compared.
    """
    _, group = np.unique(label_sets, axis=0, return_inverse=True)
    group = group.reshape(-1)
    subjects = np.arange(len(real)) if subjects is None else subjects
    of_group = {}
    for g in np.unique(group):
        members = group == g
        spread = pairwise_spread(real[members], subjects[members])
        if members.sum() >= least and np.isfinite(spread):
            of_group[g] = spread
    rows = [i for i in range(len(real)) if group[i] in of_group]
    if not rows:
        return float("nan"), float("nan"), float("nan"), 0
    within = float(np.mean([pairwise_spread(drawn[i]) for i in rows]))
    between = float(np.mean([of_group[group[i]] for i in rows]))
    return within / between, within, between, len(rows)


def octave_power(pictures: np.ndarray) -> np.ndarray:
    """Mean power of pictures by octave of spatial frequency, finest last.

    Parameters
    ----------
    pictures
        (n, S, S), S at least 64. The mean of each picture is removed, a Hann window applied.

    Returns
    -------
    numpy.ndarray
        Power in the rings S/2 * [2^-k-1, 2^-k), k from 4 to 0, float64 (5,).
    """
    size = pictures.shape[-1]
    window = np.hanning(size)[:, None] * np.hanning(size)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) * 2
    edges = 2.0 ** np.arange(-5, 1)
    total = np.zeros(5)
    for picture in pictures:
        power = np.abs(np.fft.rfft2((picture - picture.mean()) * window)) ** 2
        total += [power[(frequency >= a) & (frequency < b)].mean() for a, b in pairwise(edges)]
    return total / len(pictures)
