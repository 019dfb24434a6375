"""Distances between distributions: known answers, ordering, and no dependence on order or batch size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from radsynth.evaluation.distribution import (
    compared_by_halves,
    frechet_distance,
    half_splits,
    kid,
    moments,
    ms_ssim,
    overlap,
)
from radsynth.training.scores import in_common_units, joint_features, kernel_distance


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_kid_with_one_picture_a_patient_is_the_kernel_distance(rng):
    x, y = rng.normal(size=(40, 6)), rng.normal(0.3, 1, (50, 6))
    assert kid(x, y, repetitions=0).value == pytest.approx(kernel_distance(x, y), rel=1e-4)


def test_kid_of_equally_many_pictures_is_that_of_torchmetrics_but_for_its_biased_cross_term(rng):
    from torchmetrics.image.kid import poly_mmd

    x, y = (torch.from_numpy(rng.normal(m, 1, (30, 5))) for m in (0, 0.5))
    assert kid(x.numpy(), y.numpy(), repetitions=0).value == pytest.approx(float(poly_mmd(x, y)), rel=1e-5)


def test_kid_of_equal_distributions_is_zero_within_its_interval_and_of_others_is_not(rng):
    same = kid(rng.normal(size=(150, 8)), rng.normal(size=(150, 8)), repetitions=200)
    other = kid(rng.normal(size=(150, 8)), rng.normal(1, 1, (150, 8)), repetitions=200)
    assert same.low < 0 < same.high
    assert 0 < other.low < other.value < other.high


def test_kid_is_unbiased_over_many_draws_and_its_bootstrap_is_centred(rng):
    values = [kid(rng.normal(size=(12, 4)), rng.normal(size=(12, 4)), repetitions=0).value for _ in range(600)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(600)
    found = kid(rng.normal(size=(60, 4)), rng.normal(0.5, 1, (60, 4)), repetitions=400)
    assert abs((found.low + found.high) / 2 - found.value) < 0.5 * (found.high - found.low)


def test_kid_does_not_pair_the_pictures_of_one_patient(rng):
    x, y = rng.normal(size=(30, 5)), rng.normal(size=(30, 5))
    twice, owners = np.repeat(x, 2, 0), np.repeat(np.arange(30), 2)
    assert kid(twice, y, owners, repetitions=0).value == pytest.approx(kid(x, y, repetitions=0).value, rel=1e-5)
    assert kid(twice, y, repetitions=0).value > kid(x, y, repetitions=0).value


def test_kid_does_not_pair_what_is_drawn_for_a_patient_with_his_picture(rng):
    x, people = rng.normal(size=(80, 5)), np.repeat(np.arange(40), 2)
    copies = kid(x, x, people, people, repetitions=50)
    assert np.abs([copies.value, copies.low, copies.high]).max() < 1e-5, "a copy is no nearer than another's picture"
    assert kid(x, x, repetitions=0).value < -0.1
    near = x + 0.3 * rng.normal(size=x.shape)
    apart, together = kid(x, near, people, people + 40, repetitions=300), kid(x, near, people, people, repetitions=300)
    assert together.high - together.low < 0.5 * (apart.high - apart.low), "drawn together they vary together"


def test_the_joint_score_sees_means_spread_and_whether_pictures_and_texts_belong_together(rng):
    texts = rng.normal(size=(300, 8))
    pictures = texts @ rng.normal(size=(8, 60)) / 8**0.5
    real, alike = (joint_features(pictures[rows], texts[rows]) for rows in (slice(0, 150), slice(150, None)))
    shuffled = joint_features(rng.permutation(pictures[150:]), texts[150:])
    collapsed = joint_features(np.zeros((150, 60)), texts[150:])
    moved = joint_features(pictures[150:] + 0.5, texts[150:])
    own = kernel_distance(real, alike)
    assert all(kernel_distance(real, other) > own + 0.1 for other in (shuffled, collapsed, moved))


def test_a_feature_that_no_real_picture_shows_counts_as_any_other(rng):
    real, drawn = rng.standard_normal((2, 150, 6)) * [10, 1, 1, 0.1, 0.1, 0]
    drawn[:, 5] += 0.1
    units = in_common_units(drawn, real, [3, 3])
    np.testing.assert_allclose(units.std(0), [1.7, 0.17, 0.17, 1.2, 1.2, 0], rtol=0.2, atol=1e-9)
    assert units[:, 5].mean() == pytest.approx(0.1 / np.sqrt(0.02 / 3), rel=0.2)
    assert abs(kernel_distance(in_common_units(real, real, [3, 3]), units)) < 10
    each = real.std(0) + 1e-6
    assert kernel_distance(real / each, drawn / each) > 1e9
    assert (in_common_units(np.ones((2, 2)), np.ones((3, 2)), [2]) == 0).all(), "where nothing varies"


def test_kid_over_subsets_agrees_with_kid_over_all_pairs(rng):
    x, y = rng.normal(size=(600, 4)), rng.normal(0.7, 1, (600, 4))
    whole, parts = kid(x, y, repetitions=200), kid(x, y, repetitions=0, subset=150)
    assert whole.low < parts.value < whole.high


@pytest.mark.parametrize("count", [200, 30])
def test_the_frechet_distance_of_sets_is_that_of_the_closed_form_of_their_moments(rng, count):
    from scipy.linalg import sqrtm

    x, y = rng.normal(size=(count, 40)) * np.linspace(0.5, 2, 40), rng.normal(0.4, 1, (count, 40))
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shift = np.square(x.mean(0) - y.mean(0)).sum()
    expected = shift + np.trace(c1 + c2) - 2 * np.trace(sqrtm(c1 @ c2 + 1e-12 * np.eye(40))).real
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-3)


def test_the_frechet_distance_of_a_shifted_and_scaled_set_is_exact(rng):
    x = rng.normal(size=(500, 10))
    c = np.trace(np.cov(x, rowvar=False))
    assert frechet_distance(x, x + 2) == pytest.approx(10 * 4, rel=1e-9)
    centred = x - x.mean(0)
    assert frechet_distance(centred, 3 * centred) == pytest.approx((3 - 1) ** 2 * c, rel=1e-9)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-8)


def test_small_and_large_forms_of_the_frechet_distance_agree(rng):
    x, y = rng.normal(size=(30, 31)), rng.normal(0.2, 1.5, (30, 31))
    wide = [np.concatenate([s, np.zeros((30, 5))], 1) for s in (x, y)]
    narrow = [s[:, :29] for s in (x, y)]
    assert frechet_distance(*wide) == pytest.approx(frechet_distance(x, y), rel=1e-9)
    assert frechet_distance(*narrow) == pytest.approx(
        frechet_distance(*(np.concatenate([s, np.zeros((30, 5))], 1) for s in narrow)), rel=1e-4
    )


def test_moments_in_blocks_are_those_of_the_whole(rng, monkeypatch):
    from radsynth.evaluation import distribution

    x = rng.normal(5, 2, (101, 7)).astype(np.float32)
    monkeypatch.setattr(distribution, "BLOCK", 13)
    found = moments(x)
    assert found.n == 101
    kept = x.astype(np.float64)
    moments(kept)
    np.testing.assert_array_equal(kept, x, err_msg="the caller's array")
    np.testing.assert_allclose(found.mean, x.mean(0, dtype=np.float64))
    np.testing.assert_allclose(found.scatter / 100, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-6)


def test_overlaps_of_a_set_with_itself_are_whole_and_of_far_sets_nothing(rng):
    x = rng.normal(size=(60, 3))
    same, far = overlap(x, x, 5), overlap(x, x + 100, 5)
    for indicators in (same.inside, same.recalled, same.covered):
        assert indicators.all()
    for indicators in far:
        assert not indicators.any()


def test_overlaps_of_a_hand_made_line_are_counted_by_hand():
    real = np.arange(6.0)[:, None]
    drawn = np.array([[0.5], [2.2], [9.0], [9.4]])
    found = overlap(real, drawn, 1)
    assert found.inside.tolist() == [True, True, False, False]
    assert found.dense.tolist() == [2, 2, 0, 0]
    assert found.covered.tolist() == [True, True, True, True, False, False]
    # drawn radii: 1.7, 1.7, 0.4, 0.4
    assert found.recalled.tolist() == [True, True, True, True, False, False]


def test_collapse_costs_recall_and_not_precision(rng):
    real = rng.normal(size=(200, 4))
    collapsed = 0.05 * rng.normal(size=(200, 4))
    found = overlap(real, collapsed, 5)
    assert found.inside.mean() > 0.95
    assert found.recalled.mean() < 0.05
    assert found.covered.mean() < 0.3


def test_every_distance_grows_from_real_over_slightly_and_strongly_noised_to_noise(rng):
    subjects = np.arange(120)
    real = rng.normal(size=(120, 12)) @ rng.normal(size=(12, 12))
    sets = [real, real + 1.5 * rng.normal(size=real.shape), real + 5 * rng.normal(size=real.shape)]
    sets.append(rng.uniform(-15, 15, real.shape))
    found = [compared_by_halves(real, s, subjects, seed=0) for s in sets]
    for name, sign in (("frechet", 1), ("precision", -1), ("density", -1), ("coverage", -1)):
        values = [sign * f[name].value for f in found]
        assert values == sorted(values), name
        assert values[0] < values[-1], name
    kids = [kid(real, s, repetitions=0).value for s in sets]
    assert kids == sorted(kids)


def test_intervals_of_overlaps_and_frechet_hold_the_mean_figure():
    found = []
    for draw in range(40):
        rng = np.random.default_rng((1, draw))
        real, drawn = rng.normal(size=(80, 6)), 0.7 + 0.7 * rng.normal(size=(80, 6))
        found.append(compared_by_halves(real, drawn, np.arange(80), seed=draw, splits=4))
    for name in ("frechet", "precision", "recall", "density", "coverage"):  # of 100 such sets 87 to 98 do
        mean = np.mean([f[name].value for f in found])
        assert sum(f[name].low <= mean <= f[name].high for f in found) >= 32, name


def test_figures_do_not_depend_on_the_order_of_the_pictures(rng):
    x, y = rng.normal(size=(80, 5)), rng.normal(0.5, 1, (80, 5))
    order = rng.permutation(80)
    assert kid(x[order], y, repetitions=0).value == pytest.approx(kid(x, y, repetitions=0).value)
    assert frechet_distance(x[order], y) == pytest.approx(frechet_distance(x, y))
    for one, other in zip(overlap(x[order], y), overlap(x, y), strict=True):
        assert one.mean() == pytest.approx(other.mean())


def test_halves_share_no_patient_and_lose_no_picture():
    subjects = np.array(["a", "a", "b", "c", "c", "d"])
    for first, second in half_splits(subjects, 5, 0):
        assert not set(subjects[first]) & set(subjects[second])
        assert sorted([*first, *second]) == list(range(6))


def test_ms_ssim_of_equal_pictures_is_one_and_falls_with_noise(rng):
    picture = np.repeat(rng.uniform(-1, 1, (3, 8, 8)), 32, 1).repeat(32, 2).astype(np.float32)
    noised = [np.clip(picture + s * rng.normal(size=picture.shape).astype(np.float32), -1, 1) for s in (0.05, 0.5)]
    values = [ms_ssim(picture, other).mean() for other in (picture, *noised)]
    assert values[0] == pytest.approx(1, abs=1e-5)
    assert values[0] > values[1] > values[2]
    assert ms_ssim(picture[:, :64, :64], picture[:, :64, :64]).shape == (3,)


def test_ms_ssim_is_that_of_torchmetrics(rng):
    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    for side, weights in ((256, (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)), (64, (0.071055, 0.452974, 0.475971))):
        coarse = rng.uniform(-1, 1, (2, 3, 8, 8)).astype(np.float32)
        one, other = coarse.repeat(side // 8, 2).repeat(side // 8, 3)
        other = (0.7 * one + 0.3 * other).astype(np.float32)
        known = multiscale_structural_similarity_index_measure(
            *(torch.from_numpy(p)[:, None] for p in (one, other)), data_range=2.0, betas=weights, normalize="relu",
            reduction="none",
        )  # fmt: skip
        np.testing.assert_allclose(ms_ssim(one, other), known.numpy(), atol=1e-3)
