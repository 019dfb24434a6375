import itertools

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from radsynth.evaluation.synthrad import (
    DEFINITIONS,
    SCALE_WEIGHTS,
    multi_scale_similarity,
    synthrad_figures,
    widened,
)

SHAPE = (22, 24, 28)


@pytest.fixture(scope="module")
def head():
    random = np.random.default_rng(0)
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    mask = ((z - 10) / 8) ** 2 + ((y - 12) / 9) ** 2 + ((x - 14) / 10) ** 2 < 1
    true = np.where(mask, random.normal(40, 300, mask.shape), -1024).astype(np.float32)
    return true, mask


def test_a_perfect_copy_scores_perfectly_by_both_definitions(head):
    true, mask = head
    figures = synthrad_figures(true, true, mask)
    assert set(figures) == set(DEFINITIONS)
    assert figures["synthrad_mae_hu"] == figures["synthrad_me_hu"] == 0
    assert figures["synthrad2023_ssim"] == pytest.approx(1)
    assert figures["synthrad2025_ms_ssim"] == pytest.approx(1)


def test_the_peaks_are_4024_hu_in_2023_and_4095_hu_in_2025(head):
    true, mask = head
    inside = true.clip(-800, 800)
    figures = synthrad_figures(inside + 50, inside, mask)
    assert figures["synthrad2023_psnr"] == pytest.approx(20 * np.log10(4024 / 50), rel=1e-5)
    assert figures["synthrad2025_psnr"] == pytest.approx(20 * np.log10(4095 / 50), rel=1e-5)
    dense = np.full(SHAPE, 3000.0)
    denser = synthrad_figures(np.full(SHAPE, 3071.0), dense, mask)
    assert denser["synthrad2023_psnr"] == pytest.approx(20 * np.log10(4024 / 1e-3)), "2023 clips at 3000"
    assert denser["synthrad2025_psnr"] == pytest.approx(20 * np.log10(4095 / 71)), "2025 at 3071"


def test_of_two_flat_volumes_only_luminance_differs_at_the_first_scale(monkeypatch):
    flat, denser = np.zeros((12, 12, 12)), np.full((12, 12, 12), 1024.0)
    a, b, c = 1024.0, 2048.0, (0.01 * 4095) ** 2
    monkeypatch.setattr("radsynth.evaluation.synthrad.SCALE_WEIGHTS", (0.5,))
    found = multi_scale_similarity(denser, flat, np.ones(flat.shape, bool))
    assert found == pytest.approx(((2 * a * b + c) / (a * a + b * b + c)) ** 0.5)


def test_the_fifth_scale_of_two_flat_volumes_can_be_had_by_hand(monkeypatch):
    # Of the least grid, 97 voxels, 7 are left at the fifth scale: one window. Each halving averages the first voxel
    # with the zero beyond the grid, so that it is 1/16 there along each axis, and all others are whole.
    assert SCALE_WEIGHTS == (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    a, b, c1, c2 = 1024.0, 2048.0, (0.01 * 4095) ** 2, (0.03 * 4095) ** 2
    mean = ((6 + 1 / 16) / 7) ** 3
    variance = 343 / 342 * (((6 + 1 / 256) / 7) ** 3 - mean**2)
    luminance = (2 * a * b * mean**2 + c1) / ((a * a + b * b) * mean**2 + c1)
    contrast = (2 * a * b * variance + c2) / ((a * a + b * b) * variance + c2)
    monkeypatch.setattr("radsynth.evaluation.synthrad.SCALE_WEIGHTS", (0, 0, 0, 0, 0.1333))
    flat, denser = np.zeros((40, 40, 40)), np.full((40, 40, 40), 1024.0)
    found = multi_scale_similarity(denser, flat, np.ones(flat.shape, bool))
    assert found == pytest.approx((luminance * contrast) ** 0.1333, rel=1e-9), "the structure is 1: proportional"


def test_the_first_scale_is_what_its_equation_says_window_by_window(head, monkeypatch):
    true, mask = head
    made = true + np.random.default_rng(1).normal(0, 200, true.shape)
    weight, data_range = 0.3, 4095
    monkeypatch.setattr("radsynth.evaluation.synthrad.SCALE_WEIGHTS", (weight,))
    x, y = (np.where(mask, v, -1024.0).clip(-1024, 3071).astype(np.float64) + 1024 for v in (made, true))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for k, j, i in np.argwhere(mask):
        a, b = (v[k - 3 : k + 4, j - 3 : j + 4, i - 3 : i + 4].ravel() for v in (x, y))
        assert a.size == b.size == 343, "the head lies away from the border"
        (var_a, cov), (_, var_b) = np.cov(a, b)
        root = np.sqrt(var_a * var_b)
        luminance = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
        contrast, structure = (2 * root + c2) / (var_a + var_b + c2), (cov + c2 / 2) / (root + c2 / 2)
        values.append((luminance * contrast * max(structure, 0)) ** weight)
    assert multi_scale_similarity(made, true, mask) == pytest.approx(np.mean(values), rel=1e-9)


def test_more_noise_is_worse_at_the_scales_together(head):
    true, mask = head
    noise = np.random.default_rng(1).normal(0, 1, true.shape)
    scores = [multi_scale_similarity(true + s * noise, true, mask) for s in (0, 20, 100, 400)]
    assert all(better > worse for better, worse in itertools.pairwise(scores))


def test_a_mask_that_the_coarsest_scale_misses_has_no_multi_scale_figure(head):
    true, mask = head
    corner = np.zeros_like(mask)
    corner[:3, :3, :3] = True
    assert np.isnan(multi_scale_similarity(true, true, corner))


def test_nothing_outside_the_mask_counts(head):
    true, mask = head
    made = np.where(mask, true + 30, 2500)
    assert synthrad_figures(made, true, mask) == synthrad_figures(np.where(mask, made, -9999), true, mask)


def test_the_mask_is_widened_by_ten_millimetres_in_its_plane_alone():
    mask = np.zeros((5, 31, 31), bool)
    mask[2, 15, 15] = True
    found = widened(mask, (2.0, 5.0, 1.0))
    assert not found[[0, 1, 3, 4]].any()
    assert np.flatnonzero(found[2, 15]).tolist() == list(range(10, 21)), "five voxels of 2 mm to either side in x"
    assert np.flatnonzero(found[2, :, 15]).tolist() == [13, 14, 15, 16, 17], "two of 5 mm in y"
    assert not found[2, 13, 10], "a disc, no rectangle"


def test_widening_at_one_millimetre_is_a_dilation_by_a_disc_of_ten_voxels(head):
    _, mask = head
    y, x = np.mgrid[-10:11, -10:11]
    disc = (x * x + y * y <= 100)[None]
    assert np.array_equal(widened(mask, (1.0, 1.0, 3.0)), binary_dilation(mask, disc))
