"""The head in a volume: its mask, without the holder it lies in, and how deep each voxel is under the skin."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

CT_SKIN_HU = -300.0
"""Between air and skin, and above the foam of head rests."""
FACE_OPENING_MM = 4.0
FACE_MM = 20.0
"""In front of the head's middle by this much, the face begins."""
CLOSING_MM = 9.0
"""Closes nostrils and ear canals."""
OPENING_MM = 6.5
"""Cuts the shell of a head holder, up to 10 mm thick with its blur, off the skin."""


def head_mask(voxels: np.ndarray, spacing_mm: float, modality: str, seen: np.ndarray | None = None) -> np.ndarray:
    """Mask of the head, air in sinuses and airways included.

    Threshold, largest component after a cut through thin bridges, closing, holes filled in 3-D and slice by slice
    (a neck that leaves the picture opens the airway).

    Parameters
    ----------
    voxels
        (x, y, z) on an isotropic RAS+ grid; HU for CT, bias-corrected or not for MR.
    spacing_mm
        Of that grid; 2 to 3 mm is enough.
    modality
        ``"MR"`` or ``"CT"``.
    seen
        bool (x, y, z): where the scanner looked; everywhere by default.

    Returns
    -------
    bool (x, y, z); empty where nothing was found.
    """
    smooth = ndimage.gaussian_filter(voxels.astype(np.float32), 1.0, mode="nearest")
    solid = smooth > (CT_SKIN_HU if modality == "CT" else _mr_threshold(smooth, seen))
    if seen is not None:
        solid &= seen
    head = _opened(solid, OPENING_MM / spacing_mm)
    if not head.any():
        return head
    # holders lie behind: in front a cut so deep would take the nose and the wall of the frontal sinus away
    front = int(np.nonzero(head)[1].mean() + FACE_MM / spacing_mm)
    head[:, front:] |= _opened(solid, FACE_OPENING_MM / spacing_mm)[:, front:]
    head = _closed(head, CLOSING_MM / spacing_mm)
    head = ndimage.binary_fill_holes(head)
    for axis in (2, 1, 0):
        lines = np.moveaxis(head, axis, 0)
        for index in np.flatnonzero(lines.any(axis=(1, 2))):
            lines[index] = ndimage.binary_fill_holes(lines[index])
    head = _largest(head)
    return head & seen if seen is not None else head


def depth_mm(mask: np.ndarray, spacing_mm: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """Euclidean distance from each voxel of the head to the skin.

    Parameters
    ----------
    mask
        bool, the head.
    spacing_mm
        Of the axes of `mask`, in their order.
    seen
        bool: where the scanner looked. Where the head leaves the field of view there is no skin.

    Returns
    -------
    float32, mm; 0 outside the head, above 0 inside.
    """
    skin = ~mask if seen is None else seen & ~mask
    if not skin.any():
        return np.where(mask, np.float32(np.max(spacing_mm)), np.float32(0))
    return np.where(mask, distance_mm(skin, spacing_mm), np.float32(0))


def signed_depth_mm(mask: np.ndarray, spacing_mm: float, seen: np.ndarray | None = None) -> np.ndarray:
    """Distance to the skin, float32 mm: positive inside the head, negative outside."""
    spacing = np.full(3, spacing_mm)
    return depth_mm(mask, spacing, seen) - distance_mm(mask, spacing)


def distance_mm(mask: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Euclidean distance from each voxel to the nearest one of a mask.

    Parameters
    ----------
    mask
        bool, three axes, somewhere true.
    spacing_mm
        Of the axes of `mask`, in their order.

    Returns
    -------
    float32, mm; 0 on the mask.

    References
    ----------
    Maurer et al. 2003, A linear time algorithm for computing exact Euclidean distance transforms, IEEE TPAMI 25(2).
    """
    import SimpleITK as sitk

    # ITK counts axes from the fastest
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask).view(np.uint8))
    image.SetSpacing([float(mm) for mm in spacing_mm[::-1]])
    signed = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    return np.maximum(sitk.GetArrayFromImage(signed), 0)


def _mr_threshold(voxels: np.ndarray, seen: np.ndarray | None) -> float:
    """Otsu's threshold, lowered: it parts fat from grey matter as well as head from air.

    References
    ----------
    Otsu 1979, A threshold selection method from gray-level histograms.
    """
    values = voxels[seen] if seen is not None else voxels.ravel()
    low, high = np.percentile(values, [0.5, 99.0])
    if high <= low:
        return float(high)
    counts, edges = np.histogram(np.clip(values, low, high), bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    mass = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (mass / below - (mass[-1] - mass) / above) ** 2
    otsu = centres[int(np.nanargmax(between[:-1]))]
    return float(low + 0.45 * (otsu - low))


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == int(sizes.argmax())


def _eroded(mask: np.ndarray, radius: float) -> np.ndarray:
    return mask if mask.all() else ~_dilated(~mask, radius)


def _dilated(mask: np.ndarray, radius: float) -> np.ndarray:
    return distance_mm(mask, np.ones(3)) <= radius


def _opened(mask: np.ndarray, radius: float) -> np.ndarray:
    """The largest part that hangs together after a cut `radius` deep, grown back a little further within `mask`."""
    core = _largest(_eroded(mask, radius))
    return _dilated(core, radius + 1.0) & mask if core.any() else core


def _closed(mask: np.ndarray, radius: float) -> np.ndarray:
    pad = int(np.ceil(radius)) + 1
    wide = np.pad(mask, pad)
    inner = (slice(pad, -pad),) * 3
    return mask | ~_dilated(~_dilated(wide, radius), radius)[inner]
