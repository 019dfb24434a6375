"""Learning atlases from heads that are not paired: seconds, before the CycleGAN, whose prior they are."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from radsynth.networks.atlas import LEVELS, SEEN_LEVELS, STATISTICS, Atlas, grid_positions, seen_level
from radsynth.training.device import Device
from radsynth.training.loop import Phase, train
from radsynth.training.sampler import batch_indices
from radsynth.training.slices import Heads, image_channel, usable_slices

LEAST_HEADS = 4
"""Heads of a modality below which no atlas is made: it would be a copy of somebody."""
FOLDS = 4
PIXELS = 16_384
"""Pixels of the head that one step learns from."""
SMOOTH_PIXELS = 1.5
SAMPLED_SLICES = 240
"""Random slices that the levels and the joint histogram are learned from, at most."""
SAMPLED_PIXELS = 2_000
"""Random pixels of the head in each of them, at most."""
LIKELIHOOD_ROUNDS = 25
PSEUDO_SHARE = 0.01
"""Share of a level of average size that every level is given as seen like any pixel: no likelihood is zero."""


def train_atlases(
    mr: Heads, ct: Heads, window: tuple[float, float], slices: int, seed: int, device: Device
) -> nn.ModuleDict:
    """Atlases ``mr`` and ``ct``, frozen, on the CPU; one of too few heads is left out, and said so."""
    atlases = nn.ModuleDict()
    for heads, other in ((mr, ct), (ct, mr)):
        if len(heads.rows) < LEAST_HEADS:
            print(f"no {heads.modality} atlas: {len(heads.rows)} heads, {LEAST_HEADS} are needed", file=sys.stderr)
        else:
            atlases[heads.modality.lower()] = train_atlas(heads, other, window, slices, seed, device).cpu()
    return atlases


def train_atlas(
    heads: Heads, other: Heads, window: tuple[float, float], slices: int, seed: int, device: Device, batch_size: int = 8
) -> Atlas:
    """Fit the grey levels of `heads` from voxel-wise statistics and skin depth, by cross-entropy; then the likelihood.

    It needs no pairs: each head's own mask gives the depth of its own pixels. The statistics that a head is fitted from
    are those of the other heads' folds, so that nobody is explained by himself.

    Parameters
    ----------
    other
        Heads of the other modality: their mean depth is compared with that of `heads`, and `learn_likelihood` reads
        them.
    slices
        How many slices to learn from; each step takes `PIXELS` of the pixels of `batch_size` slices.
    """
    torch.manual_seed(seed)
    atlas = Atlas(heads.images.shape[1:]).to(device.device)
    atlas.edges.copy_(torch.from_numpy(level_edges(heads, window, seed)))
    optimizer = torch.optim.Adam(atlas.layers.parameters(), lr=3e-3)
    places = np.arange(len(heads.rows))
    by_fold = without_each_fold(heads, window)
    usable = usable_slices(heads)

    def batch_at(seen: int) -> tuple[Tensor, ...]:
        chosen = usable[batch_indices(len(usable), batch_size, seen, seed)]
        rows = [heads.rows[place] for place in chosen[:, 0]]
        image, depth_mm = (
            np.stack([source[row, z] for row, z in zip(rows, chosen[:, 1], strict=True)]).astype(np.float32)
            for source in (heads.images, heads.depth_mm)
        )
        statistics = np.stack([by_fold[place % FOLDS][:, z] for place, z in chosen], 1).astype(np.float32)
        inside = np.flatnonzero(depth_mm > 0)
        kept = np.random.default_rng((seed, 3, seen)).choice(inside, min(PIXELS, len(inside)), replace=False)
        position = grid_positions(atlas.shape, torch.from_numpy(chosen[:, 1])).reshape(-1, 3)[kept]
        grey = image_channel(image, heads.modality, window).reshape(-1)[kept]
        seen_by_all = np.ascontiguousarray(statistics.reshape(STATISTICS, -1)[:, kept].T)
        arrays = (torch.from_numpy(a) for a in (seen_by_all, depth_mm.reshape(-1)[kept]))
        return (*arrays, position, torch.from_numpy(grey))

    def accumulate(batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        statistics, depth_mm, position, grey = (t.to(device.device) for t in batch)
        level = torch.bucketize(grey, atlas.edges[1:-1], right=True)
        loss = F.cross_entropy(atlas.of_pixels(statistics, depth_mm, position), level)
        loss.backward()
        return {"cross_entropy": loss.detach()}

    train(
        what=f"learning the {heads.modality} atlas",
        phases=[Phase("atlas", (atlas,), optimizer, accumulate, lambda seen: 3e-3 * (1 - seen / slices) + 1e-5)],
        batch_at=batch_at,
        batch_size=batch_size,
        images_seen=slices,
        device=device,
        state={},
        result=atlas.layers.state_dict,
    )
    atlas.statistics.copy_(torch.from_numpy(head_statistics(heads, places, window)))
    atlas.least_depth_mm.fill_(min(float(d[d > 0].min()) for d in (heads.volume(place)[1] for place in places)))
    usual = mean_depth(other) if other.rows else mean_depth(heads)
    atlas.depth_of_other_modality.copy_(torch.from_numpy(usual))
    atlas.eval().requires_grad_(False)
    learn_likelihood(atlas, other, window, seed)
    return atlas


def level_edges(heads: Heads, window: tuple[float, float], seed: int) -> np.ndarray:
    """Edges of `LEVELS` grey levels, float32 (LEVELS + 1,), -1..1: half of them equally spaced, half at quantiles.

    Soft tissue fills a few HU of thousands and wants fine levels, bone is rare and wants levels at all.
    """
    grey = np.concatenate([image[kept] for image, _, _, kept in sampled_pixels(heads, window, seed)])
    quantiles = np.quantile(grey, np.linspace(0, 1, LEVELS // 2 + 2)[1:-1])
    return np.sort(np.concatenate([np.linspace(-1, 1, LEVELS // 2 + 1), quantiles])).astype(np.float32)


@torch.no_grad()
def learn_likelihood(atlas: Atlas, other: Heads, window: tuple[float, float], seed: int) -> None:
    """Learn p(seen | level) from heads of the other modality, without a pair, by expectation maximisation.

    What is seen at a pixel comes from one of the levels that the atlas holds possible at this place. Each round shares
    every pixel out among its levels by the posterior, and counts anew. Without such heads it stays uniform.

    References
    ----------
    Dempster, Laird and Rubin 1977, "Maximum Likelihood from Incomplete Data via the EM Algorithm".
    Ashburner and Friston 2005, "Unified segmentation".
    """
    device = atlas.edges.device
    found_priors, found_bins = [], []
    for image, depth_mm, z, kept in sampled_pixels(other, window, seed):
        density = atlas.density(torch.from_numpy(depth_mm).to(device), torch.tensor([z], device=device), own=False)
        found_priors.append(density.movedim(1, -1)[torch.from_numpy(kept).to(device)])
        found_bins.append(seen_level(torch.from_numpy(image[kept])))
    if not found_priors:
        return
    priors, bins = torch.cat(found_priors), torch.cat(found_bins).to(device)
    pseudo = torch.bincount(bins, minlength=SEEN_LEVELS) * (PSEUDO_SHARE / LEVELS)
    for _ in range(LIKELIHOOD_ROUNDS):
        shares = priors * atlas.likelihood[:, bins].T
        shares /= shares.sum(1, keepdim=True).clamp_min(1e-12)
        counts = torch.zeros(SEEN_LEVELS, LEVELS, device=device).index_add_(0, bins, shares).T + pseudo
        atlas.likelihood.copy_(counts / counts.sum(1, keepdim=True))


def sampled_pixels(
    heads: Heads, window: tuple[float, float], seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int, np.ndarray]]:
    """Random slices with random pixels of their heads.

    Yields
    ------
    image, depth_mm, z, kept
        (1, Y, X) float32 in -1..1, and mm; which slice of the grid; bool (1, Y, X), which pixels to read.
    """
    random = np.random.default_rng((seed, 4))
    for place, z in random.permutation(usable_slices(heads))[:SAMPLED_SLICES]:
        row = heads.rows[place]
        image, depth_mm = heads.images[row, z][None], np.asarray(heads.depth_mm[row, z][None], np.float32)
        inside = np.flatnonzero(depth_mm > 0)
        kept = np.zeros(depth_mm.shape, bool)
        kept.flat[random.choice(inside, min(SAMPLED_PIXELS, len(inside)), replace=False)] = True
        yield image_channel(image, heads.modality, window), depth_mm, int(z), kept


def head_statistics(heads: Heads, places: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """The maps that an `Atlas` reads, of heads number `places`: float16 (6, Z, Y, X), slice by slice."""
    rows = [heads.rows[place] for place in places]
    found = np.empty((STATISTICS, *heads.images.shape[1:]), np.float16)
    for z in range(found.shape[1]):
        planes = np.stack([image_channel(heads.images[row, z], heads.modality, window) for row in rows])
        found[0, z] = planes.mean(0)
        found[1:4, z] = np.quantile(planes, (0.1, 0.5, 0.9), axis=0)
        found[4, z] = gaussian_filter(planes.mean(0), SMOOTH_PIXELS)
        found[5, z] = np.mean([heads.depth_mm[row, z] for row in rows], axis=0, dtype=np.float32)
    return found


def statistics_of_others(
    training: Iterable[Heads], window: tuple[float, float], atlases: nn.ModuleDict
) -> dict[str, list[np.ndarray]]:
    """By modality, for those with an atlas, what it tells a training head of the others: see `without_each_fold`.

    In the statistics of all heads each finds itself, and a generator would learn to trust them more than is right for
    anybody else.
    """
    return {h.modality: without_each_fold(h, window) for h in training if h.modality.lower() in atlases}


def without_each_fold(heads: Heads, window: tuple[float, float]) -> list[np.ndarray]:
    """`head_statistics` of all but one of `FOLDS` folds of the heads, fold by fold; head i is of fold i % FOLDS."""
    places = np.arange(len(heads.rows))
    return [head_statistics(heads, places[places % FOLDS != fold], window) for fold in range(FOLDS)]


def mean_depth(heads: Heads) -> np.ndarray:
    """Mean over the heads of the depth below the skin, mm, 0 outside: float32 (Z, Y, X)."""
    total = np.zeros(heads.depth_mm.shape[1:], np.float32)
    for row in heads.rows:
        total += heads.depth_mm[row]
    return total / len(heads.rows)
