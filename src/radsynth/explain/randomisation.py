"""Cascading randomisation: a map that stays as it was when the network's weights are shuffled shows no network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Cascade(NamedTuple):
    """After each stage, none randomised first: names, and (stages, n) likeness of the maps to those of the network."""

    names: list[str]
    rank_correlation: np.ndarray
    similarity: np.ndarray
    maps: list[np.ndarray]


def shuffle_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Put each parameter tensor's values in random order: the layer keeps its scale and forgets what it learned."""
    with torch.no_grad():
        for parameter in module.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))


def cascade(
    network: nn.Module,
    parts: Sequence[str],
    maps_of: Callable[[Any], np.ndarray],
    seed: int,
) -> Cascade:
    """Shuffle the weights of `parts` from the top of the network downwards, each on top of the last, and map again.

    Parameters
    ----------
    parts
        Names of submodules (``network.get_submodule``), the output's first; several joined by ``+`` go together.
    maps_of
        A network of the same kind -> its maps (n, h, w) of the same pictures.

    References
    ----------
    Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3.1.
    """
    shuffled = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    true = maps_of(shuffled)
    names, every = ["none"], [true]
    for part in parts:
        for name in part.split("+"):
            shuffle_weights(shuffled.get_submodule(name), generator)
        names.append(part)
        every.append(maps_of(shuffled))
    ranks = np.stack([rank_correlations(true, maps) for maps in every])
    likeness = np.stack([structural_similarities(true, maps) for maps in every])
    return Cascade(names, ranks, likeness, every)


def rank_correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of the values of each pair of maps (n, h, w); 0 where a map is constant."""
    from scipy.stats import rankdata

    found = []
    for a, b in zip(one, other, strict=True):
        x, y = (rankdata(m) for m in (a, b))
        spread = x.std() * y.std()
        found.append(((x - x.mean()) * (y - y.mean())).mean() / spread if spread > 0 else 0.0)
    return np.array(found)


def structural_similarities(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """SSIM of each pair of maps (n, h, w), every map divided by its largest magnitude; data range 2."""
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    def scaled(maps: np.ndarray) -> Tensor:
        flat = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))
        return (flat / flat.abs().amax((1, 2), keepdim=True).clamp_min(1e-12))[:, None]

    return (
        ssim(scaled(one), scaled(other), data_range=2.0, kernel_size=7, sigma=1.0, reduction="none").reshape(-1).numpy()
    )
