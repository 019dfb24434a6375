"""Where a model says that it may be wrong, and whether it is wrong there.

The network gives one CT for an MR, and no checkpoints are kept: its doubt is read from how much the CT moves when the
MR is changed in ways that do not change the head, and from how wide the model's atlas leaves the density of each voxel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.ndimage import gaussian_gradient_magnitude
from scipy.stats import spearmanr

from radsynth.training.cyclegan import MriToCt, translate_volume
from radsynth.training.slices import densities, image_channel

NOISE = 0.03
"""Standard deviation of the noise added to an MR in 0..1."""
GAINS = (0.93, 1.07)
"""An MR has no unit: its brightness is only known to some percent."""
MOVES = ((0, 1), (1, 0))
"""Pixels (y, x) by which the head is moved on the common grid: no registration is exact."""

VIEWS = (
    f"the MR as it is, with noise of {NOISE:g}, {GAINS[0]:g} and {GAINS[1]:g} times as bright, and moved by one pixel "
    "along x and along y on the common grid (moved back afterwards)"
)
ESTIMATES = {
    "views": f"standard deviation, HU, of the CTs of six views: {VIEWS}",
    "atlas": "standard deviation, HU, of what the model's CT atlas holds possible at this voxel of the MR",
    "both": "root of the sum of the squares of `views` and `atlas`",
    "edges": "control that knows no model: gradient of the synthetic CT, HU a voxel, Gaussian of one voxel",
}
"""The maps of doubt that are compared, in HU. Without an atlas `both` is `views`."""


def views(mr: np.ndarray, depth_mm: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[int, int]]]:
    """Changed (MR, depth_mm) (Z, Y, X) of one head, and by how many pixels (y, x) each was moved."""
    noise = np.random.default_rng((seed, 31)).normal(0, NOISE, mr.shape)
    yield np.clip(mr + noise, 0, 1).astype(np.float32), depth_mm, (0, 0)
    for gain in GAINS:
        yield np.clip(mr * gain, 0, 1).astype(np.float32), depth_mm, (0, 0)
    for move in MOVES:
        yield *(np.roll(volume, move, (1, 2)) for volume in (mr, depth_mm)), move


def spread_of_views(
    model: MriToCt, mr: np.ndarray, depth_mm: np.ndarray, places: np.ndarray, plain: np.ndarray, seed: int
) -> np.ndarray:
    """Standard deviation of the synthetic CT over `views` and the unchanged MR: float32 HU (len(places), Y, X).

    Parameters
    ----------
    mr, depth_mm
        (Z, Y, X) of the whole head.
    places
        (N,) int: the slices to look at.
    plain
        (N, Y, X): their synthetic CT, HU, of the MR as it is.
    """
    total, squares, count = plain.astype(np.float64), np.square(plain, dtype=np.float64), 1
    for image, depth, move in views(mr[places], depth_mm[places], seed):
        made = translate_volume(model, image, depth, places=places)
        back = np.roll(made, tuple(-m for m in move), (1, 2)).astype(np.float64)
        total, squares, count = total + back, squares + back * back, count + 1
    return np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0)).astype(np.float32)


@torch.inference_mode()
def spread_of_atlas(model: MriToCt, mr: np.ndarray, depth_mm: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Standard deviation of the CT atlas's posterior, float32 HU (len(places), Y, X); 0 outside the head."""
    atlas = model.atlases["ct"]
    low, high = model.hu_window
    middles = (atlas.edges[1:] + atlas.edges[:-1])[None, :, None, None] / 2
    found = np.empty((len(places), *mr.shape[1:]), np.float32)
    for row, z in enumerate(places):  # a density of the whole head would not be small
        density, _ = densities(depth_mm[z : z + 1], np.array([z]), "MR", model.atlases)
        seen = torch.from_numpy(image_channel(mr[z : z + 1, None], "MR", model.hu_window)).to(density.device)
        posterior = atlas.posterior(density, seen)
        mean = (posterior * middles).sum(1, keepdim=True)
        variance = (posterior * (middles - mean) ** 2).sum(1)
        found[row] = variance[0].sqrt().cpu().numpy() * np.float32((high - low) / 2)
    return found


def maps_of_doubt(
    model: MriToCt, mr: np.ndarray, depth_mm: np.ndarray, synthetic: np.ndarray, places: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """The maps of `ESTIMATES`, each float32 (len(places), Y, X); `synthetic` is HU (Z, Y, X) of the whole head."""
    found = {"views": spread_of_views(model, mr, depth_mm, places, synthetic[places], seed)}
    found["both"] = found["views"]
    if "ct" in model.atlases:
        found["atlas"] = spread_of_atlas(model, mr, depth_mm, places)
        found["both"] = np.hypot(found["views"], found["atlas"])
    edges = gaussian_gradient_magnitude(synthetic.astype(np.float32), 1.0)
    return found | {"edges": edges[places]}


def rank_correlation(doubt: np.ndarray, error: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays (n,); NaN where one of them is constant."""
    if len(doubt) < 2 or np.ptp(doubt) == 0 or np.ptp(error) == 0:
        return float("nan")
    return float(spearmanr(doubt, error).statistic)


def risk_coverage(doubt: np.ndarray, error: np.ndarray, points: int = 100) -> np.ndarray:
    """Mean error of the least doubtful share of the voxels, for the shares 1/points, 2/points .. 1: float64 (points,).

    Voxels of equal doubt are taken in any proportion: each counts with their common mean error, so that the order of
    the input does not matter.
    """
    order = np.argsort(doubt, kind="stable")
    _, group = np.unique(doubt[order], return_inverse=True)
    means = np.bincount(group, error[order]) / np.bincount(group)
    cumulative = np.cumsum(means[group])
    kept = np.maximum(np.round(np.arange(1, points + 1) / points * len(doubt)).astype(int), 1)
    return cumulative[kept - 1] / kept


def area_under(curve: np.ndarray) -> float:
    """Mean of a risk-coverage curve over its coverages."""
    return float(curve.mean())
