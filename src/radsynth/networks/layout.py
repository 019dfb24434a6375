"""Where on a frontal chest X-ray a report's words say that a finding lies: by side and zone, and a spot within."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EDGES = {"upper": (-2.0, -1.0, 0.36, 0.46), "mid": (0.28, 0.36, 0.56, 0.64), "lower": (0.44, 0.54, 2.0, 3.0)}
"""Of each zone, in heights of the picture from its upper edge: where it begins, is whole, is no longer whole, ends.

Whole where nine of ten masses, nodules and consolidations of the phantoms have their centre, soft beyond.
"""

_SIDE_EDGE = 0.04
"""Half the width of the band, in widths of the picture, in which one side becomes the other."""

SIDES, ZONES, LARGE = ("left", "right"), ("upper", "mid", "lower"), "large"
SPOT = 0.05
"""Standard deviation of a spot, in widths of the picture."""

USUAL = 16
"""Side of the maps of where findings usually lie."""


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


class Targets:
    """What is said of reports or pictures, by name: findings, ``finding_place`` of the sided ones, ``finding_large``.

    A `said` below is (B, len(targets)), 0..1: how probable it is that a report says so. `n` is the number of findings
    that lie at a place: the sided ones, then those of the midline. Those have the first of their two places alone.

    Parameters
    ----------
    names
        Of all targets.
    small
        Those of them that can be told by what is seen at one place alone.
    midline
        Findings without a side that lie at one place.
    """

    def __init__(self, names: Sequence[str], small: Sequence[str] = (), midline: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        endings = [name.rpartition("_")[2] for name in names]
        self.places = tuple(ending if ending in SIDES + ZONES else "" for ending in endings)
        self.findings = tuple(n for n, e in zip(names, endings, strict=True) if e not in (*SIDES, *ZONES, LARGE))
        self.looks = self.findings + tuple(n for n, e in zip(names, endings, strict=True) if e == LARGE)
        """What has a look of its own: every finding, and a large one."""
        self.sided = sided = tuple(f for f in self.findings if f"{f}_{SIDES[0]}" in names)
        self.placed = sided + tuple(midline)
        whole = [name.removesuffix(f"_{place}") for name, place in zip(names, self.places, strict=True)]
        self.look = torch.tensor([self.looks.index(name) for name in whole])
        """Of each target: which of `looks` it is."""
        self.small = tuple(small)
        self.small_column = torch.tensor([name.removesuffix(f"_{LARGE}") in self.small for name in whole])
        """Of each target: whether it is of a small finding."""
        self._there, self._large = ([self.names.index(f + ending) for f in self.placed] for ending in ("", f"_{LARGE}"))
        self._sided = [self.looks.index(f + ending) for ending in ("", f"_{LARGE}") for f in sided]
        self._of_looks = [self.names.index(look) for look in self.looks]
        self._columns = {
            places: [[self.names.index(f"{f}_{place}") for place in places] for f in sided] for places in (SIDES, ZONES)
        }

    def regions(self, size: int) -> Tensor:
        """Of every target where it may lie, (len(targets), size, size), 0..1."""
        return _regions(self.places, size)

    def on_sides(self, said: Tensor) -> Tensor:
        """How probable each finding is on the left and on the right (B, n, 2): half each where no side is said."""
        stated, nowhere = self._stated(said, SIDES)
        there, sided = said[:, self._there, None], len(self.sided)
        return torch.cat([there[:, :sided] * (stated + nowhere[..., None] / 2), F.pad(there[:, sided:], (0, 1))], 1)

    def on_which(self, size: int) -> Tensor:
        """Where the first and where the second place of each finding may lie, (n, 2, size, size), 0..1."""
        anywhere = torch.ones(len(self.placed) - len(self.sided), 2, size, size)
        return torch.cat([_regions(SIDES, size).expand(len(self.sided), -1, -1, -1), anywhere])

    def in_zones(self, said: Tensor, size: int) -> Tensor:
        """Where the height that is said allows each finding, (B, n, size, size), 0..1: anywhere where none is said."""
        anywhere = len(self.placed) - len(self.sided)
        return F.pad(self._allowed(said, ZONES, size), (0, 0, 0, 0, 0, anywhere), value=1.0)

    def large(self, said: Tensor) -> Tensor:
        """How probable it is that each finding is there and large, (B, n)."""
        return said[:, self._large]

    def laid_out(self, said: Tensor, size: int) -> Tensor:
        """Maps (B, looks, size, size) of how probable a look is at each place, by the words of a report; 0..1.

        A finding of which the words name no side lies on both, of which they name no zone in all.
        """
        maps = said[:, self._of_looks, None, None].expand(-1, -1, size, size).clone()
        where = self._allowed(said, SIDES, size) * self._allowed(said, ZONES, size)
        maps[:, self._sided] = maps[:, self._sided] * torch.cat([where, where], 1)
        return maps

    def spots(self, said: Tensor, places: Tensor, size: int, *, small: bool = False) -> Tensor:
        """Maps (B, n, size, size) with a spot for every finding at each place where the report has it; 0..1.

        Parameters
        ----------
        places
            (B, n, 2, 2): on the left and on the right, y and x, 0..1 across the picture.
        small
            Of the small findings alone: (B, small findings, size, size).
        """
        amount = self.on_sides(said)
        if small:
            rows = [self.placed.index(f) for f in self.small]
            amount, places = amount[:, rows], places[:, rows]
        line = (torch.arange(size, device=said.device) + 0.5) / size
        falls = torch.exp(-((line - places[..., None].to(said)) ** 2) / (2 * SPOT**2))
        shapes = falls[..., 0, :, None] * falls[..., 1, None, :]
        return (amount[..., None, None] * shapes).amax(2)

    def _allowed(self, said: Tensor, places: tuple[str, ...], size: int) -> Tensor:
        """How far the words allow each sided finding at a place, (B, sided, size, size), 0..1: 1 where none is said."""
        stated, nowhere = self._stated(said, places)
        where = torch.einsum("bnk,kyx->bnyx", stated, _regions(places, size).to(said)) + nowhere[..., None, None]
        return where.clamp(max=1)

    def _stated(self, said: Tensor, places: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Of a sided finding that is there: how probable each side is said, or 1 for the said height, else 0.

        (B, sided, k), and how probable it is that none is said, (B, sided).
        """
        there = said[:, self._there[: len(self.sided)], None]
        stated = (said[:, self._columns[places]] / there.clamp_min(0.05)).clamp(max=1)
        if places == ZONES:  # words name one height or none, and what is rare there must not be drawn elsewhere
            stated = ((stated == stated.amax(2, keepdim=True)) & (stated > 0.5)).to(stated)
        return stated, (1 - stated.sum(2)).clamp_min(0)


