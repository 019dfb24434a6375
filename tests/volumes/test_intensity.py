"""HU are kept, MR is corrected and scaled so that it can be scaled back."""

from __future__ import annotations

import numpy as np

from radsynth.volumes.geometry import apply
from radsynth.volumes.head import head_mask
from radsynth.volumes.intensity import bias_field, clip_hu, mr_range, restore_mr, scale_mr


def test_hu_within_the_range_are_exact_and_padding_becomes_air():
    hu = np.array([-3024, -1500, -1024, -1, 0, 40, 3071, 9000])
    np.testing.assert_array_equal(clip_hu(hu), [-1024, -1024, -1024, -1, 0, 40, 3071, 3071])
    assert clip_hu(hu).dtype == np.int16


def test_scaled_mr_can_be_scaled_back():
    rng = np.random.default_rng(0)
    values, mask = rng.gamma(2, 150, (20, 20, 20)), np.ones((20, 20, 20), dtype=bool)
    low, high = mr_range(values, mask)
    scaled = scale_mr(values, low, high)
    assert scaled.min() == 0
    assert scaled.max() == 1
    inside = (values > low) & (values < high)
    assert 0.97 < inside.mean() < 0.99
    np.testing.assert_allclose(restore_mr(scaled, low, high)[inside], values[inside], rtol=1e-4)


def test_percentiles_are_those_of_the_head_alone():
    values = np.zeros((20, 20, 20))
    mask = np.zeros(values.shape, dtype=bool)
    mask[8:12, 8:12, 8:12] = True
    values[mask] = np.linspace(100, 200, 64)
    low, high = mr_range(values, mask)
    assert 100 <= low < 105
    assert 195 < high <= 200


def test_n4_removes_most_of_a_bias_field(make_head):
    head = make_head("MR", spacing=3.0)
    mask = head_mask(head.voxels, 3.0, "MR")
    world = apply(head.affine, np.stack(np.meshgrid(*map(np.arange, head.voxels.shape), indexing="ij"), axis=-1))
    bias = np.exp(0.006 * world[..., 0] + 0.004 * world[..., 2]).astype(np.float32)
    field = bias_field(head.voxels * bias, head.affine, mask)
    white = (head.voxels > 280) & (head.voxels < 320) & mask

    def spread(values):
        return values[white].std() / values[white].mean()

    assert spread(bias) > 0.15
    assert spread(bias / field) < 0.35 * spread(bias)
    assert abs(field[mask].mean() - 1) < 0.05
