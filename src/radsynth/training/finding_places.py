"""Where the findings of the training pictures lie, by the words of their reports and what the pictures show."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from radsynth.networks.layout import SIDES, SPOT, USUAL, region_of
from radsynth.networks.report_gan import SHARPNESS, ReportDiscriminator, Seen
from radsynth.training.chest_data import ChestSet
from radsynth.training.device import Device
from radsynth.training.findings import predict
from radsynth.training.shadows import MASS_RADII, NODULE_RADII, ball_likeness, plate_likeness
from radsynth.vocabulary import FINDINGS, MIDLINE_FINDINGS, PLACED_FINDINGS, ZONES

READ_TOGETHER = 1024
"""Pictures whose maps are held, and compared, at a time."""

FINER = 4
"""By which the places of evidence are subdivided; they are smoothed over twice as many and one more."""

SHADOWS: dict[str, Callable[[Tensor], Tensor]] = {
    "atelectasis": plate_likeness,
    "hernia": functools.partial(ball_likeness, radii=MASS_RADII),
    "mass": functools.partial(ball_likeness, radii=MASS_RADII),
    "nodule": functools.partial(ball_likeness, radii=NODULE_RADII),
}
"""Findings that have a shadow of a certain shape, and how much a picture looks like it at each place."""

WITHOUT = 64
"""Pictures without such a finding that tell what else looks like its shadow."""

USUALLY_THERE = 0.5
"""Of how much those look like it at a place, what counts against it. All of it would hide a hernia, which lies where
the heart is rather round as well."""

ROUNDS = 4
"""How often the places of a finding are looked for, each time by what was found of the others."""

NEAR_OTHERS_SHADOW, NEAR_OTHERS_EVIDENCE = 0.1, 0.5
"""Of the logarithm of how many others lie near a place, beside its likeness to a shadow, or the evidence there."""

NOWHERE = 0.05
"""How many lie where none does."""

_LINE = torch.arange(USUAL) - torch.arange(USUAL)[:, None]
_NEAR = torch.exp(-(_LINE**2) / (2 * (SPOT * USUAL) ** 2))


def shadow_places(data: ChestSet, device: Device) -> tuple[Tensor, Tensor]:
    """Where the picture is most like their shadow, for each of `SHADOWS` that a report names, in its side and zone.

    No place is known but the words'.

    Returns
    -------
    places
        (len(data), n, 2, 2) float32, as `networks.layout.Targets.spots` takes them; the middle where none is named.
    usual
        (n, USUAL, USUAL): how many lie at each place, on a side that a report names, and a little everywhere.
    """
    count = len(PLACED_FINDINGS)
    places, usual = torch.full((len(data), count, 2, 2), 0.5), torch.full((count, USUAL, USUAL), 1e-6)
    for finding, likeness in SHADOWS.items():
        label = data.labels[:, FINDINGS.index(finding)]
        without = np.flatnonzero(label == 0)
        usually = _maps(likeness, data, without[:: -(-len(without) // WITHOUT) or 1], device)
        for rows in _parts(np.flatnonzero(label == 1)):
            likely = _beyond(_maps(likeness, data, rows, device), usually, USUALLY_THERE)
            _look_for(data, rows, finding, likely, NEAR_OTHERS_SHADOW, places, usual)
    return places, usual


def add_seen_places(
    discriminator: ReportDiscriminator, data: ChestSet, places: Tensor, usual: Tensor, device: Device
) -> None:
    """Write the other findings' places to what `shadow_places` found: of most evidence in the side and zone named.

    What counts is by how much there is more of it than on pictures without the finding: where it is high on all of
    them, it tells nothing. The discriminator learned it from the words alone. It may miss a lesion by a constant
    distance, which a generator that is told these places learns as well. Without naming there is no evidence, and
    nothing is added.
    """
    if discriminator.shown is None:
        return
    sought = [finding for finding in PLACED_FINDINGS if finding not in SHADOWS]
    columns = [FINDINGS.index(finding) for finding in sought]
    for part in _parts(np.arange(len(data))):
        maps = _maps(lambda pictures: dense_evidence(discriminator, pictures)[:, columns], data, part, device)
        for evidence, finding, column in zip(maps.unbind(1), sought, columns, strict=True):
            rows, without = (np.flatnonzero(data.labels[part, column] == value) for value in (1, 0))
            if len(rows):
                more = _beyond(evidence[rows], evidence[without])
                more = F.avg_pool2d(F.pad(more, (FINER,) * 4, mode="replicate"), 2 * FINER + 1, stride=1)
                _look_for(data, part[rows], finding, more, NEAR_OTHERS_EVIDENCE, places, usual)


def dense_evidence(discriminator: ReportDiscriminator, pictures: Tensor) -> Tensor:
    """A discriminator's local evidence on maps `FINER` times as fine, (B, looks, S, S) float32.

    Pictures are moved by parts of a place, and what is found is interleaved (shift and stitch, Sermanet et al. 2014,
    section 3.3).
    """
    size, found = pictures.shape[-1], []
    place = size // discriminator.evidence(discriminator.look(pictures[:1])).shape[-1]
    finer = min(FINER, place)
    moves = [place + (2 * k + 1 - finer) * place // (2 * finer) for k in range(finer)]
    padded = F.pad(pictures, (place,) * 4, mode="replicate")
    for y in moves:
        rows = [padded[..., y : y + size, x : x + size] for x in moves]
        found.append(torch.stack([discriminator.evidence(discriminator.look(moved)) for moved in rows], -1))
    return torch.stack(found, 3).flatten(4, 5).flatten(2, 3)


def usual_places(counts: Tensor) -> Tensor:
    """How probable each place is, maps (n, `USUAL`, `USUAL`) that sum to 1, from how many lie there.

    A place counts by how many others lie near it or near its mirror image: of a dozen masses one that was taken for
    another thing lies alone, or on the midline.
    """
    itself = counts.clamp(max=1) * (1 + _NEAR.flip(1).diagonal())
    found = counts * (_nearby(counts) - itself).clamp(min=0.01)
    return found / found.sum((1, 2), keepdim=True)


def place_loss(discriminator: ReportDiscriminator, seen: Seen, said: Tensor, places: Tensor) -> Tensor:
    """Cross-entropy between where small findings lie and where the discriminator has evidence of them; a mean over B.

    A place counts as a spot (`networks.layout.SPOT`), which is wider than pictures are moved while they are learned.

    Parameters
    ----------
    said
        (B, len(TARGETS)): 1, 0 or NaN.
    places
        (B, n, 2, 2), see `shadow_places`.
    """
    targets = discriminator.targets
    evidence = discriminator.evidence(seen)[:, [targets.findings.index(f) for f in targets.small]]
    spots = targets.spots(said.nan_to_num(), places, evidence.shape[-1], small=True).flatten(2)
    there = spots.sum(2, keepdim=True)
    wanted = torch.where(there > 1e-3, spots / there.clamp_min(1e-3), 0)
    return -(wanted * (SHARPNESS * evidence.flatten(2)).log_softmax(2)).sum() / len(said)


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // READ_TOGETHER)) if len(rows) else []


def _maps(of: Callable[[Tensor], Tensor], data: ChestSet, rows: np.ndarray, device: Device) -> Tensor:
    """Maps (len(rows), ...) of pictures."""
    return torch.from_numpy(predict(of, lambda i: data.pictures(rows[i]), len(rows), device))


def _beyond(maps: Tensor, without: Tensor, share: float = 1.0) -> Tensor:
    """Maps (B, S, S) less a share of the mean of those of pictures without the finding, where there are any."""
    return maps - share * without.mean(0) if len(without) else maps


def _nearby(counts: Tensor) -> Tensor:
    """How many lie near each place or its mirror image, (..., USUAL, USUAL), from how many lie there."""
    return _NEAR @ (counts + counts.flip(-1)) @ _NEAR


def _look_for(
    data: ChestSet, named: np.ndarray, finding: str, likely: Tensor, near_others: float, places: Tensor, usual: Tensor
) -> None:
    """Write the places of one finding on the pictures `named`, by maps (B, S, S) of it, and count them in `usual`.

    In some rounds, of which the first knows of no others but those of the pictures before these: a place counts by how
    many others lie near it, too.
    """
    k = PLACED_FINDINGS.index(finding)
    found = torch.zeros(USUAL, USUAL)
    for _ in range(ROUNDS):
        near = (_nearby(usual[k] + found) + NOWHERE).log()
        near = F.interpolate(near[None, None], size=likely.shape[-1], mode="bilinear")[0]
        found = _place(data, named, finding, likely + near_others * near, places[:, k])
    usual[k] += found


def _place(data: ChestSet, named: np.ndarray, finding: str, likely: Tensor, places: Tensor) -> Tensor:
    """Write the places of one finding on the pictures `named`, by maps (B, S, S) of it; how many lie where."""
    size, counts = likely.shape[1], torch.zeros(USUAL**2)
    line = torch.arange(size)
    cells = torch.cartesian_prod(line, line)
    zones = torch.stack([region_of(zone, size) for zone in ZONES])
    zones = zones[[ZONES.index(zone) for zone in data.frame[f"zone_{finding}"].to_numpy()[named]]]
    stated = data.frame[f"side_{finding}"].to_numpy()[named]
    for s, side in enumerate(("",) if finding in MIDLINE_FINDINGS else SIDES):
        allowed = (zones * region_of(side, size)).flatten(1) >= 0.5
        logits = likely.flatten(1).masked_fill(~allowed, -torch.inf)
        found = logits.argmax(1)
        y, x = ((line - cell[:, None]).abs() <= 1 for cell in (found // size, found % size))
        near = (y[:, :, None] & x[:, None]).flatten(1)
        at = (SHARPNESS * logits.masked_fill(~near, -torch.inf)).softmax(1) @ (cells + 0.5) / size
        places[named, s] = at
        y, x = (at[np.isin(stated, (side, "both"))] * USUAL).long().unbind(1)
        counts += torch.bincount(y * USUAL + x, minlength=USUAL**2)
    return counts.view(USUAL, USUAL)
