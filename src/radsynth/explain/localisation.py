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
    from scipy.ndimage import distance_transform_edt

    places = maps.reshape(len(maps), -1).argmax(1)
    distances = [distance_transform_edt(~mask).flat[place] for mask, place in zip(masks, places, strict=True)]
    return np.array(distances) <= tolerance


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
