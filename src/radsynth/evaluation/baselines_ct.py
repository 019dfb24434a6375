"""Synthetic CTs that any network must beat: an average head, and the MR with its grey values exchanged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LEVELS = (np.arange(2000) + 0.5) / 2000


def mean_ct(cts: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over aligned CTs: (Z, Y, X) HU each -> (Z, Y, X) float32 HU, the same for every patient."""
    total = np.zeros(cts[0].shape, np.float64)
    for ct in cts:
        total += ct
    return (total / len(cts)).astype(np.float32)


def median_ct(cts: Sequence[np.ndarray]) -> np.ndarray:
    """Median over aligned CTs: the constant answer of the smallest mean absolute error; (Z, Y, X) float32 HU."""
    planes = zip(*cts, strict=True)
    return np.stack([np.median(np.stack(plane), axis=0) for plane in planes]).astype(np.float32)


def hu_quantiles(cts: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
    """2000 equally spaced quantiles of HU inside the heads: the target histogram of `match_histogram`, float64."""
    return np.quantile(np.concatenate([ct[mask] for ct, mask in zip(cts, masks, strict=True)]), _LEVELS)


def match_histogram(mr: np.ndarray, mask: np.ndarray, quantiles: np.ndarray, outside: float = -1024.0) -> np.ndarray:
    """Give the k-th darkest voxel of the MR's head the k-th lowest HU of the training CTs' heads.

    Parameters
    ----------
    mr
        (Z, Y, X), any unit.
    mask
        Head of the MR, bool.
    quantiles
        From `hu_quantiles`.
    outside
        HU outside the mask.

    Returns
    -------
    numpy.ndarray
        (Z, Y, X) float32 HU.
    """
    own, place = np.unique(np.quantile(mr[mask], _LEVELS), return_inverse=True)
    # an MR value that holds several quantiles (a clipped end) takes the mean of their HU
    target = np.bincount(place, quantiles) / np.bincount(place)
    matched = np.full(mr.shape, outside, np.float32)
    matched[mask] = np.interp(mr[mask], own, target)
    return matched
