"""Where findings lie, by a discriminator that sees brightness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from radsynth.networks.layout import SIDES, Targets
from radsynth.networks.report_gan import ReportDiscriminator, Seen
from radsynth.training.chest_data import ChestSet
from radsynth.training.device import pick_device
from radsynth.training.finding_places import (
    add_seen_places,
    dense_evidence,
    place_loss,
    shadow_places,
    usual_places,
)
from radsynth.vocabulary import FINDINGS, PLACED_FINDINGS, TARGETS

EFFUSION = PLACED_FINDINGS.index("effusion")


class SeesBrightness(nn.Module):
    """Evidence for every finding is ten times the brightness."""

    shown = True

    def look(self, pictures: Tensor) -> Seen:
        return Seen(pictures, pictures)

    def evidence(self, seen: Seen) -> Tensor:
        return 10 * nn.functional.adaptive_avg_pool2d(seen.finer, 16).expand(-1, len(FINDINGS), -1, -1)


def ball(size: int, radius: float, y: float, x: float) -> np.ndarray:
    """The shadow of a ball, 0..1 (size, size); radius and centre in widths of the picture."""
    rows, columns = (np.mgrid[:size, :size] + 0.5) / size
    return np.sqrt(np.clip(1 - ((rows - y) ** 2 + (columns - x) ** 2) / radius**2, 0, None))


def test_the_place_is_the_brightest_of_the_side_and_zone_that_the_report_names(chest_set: ChestSet) -> None:
    size, pixels = chest_set.size, np.zeros_like(chest_set.pixels)
    named = chest_set.frame["label_effusion"].to_numpy() == 1
    pixels[named, : size // 4, : size // 4] = 30000  # upper right of the patient: brighter, in no zone that is named
    spots = ball(size, 0.05, 0.83, 0.15) + ball(size, 0.05, 0.83, 0.9)
    pixels[named] += (20000 * spots).astype(np.uint16)
    bright = ChestSet(chest_set.frame, pixels, chest_set.reports)
    places, usual = shadow_places(bright, pick_device("32-true"))
    add_seen_places(SeesBrightness(), bright, places, usual, pick_device("32-true"))
    usual /= usual.sum((1, 2), keepdim=True)
    found = places[named, EFFUSION]
    assert (found[..., 0] > 0.75).all()
    assert (found[:, 0, 1] > 0.8).all()
    assert (found[:, 1, 1] < 0.2).all()
    assert (places[~named] == 0.5).all()
    left = (chest_set.frame["side_effusion"] == "left").mean() / named.mean()
    assert abs(float(usual[EFFUSION, :, 8:].sum()) - left) < 0.01
    assert usual[EFFUSION, 11:].sum() > 0.99


def test_what_is_bright_on_every_picture_tells_nothing(chest_set: ChestSet) -> None:
    size, pixels = chest_set.size, np.zeros_like(chest_set.pixels)
    low, middle = slice(int(0.7 * size), int(0.9 * size)), size // 2
    pixels[:, low, : size // 8], pixels[:, low, -size // 8 :] = 40000, 40000  # whatever the report says
    named = chest_set.frame["label_effusion"].to_numpy() == 1
    pixels[named, low, middle - size // 4 : middle - size // 8] = 20000
    pixels[named, low, middle + size // 8 : middle + size // 4] = 20000
    bright = ChestSet(chest_set.frame, pixels, chest_set.reports)
    places, usual = shadow_places(bright, pick_device("32-true"))
    add_seen_places(SeesBrightness(), bright, places, usual, pick_device("32-true"))
    across = places[named, EFFUSION][..., 1]
    assert ((across - 0.5).abs() < 0.3).all()
    assert (across[:, 0] > 0.6).all()


def test_a_place_near_others_needs_less_evidence(chest_set: ChestSet) -> None:
    size, pixels = chest_set.size, np.zeros_like(chest_set.pixels)
    frame = chest_set.frame.assign(label_consolidation=0, side_consolidation="", zone_consolidation="")
    frame.loc[:4, ["label_consolidation", "side_consolidation"]] = [1, "right"]
    for row in frame["image_row"].iloc[:5]:
        pixels[row] = (20000 * ball(size, 0.12, 0.78, 0.28)).astype(np.uint16)
    for number, brightness in ((0, 20500), (1, 60000)):  # brighter where no other lies: a little, and much
        pixels[frame["image_row"].iloc[number]] += (brightness * ball(size, 0.12, 0.16, 0.22)).astype(np.uint16)
    seen = ChestSet(frame, pixels, chest_set.reports)
    places, usual = shadow_places(seen, pick_device("32-true"))
    add_seen_places(SeesBrightness(), seen, places, usual, pick_device("32-true"))
    wanted = torch.tensor([[0.78, 0.28], [0.16, 0.22], [0.78, 0.28], [0.78, 0.28], [0.78, 0.28]])
    found = places[:5, PLACED_FINDINGS.index("consolidation"), SIDES.index("right")]
    assert torch.allclose(found, wanted, atol=0.05)


def test_evidence_between_the_places_of_a_discriminator_is_found() -> None:
    spot = torch.zeros(1, 1, 64, 64)
    spot[..., 33:37, 10:14] = 1  # places are 4 pixels: most of it lies in one only where the picture is moved
    dense = dense_evidence(SeesBrightness(), spot)
    assert dense.shape == (1, len(FINDINGS), 64, 64)
    assert divmod(int(dense[0, 0].argmax()), 64) in [(y, x) for y in (34, 35) for x in (11, 12)]
    even = torch.rand(2, 1, 1, 1).expand(-1, 1, 64, 64)
    assert torch.allclose(dense_evidence(SeesBrightness(), even), 10 * even.expand(-1, len(FINDINGS), -1, -1))


def test_a_place_counts_by_how_many_others_lie_near_it_on_either_side() -> None:
    counts = torch.full((2, 16, 16), 1e-6)
    counts[0, 10, 3:6] += 2
    counts[0, 1, 8] += 1
    usual = usual_places(counts)
    assert torch.allclose(usual.sum((1, 2)), torch.ones(2))
    assert usual[0, 1, 8] < 0.002, "one of seven, but alone, its mirror image near it"
    assert usual[0, 10, 4] > usual[0, 10, 3] > usual[0, 1, 8]
    counts[0, 1, 7] += 1
    assert usual_places(counts)[0, 1, 8] > 0.02
    assert usual[1].max() < 8 * usual[1].min(), "nothing known: anywhere"
    alone = torch.full((1, 16, 16), 1e-6)
    alone[0, 4, 4] += 1
    assert usual_places(alone)[0, 4, 4] > 0.99, "one is known: there"


@pytest.mark.parametrize(("finding", "radius"), [("nodule", 0.035), ("mass", 0.08)])
def test_a_nodule_or_mass_is_where_the_picture_looks_like_a_ball(
    chest_set: ChestSet, finding: str, radius: float
) -> None:
    size = chest_set.size
    frame = chest_set.frame.assign(**{f"label_{finding}": 0, f"side_{finding}": "", f"zone_{finding}": ""})
    frame.loc[0, [f"label_{finding}", f"side_{finding}", f"zone_{finding}"]] = [1, "right", "mid"]
    pixels = np.zeros_like(chest_set.pixels)
    pixels[frame["image_row"].iloc[0]] = (10000 + 20000 * ball(size, radius, 0.45, 0.3)).astype(np.uint16)
    pixels[frame["image_row"].iloc[0], : size // 4] = 60000  # what the discriminator sees more of
    balls = ChestSet(frame, pixels, chest_set.reports)
    places, usual = shadow_places(balls, pick_device("32-true"))
    add_seen_places(SeesBrightness(), balls, places, usual, pick_device("32-true"))
    k, right = PLACED_FINDINGS.index(finding), SIDES.index("right")
    assert torch.allclose(places[0, k, right], torch.tensor([0.45, 0.3]), atol=1.5 / size)
    assert usual[k].argmax() in (7 * 16 + 4, 7 * 16 + 5)


def test_a_hernia_is_where_the_others_are_too(chest_set: ChestSet) -> None:
    size, pixels = chest_set.size, np.zeros_like(chest_set.pixels)
    frame = chest_set.frame.assign(label_hernia=0)
    frame.loc[:5, "label_hernia"] = 1
    for number, row in enumerate(frame["image_row"].iloc[:6]):
        picture = 20000 * ball(size, 0.08, 0.75, 0.53)
        if number == 0:
            picture = picture + 12000 * ball(size, 0.01, 0.75, 0.53) + 20000 * ball(size, 0.08, 0.2, 0.2)
        pixels[row] = picture.astype(np.uint16)
    places, usual = shadow_places(ChestSet(frame, pixels, chest_set.reports), pick_device("32-true"))
    hernia = PLACED_FINDINGS.index("hernia")
    assert torch.allclose(places[:6, hernia, 0], torch.tensor([0.75, 0.53]), atol=1.5 / size)
    assert (places[:, hernia, 1] == 0.5).all(), "one place, not two"
    assert usual[hernia].sum().round() == 6


def test_what_is_as_round_without_the_finding_tells_less(chest_set: ChestSet) -> None:
    size = chest_set.size
    frame = chest_set.frame.assign(label_mass=0, side_mass="", zone_mass="")
    frame.loc[0, ["label_mass", "side_mass"]] = [1, "left"]
    pixels = np.broadcast_to(30000 * ball(size, 0.08, 0.7, 0.6), chest_set.pixels.shape).astype(np.uint16)
    pixels[frame["image_row"].iloc[0]] += (4000 * ball(size, 0.08, 0.3, 0.8)).astype(np.uint16)
    pixels += np.random.default_rng(0).integers(0, 1500, pixels.shape, dtype=np.uint16)
    places, _ = shadow_places(ChestSet(frame, pixels, chest_set.reports), pick_device("32-true"))
    left = places[0, PLACED_FINDINGS.index("mass"), SIDES.index("left")]
    assert torch.allclose(left, torch.tensor([0.3, 0.8]), atol=2 / size)


@pytest.mark.parametrize(("finding", "x"), [("hernia", 0.55), ("effusion", 0.8)])
def test_a_finding_of_every_picture_has_a_place(finding: str, x: float, chest_set: ChestSet) -> None:
    size = chest_set.size
    side = {} if finding == "hernia" else {"side_effusion": "left", "zone_effusion": ""}
    frame = chest_set.frame.assign(**{f"label_{finding}": 1}, **side)
    picture = (20000 * ball(size, 0.08, 0.75, x)).astype(np.uint16)
    data = ChestSet(frame, np.broadcast_to(picture, chest_set.pixels.shape), chest_set.reports)
    places, usual = shadow_places(data, pick_device("32-true"))
    add_seen_places(SeesBrightness(), data, places, usual, pick_device("32-true"))
    found = places[:, PLACED_FINDINGS.index(finding), 0]
    assert torch.allclose(found, torch.tensor([0.75, x]).expand_as(found), atol=1 / 16), "a place of the evidence"


def test_evidence_of_a_nodule_is_wanted_where_it_lies() -> None:
    targets = Targets(TARGETS, small=("nodule",))
    judge = ReportDiscriminator(64, 4, 1, 16, names=targets, places=True)
    seen = judge.look(torch.zeros(3, 1, 64, 64))
    said, places = torch.zeros(3, len(TARGETS)), torch.full((3, len(PLACED_FINDINGS), 2, 2), 0.5)
    said[0, [TARGETS.index("nodule"), TARGETS.index("nodule_left")]] = 1
    said[1, [TARGETS.index("mass"), TARGETS.index("mass_left")]] = 1
    places[0, PLACED_FINDINGS.index("nodule"), SIDES.index("left")] = torch.tensor([0.3, 0.7])
    loss = place_loss(judge, seen, said, places)
    loss.backward()
    wanted = judge.shown_place.grad[0]
    assert divmod(int(wanted[FINDINGS.index("nodule")].argmin()), 16) == (4, 11)
    assert not wanted[[k for k, f in enumerate(FINDINGS) if f != "nodule"]].any()
    assert not place_loss(judge, seen, torch.zeros(3, len(TARGETS)), places)
    assert not place_loss(ReportDiscriminator(64, 4, 1, 16, names=Targets(TARGETS)), seen, said, places)


def test_what_is_small_is_named_by_what_is_seen_at_one_place_alone() -> None:
    targets = Targets(TARGETS, small=("nodule",))
    judge = ReportDiscriminator(64, 4, 1, 16, names=targets)
    seen = judge.look(torch.randn(2, 1, 64, 64))
    changed = judge.named(seen) != judge.named(seen._replace(features=seen.features + 1))
    assert {t for t, c in zip(TARGETS, changed.all(0), strict=True) if not c} == {t for t in TARGETS if "nodule" in t}
