"""What is usually at a place of an aligned head, fitted to the depth below this person's skin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STATISTICS = 6
"""Maps of an atlas: mean, 10th, 50th and 90th percentile, smoothed mean, and the mean depth below the skin, mm."""

_FEATURES = (STATISTICS - 1) + 5 + 3


class Atlas(nn.Module):
    """Depth below the skin and place on the grid -> grey value of one modality, pixel by pixel.

    It reads how the heads it learned from look at this voxel, and how much deeper or shallower than theirs this head is
    here: an average head that fits itself to the shape of each. It never sees the picture of the head in question.

    Parameters
    ----------
    shape
        (Z, Y, X) of the common grid.
    width
        Units of each of the two hidden layers.
    """

    def __init__(self, shape: tuple[int, int, int], width: int = 96) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.register_buffer("statistics", torch.zeros(STATISTICS, *shape, dtype=torch.float16))
        self.register_buffer("least_depth_mm", torch.zeros(()))
        self.register_buffer("depth_of_other_modality", torch.zeros(*shape, dtype=torch.float16))
        self.layers = nn.Sequential(
            nn.Linear(_FEATURES, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
        )

    def of_pixels(self, statistics: Tensor, depth_mm: Tensor, position: Tensor) -> Tensor:
        """Grey values (N,) of pixels with statistics (N, 6), depth (N,) and position (N, 3), float32 in -1..1."""
        usual_depth = statistics[:, -1]
        shape = torch.stack(
            [(depth_mm - usual_depth) / 10, torch.exp(-depth_mm / 4), torch.exp(-depth_mm / 8), usual_depth / 30], 1
        )
        return self.layers(torch.cat([statistics[:, :-1], depth_mm[:, None] / 30, shape, position], 1)).squeeze(1)

    def forward(self, depth_mm: Tensor, slices: Tensor, own: bool) -> Tensor:
        """The expected picture (B, 1, Y, X), float32 in -1..1, -1 outside the head.

        Parameters
        ----------
        depth_mm
            (B, Y, X), 0 outside the head.
        slices
            (B,) int64: which slices of the grid.
        own
            Whether the head mask comes from a scan of the atlas's own modality. MR and CT see the skin at different
            places (the MR's head mask is wider), so that a depth in the other is moved by the mean difference here.
        """
        statistics = self.statistics[:, slices].float()
        depth_mm = depth_mm.float()
        inside = depth_mm > 0
        if not own:
            moved = depth_mm + statistics[-1] - self.depth_of_other_modality[slices].float()
            depth_mm = torch.where(inside, moved.maximum(self.least_depth_mm), depth_mm)
        out = torch.full_like(depth_mm, -1.0)
        position = grid_positions(self.shape, slices)[inside]
        with torch.autocast(out.device.type, enabled=False):
            values = self.of_pixels(statistics.movedim(0, -1)[inside], depth_mm[inside], position)
        out[inside] = values.clamp(-1, 1)
        return out[:, None]


def grid_positions(shape: tuple[int, int, int], slices: Tensor) -> Tensor:
    """Where the pixels of slices (B,) of a grid (Z, Y, X) lie: (B, Y, X, 3) float32, z, y, x in -1..1."""
    device = slices.device
    y, x = (torch.linspace(-1, 1, side, device=device) for side in shape[1:])
    z = 2 * slices.float() / max(shape[0] - 1, 1) - 1
    grids = torch.broadcast_tensors(z[:, None, None], y[None, :, None], x[None, None, :])
    return torch.stack(grids, -1)
