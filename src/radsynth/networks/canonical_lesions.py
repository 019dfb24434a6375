"""A learned look of every finding that has a place, set where it lies: what canonical_chest.py is to a chest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radsynth.networks.canonical_chest import exact
from radsynth.networks.layout import Targets


class CanonicalLesions(nn.Module):
    """Style, and what a report says and where -> what its findings add to a picture.

    Each finding is a mixture of learned pictures, set at its place and scaled by style and by whether it is large, as
    the blobs of Epstein et al. 2022 (BlobGAN) are; coarse maps would have to grow a mass anew at every place. A
    finding's own distance from the place that is told is learned with its look. What looks the same on both sides, as a
    mass does, is learned in the pictures of both, what does not, as the edge of a collapsed lung, in those of one.
    """

    PICTURES = 4
    OF_SIDE = ((1, 1, 1, 0), (1, 1, 0, 1))
    """Which of them show a finding on the left, and on the right."""

    SIDE = 48
    """Of a learned picture, pixels of half the picture's side."""

    REACH = 0.1875
    """Half the side of a learned picture, in widths of the picture."""

    GAIN = 4.0
    AT_MOST = 4
    """Lesions of a picture: the most probable ones."""

    def __init__(self, targets: Targets, style: int, size: int) -> None:
        super().__init__()
        self.targets, self.half = targets, size // 2
        count = len(targets.placed)
        self.pictures = nn.Parameter(torch.zeros(count, self.PICTURES, self.SIDE, self.SIDE))
        self.shares = nn.Linear(style, count * self.PICTURES)
        nn.init.normal_(self.shares.weight, std=0.5 * style**-0.5)
        nn.init.ones_(self.shares.bias)
        self.scale = nn.Linear(style, count)
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)
        self.larger = nn.Parameter(torch.zeros(count))
        edge = ((1 - torch.linspace(-1, 1, self.SIDE).abs()) / 0.25).clamp(0, 1)
        self.register_buffer("of_side", torch.tensor(self.OF_SIDE, dtype=torch.float32), persistent=False)
        self.register_buffer("fade", edge[:, None] * edge, persistent=False)

    def forward(self, style: Tensor, said: Tensor, places: Tensor) -> Tensor:
        """What is added to the picture, (B, 1, size, size) float32.

        Parameters
        ----------
        style
            (B, W).
        said, places
            See `layout.Targets`.
        """
        with torch.autocast(style.device.type, enabled=False):
            style, said = exact(style), said.to(torch.promote_types(style.dtype, torch.float32))
            count = len(self.targets.placed)
            amount, slot = self.targets.on_sides(said).flatten(1).topk(self.AT_MOST)
            finding = slot // 2
            shares = self.shares(style).view(-1, count, self.PICTURES) / self.PICTURES
            scale = (0.4 * (self.scale(style) + self.larger * self.targets.large(said)).tanh()).exp()
            reach = self.REACH * scale.gather(1, finding)
            place = places.to(style).flatten(1, 2).gather(1, slot[..., None].expand(-1, -1, 2))
            # No indexing: on a CPU the gradient of what is picked twice is summed by threads in any order.
            picked = amount[..., None] * F.one_hot(finding, count)
            mixed = torch.einsum("bkn,bnp->bknp", picked, shares) * self.of_side[slot % 2][:, :, None]
            looks = torch.einsum("bknp,npyx->bkyx", mixed, self.pictures)
            line = (torch.arange(self.half, device=style.device) + 0.5) / self.half
            y, x = ((line - place) / reach[..., None] for place in (place[..., :1], place[..., 1:]))
            side = (-1, -1, self.half, self.half)
            grid = torch.stack([x[:, :, None].expand(side), y[..., None].expand(side)], -1)
            looks = self.GAIN * self.fade * looks
            drawn = F.grid_sample(looks.flatten(0, 1)[:, None], grid.flatten(0, 1), mode="bicubic", align_corners=True)
            drawn = drawn.view(*slot.shape, self.half, self.half).sum(1, keepdim=True)
            return F.interpolate(drawn, scale_factor=2, mode="bicubic")
