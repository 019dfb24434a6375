"""Do drawn X-rays show what their reports say, do they differ, and do they look like real ones?"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from radsynth.evaluation.intervals import Interval


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
) -> dict[str, Interval]:
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
        Intervals of ``share``, ``drawn`` and ``real`` (the mean AUROCs).
    """

    def figures(rows: np.ndarray) -> tuple[float, float, float]:
        on_real = mean_auroc(real[rows], labels[rows], columns)
        on_drawn = float(np.mean([mean_auroc(d[rows], labels[rows], columns) for d in drawn]))
        return (on_drawn - 0.5) / (on_real - 0.5), on_drawn, on_real

    people, member = np.unique(subjects, return_inverse=True)
    of_person = [np.flatnonzero(member == p) for p in range(len(people))]
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(repetitions):
        chosen = rng.integers(0, len(people), len(people))
        samples.append(figures(np.concatenate([of_person[p] for p in chosen])))
    low, high = np.nanquantile(np.array(samples), [0.025, 0.975], axis=0)
    value = figures(np.arange(len(labels)))
    names = ("share", "drawn", "real")
    return {
        name: Interval(v, float(lo), float(hi), len(people))
        for name, v, lo, hi in zip(names, value, low, high, strict=True)
    }


def pairwise_spread(features: np.ndarray) -> float:
    """Mean Euclidean distance between all pairs of rows of (n, d)."""
    from scipy.spatial.distance import pdist

    return float(pdist(features).mean()) if len(features) > 1 else float("nan")


def spread_share(
    drawn: np.ndarray, real: np.ndarray, label_sets: np.ndarray, least: int = 4
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

    Returns
    -------
    tuple
        Share, spread drawn, spread real, number of reports compared.
    """
    _, group = np.unique(label_sets, axis=0, return_inverse=True)
    group = group.reshape(-1)
    of_group = {g: pairwise_spread(real[group == g]) for g in np.unique(group) if (group == g).sum() >= least}
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
