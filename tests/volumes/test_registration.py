"""Heads come to lie over the reference, whatever their modality, pose, size and field of view."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.errors import InputQuarantined
from radsynth.volumes import registration
from radsynth.volumes.geometry import apply, rotation_angle_deg, without_scale

POINTS = np.array([[x, y, z] for x in (-60, 0, 60) for y in (-80, 0, 80) for z in (-40, 20, 80)], dtype=float)
SLICE_MM = 3.0
"""Of the quickstart's grid: a cut head may not come to lie in another slice."""
POSES = [((14, 5, -9), (12, -15, 20)), ((-12, -6, 15), (-20, 10, -30))]


@pytest.fixture(scope="module")
def reference(make_head):
    head = make_head("CT")
    return registration.working_head(head.voxels, head.affine, "CT", "reference")


def error_mm(matrix, pose):
    """Mean distance between where `matrix` puts the head and where it belongs."""
    return float(np.linalg.norm(apply(matrix @ pose, POINTS) - POINTS, axis=1).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("modality", "pose"), [("MR", POSES[0]), ("CT", POSES[1])])
def test_the_pose_is_found_within_one_working_voxel(make_head, make_rigid, reference, modality, pose):
    pose = make_rigid(*pose)
    head = make_head(modality, pose, low=(-125, -150, -160), high=(125, 150, 150), seed=4)
    moving = registration.working_head(head.voxels, head.affine, modality, "moving")
    matrix, metric = registration.register(reference, moving)
    assert error_mm(matrix, pose) < registration.WORK_MM
    assert metric < -0.2
    rigid, scale = without_scale(matrix)
    np.testing.assert_allclose(rigid[:3, :3] @ rigid[:3, :3].T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(scale, 1, atol=0.02)


@pytest.mark.slow
def test_a_neck_cut_short_does_not_move_the_head(make_head, make_rigid, reference):
    pose = make_rigid((8, 0, 5), (5, -5, 10))
    head = make_head("MR", pose, low=(-110, -120, -45), high=(110, 130, 130))
    matrix, _ = registration.register(reference, registration.working_head(head.voxels, head.affine, "MR", "moving"))
    assert error_mm(matrix, pose) < SLICE_MM


@pytest.mark.slow
def test_a_larger_head_is_centred_and_not_laid_against_one_side(make_head, make_rigid, reference):
    pose = make_rigid((5, 3, -4), (14, 6, 0))
    head = make_head("MR", pose, low=(-130, -150, -150), high=(130, 150, 140), size=(1.1, 1.06, 1.08))
    matrix, _ = registration.register(reference, registration.working_head(head.voxels, head.affine, "MR", "moving"))
    assert abs((matrix @ pose)[0, 3]) < 1.5
    assert rotation_angle_deg(matrix @ pose) < 3
    # and made of the reference's size
    np.testing.assert_allclose(without_scale(matrix)[1], 1 / np.array([1.1, 1.06, 1.08]), rtol=0.02)
    grown = np.diag([1.1, 1.06, 1.08, 1.0])
    assert error_mm(matrix @ pose @ grown, np.eye(4)) < registration.WORK_MM


@pytest.mark.slow
def test_mr_and_ct_of_one_person_are_paired_within_a_millimetre(make_head, make_rigid, reference):
    pose = make_rigid((6, -3, 4), (5, 3, -4))
    head = make_head("MR", pose, low=(-120, -140, -140), high=(120, 140, 130))
    moving = registration.working_head(head.voxels, head.affine, "MR", "moving")
    matrix, _ = registration.register(reference, moving, same_subject=True)
    assert error_mm(matrix, pose) < 1
    np.testing.assert_allclose(without_scale(matrix)[1], 1, atol=1e-9)


@pytest.mark.slow
def test_a_tilted_reference_is_set_upright_and_symmetric(make_head, make_rigid):
    upright = make_head("CT")
    level = registration.upright_pose(registration.working_head(upright.voxels, upright.affine, "CT", "a"))
    pose = make_rigid((9, 7, -11), (15, 10, 5))
    head = make_head("CT", pose, low=(-125, -150, -160), high=(125, 150, 150))
    tilted = registration.upright_pose(registration.working_head(head.voxels, head.affine, "CT", "b"))
    # however it lay, it comes to lie the same
    between = tilted @ pose @ np.linalg.inv(level)
    assert rotation_angle_deg(between) < 1.5
    assert np.abs(between[:3, 3]).max() < 3
    # and the mirror plane, x = 0 in this head, is x = 0
    middle = apply(tilted @ pose, np.array([[0.0, 0, 0], [0, 50, 20], [0, -50, 20]]))
    assert np.abs(middle[:, 0]).max() < 1.5
    assert abs(apply(tilted @ pose, np.array([0.0, 0, 95]))[2]) < 8


@pytest.mark.slow
def test_what_is_no_head_is_quarantined(reference):
    rng = np.random.default_rng(0)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    with pytest.raises(InputQuarantined) as caught:
        registration.working_head(rng.normal(-1000, 5, (60, 60, 60)), affine, "CT", "air.nii")
    assert caught.value.reason == "head_not_found"
    box = np.full((90, 90, 90), -1000.0)
    box[20:70, 5:85, 40:50] = 40
    slab = registration.working_head(box, affine, "CT", "slab.nii")
    with pytest.raises(InputQuarantined) as caught:
        registration.register(reference, slab, "slab.nii")
    assert caught.value.reason == "registration_failed"


def test_a_cut_vertex_is_noticed(make_head, reference):
    cut = make_head("CT", high=(100, 125, 60))
    assert registration.vertex_cut(registration.working_head(cut.voxels, cut.affine, "CT", "cut"))
    assert not registration.vertex_cut(reference)
