"""Do maps point at the disease? Scored against true masks, beside maps that know nothing."""

from __future__ import annotations

import numpy as np


def pointing_hits(maps: np.ndarray, masks: np.ndarray, tolerance: int = 0) -> np.ndarray:
    """Whether the highest place of each map lies in the mask, or within `tolerance` pixels of it.

    Parameters
    ----------
    maps
        (n, S, S) evidence.
    masks
        (n, S, S) bool, none empty.

    Returns
    -------
    numpy.ndarray
        bool (n,).

    References
    ----------
    Zhang et al. 2018, "Top-down Neural Attention by Excitation Backprop", section 4.1 (the pointing game).
    """
    places = np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:]), axis=1)
    nearest = [np.square(np.argwhere(mask) - place).sum(1).min() for mask, place in zip(masks, places, strict=True)]
    return np.array(nearest) <= tolerance**2


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of each map's positive evidence that lies in the mask, 0..1; 0 for a map without positive evidence.

    References
    ----------
    Wang et al. 2020, "Score-CAM", section 4.3 (energy-based pointing game).
    """
    positive = maps.clip(min=0)
    total = positive.sum((1, 2))
    return np.where(total > 0, (positive * masks).sum((1, 2)) / np.maximum(total, 1e-12), 0.0)


def random_maps(count: int, size: int, coarse: int, seed: int) -> np.ndarray:
    """Smooth maps that know nothing: white noise of coarse x coarse places, enlarged; float32 (count, size, size)."""
    from scipy.ndimage import zoom

    noise = np.random.default_rng(seed).standard_normal((count, coarse, coarse))
    return np.stack([zoom(n, size / coarse, order=1) for n in noise]).astype(np.float32)


def overlap_at_equal_area(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Intersection over union of each mask with as many of the map's highest pixels as the mask has; float (n,).

    No threshold has to be chosen, and a map cannot win by being large. Equal values are taken in reading order.
    """
    found = []
    for evidence, mask in zip(maps.reshape(len(maps), -1), masks.reshape(len(masks), -1), strict=True):
        area = int(mask.sum())
        top = np.argsort(-evidence, kind="stable")[:area]
        inside = int(mask[top].sum())
        found.append(inside / (2 * area - inside))
    return np.array(found)


def centre_map(size: int, spread: float = 0.25) -> np.ndarray:
    """A Gaussian on the picture's middle: "it is somewhere in the chest"; `spread` is its sigma in picture widths."""
    along = (np.arange(size) - (size - 1) / 2) / (spread * size)
    return np.exp(-0.5 * (along[:, None] ** 2 + along**2)).astype(np.float32)


def edge_maps(pictures: np.ndarray) -> np.ndarray:
    """Strength of the edges of pictures (n, S, S): Sobel's gradient, smoothed over a sixty-fourth of the width.

    What a saliency map may do without any network (Adebayo et al. 2018, "Sanity Checks for Saliency Maps").
    """
    from scipy.ndimage import gaussian_filter, sobel

    strength = np.hypot(sobel(pictures, 1), sobel(pictures, 2))
    return gaussian_filter(strength, (0, *[pictures.shape[-1] / 64] * 2)).astype(np.float32)
