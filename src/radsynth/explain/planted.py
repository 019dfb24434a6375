"""Flaws put into real pictures at known places: a map of realism or of agreement must find them."""

from __future__ import annotations

import numpy as np


def stripes(pictures: np.ndarray, seed: int, width: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A bright or dark stripe across each picture, at a random height and angle, as a detector fault leaves it.

    Parameters
    ----------
    pictures
        (n, S, S) in -1..1.
    width
        Of the stripe, pixels; by default a sixty-fourth of the picture's width, at least 2.

    Returns
    -------
    tuple
        Pictures float32 (n, S, S) in -1..1, and where they were changed, bool (n, S, S).
    """
    rng = np.random.default_rng(seed)
    size = pictures.shape[-1]
    width = width or max(size // 64, 2)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    changed, masks = [], []
    for picture in pictures:
        angle, offset = rng.uniform(-0.6, 0.6), rng.uniform(-0.3, 0.3) * size
        mask = np.abs(y * np.cos(angle) - x * np.sin(angle) - offset) <= width / 2
        strength = 0.5 * rng.choice([-1.0, 1.0])
        changed.append(np.clip(picture + strength * mask, -1, 1).astype(np.float32))
        masks.append(mask)
    return np.stack(changed), np.stack(masks)


def other_side(pictures: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lesion moved to the other side of the chest: in its place, and in the mirrored one, the mirrored picture.

    Both places change over softly, over a sixty-fourth of the width.

    Parameters
    ----------
    pictures, masks
        (n, S, S) in -1..1, and bool (n, S, S): each lesion on one side.

    Returns
    -------
    tuple
        Pictures float32 (n, S, S) and the mirrored masks, bool (n, S, S): where the lesion is now.
    """
    from scipy.ndimage import binary_dilation, gaussian_filter

    soft = pictures.shape[-1] / 64
    changed = []
    for picture, mask in zip(pictures, masks, strict=True):
        both = binary_dilation(mask | mask[:, ::-1], iterations=max(round(soft), 1))
        share = gaussian_filter(both.astype(np.float32), soft / 2)
        changed.append(((1 - share) * picture + share * picture[:, ::-1]).astype(np.float32))
    return np.stack(changed), masks[:, :, ::-1].copy()
