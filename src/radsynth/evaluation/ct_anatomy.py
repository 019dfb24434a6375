"""What a mean error hides: which tissue is wrong, how far bone lies from where it is, and jumps between slices."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from radsynth.evaluation.ct_fidelity import AIR_HU, BONE_HU

PLANES = ("axial", "coronal", "sagittal")
"""Slices along z, y and x."""

_TISSUES = {
    "air": f"below {AIR_HU:g} HU",
    "soft": f"{AIR_HU:g} to {BONE_HU:g} HU",
    "bone": f"above {BONE_HU:g} HU",
}
DEFINITIONS = {
    **{
        f"{figure}_hu_{tissue}": f"{words}, HU, over the voxels that are {tissue} ({bounds}) in the true CT"
        for tissue, bounds in _TISSUES.items()
        for figure, words in (("mae", "mean absolute error"), ("me", "mean error synthetic - true"))
    },
    "bone_hd95_mm": f"the larger of both directed 95th percentiles of the distance between bone surfaces (above "
    f"{BONE_HU:g} HU, 6-neighbour border voxels), mm; unknown where either has no bone",
    **{
        f"slice_step_{plane}": f"mean |difference of neighbouring {plane} slices| of the synthetic CT as a share of "
        "that of the true CT: 1 is as steady, more jumps, less is blurred"
        for plane in PLANES
    },
    "slice_step_worst": "the slice_step of the direction that is furthest from 1 on a logarithmic scale",
}
"""What each figure of `anatomy_figures` is; all inside the head mask."""


def tissue_masks(true: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Air, soft tissue and bone of the true CT inside the mask: bool (Z, Y, X), a partition of it."""
    air, bone = mask & (true < AIR_HU), mask & (true > BONE_HU)
    return {"air": air, "soft": mask & ~air & ~bone, "bone": bone}


def surface_distance_95(one: np.ndarray, other: np.ndarray, spacing_mm: tuple[float, float, float]) -> float:
    """The larger of both directed 95th percentiles of surface distances, mm; NaN where either is empty.

    Parameters
    ----------
    one, other
        Bool (Z, Y, X). The surface is every voxel with one of its six neighbours outside; the grid's end is outside.
    spacing_mm
        (x, y, z).
    """
    if not one.any() or not other.any():
        return float("nan")
    a, b = (np.argwhere(s & ~binary_erosion(s)) * np.array(spacing_mm[::-1]) for s in (one, other))
    there, back = cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]
    return float(max(np.quantile(there, 0.95), np.quantile(back, 0.95)))


def slice_step(volume: np.ndarray, mask: np.ndarray, axis: int) -> float:
    """Mean |difference| of voxels and their next neighbours along an axis, both inside the mask; NaN without any."""
    first, second = ([slice(None)] * 3 for _ in range(2))
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    both = mask[tuple(first)] & mask[tuple(second)]
    difference = volume[tuple(second)][both].astype(np.float64) - volume[tuple(first)][both]
    return float(np.abs(difference).mean()) if both.any() else float("nan")


def anatomy_figures(
    synthetic: np.ndarray, true: np.ndarray, mask: np.ndarray, spacing_mm: tuple[float, float, float]
) -> dict[str, float]:
    """All figures of one subject, named as in `DEFINITIONS`; NaN where the true CT has nothing of the kind.

    Parameters
    ----------
    synthetic, true
        HU, (Z, Y, X), on the same grid.
    mask
        Head mask, bool, not empty.
    spacing_mm
        (x, y, z).
    """
    found: dict[str, float] = {}
    error = synthetic.astype(np.float64) - true
    for tissue, voxels in tissue_masks(true, mask).items():
        inside = error[voxels]
        found[f"mae_hu_{tissue}"] = float(np.abs(inside).mean()) if len(inside) else math.nan
        found[f"me_hu_{tissue}"] = float(inside.mean()) if len(inside) else math.nan
    found["bone_hd95_mm"] = surface_distance_95(mask & (synthetic > BONE_HU), mask & (true > BONE_HU), spacing_mm)
    for axis, plane in enumerate(PLANES):
        of_true = slice_step(true, mask, axis)
        found[f"slice_step_{plane}"] = slice_step(synthetic, mask, axis) / of_true if of_true else math.nan
    steps = [found[f"slice_step_{plane}"] for plane in PLANES]
    known = [step for step in steps if math.isfinite(step)]
    found["slice_step_worst"] = max(known, key=lambda s: abs(math.log(max(s, 1e-6))), default=math.nan)
    return found
