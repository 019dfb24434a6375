import numpy as np
import pytest

from radsynth.evaluation.baselines_ct import hu_quantiles, match_histogram, mean_ct, median_ct


def test_mean_and_median_ct_are_taken_voxel_by_voxel():
    cts = [np.full((2, 3, 3), hu, np.int16) for hu in (30000, 30000, 0)]
    assert mean_ct(cts) == pytest.approx(np.full((2, 3, 3), 20000))
    assert median_ct(cts) == pytest.approx(np.full((2, 3, 3), 30000))
    cts[2][1, 2, 0] = 27000
    assert mean_ct(cts)[1, 2, 0] == 29000
    assert mean_ct(cts).dtype == median_ct(cts).dtype == np.float32


def test_no_constant_answer_has_a_smaller_absolute_error_than_the_median():
    cts = np.random.default_rng(0).gamma(1, 300, (9, 2, 4, 4))
    error = np.abs(cts - median_ct(list(cts))).mean()
    assert error < np.abs(cts - mean_ct(list(cts))).mean()


def test_matching_gives_the_mr_the_histogram_of_the_cts():
    random = np.random.default_rng(0)
    mask = np.ones((6, 20, 20), bool)
    mask[:, :3] = False
    cts = [random.normal(40, 200, mask.shape) for _ in range(3)]
    mr = random.uniform(0, 1, mask.shape)
    matched = match_histogram(mr, mask, hu_quantiles(cts, [mask] * 3))
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    expected = np.quantile(np.stack(cts)[:, mask], levels)
    assert np.quantile(matched[mask], levels) == pytest.approx(expected, abs=8)
    assert (matched[~mask] == -1024).all()


def test_matching_keeps_the_order_of_the_grey_values():
    mr = np.random.default_rng(0).uniform(0, 1, (4, 10, 10))
    matched = match_histogram(mr, mr > 0.2, np.linspace(-1000, 1500, 2000))
    inside = mr > 0.2
    order = np.argsort(mr[inside])
    assert (np.diff(matched[inside][order]) >= 0).all()


def test_a_value_that_many_voxels_share_takes_the_mean_of_their_hu():
    mr = np.zeros((2, 10, 10))
    mr[1] = np.linspace(0.5, 1, 100).reshape(10, 10)
    matched = match_histogram(mr, np.ones(mr.shape, bool), np.linspace(0, 1000, 2000))
    assert matched[0] == pytest.approx(np.full((10, 10), 250), abs=5)
