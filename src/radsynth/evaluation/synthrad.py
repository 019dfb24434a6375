"""Errors of a synthetic CT inside the widened head mask, by the definitions of both SynthRAD challenges.

The constants were read in the challenges' public evaluation code, of which nothing is used here:
https://github.com/SynthRAD2023/metrics (functions/image_metrics.py, commit fe7e385), the mask in
https://github.com/SynthRAD2023/preprocessing (pre_process_tools.py), and https://github.com/SynthRAD2025/evaluation
(image_metrics.py, commit 17cac47).

References
----------
Huijben et al. 2024, "Generating synthetic computed tomography for radiotherapy: SynthRAD2023 challenge report".
Wang et al. 2003, "Multi-scale structural similarity for image quality assessment", equation 7.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import distance_transform_edt, uniform_filter

from radsynth.evaluation.ct_fidelity import (
    HU_RANGE,
    SSIM_K1,
    SSIM_K2,
    SSIM_SIDE,
    mean_absolute_error,
    mean_error,
    peak_signal_to_noise,
    structural_similarity,
)

MASK_REACH_MM = 10.0
"""By how much the head mask is widened in its plane: SynthRAD2023 dilates by 10 voxels of 1 mm in x and y."""
HU_RANGE_2025 = (-1024.0, 3071.0)
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
LEAST_SIDE = 97
"""Voxels to which a smaller grid is extended by its outermost ones, so that the window fits at the fifth scale."""

_WIDENED = f"inside the head mask widened by {MASK_REACH_MM:g} mm in its plane"
DEFINITIONS = {
    "synthrad_mae_hu": f"mean absolute error, HU, not clipped, {_WIDENED}; SynthRAD2023 and SynthRAD2025 alike",
    "synthrad_me_hu": f"mean error synthetic - true, HU, {_WIDENED}",
    "synthrad2023_psnr": f"10 log10(4024^2 / MSE), dB, both clipped to -1024..3000 HU, {_WIDENED}",
    "synthrad2023_ssim": "3-D SSIM, 7x7x7 uniform window, K1 0.01, K2 0.03, data range 4024 HU, both clipped to "
    f"-1024..3000 HU and -1024 outside the mask, mean {_WIDENED} without a 3-voxel border of the grid",
    "synthrad2025_psnr": f"10 log10(4095^2 / MSE), dB, both clipped to -1024..3071 HU, {_WIDENED}",
    "synthrad2025_ms_ssim": "product over 5 scales (weights 0.0448, 0.2856, 0.3001, 0.2363, 0.1333, luminance at every "
    "scale) of the mean SSIM terms, 7x7x7 uniform window, K1 0.01, K2 0.03, data range 4095 HU, both clipped to "
    f"-1024..3071 HU and -1024 outside the mask, {_WIDENED}; grids below 97 voxels extended by their edge",
}
"""What each figure of `synthrad_figures` is, with its window, mask and constants."""


def widened(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The mask and all within `MASK_REACH_MM` of it in its plane: bool (Z, Y, X); spacing (x, y, z)."""
    out = mask.copy()
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        out[z] = distance_transform_edt(~mask[z], sampling=spacing_mm[1::-1]) <= MASK_REACH_MM
    return out


def multi_scale_similarity(synthetic: np.ndarray, true: np.ndarray, mask: np.ndarray) -> float:
    """SynthRAD2025's masked multi-scale SSIM, 0..1; arrays (Z, Y, X) in HU, the mask bool.

    Unlike the paper, luminance counts at every scale with that scale's weight. Each term is held above zero and raised
    to its weight before the mean over the mask. Between scales voxels are averaged with their lower neighbours (zero
    beyond the grid) and every other one is kept, of the mask without averaging.

    NaN where no voxel of the mask is left at a scale: the fifth keeps every sixteenth.
    """
    return float(np.prod([np.clip(value, 0, 1) for value in _scales(synthetic, true, mask)]))


def _scales(synthetic: np.ndarray, true: np.ndarray, mask: np.ndarray) -> Iterator[float]:
    low, high = HU_RANGE_2025
    lacking = [max(LEAST_SIDE - side, 0) for side in mask.shape]
    margins = [(total // 2, total - total // 2) for total in lacking]
    x, y = (
        np.pad(np.where(mask, v, low).astype(np.float64).clip(low, high) - low, margins, mode="edge")
        for v in (synthetic, true)
    )
    mask = np.pad(mask, margins, mode="edge")
    for weight in SCALE_WEIGHTS:
        yield _similarity(x, y, mask, weight, high - low)
        x, y = (uniform_filter(v, 2, mode="constant")[::2, ::2, ::2] for v in (x, y))
        mask = mask[::2, ::2, ::2]


def _similarity(x: np.ndarray, y: np.ndarray, mask: np.ndarray, weight: float, data_range: float) -> float:
    """Mean over the mask of (luminance x contrast x structure)^weight."""
    border = SSIM_SIDE // 2
    inside = np.zeros_like(mask)
    interior = (slice(border, -border),) * 3
    inside[interior] = mask[interior]
    if not inside.any():
        return float("nan")
    where = np.argwhere(inside)
    box = tuple(slice(a - border, b + border + 1) for a, b in zip(where.min(0), where.max(0), strict=True))
    x, y, inside = x[box], y[box], inside[box]
    mean_x, mean_y, xx, yy, xy = (uniform_filter(v, SSIM_SIDE)[inside] for v in (x, y, x * x, y * y, x * y))
    sample = SSIM_SIDE**3 / (SSIM_SIDE**3 - 1)
    variance_x, variance_y = (np.maximum(sample * (s - m * m), 0) for s, m in ((xx, mean_x), (yy, mean_y)))
    covariance, spread = sample * (xy - mean_x * mean_y), np.sqrt(variance_x * variance_y)
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    contrast = (2 * spread + c2) / (variance_x + variance_y + c2)
    structure = np.maximum((covariance + c2 / 2) / (spread + c2 / 2), 0)
    return float(((luminance * contrast * structure) ** weight).mean())


def synthrad_figures(synthetic: np.ndarray, true: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """All figures of one subject, named as in `DEFINITIONS`; HU (Z, Y, X) on one grid, `mask` already `widened`."""
    return {
        "synthrad_mae_hu": mean_absolute_error(synthetic, true, mask),
        "synthrad_me_hu": mean_error(synthetic, true, mask),
        "synthrad2023_psnr": peak_signal_to_noise(synthetic, true, mask, HU_RANGE),
        "synthrad2023_ssim": structural_similarity(synthetic, true, mask),
        "synthrad2025_psnr": peak_signal_to_noise(synthetic, true, mask, HU_RANGE_2025),
        "synthrad2025_ms_ssim": multi_scale_similarity(synthetic, true, mask),
    }
