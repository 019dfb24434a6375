"""Where on a frontal chest X-ray a report's words say that a finding lies: by side and zone, and a spot within."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS, TARGETS

_EDGES = {"upper": (-2.0, -1.0, 0.36, 0.46), "mid": (0.28, 0.36, 0.56, 0.64), "lower": (0.44, 0.54, 2.0, 3.0)}
"""Of each zone, in heights of the picture from its upper edge: where it begins, is whole, is no longer whole, ends.

Whole where nine of ten masses, nodules and consolidations of the phantoms have their centre, soft beyond.
"""

_SIDE_EDGE = 0.04
"""Half the width of the band, in widths of the picture, in which one side becomes the other."""

SIDES, ZONES = ("left", "right"), ("upper", "mid", "lower")
SPOT = 0.05
"""Standard deviation of a spot, in widths of the picture."""

USUAL = 16
"""Side of the maps of where findings usually lie."""

_SIDED = [FINDINGS.index(f) for f in SIDED_FINDINGS]
_OF_SIDES, _OF_ZONES = (
    [[TARGETS.index(f"{f}_{place}") for place in places] for f in SIDED_FINDINGS] for places in (SIDES, ZONES)
)


def region_of(place: str, size: int) -> Tensor:
    """How far each place of maps (size, size) belongs to a side, a zone, or for ``""`` to the picture: 0..1.

    The patient's left is on the right.
    """
    line = (torch.arange(size) + 0.5) / size
    if place in _EDGES:
        begins, whole, no_longer, ends = _EDGES[place]
        rise, fall = (line - begins) / (whole - begins), (ends - line) / (ends - no_longer)
        return torch.minimum(rise, fall).clamp(0, 1)[:, None].expand(size, size)
    left = ((line - 0.5 + _SIDE_EDGE) / (2 * _SIDE_EDGE)).clamp(0, 1)[None].expand(size, size)
    return {"": torch.ones(size, size), "left": left, "right": 1 - left}[place]


@functools.cache
def _regions(places: tuple[str, ...], size: int) -> Tensor:
    return torch.stack([region_of(place, size) for place in places])


def finding_of(target: str) -> tuple[str, str]:
    """Finding, and side or zone or ``""``, of one of `vocabulary.TARGETS`."""
    return (target, "") if target in FINDINGS else tuple(target.rsplit("_", 1))


def target_regions(size: int) -> tuple[Tensor, Tensor]:
    """Of every one of `vocabulary.TARGETS` its finding (K,), a place in FINDINGS, and its region (K, size, size)."""
    findings, places = zip(*map(finding_of, TARGETS), strict=True)
    return torch.tensor([FINDINGS.index(f) for f in findings]), torch.stack([region_of(p, size) for p in places])


def on_sides(said: Tensor) -> Tensor:
    """How probable each sided finding is on the left and on the right, (B, n, 2): half each where no side is said.

    Parameters
    ----------
    said
        (B, len(TARGETS)), 0..1: how probable it is that a report says so.
    """
    stated, nowhere = _stated(said, _OF_SIDES)
    return said[:, _SIDED, None] * (stated + nowhere[..., None] / 2)


def in_zones(said: Tensor, size: int) -> Tensor:
    """How far the words allow each sided finding at a height, (B, n, size, size), 0..1: anywhere where no zone is."""
    stated, nowhere = _stated(said, _OF_ZONES)
    along = torch.einsum("bnk,kyx->bnyx", stated, _regions(ZONES, size).to(said)) + nowhere[..., None, None]
    return along.clamp(max=1)


def laid_out(said: Tensor, size: int) -> Tensor:
    """Maps (B, len(FINDINGS), size, size) of how probable a finding is at each place, by the words of a report; 0..1.

    A finding of which the words name no side lies on both, of which they name no zone in all.
    """
    maps = said[:, : len(FINDINGS), None, None].expand(-1, -1, size, size).clone()
    stated, nowhere = _stated(said, _OF_SIDES)
    across = torch.einsum("bnk,kyx->bnyx", stated, _regions(SIDES, size).to(said)) + nowhere[..., None, None]
    maps[:, _SIDED] = maps[:, _SIDED] * across.clamp(max=1) * in_zones(said, size)
    return maps


def spots(said: Tensor, places: Tensor, size: int) -> Tensor:
    """Maps (B, n, size, size) with a spot for every sided finding on each side where the report has it; 0..1.

    Parameters
    ----------
    places
        (B, n, 2, 2): on the left and on the right, y and x, 0..1 across the picture.
    """
    line = (torch.arange(size, device=said.device) + 0.5) / size
    falls = torch.exp(-((line - places[..., None].to(said)) ** 2) / (2 * SPOT**2))
    shapes = falls[..., 0, :, None] * falls[..., 1, None, :]
    return (on_sides(said)[..., None, None] * shapes).amax(2)


def _stated(said: Tensor, columns: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Given that a sided finding is there, how probable each place is (B, n, k), and that none is said (B, n)."""
    stated = (said[:, columns] / said[:, _SIDED, None].clamp_min(0.05)).clamp(max=1)
    return stated, (1 - stated.sum(2)).clamp_min(0)


class Layout(nn.Module):
    """Adds to a generator's maps where the findings of a report lie: their regions, and a spot in each.

    One look of a finding is learned wherever it lies, as from the layouts of Park et al. 2019 (SPADE). Where in its
    region it lies the noise decides, among the places where such findings lie in training pictures.

    Parameters
    ----------
    channels
        Of the maps, by their side.
    noise_size
        Width of the noise.
    """

    def __init__(self, channels: dict[int, int], noise_size: int) -> None:
        super().__init__()
        inputs, n = len(FINDINGS) + len(SIDED_FINDINGS), len(SIDED_FINDINGS)
        self.show = nn.ModuleDict({str(side): nn.Conv2d(inputs, c, 1) for side, c in channels.items()})
        for conv in self.show.values():
            nn.init.normal_(conv.weight, std=(2 / inputs) ** 0.5)
            nn.init.zeros_(conv.bias)
        mixed = torch.randn(noise_size, 6 * n, generator=torch.Generator().manual_seed(0))
        self.register_buffer("mixed", mixed / mixed.norm(dim=0))
        self.register_buffer("usual", torch.full((n, USUAL, USUAL), USUAL**-2.0))

    def places(self, said: Tensor, noise: Tensor) -> Tensor:
        """Places (B, n, 2, 2) as `spots` takes them: of each finding and side one of the usual, as the words allow."""
        noise = torch.special.ndtr(noise.float() @ self.mixed).view(len(noise), -1, 2, 3)
        sides = _regions(SIDES, USUAL).to(self.usual)
        weight = (self.usual[:, None] * sides)[None] * in_zones(said, USUAL)[:, :, None] + 1e-9
        shares = weight.flatten(3).cumsum(-1)
        cell = (shares < noise[..., :1] * shares[..., -1:]).sum(-1)
        return (torch.stack([cell // USUAL, cell % USUAL], -1) + noise[..., 1:]) / USUAL

    def forward(self, x: Tensor, said: Tensor, places: Tensor) -> Tensor:
        """Maps (B, C, S, S) with what they are shown added, where their side has it."""
        side = x.shape[2]
        if str(side) not in self.show:
            return x
        return x + self.show[str(side)](torch.cat([laid_out(said, side), spots(said, places, side)], 1).to(x.dtype))
