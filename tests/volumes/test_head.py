"""The head's mask and the depth under the skin."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.volumes.geometry import apply
from radsynth.volumes.head import depth_mm, head_mask, signed_depth_mm


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def truth(make_head):
    head = make_head("CT", spacing=3.0)
    clean = head.voxels > -500
    from scipy import ndimage

    return ndimage.binary_fill_holes(clean)


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_the_mask_is_the_head_with_its_sinuses(make_head, modality):
    head = make_head(modality, spacing=3.0)
    mask = head_mask(head.voxels, 3.0, modality)
    assert dice(mask, truth(make_head)) > 0.95
    sinus = np.rint(apply(np.linalg.inv(head.affine), np.array([0.0, 62, -42]))).astype(int)
    assert mask[tuple(sinus)]


def test_the_head_holder_is_not_part_of_the_head(make_head):
    head = make_head("CT", spacing=3.0)
    x, y, _ = np.meshgrid(*[np.arange(n) * 3.0 for n in head.voxels.shape], indexing="ij")
    shell = np.abs(np.hypot(x - 100, y - 120) - 101) < 3.0
    shell &= y < 60
    # well off the skin: where it touches, the two cannot be told apart
    holder = shell & (head.voxels < -500) & ((x < 48) | (x > 152))
    with_holder = np.where(shell & (head.voxels < -500), np.int16(900), head.voxels)
    held = head_mask(with_holder, 3.0, "CT")
    assert holder.sum() > 300
    assert (held & holder).mean() < 0.05 * holder.mean()
    assert dice(head_mask(head.voxels, 3.0, "CT"), held) > 0.98


def test_depth_is_the_distance_to_the_nearest_air_in_mm():
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[5:15, 5:15, 5:15] = True
    depth = depth_mm(mask, np.array([1.0, 2.0, 3.0]))
    assert depth[5, 10, 10] == 1.0
    assert depth[9, 10, 10] == 5.0
    assert depth[9, 5, 10] == 2.0
    assert (depth[~mask] == 0).all()
    assert (depth[mask] > 0).all()


def test_there_is_no_skin_where_the_head_leaves_the_picture():
    mask = np.ones((30, 30, 30), dtype=bool)
    mask[:, :, 25:] = False
    seen = np.ones_like(mask)
    seen[:, :, :10] = False
    depth = depth_mm(mask & seen, np.ones(3), seen)
    assert depth[15, 15, 10] == 15.0
    assert depth[0, 15, 24] == 1.0


def test_signed_depth_is_negative_outside():
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[3:6, 3:6, 3:6] = True
    signed = signed_depth_mm(mask, 2.0)
    assert signed[4, 4, 4] == 4.0
    assert signed[4, 4, 0] == -6.0


def test_an_empty_volume_has_no_head():
    assert not head_mask(np.full((30, 30, 30), -1000.0), 3.0, "CT").any()
