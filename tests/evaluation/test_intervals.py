import numpy as np
import pytest

from radsynth.evaluation.intervals import bootstrap_interval


def test_the_value_is_the_statistic_of_the_sample():
    values = np.array([1.0, 2.0, 6.0])
    assert bootstrap_interval(values).value == 3
    assert bootstrap_interval(values, np.median).value == 2
    assert bootstrap_interval(values).n == 3


def test_the_interval_of_a_mean_agrees_with_theory():
    values = np.random.default_rng(0).normal(10, 2, 400)
    interval = bootstrap_interval(values, repetitions=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        interval = bootstrap_interval(random.normal(0, 1, 60), repetitions=400, seed=trial)
        covered += interval.low <= 0 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).normal(size=9)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_rows_are_drawn_as_a_whole():
    pairs = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])

    def ratio(sample, axis):
        return sample[..., 1].sum(axis=axis) / sample[..., 0].sum(axis=axis)

    assert bootstrap_interval(pairs, ratio)[:3] == pytest.approx((10, 10, 10))


def test_one_patient_gives_an_interval_without_width():
    assert bootstrap_interval(np.array([5.0])) == (5.0, 5.0, 5.0, 1)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]])
def test_nothing_and_non_finite_values_are_refused(values):
    with pytest.raises(ValueError, match=r"no values|finite"):
        bootstrap_interval(np.array(values))
