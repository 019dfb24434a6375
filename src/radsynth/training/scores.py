"""Distances between sets of features: they choose a model on the validation split and judge it on the test split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with the cubic polynomial kernel: KID over all pairs.

    Parameters
    ----------
    x, y
        Features (n, d) and (m, d), n and m at least 2.

    References
    ----------
    Binkowski et al. 2018, "Demystifying MMD GANs", eq. 4 with k(a, b) = (a.b / d + 1)^3.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    n, m = len(x), len(y)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def joint_features(pictures: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Picture features (n, d) beside text features (n, e), each of which counts as half of all d + e.

    A distance between such sets sees quality, diversity and agreement with the text at once. In `kernel_distance` the
    product of two rows is the mean of what both have by themselves: not so small that the kernel is a straight line,
    which sees nothing but means.

    References
    ----------
    DeVries et al. 2019, "On the Evaluation of Conditional GANs" (Frechet joint distance), eq. 5.
    """
    width = pictures.shape[1] + texts.shape[1]
    return np.concatenate([part * np.sqrt(width / 2 / part.shape[1]) for part in (pictures, texts)], 1)


def in_common_units(features: np.ndarray, usual: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """Features (n, d) less the mean of the `usual` ones (m, d), each block in units of its own standard deviation.

    Of a network's many features some are the same in all usual pictures. Each in units of its own deviation, one of
    those that stirs would count more than all others together.

    Parameters
    ----------
    widths
        Of the blocks; the deviation of one is the root of the mean variance of its features, 1 where none varies.
    """
    mean, *variances = usual.mean(0), *np.split(usual.var(0), np.cumsum(widths)[:-1])
    units = [np.sqrt(variance.mean()) or 1.0 for variance in variances]
    return (features - mean) / np.repeat(units, widths)
