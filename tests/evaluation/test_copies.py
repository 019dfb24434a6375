"""The copy detector: finds changed copies, lets other people pass, and its limit keeps the stated rate."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.evaluation.copies import CHANGES, changed, copy_limit, fit_copy_detector, from_array, packed
from radsynth.evaluation.overtrained import draw_by_heart


def people(count: int, seed: int, size: int = 128) -> np.ndarray:
    """Pictures with a common anatomy and, each its own, smooth differences."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    body = np.tanh(4 * (0.8 - np.hypot(x, y)))
    own = gaussian_filter(rng.normal(size=(count, size, size)), (0, size / 16, size / 16))
    return np.clip(body + 3 * own / own.std() * 0.1, -1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def train() -> np.ndarray:
    return people(160, 0)


@pytest.fixture(scope="module")
def detector(train):
    return fit_copy_detector(from_array(train), len(train), 64, np.arange(80))


@pytest.mark.parametrize("change", ["exact", *CHANGES])
def test_a_changed_copy_is_nearest_to_its_original_and_nearer_than_any_other_person(detector, train, change):
    held, _ = detector.nearest(from_array(people(80, 1)), 80)
    rows = np.arange(60, 100)
    similarity, neighbour = detector.nearest(from_array(changed(train[rows], change, 3)), len(rows))
    assert (neighbour == rows).mean() > 0.95
    assert np.median(similarity) > held.max()


def test_the_limit_is_passed_by_as_many_audits_as_stated():
    """Of 400 audits of 50 pictures that are like the held-out ones, about a tenth shows one above the limit."""
    rng = np.random.default_rng(0)
    limit, fit = copy_limit(np.tanh(rng.gumbel(0.4, 0.1, 4000)), 50, 0.1)
    alarms = [(np.tanh(rng.gumbel(0.4, 0.1, 50)) > limit).any() for _ in range(400)]
    assert 0.05 < np.mean(alarms) < 0.16
    assert fit > 0.01


def test_the_limit_is_stricter_for_more_pictures_and_fewer_false_alarms():
    near = np.tanh(np.random.default_rng(0).gumbel(0.4, 0.1, 200))
    assert copy_limit(near, 10, 0.1)[0] < copy_limit(near, 1000, 0.1)[0] < copy_limit(near, 1000, 0.01)[0]


def test_similarities_do_not_depend_on_the_order_of_the_pictures(detector):
    pictures = people(150, 2)
    order = np.random.default_rng(0).permutation(150)
    one, _ = detector.nearest(from_array(pictures), 150)
    other, _ = detector.nearest(from_array(pictures[order]), 150)
    np.testing.assert_allclose(other, one[order], atol=1e-5)


def test_a_flat_picture_is_nobodys_copy(detector):
    similarity, _ = detector.nearest(from_array(np.zeros((1, 128, 128), np.float32)), 1)
    assert np.isfinite(similarity).all()
    assert similarity[0] < 0.9


def test_the_over_trained_control_draws_its_training_pictures(detector, train):
    rows = np.arange(100, 104)
    reports = np.random.default_rng(0).normal(size=(4, 16))
    drawn = draw_by_heart(train[rows], reports, 150, samples=1, seed=0)[0]
    _, neighbour = detector.nearest(from_array(drawn), 4)
    assert neighbour.tolist() == rows.tolist()
    again = draw_by_heart(train[rows], reports, 2, samples=1, seed=0)[0]
    assert np.abs(drawn - train[rows]).mean() < 0.5 * np.abs(again - train[rows]).mean()


def test_packed_pictures_are_asked_for_once_in_order_and_are_the_same_in_a_file(tmp_path):
    def noise():
        rng = np.random.default_rng(0)
        return lambda rows: rng.uniform(-1, 1, (len(rows), 4, 4))

    whole = np.random.default_rng(0).uniform(-1, 1, (300, 4, 4)).astype(np.float32)
    assert np.array_equal(packed(noise(), whole.shape), whole)
    filed = packed(noise(), whole.shape, tmp_path / "noise.npy")
    assert np.array_equal(filed, whole)
    assert isinstance(filed, np.memmap)
