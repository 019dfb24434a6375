"""Removal, randomisation, planted flaws, edited reports and verdicts have their known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from radsynth.explain.faithfulness import deletion_insertion, road
from radsynth.explain.planted import other_side, stripes
from radsynth.explain.randomisation import cascade, rank_correlations, structural_similarities
from radsynth.explain.study import verdict_figures
from radsynth.explain.verdicts import allowed_zone, tally, verdicts
from radsynth.networks.classifier import FindingsClassifier
from radsynth.training.chest_data import ChestSet
from radsynth.vocabulary import FINDINGS


class Corner(nn.Module):
    """The mean of the picture's upper left quarter, times its only weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Conv2d(1, 8, 3, padding=1, bias=False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        half = pictures.shape[-1] // 2
        return pictures[:, :, :half, :half].mean((2, 3))


@pytest.fixture
def bright() -> tuple[torch.Tensor, np.ndarray]:
    """Pictures with bright dots in the upper left quarter, and a map of that quarter."""
    pictures = torch.full((2, 1, 32, 32), -1.0)
    pictures[:, :, 2:14:4, 2:14:4] = 1
    evidence = np.zeros((2, 32, 32), np.float32)
    evidence[:, :16, :16] = pictures[:, 0, :16, :16].numpy() + 2
    return pictures, evidence


def test_a_true_map_deletes_and_inserts_faster_than_its_opposite(bright) -> None:
    pictures, evidence = bright
    scores = [lambda row: 100 * row[0]] * 2
    good, bad = (deletion_insertion(Corner(), pictures, m, scores, steps=4) for m in (evidence, -evidence))
    assert (good.deletion < bad.deletion).all()
    assert (good.insertion > bad.insertion).all()


def test_a_score_that_blurring_does_not_lower_says_nothing() -> None:
    flat = torch.zeros(1, 1, 32, 32)
    found = deletion_insertion(Corner(), flat, np.zeros((1, 32, 32)), [lambda row: row[0]], steps=2)
    assert np.isnan(found.deletion).all()
    assert np.isnan(found.insertion).all()


def test_road_is_positive_for_a_true_map_and_repeats_itself(bright) -> None:
    pictures, evidence = bright
    evidence = evidence + np.linspace(0, 1e-3, 1024, dtype=np.float32).reshape(32, 32)
    scores = [lambda row: row[0]] * 2
    first, again = (road(Corner(), pictures, evidence, scores, (90,), seed=1) for _ in range(2))
    assert (first > 0).all()
    assert np.array_equal(first, again)
    assert (road(Corner(), pictures, -evidence, scores, (90,), seed=1) < first).all()


def test_likeness_of_maps_has_its_known_answers() -> None:
    maps = np.random.default_rng(0).standard_normal((4, 16, 16))
    assert np.allclose(rank_correlations(maps, maps**3), 1)
    assert np.allclose(rank_correlations(maps, -maps), -1)
    assert np.allclose(structural_similarities(maps, 5 * maps), 1, atol=1e-4)
    assert (rank_correlations(maps, np.zeros_like(maps)) == 0).all()


def test_a_map_of_the_weights_changes_with_them_and_a_map_of_the_picture_does_not() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 9, bias=False))
    picture = torch.randn(1, 1, 32, 32)
    honest = cascade(network, ["0"], lambda net: net(picture)[:, 0].detach().numpy(), seed=3)
    blind = cascade(network, ["0"], lambda _: picture[:, 0].numpy(), seed=3)
    assert honest.rank_correlation[0, 0] == pytest.approx(1)
    assert abs(honest.rank_correlation[1, 0]) < 0.5
    assert blind.rank_correlation[1, 0] == pytest.approx(1)


def test_a_stripe_changes_its_mask_alone() -> None:
    pictures = np.zeros((3, 64, 64), np.float32)
    striped, masks = stripes(pictures, seed=1)
    assert np.array_equal(striped != 0, masks)
    assert (masks.any((1, 2))).all()
    assert masks.mean() < 0.1