class Layout(nn.Module):
    """Adds to a generator's maps where the findings of a report lie: their regions, and a spot in each.

    One look of a finding is learned wherever it lies, as from the layouts of Park et al. 2019 (SPADE). Where in its
    region it lies the noise decides, among the places where such findings lie in training pictures.

    Parameters
    ----------
    targets
        What reports may say.
    channels
        Of the maps, by their side.
    noise_size
        Width of the noise.
    """

    def __init__(self, targets: Targets, channels: dict[int, int], noise_size: int) -> None:
        super().__init__()
        self.targets, n = targets, len(targets.placed)
        inputs = len(targets.looks) + n
        self.show = nn.ModuleDict({str(side): nn.Conv2d(inputs, c, 1) for side, c in channels.items()})
        for conv in self.show.values():
            nn.init.normal_(conv.weight, std=(2 / inputs) ** 0.5)
            nn.init.zeros_(conv.bias)
        mixed = torch.randn(noise_size, 6 * n, generator=torch.Generator().manual_seed(0))
        self.register_buffer("mixed", mixed / mixed.norm(dim=0))
        self.register_buffer("usual", torch.full((n, USUAL, USUAL), USUAL**-2.0))

    def places(self, said: Tensor, noise: Tensor) -> Tensor:
        """Places (B, n, 2, 2) as `Targets.spots` takes them: one of the usual that the words allow."""
        with torch.autocast(noise.device.type, enabled=False):  # bfloat16 has too few digits for a place
            noise = torch.special.ndtr(noise.to(self.mixed) @ self.mixed).view(len(noise), -1, 2, 3)
        weight = self.usual[:, None] * self.targets.on_which(USUAL).to(self.usual)
        weight = weight * self.targets.in_zones(said, USUAL)[:, :, None] + 1e-9
        shares = weight.flatten(3).cumsum(-1)
        cell = (shares < noise[..., :1] * shares[..., -1:]).sum(-1)
        return (torch.stack([cell // USUAL, cell % USUAL], -1) + noise[..., 1:]) / USUAL

    def forward(self, x: Tensor, said: Tensor, places: Tensor) -> Tensor:
        """Maps (B, C, S, S) with what they are shown added, where their side has it."""
        side = x.shape[2]
        if str(side) not in self.show:
            return x
        shown = [self.targets.laid_out(said, side), self.targets.spots(said, places, side)]
        return x + self.show[str(side)](torch.cat(shown, 1).to(x.dtype))
