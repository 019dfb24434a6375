"""Where findings lie, by a discriminator that sees brightness."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from radsynth.networks.report_gan import Seen
from radsynth.training.chest_data import ChestSet
from radsynth.training.device import pick_device
from radsynth.training.finding_places import finding_places
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS

EFFUSION = SIDED_FINDINGS.index("effusion")


class SeesBrightness(nn.Module):
    """Evidence for every finding is the brightness."""

    shown = True

    def look(self, pictures: Tensor) -> Seen:
        return Seen(pictures, pictures, pictures)

    def evidence(self, seen: Seen) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(seen.finer, 16).expand(-1, len(FINDINGS), -1, -1)


def test_the_place_is_the_brightest_of_the_side_and_zone_that_the_report_names(chest_set: ChestSet) -> None:
    size, pixels = chest_set.size, np.zeros_like(chest_set.pixels)
    pixels[:, : size // 4, : size // 4] = 30000  # upper right of the patient: brighter, but in no zone that is named
    low, cell = int(0.8 * size), size // 16
    pixels[:, low : low + cell, size // 8 : size // 8 + cell] = 20000
    pixels[:, low : low + cell, -size // 8 : cell - size // 8] = 20000
    bright = ChestSet(chest_set.frame, pixels, chest_set.tokens, chest_set.lengths, chest_set.switched)
    places, usual = finding_places(SeesBrightness(), bright, pick_device("32-true"))
    named = chest_set.frame["label_effusion"].to_numpy() == 1
    found = places[named, EFFUSION]
    assert (found[..., 0] > 0.75).all()
    assert (found[:, 0, 1] > 0.8).all()
    assert (found[:, 1, 1] < 0.2).all()
    assert (places[~named] == 0.5).all()
    assert torch.allclose(usual.sum((1, 2)), torch.ones(len(usual)))
    left = (chest_set.frame["side_effusion"] == "left").mean() / named.mean()
    assert abs(float(usual[EFFUSION, :, 8:].sum()) - left) < 0.01
    assert usual[EFFUSION, 11:].sum() > 0.99
