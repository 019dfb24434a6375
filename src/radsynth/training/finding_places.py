"""Where the findings of the training pictures lie, as the discriminator sees them once it can name them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from radsynth.networks.layout import SIDES, USUAL, region_of
from radsynth.networks.report_gan import SHARPNESS, ReportDiscriminator
from radsynth.training.chest_data import ChestSet
from radsynth.training.device import Device
from radsynth.training.findings import predict
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS, ZONES

READ_TOGETHER = 4096
"""Pictures whose maps of evidence are held at a time."""


def finding_places(discriminator: ReportDiscriminator, data: ChestSet, device: Device) -> tuple[Tensor, Tensor]:
    """On each side the place of most evidence for each sided finding that a report names, within the zone it names.

    No place is known but the words', and the discriminator learned it from these words alone. It may miss a lesion by
    a constant distance, which a generator that is told these places learns as well.

    Returns
    -------
    places
        (len(data), n, 2, 2) float32, as `networks.layout.Targets.spots` takes them; the middle where none is named.
    usual
        (n, USUAL, USUAL): how often each place is one of them, on a side that a report names; each sums to 1.
    """
    count = len(SIDED_FINDINGS)
    places, usual = torch.full((len(data), count, 2, 2), 0.5), torch.full((count, USUAL, USUAL), 1e-6)

    def seen(pictures: Tensor) -> Tensor:
        evidence = discriminator.evidence(discriminator.look(pictures))
        return F.interpolate(evidence, (USUAL, USUAL)).flatten(1)

    for first in range(0, len(data) if discriminator.shown is not None else 0, READ_TOGETHER):
        part = np.arange(first, min(first + READ_TOGETHER, len(data)))
        maps = predict(seen, lambda i, part=part: data.pictures(part[i]), len(part), device)
        evidence = torch.from_numpy(maps).unflatten(1, (-1, USUAL**2))
        for k, finding in enumerate(SIDED_FINDINGS):
            rows = np.flatnonzero(data.labels[part, FINDINGS.index(finding)] == 1)
            _place(data, part[rows], finding, evidence[rows, FINDINGS.index(finding)], places[:, k], usual[k])
    return places, usual / usual.sum((1, 2), keepdim=True)


def _place(data: ChestSet, named: np.ndarray, finding: str, evidence: Tensor, places: Tensor, usual: Tensor) -> None:
    """Write the places of one finding on the pictures `named`, by its evidence there, and count them in `usual`."""
    cells = torch.cartesian_prod(torch.arange(USUAL), torch.arange(USUAL))
    zones = torch.stack([region_of(zone, USUAL) for zone in ZONES])
    zones = zones[[ZONES.index(zone) for zone in data.frame[f"zone_{finding}"].to_numpy()[named]]]
    stated = data.frame[f"side_{finding}"].to_numpy()[named]
    for s, side in enumerate(SIDES):
        allowed = (zones * region_of(side, USUAL)).flatten(1) >= 0.5
        logits = evidence.masked_fill(~allowed, -torch.inf)
        found = logits.argmax(1)
        near = (cells[found][:, None] - cells).abs().amax(2) <= 1
        places[named, s] = (SHARPNESS * logits.masked_fill(~near, -torch.inf)).softmax(1) @ (cells + 0.5) / USUAL
        here = found[np.isin(stated, (side, "both"))]
        usual += torch.bincount(here, minlength=USUAL**2).view(USUAL, USUAL)
