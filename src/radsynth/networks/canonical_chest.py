"""A learned chest that style bends: maps for a generator's blocks and a picture at full size (docs/adr/0009)."""

from __future__ import annotations

import math
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAPS_GAIN = 8.0
"""By which a step of Adam moves a map's places further than a weight: each shows in one place of a picture only."""


def exact(x: Tensor) -> Tensor:
    """Float32, or more where it is more: bfloat16 has three digits, too few for a place or a picture."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Deformation(nn.Module):
    """Style -> where on a canonical chest each place of the picture lies, from the shifts of 8x8 control points.

    The identity at first. A learned canonical input that is moved to where the picture wants it is the first layer of
    StyleGAN3 (Karras et al. 2021, section 3.2: rotation and shift); a shift for every place, that of the learned
    templates of Dalca et al. 2019.
    """

    POINTS = 8

    def __init__(self, style: int) -> None:
        super().__init__()
        self.shifts = nn.Linear(style, 2 * self.POINTS**2)
        nn.init.zeros_(self.shifts.weight)
        nn.init.zeros_(self.shifts.bias)

    def forward(self, style: Tensor) -> Tensor:
        """(B, 2, 8, 8): the place (x, y) of every control point, -1..1 across the canonical chest."""
        line = torch.linspace(-1, 1, self.POINTS, device=style.device)
        there = torch.stack(torch.meshgrid(line, line, indexing="xy"))
        return there + exact(self.shifts(style)).view(-1, 2, self.POINTS, self.POINTS)


def deformed(maps: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    """Maps (1 or B, C, R, R) at the places (B, C, R, R) that lie between the control points (B, 2, P, P); float32."""
    with torch.autocast(maps.device.type, enabled=False):
        places = F.interpolate(points, maps.shape[2:], mode="bilinear", align_corners=True)
        return F.grid_sample(
            maps.expand(len(points), -1, -1, -1),
            places.permute(0, 2, 3, 1),
            mode=mode,
            padding_mode="border",
            align_corners=True,
        )


class CanonicalChest(nn.Module):
    """Style -> control points, and a picture of a canonical chest that they deform: a mixture of learned pictures.

    What the coarse maps can only hint at through sub-pixels, ribs, vessels and contours of an ordinary chest, is
    learned pixel by pixel, as in the conditional templates of Dalca et al. 2019: at half the picture's side, and what
    is finer at full size with a smaller gain. Learned at full size alone, pixels hold more of the finest detail than
    real pictures do. Both are bent together, by cubic interpolation: linear interpolation takes most of that detail.
    """

    PICTURES = 16
    GAIN = 2.0
    """Of the pictures of half the side, see `MAPS_GAIN`."""

    FINE_GAIN = 0.5
    """Of those at full size."""

    def __init__(self, style: int, size: int) -> None:
        super().__init__()
        self.deformation = Deformation(style)
        self.pictures = nn.Parameter(torch.zeros(self.PICTURES, size // 2, size // 2))
        self.fine = nn.Parameter(torch.zeros(self.PICTURES, size, size))
        self.shares = nn.Linear(style, self.PICTURES)
        nn.init.normal_(self.shares.weight, std=1 / math.sqrt(style))

    def forward(self, style: Tensor) -> tuple[Tensor, Tensor]:
        """Control points (B, 2, 8, 8) and the picture, deformed by them, (B, 1, size, size); float32."""
        points = self.deformation(style)
        with torch.autocast(style.device.type, enabled=False):
            shares = self.shares(exact(style))
            coarse, fine = ((shares @ p.flatten(1)).view(-1, 1, *p.shape[1:]) for p in (self.pictures, self.fine))
            coarse = F.interpolate(self.GAIN * coarse, scale_factor=2, mode="bicubic")
            return points, deformed(torch.add(coarse, fine, alpha=self.FINE_GAIN), points, "bicubic")


def smoothed(picture: Tensor, square: int) -> Tensor:
    """A picture (B, 1, S, S) without the grid of the squares of `square` pixels that it was shuffled from.

    A mean over a square's side, and over two pixels, so that it stays where it is: of nothing that comes again in every
    square is anything left (Sugawara et al. 2018). What is finer comes from a canonical chest and from its lesions. By
    sums of two, a tenth of the time of a convolution of one channel on a processor; `square` is a power of two.
    """
    if square == 1:
        return picture
    total = F.pad(picture / (4 * square**2), (square // 2,) * 4, mode="replicate")
    for axis, step in product((2, 3), (*(2**k for k in range(square.bit_length() - 1)), 1)):
        kept = total.shape[axis] - step
        total = total.narrow(axis, 0, kept) + total.narrow(axis, step, kept)
    return total
