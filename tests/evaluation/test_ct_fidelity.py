import numpy as np
import pytest

from radsynth.evaluation.ct_fidelity import (
    DEFINITIONS,
    ct_fidelity,
    dice,
    mean_absolute_error,
    mean_error,
    peak_signal_to_noise,
    structural_similarity,
)


@pytest.fixture
def head():
    random = np.random.default_rng(0)
    z, y, x = np.mgrid[:14, :16, :18]
    mask = ((z - 7) / 6) ** 2 + ((y - 8) / 7) ** 2 + ((x - 9) / 8) ** 2 < 1
    true = np.where(mask, random.normal(40, 300, mask.shape), -1024).astype(np.float32)
    return true, mask


def test_a_perfect_copy_scores_perfectly(head):
    true, mask = head
    figures = ct_fidelity(true, true, mask)
    assert figures["mae_hu"] == figures["me_hu"] == 0
    assert figures["ssim"] == pytest.approx(1)
    assert figures["bone_dice"] == figures["air_dice"] == 1
    assert figures["psnr"] == pytest.approx(20 * np.log10(4024 / 1e-3))


def test_every_figure_has_a_definition(head):
    true, mask = head
    assert set(ct_fidelity(true, true, mask)) == set(DEFINITIONS)


def test_a_shift_of_100_hu_is_an_error_of_100_hu(head):
    true, mask = head
    assert mean_absolute_error(true - 100, true, mask) == pytest.approx(100, rel=1e-5)
    assert mean_error(true - 100, true, mask) == pytest.approx(-100, rel=1e-5)
    inside = true.clip(-800, 800)
    assert peak_signal_to_noise(inside - 100, inside, mask) == pytest.approx(20 * np.log10(4024 / 100), rel=1e-5)


def test_integers_do_not_wrap_around(head):
    true, mask = head
    whole = np.full(true.shape, 30000, np.int16)
    assert mean_absolute_error(-whole, whole, mask) == 60000


def test_nothing_outside_the_head_counts(head):
    true, mask = head
    elsewhere = np.where(mask, true + 30, 2500)
    assert ct_fidelity(elsewhere, true, mask) == ct_fidelity(np.where(mask, true + 30, -9999), true, mask)


def test_psnr_and_ssim_clip_to_the_challenges_range(head):
    _, mask = head
    dense, denser = np.where(mask, 3000.0, -1024), np.where(mask, 9000.0, -5000)
    assert peak_signal_to_noise(denser, dense, mask) == peak_signal_to_noise(dense, dense, mask)
    assert structural_similarity(denser, dense, mask) == pytest.approx(1)


def test_ssim_is_what_its_equation_says_window_by_window(head):
    true, mask = head
    made = true + np.random.default_rng(1).normal(0, 200, true.shape)
    x, y = (np.where(mask, v, -1024.0).clip(-1024, 3000).astype(np.float64) + 1024 for v in (made, true))
    values = []
    for k, j, i in np.argwhere(mask):
        low, high = np.array([k, j, i]) - 3, np.array([k, j, i]) + 4
        if (low < 0).any() or (high > mask.shape).any():
            continue
        a, b = (v[low[0] : high[0], low[1] : high[1], low[2] : high[2]].ravel() for v in (x, y))
        (var_a, cov), (_, var_b) = np.cov(a, b)
        c1, c2 = (0.01 * 4024) ** 2, (0.03 * 4024) ** 2
        top = (2 * a.mean() * b.mean() + c1) * (2 * cov + c2)
        values.append(top / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (var_a + var_b + c2)))
    assert structural_similarity(made, true, mask) == pytest.approx(np.mean(values), rel=1e-6)


def test_more_noise_is_worse(head):
    true, mask = head
    noise = np.random.default_rng(1).normal(0, 1, true.shape)
    little, much = (ct_fidelity(true + s * noise, true, mask) for s in (20, 200))
    assert little["mae_hu"] < much["mae_hu"]
    for name in ("psnr", "ssim", "bone_dice", "air_dice"):
        assert little[name] > much[name]


def test_dice_is_twice_the_overlap_over_the_sum():
    one, other = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)
    assert dice(one, other) == 0.5
    assert dice(one, ~one) == 0
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) == 1


def test_bone_is_above_200_hu_and_air_below_minus_300():
    mask = np.ones((8, 8, 8), bool)
    true = np.zeros(mask.shape)
    true[0], true[1] = 201, -301
    made = np.zeros(mask.shape)
    made[0], made[1] = 200, -300
    figures = ct_fidelity(made, true, mask)
    assert figures["bone_dice"] == figures["air_dice"] == 0


def test_a_grid_smaller_than_the_window_is_refused():
    with pytest.raises(ValueError, match="window"):
        structural_similarity(np.zeros((5, 9, 9)), np.zeros((5, 9, 9)), np.ones((5, 9, 9), bool))
