import numpy as np
import pytest
import torch
from torch import nn

from radsynth.evaluation.ct_proxies import (
    HuHistogram,
    features_of,
    mutual_information,
    slice_distance,
    slice_pictures,
)
from radsynth.evaluation.features import FeatureSpace
from radsynth.training.cyclegan import MriToCt, cycle_error
from radsynth.training.device import cpu_device

WINDOW = (-1000.0, 1000.0)


def histogram(values):
    found = HuHistogram(WINDOW)
    found.add(np.asarray(values, np.float64))
    return found


def test_a_shifted_histogram_is_as_far_as_it_was_shifted():
    values = np.random.default_rng(0).integers(-500, 500, 5000)
    assert histogram(values).distance(histogram(values)) == 0
    assert histogram(values + 37).distance(histogram(values)) == pytest.approx(37)
    assert histogram(np.repeat(values, 3)).distance(histogram(values)) == pytest.approx(0), "shares, not counts"
    assert np.isnan(histogram([]).distance(histogram(values)))


def test_a_histogram_added_in_parts_is_that_of_the_whole_and_clips_to_the_window():
    values = np.random.default_rng(0).normal(0, 900, 3000)
    parts = HuHistogram(WINDOW)
    for part in np.split(values, 3):
        parts.add(part)
    assert np.array_equal(parts.counts, histogram(values).counts)
    assert parts.counts[0] == (np.round(values.clip(*WINDOW)) == -1000).sum()
    assert parts.counts.sum() == 3000


def test_mutual_information_is_the_entropy_of_a_copy_and_nothing_of_noise():
    random = np.random.default_rng(0)
    levels = random.integers(0, 4, 40_000)
    mr, ct = levels / 4 + 0.1, levels * 300.0 - 500
    shares = np.bincount(levels) / len(levels)
    assert mutual_information(mr, ct, WINDOW) == pytest.approx(-(shares * np.log(shares)).sum())
    assert mutual_information(1 - mr, ct, WINDOW) == pytest.approx(mutual_information(mr, ct, WINDOW)), "any order"
    assert mutual_information(mr, random.permutation(ct), WINDOW) < 0.001
    half = np.where(levels < 2, -500.0, 500)
    assert mutual_information(mr, half, WINDOW) == pytest.approx(np.log(2), abs=0.001)


class Scale(nn.Module):
    """A generator that multiplies by a number."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, image):
        return image[:, :1] * self.factor


def cycle_model(there, back):
    return MriToCt(nn.ModuleDict({"mr_to_ct": Scale(there), "ct_to_mr": Scale(back)}), WINDOW, False, nn.ModuleDict())


def test_a_cycle_that_comes_back_has_no_error_and_one_that_shrinks_has_what_it_lost():
    depth = np.zeros((5, 8, 8), np.float32)
    depth[:, 2:6, 2:6] = 3
    mr, ct = np.where(depth > 0, 0.75, 0.9).astype(np.float32), np.where(depth > 0, 500, -900).astype(np.int16)
    places = np.array([0, 2, 4])
    assert cycle_error(cycle_model(0.5, 2.0), mr, depth, "MR", places) == pytest.approx(0, abs=1e-6)
    shrinks = cycle_model(0.5, 1.0)
    # MR 0.75 and CT 500 HU are both 0.5 of -1..1, and come back as 0.25: a quarter of a half of their range less
    assert cycle_error(shrinks, mr, depth, "MR", places) == pytest.approx(0.125)
    assert cycle_error(shrinks, ct, depth, "CT", places) == pytest.approx(250)
    assert cycle_error(shrinks, ct, depth, "CT", places, batch_size=2) == pytest.approx(250)
    assert np.isnan(cycle_error(shrinks, ct, np.zeros_like(depth), "CT", places))


SPACE = FeatureSpace("means of quarters", "none", 4, lambda p: nn.functional.avg_pool2d(p, p.shape[-1] // 2).flatten(1))


def heads(count, shift, seed):
    random = np.random.default_rng(seed)
    return [random.normal(shift, 1, (6, 8, 8)).astype(np.float32) for _ in range(count)]


def test_kernel_distance_orders_like_near_and_far_and_needs_two_heads():
    device = cpu_device()
    real = features_of(heads(12, 0, 0), SPACE, device)
    found = [slice_distance(features_of(heads(12, s, 1), SPACE, device), real, 20, 0) for s in (0, 1, 3)]
    assert abs(found[0].value) < 0.05 < found[1].value < found[2].value
    assert found[0].n == 12, "heads, not slices"
    assert np.isnan(slice_distance(features_of(heads(1, 0, 1), SPACE, device), real, 20, 0).value)
    assert real[0].shape == (72, 4)


def test_pictures_show_air_outside_the_head():
    ct, inside = np.full((3, 4, 4), 0.0), np.zeros((3, 4, 4), bool)
    inside[:, 1:3, 1:3] = True
    found = slice_pictures(ct, inside, np.array([1]), WINDOW)
    assert found.shape == (1, 4, 4)
    assert found[0, 1, 1] == 0
    assert found[0, 0, 0] == -1
