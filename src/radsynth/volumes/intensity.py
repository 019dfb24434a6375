"""Intensities: HU kept as they are, MR without its bias field and on a scale of the head's own percentiles."""

from __future__ import annotations

import numpy as np

from radsynth.volumes.geometry import sitk_image

HU_RANGE = (-1024, 3071)
"""What 12 bits of a CT hold. Padding outside the scan circle lies below and is air."""
MR_PERCENTILES = (1.0, 99.5)
MR_STORED_RANGE = (0.0, 1.0)


def clip_hu(voxels: np.ndarray) -> np.ndarray:
    """HU within `HU_RANGE`, int16; whole numbers inside the range are unchanged."""
    return np.clip(np.rint(voxels), *HU_RANGE).astype(np.int16)


def bias_field(voxels: np.ndarray, affine: np.ndarray, mask: np.ndarray, shrink: int = 4) -> np.ndarray:
    """The slow change of brightness over an MR volume: divide by it to correct.

    N4 is fitted on a shrunken volume with few iterations; its B-spline field is smooth, so that it may be sampled on
    any grid afterwards.

    Parameters
    ----------
    voxels, affine
        MR on its working grid.
    mask
        bool, the head.
    shrink
        Shrink factor for the fit.

    Returns
    -------
    float32, as `voxels`; its mean over the head is 1.

    References
    ----------
    Tustison et al. 2010, N4ITK: improved N3 bias correction, IEEE TMI 29(6).
    """
    import SimpleITK as sitk

    inside = voxels[mask]
    # N4 works on logarithms: zeros inside the head would draw the field down
    floor = max(float(np.percentile(inside, 99)) * 1e-3, 1e-6)
    image = sitk_image(np.maximum(voxels, floor).astype(np.float32), affine)
    head = sitk_image((mask & (voxels > floor)).astype(np.uint8), affine)
    small, small_head = sitk.Shrink(image, [shrink] * 3), sitk.Shrink(head, [shrink] * 3)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([30, 20, 10])
    corrector.SetConvergenceThreshold(1e-3)
    corrector.SetNumberOfThreads(1)
    corrector.Execute(small, small_head)
    field = np.exp(sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image)).transpose(2, 1, 0))
    field = np.clip(field / field[mask].mean(), 0.2, 5.0)
    return field.astype(np.float32)


def mr_range(voxels: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Low and high percentile (`MR_PERCENTILES`) of `voxels` inside `mask`, in the volume's own units."""
    low, high = np.percentile(voxels[mask], MR_PERCENTILES)
    return float(low), float(max(high, low + 1e-6))


def scale_mr(voxels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map `low` to 0 and `high` to 1, clipped, float32."""
    return np.clip((voxels - low) / (high - low), *MR_STORED_RANGE).astype(np.float32)


def restore_mr(scaled: np.ndarray, low: float, high: float) -> np.ndarray:
    """Invert `scale_mr` (up to its clipping): the bias-corrected values of the native volume, float32."""
    return (np.asarray(scaled, dtype=np.float32) * (high - low) + low).astype(np.float32)
