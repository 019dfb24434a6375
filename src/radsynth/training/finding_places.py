"""Where the findings of the training pictures lie, by the words of their reports and what the pictures show."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from radsynth.networks.layout import SIDES, USUAL, Targets, region_of
from radsynth.networks.report_gan import SHARPNESS, ReportDiscriminator, Seen
from radsynth.training.chest_data import ChestSet
from radsynth.training.device import Device
from radsynth.training.findings import predict
from radsynth.training.round_shadows import ball_likeness
from radsynth.vocabulary import FINDINGS, ROUND_FINDINGS, SIDED_FINDINGS, ZONES

READ_TOGETHER = 4096
"""Pictures whose maps of evidence are held at a time."""

PLACED_TOGETHER = 16
"""Pictures of a small finding whose maps are held at a time."""


def small_places(data: ChestSet, device: Device) -> tuple[Tensor, Tensor]:
    """On each side where the picture is most like a ball, for each `ROUND_FINDINGS` that a report names in that zone.

    No place is known but the words'.

    Returns
    -------
    places
        (len(data), n, 2, 2) float32, as `networks.layout.Targets.spots` takes them; the middle where none is named.
    usual
        (n, USUAL, USUAL): how many lie at each place, on a side that a report names, and a little everywhere.
    """
    count = len(SIDED_FINDINGS)
    places, usual = torch.full((len(data), count, 2, 2), 0.5), torch.full((count, USUAL, USUAL), 1e-6)
    for finding in ROUND_FINDINGS:
        k, rows = SIDED_FINDINGS.index(finding), np.flatnonzero(data.labels[:, FINDINGS.index(finding)] == 1)
        for first in range(0, len(rows), PLACED_TOGETHER):
            some = rows[first : first + PLACED_TOGETHER]
            likely = ball_likeness(data.pictures(some).to(device.device)).cpu()
            _place(data, some, finding, likely, places[:, k], usual[k])
    return places, usual


def add_seen_places(
    discriminator: ReportDiscriminator, data: ChestSet, places: Tensor, usual: Tensor, device: Device
) -> None:
    """Write the other findings' places to what `small_places` found: of most evidence in the side and zone named.

    The discriminator learned it from these words alone. It may miss a lesion by a constant distance, which a generator
    that is told these places learns as well. Without naming there is no evidence, and nothing is added.
    """

    def seen(pictures: Tensor) -> Tensor:
        evidence = discriminator.evidence(discriminator.look(pictures))
        return F.interpolate(evidence, (USUAL, USUAL)).flatten(1)

    for first in range(0, len(data) if discriminator.shown is not None else 0, READ_TOGETHER):
        part = np.arange(first, min(first + READ_TOGETHER, len(data)))
        maps = predict(seen, lambda i, part=part: data.pictures(part[i]), len(part), device)
        evidence = torch.from_numpy(maps).unflatten(1, (-1, USUAL, USUAL))
        for k, finding in enumerate(SIDED_FINDINGS):
            if finding not in ROUND_FINDINGS:
                column = FINDINGS.index(finding)
                rows = np.flatnonzero(data.labels[part, column] == 1)
                _place(data, part[rows], finding, evidence[rows, column], places[:, k], usual[k])


def small_spots(targets: Targets, said: Tensor, places: Tensor, size: int) -> Tensor:
    """Maps (B, small findings, size, size) with a spot where each lies, see `place_loss`; 0..1."""
    spots = targets.spots(said.nan_to_num(), places, size)
    return spots[:, [targets.sided.index(f) for f in targets.small]]


def place_loss(discriminator: ReportDiscriminator, seen: Seen, said: Tensor, places: Tensor) -> Tensor:
    """Cross-entropy between where small findings lie and where the discriminator has evidence of them; a mean over B.

    A place counts as a spot (`networks.layout.SPOT`), which is wider than pictures are moved while they are learned.

    Parameters
    ----------
    said
        (B, len(TARGETS)): 1, 0 or NaN.
    places
        (B, n, 2, 2), see `small_places`.
    """
    targets = discriminator.targets
    evidence = discriminator.evidence(seen)[:, [targets.findings.index(f) for f in targets.small]]
    spots = small_spots(targets, said, places, evidence.shape[-1]).flatten(2)
    there = spots.sum(2, keepdim=True)
    wanted = torch.where(there > 1e-3, spots / there.clamp_min(1e-3), 0)
    return -(wanted * (SHARPNESS * evidence.flatten(2)).log_softmax(2)).sum() / len(said)


def _place(data: ChestSet, named: np.ndarray, finding: str, likely: Tensor, places: Tensor, usual: Tensor) -> None:
    """Write the places of one finding on the pictures `named`, by maps (B, S, S) of it, and count them in `usual`."""
    size = likely.shape[1]
    cells = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    zones = torch.stack([region_of(zone, size) for zone in ZONES])
    zones = zones[[ZONES.index(zone) for zone in data.frame[f"zone_{finding}"].to_numpy()[named]]]
    stated = data.frame[f"side_{finding}"].to_numpy()[named]
    for s, side in enumerate(SIDES):
        allowed = (zones * region_of(side, size)).flatten(1) >= 0.5
        logits = likely.flatten(1).masked_fill(~allowed, -torch.inf)
        found = logits.argmax(1)
        near = (cells[found][:, None] - cells).abs().amax(2) <= 1
        at = (SHARPNESS * logits.masked_fill(~near, -torch.inf)).softmax(1) @ (cells + 0.5) / size
        places[named, s] = at
        y, x = (at[np.isin(stated, (side, "both"))] * USUAL).long().unbind(1)
        usual += torch.bincount(y * USUAL + x, minlength=USUAL**2).view(USUAL, USUAL)
