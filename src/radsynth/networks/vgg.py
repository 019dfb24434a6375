"""VGG features (Simonyan & Zisserman 2015), in any width: what the perceptual loss compares."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256, 256))
"""Channels of VGG-16 up to relu3_3."""


class Vgg(nn.Module):
    """Blocks of 3x3 convolutions and ReLU with max-pooling between them.

    Parameters
    ----------
    blocks
        Output channels of every convolution, by block.
    in_channels
        1 for grey pictures; 3 for ImageNet weights, then grey is repeated.
    classes
        Width of the linear head that trains it, 0 for none.
    """

    def __init__(self, blocks: tuple[tuple[int, ...], ...], in_channels: int = 1, classes: int = 0) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.blocks = nn.ModuleList()
        channels = in_channels
        for widths in blocks:
            convolutions = nn.ModuleList()
            for width in widths:
                conv = nn.Conv2d(channels, width, 3, padding=1)
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                nn.init.zeros_(conv.bias)
                convolutions.append(conv)
                channels = width
            self.blocks.append(convolutions)
        self.head = nn.Linear(2 * channels, classes) if classes else None

    def features(self, picture: Tensor) -> list[Tensor]:
        """The last activation of every block, finest first.

        Parameters
        ----------
        picture
            (B, 1, H, W) in -1..1; for `in_channels` 3 it is repeated and normalised as ImageNet was.
        """
        if self.in_channels == 3:
            mean = picture.new_tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
            std = picture.new_tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
            x = (picture.expand(-1, 3, -1, -1) / 2 + 0.5 - mean) / std
        else:
            x = picture
        found = []
        for k, convolutions in enumerate(self.blocks):
            x = F.max_pool2d(x, 2) if k else x
            for conv in convolutions:
                x = F.relu(conv(x))
            found.append(x)
        return found

    def forward(self, picture: Tensor) -> Tensor:
        """Class logits (B, classes) of pictures (B, 1, H, W)."""
        last = self.features(picture)[-1].float()
        return self.head(nn.functional.layer_norm(_mean_and_max(last), [2 * last.shape[1]]))


def _mean_and_max(x: Tensor) -> Tensor:
    return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
