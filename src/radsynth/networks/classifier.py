"""A residual network that names the findings of an X-ray (He et al. 2016, pre-activation, small)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(x))
        return self.skip(F.avg_pool2d(y, 2)) + self.conv2(F.relu(self.norm2(self.conv1(y))))


def log_mean_exp(maps: Tensor, sharpness: float) -> Tensor:
    """Smooth maximum over the places of (B, K, h, w): between the mean (sharpness 0) and the maximum (infinity).

    References
    ----------
    Pinheiro & Collobert 2015, "From Image-level to Pixel-level Labeling with Convolutional Networks", eq. 6.
    """
    flat = maps.float().flatten(2) * sharpness
    return (flat.logsumexp(2) - math.log(flat.shape[2])) / sharpness


class FindingsClassifier(nn.Module):
    """X-ray -> one logit a finding: local evidence, pooled by a smooth maximum, plus what the whole picture says.

    A nodule covers one place in two hundred; a mean over the places would drown it.

    Parameters
    ----------
    findings
        Number of findings.
    width
        Channels after the first convolution; doubled by every block.
    blocks
        Residual blocks before the local evidence; each halves the resolution, which starts at half the picture's.
    sharpness
        Of `log_mean_exp`.
    """

    def __init__(self, findings: int, width: int, blocks: int = 3, sharpness: float = 8.0) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.stem = nn.Conv2d(1, width, 5, stride=2, padding=2, bias=False)
        widths = [width * 2**k for k in range(blocks + 2)]
        self.blocks = nn.Sequential(*(_Block(a, b) for a, b in pairwise(widths[:-1])))
        self.shown = nn.Sequential(nn.BatchNorm2d(widths[-2]), nn.ReLU())
        self.local = nn.Conv2d(widths[-2], findings, 1)
        self.whole = nn.Sequential(_Block(widths[-2], widths[-1]), nn.BatchNorm2d(widths[-1]), nn.ReLU())
        self.head = nn.Linear(2 * widths[-1], findings)

    def _read(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.blocks(self.stem(picture))
        whole = self.whole(maps)
        features = torch.cat([whole.mean((2, 3)), whole.amax((2, 3))], 1).float()
        return features, log_mean_exp(self.local(self.shown(maps)), self.sharpness)

    def features(self, picture: Tensor) -> Tensor:
        """Pooled features (B, 2 C): mean and maximum of the last maps."""
        return self._read(picture)[0]

    def forward(self, picture: Tensor) -> Tensor:
        """Logits (B, findings) of pictures (B, 1, S, S) in -1..1."""
        features, local = self._read(picture)
        return self.head(features) + local
