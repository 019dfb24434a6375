"""Two models are compared patient by patient, with intervals whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.evaluation.distribution import kid
from radsynth.evaluation.rescore import KernelDistance, compare, patient_draws


def mean_of(values: list[float], name: str):
    """The figure that is the mean over rows."""
    column = np.array(values)
    return lambda rows: {name: float(column[rows].mean())}


def test_what_is_hard_for_both_does_not_widen_the_interval_of_the_gain():
    hard = [10.0, 200.0, 35.0, 90.0, 400.0]
    found = compare(
        mean_of(hard, "mae_hu"), mean_of([v + 7 for v in hard], "mae_hu"), list("abcde"), {"mae_hu": "HU"}, 200, 0
    )["mae_hu"]
    assert found.gain == pytest.approx((7, 7, 7, 5))
    assert found.challenger.high - found.challenger.low > 100


def test_the_interval_of_two_patients_is_their_range():
    """Means of two drawn from gains 1 and 3 are 1, 2, 2, 3: each end has a quarter of the draws."""
    found = compare(mean_of([1, 3], "ssim"), mean_of([0, 0], "ssim"), ["a", "b"], {}, 1000, 0)["ssim"]
    assert found.gain == (2, 1, 3, 2)


def test_gain_is_positive_for_the_better_model_in_the_direction_of_the_figure():
    for name, better, worse in (("ssim", [0.9], [0.8]), ("mae_hu", [80.0], [90.0])):
        found = compare(mean_of(better, name), mean_of(worse, name), ["a"], {}, 10, 0)[name]
        assert found.gain.value > 0
    nearer = compare(mean_of([-0.01], "kid_judge"), mean_of([0.01], "kid_judge"), ["a"], {}, 10, 0)["kid_judge"]
    assert nearer.gain.value == pytest.approx(0.02)


def test_a_figure_that_most_draws_lack_has_no_interval():
    found = compare(lambda rows: {"x": float("nan")}, None, ["a", "b"], {}, 20, 0)["x"]
    assert np.isnan(found.challenger[:3]).all()
    assert (found.champion, found.gain) == (None, None)


def test_all_rows_of_a_patient_are_drawn_together():
    for rows in patient_draws(["a", "b", "a", "c"], 50, 0):
        times = np.bincount(rows, minlength=4)
        assert times[0] == times[2]
        assert times[0] + times[1] + times[3] == 3


def test_kid_of_everybody_is_the_evaluations_with_several_pictures_a_patient():
    random = np.random.default_rng(0)
    drawn, real = random.normal(size=(3, 12, 4)), random.normal(0.5, size=(12, 4))
    subjects = np.array([0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8])
    found = KernelDistance(drawn, real, subjects)
    for rows in (np.arange(12), np.arange(4)):
        every, owners = drawn[:, rows].reshape(-1, 4), np.tile(subjects[rows], 3)
        asked = kid(every, real[rows], owners, subjects[rows], repetitions=0).value
        assert found(rows) == pytest.approx(asked, rel=1e-4)
    assert np.isnan(found(np.array([0, 0, 1])))


def test_a_row_drawn_twice_is_not_compared_with_itself():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(6, 4)), random.normal(size=(6, 4))
    found, once = KernelDistance(x[None], y, np.arange(6)), np.arange(6)
    assert found(np.concatenate([once, once])) == pytest.approx(found(once))
    assert np.isnan(found(np.zeros(6, int)))
