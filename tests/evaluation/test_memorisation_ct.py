"""The audit of synthetic CTs: a copy is found, a mean head and another person are not, one CT gives no verdict."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from radsynth.evaluation.memorisation_ct import PLANTED, audit_mri_to_ct
from radsynth.training.slices import Heads

SHAPE = (24, 48, 48)


def heads(modality: str, count: int, seed: int, name: str) -> Heads:
    """People with a common skull and smooth differences of their own."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[-1:1:24j, -1:1:48j, -1:1:48j]
    radius = np.sqrt(x**2 + y**2 + z**2)
    inside = np.broadcast_to(radius < 0.95, (count, *SHAPE))
    own = gaussian_filter(rng.normal(size=(count, *SHAPE)), (0, 3, 5, 5))
    volumes = np.where(inside, 40 + 400 * np.exp(-(((radius - 0.8) / 0.2) ** 2)) + 150 * own / own.std(), -1024)
    return Heads(modality, volumes, inside * 10.0, tuple(range(count)), tuple(f"{name}{i}" for i in range(count)))


def audit(synthesize, train: Heads):
    mr = heads("MR", 3, 2, "held")
    held = [heads("CT", 3, 2, "held")]
    return audit_mri_to_ct(synthesize, [mr], held, train, 0.1, spacing_mm=(2.0, 2.0, 4.0), repetitions=20, seed=0)


@pytest.fixture
def train() -> Heads:
    return heads("CT", 8, 1, "train")


def test_a_model_that_answers_with_a_training_ct_fails_and_says_whose(train):
    found, matches = audit(lambda mr, depth: train.volume(5)[0] + 20.0, train)
    assert found["mri_to_ct_passed"] is False
    assert {match["training_subject"] for match in found["ct_nearest"]} == {"train5"}
    assert matches[0].correlation > 0.99


def test_a_model_that_answers_with_the_mean_head_passes(train):
    mean = train.images.mean(0)
    found, _ = audit(lambda mr, depth: mean, train)
    assert found["mri_to_ct_passed"] is True
    assert found["ct_nearest_mae_hu"] < found["figures"]["ct_nearest_mae_hu"]["floor"]


def test_a_model_that_answers_with_the_true_ct_of_another_person_passes(train):
    found, _ = audit(lambda mr, depth: mr, train)
    assert found["mri_to_ct_passed"] is True
    assert found["ct_canaries_found"] >= 0.8
    assert found["ct_nearest_correlation"] == pytest.approx(
        found["figures"]["ct_nearest_correlation"]["floor"]["value"]
    )


def test_a_copy_is_moved_and_blurred_by_millimetres_whatever_the_grid():
    spot, rng = np.zeros((3, 9, 9), np.float32), np.random.default_rng(0)
    spot[1, 4, 4] = 1
    for mm, x in ((2.0, 5), (1.0, 6)):
        moved = PLANTED["shift"](spot, np.array([8.0, mm, mm]), rng)
        assert moved[1, 4, x] == pytest.approx(1)
        assert moved.sum() == pytest.approx(1)
    assert PLANTED["blur"](spot, np.array([8.0, 8.0, 8.0]), rng)[1, 4, 4] > 0.9
    assert PLANTED["blur"](spot, np.array([8.0, 2.0, 2.0]), rng)[1, 4, 4] < 0.2


def test_with_one_training_ct_nothing_is_claimed():
    found, matches = audit(lambda mr, depth: mr, heads("CT", 1, 1, "train"))
    assert found["mri_to_ct_passed"] is None
    assert "1 training CTs" in found["mri_to_ct_reason"]
    assert matches == []