def test_a_lesion_changes_sides_and_leaves_nothing_behind() -> None:
    picture = np.zeros((1, 64, 64), np.float32)
    mask = np.zeros((1, 64, 64), bool)
    mask[0, 20:30, 8:18] = True
    picture[mask] = 1
    moved, where = other_side(picture, mask)
    assert np.array_equal(where, mask[:, :, ::-1])
    assert moved[0][where[0]].mean() > 0.9
    assert moved[0][mask[0]].mean() < 0.1


def test_the_zone_is_where_training_lesions_lie_or_the_side() -> None:
    masks = np.zeros((3, 64, 64), bool)
    masks[:, 10:20, 40:50] = True
    findings, sides = np.array(["effusion"] * 3), np.array(["left"] * 3)
    known = allowed_zone(masks, findings, sides, "effusion", "left")
    assert known[15, 45]
    assert not known[40, 45]
    assert allowed_zone(masks, findings, sides, "effusion", "right")[:, :32].all()
    assert not allowed_zone(masks, findings, sides, "effusion", "right")[:, 32:].any()
    both, bilateral = np.concatenate([masks, masks[:, :, ::-1]]), np.array(["left"] * 3 + ["both"] * 3)
    assert not allowed_zone(both, np.array(["effusion"] * 6), bilateral, "effusion", "left")[15, 18]
    assert allowed_zone(both, np.array(["effusion"] * 6), bilateral, "effusion", "both")[15, 18]
    assert allowed_zone(masks[:0], findings[:0], sides[:0], "hernia", "").all()


def test_a_verdict_needs_both_the_judge_and_the_place() -> None:
    zones = np.zeros((3, 4, 4), bool)
    zones[:, 0, 0] = True
    maps = np.zeros((3, 4, 4))
    maps[:2, 0, 0] = 1
    maps[2, 3, 3] = 1
    table = verdicts(["effusion"] * 3, np.array([1.0, -1.0, 1.0]), {"effusion": 0.0}, maps, zones)
    assert table["accepted"].tolist() == [True, False, False]
    assert tally(table) == [
        {
            "finding": "effusion", "drawn": 3, "judge_agrees": 2,
            "in_zone": 2, "accepted": 1, "rejected": 2
        }
    ]  # fmt: skip


def test_a_finding_that_the_judge_cannot_judge_does_not_count() -> None:
    frame = pd.DataFrame({"image_id": list("abcd"), "subject_id": list("abcd"), "image_row": range(4)})
    frame[[f"label_{finding}" for finding in FINDINGS]] = np.int8(0)
    frame["label_effusion"], frame["label_mass"] = np.int8([1, 1, 0, 0]), np.int8([0, 0, 1, 0])
    pixels = np.random.default_rng(0).integers(0, 60_000, (4, 32, 32)).astype(np.uint16)
    data = ChestSet(frame, pixels, None)
    drawn = data.pictures(np.arange(4))[:, 0].numpy()
    stated = [(0, "effusion", "left"), (1, "effusion", "left"), (2, "mass", "")]
    torch.manual_seed(0)
    figures, table, tables = verdict_figures(
        FindingsClassifier(len(FINDINGS), 4).eval(), {"effusion": 1e6}, data, drawn, stated,
        lambda finding, side: np.ones((32, 32), bool), "blocks.2", "hirescam", "test", 0, 20,
    )  # fmt: skip
    assert table["finding"].tolist() == ["effusion", "effusion"]
    assert [row["finding"] for row in tables["marker_verdicts"]] == ["effusion"]
    for share, seen in (("marker_agrees", 0), ("marker_accepted", 0), ("marker_in_zone", 1)):
        figure = figures[share]
        assert (figure["value"], figure["floor"]["value"], figure["worst_case"]["value"], figure["n"]) == (
            seen, seen, seen, 2,
        )  # fmt: skip
