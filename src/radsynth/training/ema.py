"""Exponential moving average of a network's weights: the copy that is used, not the one that is trained."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """A slowly following copy of `network`.

    The decay of a step is ``0.5 ** (images / half_life_images)``, and the half-life is at most a tenth of the images
    seen, so that the start is forgotten quickly (Karras et al. 2024, EDM2, section 3.1, in its simplest form).
    """

    def __init__(self, network: nn.Module, half_life_images: int) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.half_life_images = half_life_images

    @torch.no_grad()
    def update(self, network: nn.Module, images: int, images_seen: int) -> None:
        """Follow `network` after a step over `images` images; buffers are copied as they are."""
        half_life = min(self.half_life_images, max(images_seen, 1) / 10)
        decay = 0.5 ** (images / half_life)
        averaged, current = list(self.network.parameters()), list(network.parameters())
        torch._foreach_lerp_(averaged, current, 1 - decay)
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averaged weights and buffers."""
        return self.network.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what `state_dict` gave."""
        self.network.load_state_dict(state)
