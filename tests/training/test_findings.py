"""Training a findings network on pictures whose finding is plain to see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from radsynth.evaluation.report_agreement import auroc
from radsynth.networks.classifier import FindingsClassifier
from radsynth.training.chest_data import OTHER_SIDE, ChestSet, learnable
from radsynth.training.device import pick_device
from radsynth.training.findings import (
    FindingsPlan,
    judge_thresholds,
    masked_bce,
    predict,
    shifted,
    train_findings,
)
from radsynth.vocabulary import FINDINGS, TARGETS


def small_network() -> FindingsClassifier:
    return FindingsClassifier(len(FINDINGS), 8, blocks=2)


def test_the_seed_decides_every_weight_whatever_was_drawn_before(chest_set: ChestSet) -> None:
    plan = FindingsPlan(images_seen=16, batch_size=8, learning_rate=3e-3, seed=5)

    def trained() -> dict[str, torch.Tensor]:
        torch.rand(int(torch.randint(1, 9, ())))
        return train_findings("learning", small_network, {"train": chest_set}, plan, pick_device())[1].best

    one, again = trained(), trained()
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_it_learns_a_plain_finding(chest_set: ChestSet) -> None:
    plan = FindingsPlan(images_seen=800, batch_size=8, learning_rate=3e-3, seed=0, ema_half_life_images=50)
    network, _ = train_findings("learning", small_network, {"train": chest_set}, plan, pick_device())
    logits = predict(network, chest_set.pictures, len(chest_set), pick_device())
    effusion = FINDINGS.index("effusion")
    assert auroc(logits[:, effusion], chest_set.labels[:, effusion]) > 0.95


def test_of_no_pictures_nothing_is_predicted(chest_set: ChestSet) -> None:
    network = small_network().eval()
    assert predict(network, chest_set.pictures, 0, pick_device()).shape == (0, len(FINDINGS))


def test_uncertain_labels_do_not_count() -> None:
    logits = torch.tensor([[0.0, 9.0]])
    loss = masked_bce(logits, torch.tensor([[1.0, float("nan")]]), torch.ones(2))
    assert loss.item() == pytest.approx(np.log(2))


def test_findings_too_rare_to_learn_are_told(chest_set: ChestSet) -> None:
    assert [f for f, taught in zip(FINDINGS, learnable(chest_set.labels), strict=True) if taught] == ["effusion"]


def test_sides_are_targets_of_their_own(chest_set: ChestSet) -> None:
    left = chest_set.targets[:, TARGETS.index("effusion_left")]
    assert np.array_equal(left == 1, (chest_set.frame["side_effusion"] == "left").to_numpy())


def test_zones_are_targets_where_one_is_stated(chest_set: ChestSet) -> None:
    columns = [TARGETS.index(f"effusion_{zone}") for zone in ("upper", "mid", "lower")]
    present = chest_set.frame["label_effusion"].to_numpy() == 1
    assert np.array_equal(chest_set.targets[:, columns], np.stack([0 * present, 0 * present, present], 1))
    silent = replace(chest_set, frame=chest_set.frame.assign(zone_effusion="")).targets[:, columns]
    assert np.isnan(silent[present]).all()
    assert (silent[~present] == 0).all()


def test_large_is_a_target_where_a_size_is_stated(chest_set: ChestSet) -> None:
    column, present = TARGETS.index("effusion_large"), chest_set.frame["label_effusion"].to_numpy() == 1
    for size, wanted in (("large", 1), ("moderate", 0), ("small", 0), ("", np.nan)):
        frame = chest_set.frame.assign(size_effusion=np.where(present, size, ""))
        np.testing.assert_array_equal(replace(chest_set, frame=frame).targets[:, column], np.where(present, wanted, 0))


def test_left_and_right_change_places_and_nothing_else_does() -> None:
    assert np.array_equal(OTHER_SIDE[OTHER_SIDE], np.arange(len(TARGETS)))
    exchanged = {TARGETS[a]: TARGETS[b] for a, b in enumerate(OTHER_SIDE) if a != b}
    assert exchanged["pleural_thickening_left"] == "pleural_thickening_right"
    assert all(target.endswith(("_left", "_right")) for target in exchanged)


def test_augmentation_moves_but_never_mirrors() -> None:
    picture = torch.zeros(1, 1, 16, 16)
    picture[0, 0, 8, 4] = 1
    for seed in range(20):
        moved = shifted(picture, np.random.default_rng(seed), 3)
        place = np.unravel_index(int(moved[0, 0].argmax()), (16, 16))
        assert abs(place[0] - 8) <= 3
        assert abs(place[1] - 4) <= 3


def test_thresholds_part_what_can_be_parted() -> None:
    labels = np.full((8, len(FINDINGS)), np.nan)
    k = FINDINGS.index("effusion")
    labels[:, k] = [1, 1, 1, 1, 0, 0, 0, 0]
    logits = np.zeros_like(labels)
    logits[:, k] = [3, 4, 5, 6, -1, 0, 1, 2]
    found = judge_thresholds(logits, labels, ("effusion", "mass"))
    assert found == {"effusion": 2.5}
