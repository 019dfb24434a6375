"""Where on a frontal chest X-ray a report's words say that a finding lies."""

from __future__ import annotations

import torch
from torch import Tensor

from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS, TARGETS

_EDGES = {"upper": (-2.0, -1.0, 0.36, 0.46), "mid": (0.28, 0.36, 0.56, 0.64), "lower": (0.44, 0.54, 2.0, 3.0)}
"""Of each zone, in heights of the picture from its upper edge: where it begins, is whole, is no longer whole, ends.

Whole where nine of ten masses, nodules and consolidations of the phantoms have their centre, soft beyond.
"""

_SIDE_EDGE = 0.04
"""Half the width of the band, in widths of the picture, in which one side becomes the other."""


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


def finding_of(target: str) -> tuple[str, str]:
    """Finding, and side or zone or ``""``, of one of `vocabulary.TARGETS`."""
    return (target, "") if target in FINDINGS else tuple(target.rsplit("_", 1))


def target_regions(size: int) -> tuple[Tensor, Tensor]:
    """Of every one of `vocabulary.TARGETS` its finding (K,), a place in FINDINGS, and its region (K, size, size)."""
    findings, places = zip(*map(finding_of, TARGETS), strict=True)
    return torch.tensor([FINDINGS.index(f) for f in findings]), torch.stack([region_of(p, size) for p in places])


def laid_out(said: Tensor, size: int) -> Tensor:
    """Maps (B, len(FINDINGS), size, size) of how probable a finding is at each place, by the words of a report; 0..1.

    A finding of which the words name no side lies on both, of which they name no zone in all.

    Parameters
    ----------
    said
        (B, len(TARGETS)): how probable it is that a report says so.
    """
    sided = [FINDINGS.index(f) for f in SIDED_FINDINGS]
    whole = said[:, : len(FINDINGS)]
    maps = whole[..., None, None].expand(-1, -1, size, size).clone()
    columns = {target: k for k, target in enumerate(TARGETS)}
    for places in (("left", "right"), ("upper", "mid", "lower")):
        chosen = [[columns[f"{f}_{place}"] for place in places] for f in SIDED_FINDINGS]
        regions = torch.stack([region_of(place, size) for place in places]).to(said)
        stated = (said[:, chosen] / whole[:, sided, None].clamp_min(0.05)).clamp(max=1)
        unstated = (1 - stated.sum(2)).clamp_min(0)
        share = torch.einsum("bnk,kyx->bnyx", stated, regions) + unstated[..., None, None]
        maps[:, sided] = maps[:, sided] * share.clamp(max=1)
    return maps
