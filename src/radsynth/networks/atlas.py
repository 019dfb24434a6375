"""What is usually at a place of an aligned head, given how deep it lies and what the other modality shows there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STATISTICS = 6
"""Maps of an atlas: mean, 10th, 50th and 90th percentile, smoothed mean, and the mean depth below the skin, mm."""
LEVELS = 32
"""Grey levels of the atlas's own modality, unequally wide."""
SEEN_LEVELS = 48
"""Grey levels of the other modality, equally wide from -1 to 1."""

_FEATURES = (STATISTICS - 1) + 5 + 3


class Atlas(nn.Module):
    """Probability of each grey level of one modality at each pixel of a head: a prior, and a posterior.

    The prior p(level | place, depth) reads how the heads it learned from look at this voxel, and how much deeper or
    shallower than theirs this head is here: an average head that fits itself to the shape of each. The posterior
    multiplies it by p(seen | level), the joint histogram of registration, for the grey value that the other modality
    shows at the same pixel.

    Parameters
    ----------
    shape
        (Z, Y, X) of the common grid.
    width
        Units of each of the two hidden layers.

    References
    ----------
    Ashburner and Friston 2005, "Unified segmentation": place as the prior of a mixture of grey values.
    """

    def __init__(self, shape: tuple[int, int, int], width: int = 96) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.register_buffer("statistics", torch.zeros(STATISTICS, *shape, dtype=torch.float16))
        self.register_buffer("least_depth_mm", torch.zeros(()))
        self.register_buffer("depth_of_other_modality", torch.zeros(*shape, dtype=torch.float16))
        self.register_buffer("edges", torch.linspace(-1, 1, LEVELS + 1))
        self.register_buffer("likelihood", torch.full((LEVELS, SEEN_LEVELS), 1 / SEEN_LEVELS))
        self.layers = nn.Sequential(
            nn.Linear(_FEATURES, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, LEVELS),
        )

    def of_pixels(self, statistics: Tensor, depth_mm: Tensor, position: Tensor) -> Tensor:
        """Logits (N, LEVELS) of pixels with statistics (N, 6), depth (N,) and position (N, 3), float32."""
        usual_depth = statistics[:, -1]
        shape = torch.stack(
            [(depth_mm - usual_depth) / 10, torch.exp(-depth_mm / 4), torch.exp(-depth_mm / 8), usual_depth / 30], 1
        )
        return self.layers(torch.cat([statistics[:, :-1], depth_mm[:, None] / 30, shape, position], 1))

    def density(self, depth_mm: Tensor, slices: Tensor, own: bool, statistics: Tensor | None = None) -> Tensor:
        """p(level | place, depth), float32 (B, LEVELS, Y, X), 0 outside the head.

        Parameters
        ----------
        depth_mm
            (B, Y, X), 0 outside the head.
        slices
            (B,) int64: which slices of the grid.
        own
            Whether the head mask comes from a scan of the atlas's own modality. MR and CT see the skin at different
            places (the MR's head mask is wider), so that a depth in the other is moved by the mean difference here.
        statistics
            (6, B, Y, X), to be read instead of the atlas's own, which hold the heads that it learned from.
        """
        statistics = (self.statistics[:, slices] if statistics is None else statistics).float()
        depth_mm = depth_mm.float()
        inside = depth_mm > 0
        if not own:
            moved = depth_mm + statistics[-1] - self.depth_of_other_modality[slices].float()
            depth_mm = torch.where(inside, moved.maximum(self.least_depth_mm), depth_mm)
        position = grid_positions(self.shape, slices)[inside]
        with torch.autocast(depth_mm.device.type, enabled=False):
            logits = self.of_pixels(statistics.movedim(0, -1)[inside], depth_mm[inside], position)
        out = depth_mm.new_zeros((*depth_mm.shape, LEVELS))
        out[inside] = logits.softmax(1)
        return out.movedim(-1, 1)

    def posterior(self, density: Tensor, seen: Tensor) -> Tensor:
        """p(level | place, depth, seen) of a `density` (B, LEVELS, Y, X); `seen` (B, 1, Y, X) in -1..1."""
        likely = self.likelihood.T.to(density)[seen_level(seen[:, 0])]
        product = density.movedim(1, -1) * likely
        return (product / product.sum(-1, keepdim=True).clamp_min(1e-12)).movedim(-1, 1)

    def median(self, density: Tensor) -> Tensor:
        """The median grey value (B, 1, Y, X), float32 in -1..1, -1 outside the head; even within a level."""
        return self.quantile(density, 0.5)

    def quantile(self, density: Tensor, share: Tensor | float) -> Tensor:
        """The grey value below which lies `share` (0..1) of a `density` (B, LEVELS, Y, X): as `median`.

        A `share` (B, 1, Y, X), uniform in 0..1 at each pixel, draws from the density.
        """
        by_pixel = density.movedim(1, -1)
        share = share.movedim(1, -1) if isinstance(share, Tensor) else share
        with torch.autocast(density.device.type, enabled=False):  # cumulated: the levels lie side by side in memory
            reached = by_pixel @ torch.ones(LEVELS, LEVELS, dtype=density.dtype, device=density.device).triu()
        wanted = share * reached[..., -1:]
        level = torch.searchsorted(reached.contiguous(), wanted.contiguous()).clamp_max(LEVELS - 1)
        own = by_pixel.gather(-1, level)
        below = reached.gather(-1, level) - own
        edges = self.edges.to(density)
        value = edges[level] + (wanted - below) / own.clamp_min(1e-12) * (edges[level + 1] - edges[level])
        return torch.where(reached[..., -1:] > 0, value, -1.0).clamp(-1, 1).movedim(-1, 1)


def seen_level(seen: Tensor) -> Tensor:
    """Which of `SEEN_LEVELS` a grey value -1..1 is in, int64 of the same shape."""
    return ((seen.float() + 1) * (SEEN_LEVELS / 2)).long().clamp(0, SEEN_LEVELS - 1)


def grid_positions(shape: tuple[int, int, int], slices: Tensor) -> Tensor:
    """Where the pixels of slices (B,) of a grid (Z, Y, X) lie: (B, Y, X, 3) float32, z, y, x in -1..1."""
    device = slices.device
    y, x = (torch.linspace(-1, 1, side, device=device) for side in shape[1:])
    z = 2 * slices.float() / max(shape[0] - 1, 1) - 1
    grids = torch.broadcast_tensors(z[:, None, None], y[None, :, None], x[None, None, :])
    return torch.stack(grids, -1)
