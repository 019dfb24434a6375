"""Does a report find its picture, and a picture its report? In a space that no loss of a generator has seen.

The space is fitted on real pictures of the training split and their reports alone: regularised canonical correlations
between the judge's features of the pictures and the mean BERT vectors of the reports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radsynth.evaluation.entries import entry
from radsynth.evaluation.patients import mean_over_patients

RIDGE = 1.0
"""Added to the variances of the standardised features of both sides."""
DIMENSIONS = 32
"""Correlations kept, at most."""
DEPTHS = (1, 5, 10)
"""The k of R@k."""


@dataclass(frozen=True)
class CommonSpace:
    """Where pictures and texts are compared by the cosine of their angle.

    Parameters
    ----------
    name
        How the space was made, with the digest of its matrices.
    picture_mean, picture_map, text_mean, text_map
        Features x (n, d) of pictures go to ``(x - picture_mean) @ picture_map``, those of texts likewise.
    """

    name: str
    picture_mean: np.ndarray
    picture_map: np.ndarray
    text_mean: np.ndarray
    text_map: np.ndarray

    def likeness(self, pictures: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Cosines (texts, pictures) in -1..1."""
        p = (pictures - self.picture_mean) @ self.picture_map
        t = (texts - self.text_mean) @ self.text_map
        p, t = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (p, t))
        return t @ p.T


def fit_common_space(pictures: np.ndarray, texts: np.ndarray, what: str) -> CommonSpace:
    """Regularised canonical correlation analysis of picture features (n, d) with text features (n, e), row by row.

    Every direction is weighted by its correlation, so that those of chance count little.

    Parameters
    ----------
    what
        What the features are and which pictures they come from, for the name.

    References
    ----------
    Vinod 1976, "Canonical ridge and econometrics of joint production"; Gong et al. 2014, "A Multi-View Embedding Space
    for Modeling Internet Images, Tags, and their Semantics", section 3, for the weights.
    """
    means, scales, roots, sides = [], [], [], []
    for features in (pictures, texts):
        x = np.asarray(features, np.float64)
        mean, scale = x.mean(0), x.std(0) + 1e-6
        x = (x - mean) / scale
        values, vectors = np.linalg.eigh(x.T @ x / len(x) + RIDGE * np.eye(x.shape[1]))
        means.append(mean)
        scales.append(scale)
        roots.append((vectors / np.sqrt(values)) @ vectors.T)
        sides.append(x)
    left, strength, right = np.linalg.svd(roots[0] @ (sides[0].T @ sides[1] / len(pictures)) @ roots[1])
    keep = min(DIMENSIONS, len(strength), max(len(pictures) - 1, 1))
    maps = [
        root @ vectors[:, :keep] * strength[:keep] / scale[:, None]
        for root, vectors, scale in zip(roots, (left, right.T), scales, strict=True)
    ]
    digest = hashlib.sha256(b"".join(np.round(m, 6).tobytes() for m in maps)).hexdigest()[:12]
    name = f"{keep} canonical correlations (ridge {RIDGE:g}) of {what}, sha256 {digest}"
    return CommonSpace(name, means[0], maps[0], means[1], maps[1])


def hits(scores: np.ndarray, meaning: np.ndarray, depth: int) -> np.ndarray:
    """Whether row i finds what column j stands for among its `depth` best: float64 (n, n).

    Parameters
    ----------
    scores
        (n, n): likeness of query i to item j.
    meaning
        (n,): items of equal meaning (reports of equal text) count for each other; the best of them is looked for.

    Returns
    -------
    numpy.ndarray
        1, 0, or where items outside the meaning tie with it the chance that a random order of the tied puts it in.
    """
    of = np.unique(meaning, return_inverse=True)[1].reshape(-1)
    by_meaning = np.argsort(of, kind="stable")
    starts = np.searchsorted(of[by_meaning], np.arange(of.max() + 1))
    best = np.maximum.reduceat(scores[:, by_meaning], starts, axis=1)  # (n, meanings)
    own = np.add.reduceat((scores[:, by_meaning] == best[:, of[by_meaning]]).astype(int), starts, axis=1)
    ordered = np.sort(scores, axis=1)
    upto, below = (
        np.stack([np.searchsorted(row, values, side) for row, values in zip(ordered, best, strict=True)])
        for side in ("right", "left")
    )
    places, others = depth - (scores.shape[1] - upto), upto - below - own  # left for the tied ones; those not its own
    miss = np.ones(best.shape)
    for place in range(depth):  # none of its own at any of the places, in a random order of the tied
        missed = np.maximum(others - place, 0) / np.maximum(others + own - place, 1)
        miss = np.where(place < places, miss * missed, miss)
    return (1 - miss)[:, of]


def retrieval_figures(
    space: CommonSpace,
    real: np.ndarray,
    drawn: np.ndarray,
    texts: np.ndarray,
    prompts: Sequence[str],
    subjects: np.ndarray,
    *,
    split: str,
    seeds: Sequence[int],
    repetitions: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """R@k both ways, among drawn pictures, with real ones as the floor and other reports' pictures as the worst case.

    Parameters
    ----------
    real
        Features (n, d) of the reports' real pictures.
    drawn
        (k, n, d): of the pictures drawn from them, k noises; each noise is a gallery of its own, the mean is taken.
    texts
        (n, e) features of the reports; `prompts` their texts.

    Returns
    -------
    dict
        Name -> `entries.entry`.
    """
    meaning = np.unique(np.asarray(prompts), return_inverse=True)[1].reshape(-1)
    other = meaning[:, None] != meaning[None]
    likeness = {"real": [space.likeness(real, texts)], "drawn": [space.likeness(d, texts) for d in drawn]}
    figures = {}
    for way, turned in (("report_to_image", False), ("image_to_report", True)):
        for depth in DEPTHS:
            found = {
                kind: np.mean([hits(s.T if turned else s, meaning, depth) for s in several], 0)
                for kind, several in likeness.items()
            }
            value, floor = (
                mean_over_patients(np.diag(found[kind]), subjects, repetitions, seed) for kind in ("drawn", "real")
            )
            what = "reports whose drawn picture is" if not turned else "drawn pictures whose report is"
            figures[f"retrieval_{way}_at_{depth}"] = entry(
                value,
                split=split,
                seeds=seeds,
                feature_space=space.name,
                floor=floor,
                worst_case=float(found["drawn"][other].mean()) if other.any() else None,
                definition=f"share of {what} among the {depth} most alike of {len(meaning)}, reports of equal text "
                "counting for each other; floor: the reports' real pictures, which the same space must find; worst "
                f"case: pictures drawn from another report (chance is {depth / len(meaning):.3f})",
            )
    return figures
