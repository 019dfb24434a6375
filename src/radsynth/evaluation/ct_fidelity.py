"""How close a synthetic CT is to the true one, in HU inside the head, as the SynthRAD2023 challenge measures it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

HU_RANGE = (-1024.0, 3000.0)
"""Range that PSNR and SSIM are relative to, HU: SynthRAD2023's `dynamic_range`."""
BONE_HU = 200.0
"""Bone is every voxel above this."""
AIR_HU = -300.0
"""Air inside the head (sinuses, airways, ear cells) is every voxel below this."""
SSIM_SIDE, SSIM_K1, SSIM_K2 = 7, 0.01, 0.03

DEFINITIONS = {
    "mae_hu": "mean absolute error, HU, inside the head mask (SynthRAD2023)",
    "me_hu": "mean error synthetic - true, HU, inside the head mask",
    "psnr": "10 log10(4024^2 / MSE), dB; both clipped to -1024..3000 HU; inside the head mask (SynthRAD2023)",
    "ssim": "3-D SSIM, 7x7x7 uniform window, K1 0.01, K2 0.03, data range 4024 HU, both clipped to -1024..3000 HU and "
    "set to -1024 outside the head mask, mean over the mask without a 3-voxel border of the grid (SynthRAD2023)",
    "bone_dice": "Dice of voxels above 200 HU inside the head mask; 1 where neither has any",
    "air_dice": "Dice of voxels below -300 HU inside the head mask; 1 where neither has any",
}
"""What each figure of `ct_fidelity` is, with its constants."""


def mean_absolute_error(synthetic: np.ndarray, true: np.ndarray, mask: np.ndarray) -> float:
    """Mean of |synthetic - true| inside the mask, HU; arrays (Z, Y, X), the mask bool."""
    return float(np.abs(_inside(synthetic, mask) - _inside(true, mask)).mean())


def mean_error(synthetic: np.ndarray, true: np.ndarray, mask: np.ndarray) -> float:
    """Mean of synthetic - true inside the mask, HU: above zero where the synthetic CT is too dense."""
    return float((_inside(synthetic, mask) - _inside(true, mask)).mean())


def peak_signal_to_noise(
    synthetic: np.ndarray, true: np.ndarray, mask: np.ndarray, hu_range: tuple[float, float] = HU_RANGE
) -> float:
    """PSNR in dB inside the mask, both clipped to `hu_range`, whose width is the peak.

    Two equal volumes give the finite ceiling of an error of 1e-3 HU (132 dB): JSON has no infinity.
    """
    low, high = hu_range
    difference = _inside(synthetic, mask).clip(low, high) - _inside(true, mask).clip(low, high)
    mean_square = max(float(np.square(difference).mean()), 1e-6)
    return float(10 * np.log10((high - low) ** 2 / mean_square))


def structural_similarity(synthetic: np.ndarray, true: np.ndarray, mask: np.ndarray) -> float:
    """Mean 3-D SSIM inside the mask.

    The same numbers as scikit-image's `structural_similarity` with its defaults (7x7x7 uniform window, sample
    covariance, K1 0.01, K2 0.03), which SynthRAD2023 uses: both volumes are clipped to `HU_RANGE`, set to its lower
    end outside the mask, and shifted to begin at zero; the map is averaged over the mask where the window fits into
    the grid.

    Raises
    ------
    ValueError
        Where the grid is smaller than the window, or the mask empty where the window fits.

    References
    ----------
    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", equation 13.
    Huijben et al. 2024, "Generating synthetic computed tomography for radiotherapy: SynthRAD2023 challenge report".
    """
    low, high = HU_RANGE
    border = SSIM_SIDE // 2
    interior = (slice(border, -border),) * 3
    if min(true.shape) < SSIM_SIDE or not mask[interior].any():
        raise ValueError(f"no head where the {SSIM_SIDE}-voxel window fits into the grid {true.shape}")
    x, y = (np.where(mask, v, low).astype(np.float64).clip(low, high) - low for v in (synthetic, true))
    mean_x, mean_y = uniform_filter(x, SSIM_SIDE), uniform_filter(y, SSIM_SIDE)
    sample = SSIM_SIDE**3 / (SSIM_SIDE**3 - 1)
    variance_x = sample * (uniform_filter(x * x, SSIM_SIDE) - mean_x**2)
    variance_y = sample * (uniform_filter(y * y, SSIM_SIDE) - mean_y**2)
    covariance = sample * (uniform_filter(x * y, SSIM_SIDE) - mean_x * mean_y)
    c1, c2 = (SSIM_K1 * (high - low)) ** 2, (SSIM_K2 * (high - low)) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return float(similarity[interior][mask[interior]].mean())


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice overlap of two bool arrays, 0..1; 1 where both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def ct_fidelity(synthetic: np.ndarray, true: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """All figures of one subject, named as in `DEFINITIONS`.

    Parameters
    ----------
    synthetic, true
        HU, (Z, Y, X), on the same grid.
    mask
        Head mask, bool, not empty.
    """
    inside, inside_true = _inside(synthetic, mask), _inside(true, mask)
    return {
        "mae_hu": mean_absolute_error(synthetic, true, mask),
        "me_hu": mean_error(synthetic, true, mask),
        "psnr": peak_signal_to_noise(synthetic, true, mask),
        "ssim": structural_similarity(synthetic, true, mask),
        "bone_dice": dice(inside > BONE_HU, inside_true > BONE_HU),
        "air_dice": dice(inside < AIR_HU, inside_true < AIR_HU),
    }


def _inside(volume: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return volume[mask].astype(np.float64)
