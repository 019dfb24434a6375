"""A residual network that names the findings of an X-ray (He et al. 2016, pre-activation, small)."""

from __future__ import annotations

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


class FindingsClassifier(nn.Module):
    """X-ray -> one logit a finding.

    Parameters
    ----------
    findings
        Number of findings.
    width
        Channels after the first convolution; doubled by every block.
    blocks
        Residual blocks; each halves the resolution.
    """

    def __init__(self, findings: int, width: int, blocks: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 5, stride=2, padding=2, bias=False)
        widths = [min(width * 2**k, 16 * width) for k in range(blocks + 1)]
        self.blocks = nn.Sequential(*(_Block(a, b) for a, b in pairwise(widths)))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.last = nn.ReLU()
        self.head = nn.Linear(2 * widths[-1], findings)

    def features(self, picture: Tensor) -> Tensor:
        """Pooled features (B, 2 C): mean and maximum of the last maps."""
        maps = self.last(self.norm(self.blocks(self.stem(picture))))
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1).float()

    def forward(self, picture: Tensor) -> Tensor:
        """Logits (B, findings) of pictures (B, 1, S, S) in -1..1."""
        return self.head(self.features(picture))
