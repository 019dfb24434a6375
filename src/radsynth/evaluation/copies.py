"""A detector of copied pictures: which training picture is a picture nearest to, and is that too near?"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 32
"""Side of the small picture that the detector compares, pixels."""

FINER = 4
"""Steps of a shift in a pixel of the small picture."""

Pictures = Callable[[np.ndarray], Tensor]
"""Row numbers -> pictures (B, 1, S, S) in -1..1, read when they are needed."""

CHANGES = ("shift", "brightness", "noise", "resampling", "jpeg", "all")
"""What a copy may have gone through; `all` is one after the other."""


def from_array(pictures: np.ndarray) -> Pictures:
    """Pictures (n, S, S) that lie in memory, as a reader of rows."""
    return lambda rows: torch.from_numpy(np.ascontiguousarray(pictures[rows]))[:, None]


def packed(
    pictures: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], path: str | Path | None = None
) -> np.ndarray:
    """Pictures (n, S, S) float32, made block by block; in a ``.npy`` file that is memory-mapped, or in memory.

    Parameters
    ----------
    pictures
        Row numbers (B,) -> (B, S, S); asked once for each row, in order.
    shape
        (n, S, S).
    path
        None keeps them in memory.
    """
    out = room_for(shape, path)
    for rows in _blocks(len(out)):
        out[rows] = pictures(rows)
    return out


def room_for(shape: tuple[int, ...], path: str | Path | None) -> np.ndarray:
    """An array to be filled, float32: a ``.npy`` file that is memory-mapped, or in memory where `path` is None."""
    return np.empty(shape, np.float32) if path is None else np.lib.format.open_memmap(path, "w+", np.float32, shape)


@dataclass(frozen=True)
class CopyDetector:
    """Cosine similarity of whitened eigen-pictures, the best over small shifts.

    X-rays of different people are alike in what varies most (size, dose, posture). Whitening by the covariance of the
    training pictures weighs every way of differing alike, so that what is left is what tells people apart.

    Parameters
    ----------
    mean, basis
        (P,) and (P, K) float32: a small picture minus `mean`, times `basis`, has unit variance in every component.
    gallery
        (N, K) float32, rows of unit length: the training pictures.
    """

    mean: np.ndarray
    basis: np.ndarray
    gallery: np.ndarray

    @property
    def feature_space(self) -> str:
        """Name and digest of the feature space."""
        digest = hashlib.sha256(np.round(self.mean, 3).tobytes()).hexdigest()[:12]
        return f"eigen-pictures-{SIDE}px-{self.basis.shape[1]} of half the training split, sha256 {digest}"

    def describe(self, small: np.ndarray) -> np.ndarray:
        """Small pictures (n, P) -> features (n, K) of unit length."""
        features = (small - self.mean) @ self.basis
        return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)

    def features(self, pictures: Pictures, count: int) -> np.ndarray:
        """Features (count, K) of pictures as they are, without shifts."""
        return np.concatenate([self.describe(_small(_fine(pictures(rows)))) for rows in _blocks(count)])

    def similarity(self, pictures: Pictures, count: int, gallery: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Similarity (B, M) of block after block of pictures to each of a gallery, the largest over the shifts.

        Memory is that of one block against the gallery, however many pictures there are.
        """
        against = (self.gallery if gallery is None else gallery).T
        for rows in _blocks(count):
            best = None
            for moved in _shifted(_fine(pictures(rows))):
                found = self.describe(moved) @ against
                best = found if best is None else np.maximum(best, found, out=best)
            yield best

    def nearest(self, pictures: Pictures, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Similarity (count,) to the nearest training picture, and its number (count,)."""
        values, places = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
        for block in self.similarity(pictures, count):
            places.append(block.argmax(1))
            values.append(block.max(1))
        return np.concatenate(values), np.concatenate(places)


def fit_copy_detector(pictures: Pictures, count: int, components: int, fitted: np.ndarray) -> CopyDetector:
    """Learn the eigen-pictures from some training pictures, in blocks; all `count` become the gallery.

    A picture that the whitening was fitted to has more variance in its last components than one that it was not.
    So whoever compares members of the training split with others must take members that are not among `fitted`.

    Parameters
    ----------
    components
        Most eigen-pictures to keep; never more than half the fitted pictures.
    fitted
        Numbers of the pictures to learn from.
    """
    total, square = np.zeros(SIDE * SIDE), np.zeros((SIDE * SIDE, SIDE * SIDE))
    for block in _blocks(len(fitted)):
        small = _small(_fine(pictures(fitted[block]))).astype(np.float64)
        total += small.sum(0)
        square += small.T @ small
    mean = total / len(fitted)
    values, vectors = np.linalg.eigh(square / len(fitted) - np.outer(mean, mean))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = min(components, max(len(fitted) // 2, 1), max(int((values > 1e-6 * values[0]).sum()), 1))
    basis = vectors[:, :kept] / np.sqrt(np.maximum(values[:kept], 1e-12))
    empty = CopyDetector(mean.astype(np.float32), basis.astype(np.float32), np.empty((0, kept), np.float32))
    return CopyDetector(empty.mean, empty.basis, empty.features(pictures, count))


def copy_limit(nearest: np.ndarray, audited: int, false_alarms: float) -> tuple[float, float]:
    """Similarity above which a picture counts as a copy, from the nearest neighbours of people who were not copied.

    The largest of many similarities follows a Gumbel law, on the scale arctanh on which a correlation has no upper
    end. The law is fitted to `nearest` and read off where ALL of `audited` pictures together exceed it with
    probability `false_alarms`: a rate that no count of a few hundred held-out pictures reaches.

    Returns
    -------
    tuple
        The limit, and the p-value of a Kolmogorov-Smirnov test of the fit (small: the law does not fit).

    References
    ----------
    Gumbel 1958, "Statistics of Extremes"; Fisher 1915 for arctanh.
    """
    from scipy.stats import gumbel_r, kstest

    scale = np.arctanh(np.clip(nearest.astype(np.float64), -0.999999, 0.999999))
    law = gumbel_r.fit(scale)
    each = -np.expm1(np.log1p(-false_alarms) / max(audited, 1))
    return float(np.tanh(gumbel_r.isf(each, *law))), float(kstest(scale, "gumbel_r", args=law).pvalue)


def changed(pictures: np.ndarray, change: str, seed: int) -> np.ndarray:
    """Pictures as a copy of them might look.

    Parameters
    ----------
    pictures
        (n, S, S) float32 in -1..1.
    change
        ``exact``; ``shift`` by up to 2.5 % of the side; ``brightness``: contrast 0.8..1.2 and offset up to 7.5 % of
        the range; ``noise`` of 5 % of the range; ``resampling`` to a quarter of the side and back; ``jpeg`` of quality
        20; ``all`` of these.
    """
    rng = np.random.default_rng((seed, 7))
    steps = CHANGES[:-1] if change == "all" else (change,)
    for step in steps:
        pictures = _STEPS[step](pictures, rng)
    return pictures.astype(np.float32)


def _shift(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = pictures.shape[-1]
    reach = max(round(size / 40), 1)
    padded = np.pad(pictures, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    moves = rng.integers(0, 2 * reach + 1, (len(pictures), 2))
    return np.stack([p[y : y + size, x : x + size] for p, (y, x) in zip(padded, moves, strict=True)])


def _brightness(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    contrast, offset = (rng.uniform(a, b, (len(pictures), 1, 1)) for a, b in ((0.8, 1.2), (-0.15, 0.15)))
    return np.clip(pictures * contrast + offset, -1, 1)


def _noise(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(pictures + rng.normal(0, 0.1, pictures.shape), -1, 1)


def _resample(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = pictures.shape[-1]
    small = F.interpolate(torch.from_numpy(pictures.astype(np.float32))[:, None], size=max(size // 4, 8), mode="area")
    return F.interpolate(small, size=size, mode="bilinear")[:, 0].numpy()


def _jpeg(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    from PIL import Image

    found = []
    for picture in pictures:
        packed = io.BytesIO()
        grey = ((np.clip(picture, -1, 1) + 1) * 127.5).round().astype(np.uint8)
        Image.fromarray(grey).save(packed, "JPEG", quality=20)
        with Image.open(packed, formats=["JPEG"]) as read:
            found.append(np.asarray(read, np.float32) / 127.5 - 1)
    return np.stack(found)


_STEPS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "exact": lambda pictures, rng: pictures,
    "shift": _shift,
    "brightness": _brightness,
    "noise": _noise,
    "resampling": _resample,
    "jpeg": _jpeg,
}


def _blocks(count: int, size: int = 128) -> Iterator[np.ndarray]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def _fine(pictures: Tensor) -> Tensor:
    """Area means of pictures (B, 1, S, S) on a grid `FINER` times as fine as the small picture."""
    return F.interpolate(pictures.float(), size=(FINER * SIDE, FINER * SIDE), mode="area")


def _small(fine: Tensor) -> np.ndarray:
    """Fine pictures -> (B, P) float32, each with mean 0 and variance 1 (unless it is flat)."""
    return _standardised(F.avg_pool2d(fine, FINER))


def _standardised(small: Tensor) -> np.ndarray:
    flat = small.flatten(1).numpy()
    flat = flat - flat.mean(1, keepdims=True)
    return flat / np.maximum(flat.std(1, keepdims=True), 1e-6)


def _shifted(fine: Tensor) -> Iterator[np.ndarray]:
    """`_small` of fine pictures moved by up to a pixel of the small picture either way, step by step; edges repeated.

    All shifts share the means over squares: each takes every `FINER`-th of them, from another start.
    """
    means = F.avg_pool2d(F.pad(fine, (FINER,) * 4, mode="replicate"), FINER, stride=1)
    last = fine.shape[-1] - FINER + 1
    for y in range(2 * FINER + 1):
        for x in range(2 * FINER + 1):
            yield _standardised(means[:, :, y : y + last : FINER, x : x + last : FINER])
