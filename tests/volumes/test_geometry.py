"""Where voxels lie: orientation, resampling, LPS against RAS, and the way back."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from radsynth.volumes import geometry
from radsynth.volumes.geometry import Volume

ORIENTATIONS = ["".join(c) for axes in itertools.permutations(("LR", "PA", "IS")) for c in itertools.product(*axes)]


def asymmetric() -> Volume:
    """Three different bars towards R, A and S from one corner: no flip or swap leaves it as it is."""
    voxels = np.zeros((16, 18, 14), dtype=np.int16)
    voxels[4:13, 4, 4], voxels[4, 4:11, 4], voxels[4, 4, 4:9] = 100, 200, 300
    return Volume(voxels, np.array([[2.0, 0, 0, -10], [0, 2.5, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]]), "CT")


def reoriented(volume: Volume, codes: str) -> Volume:
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    affine = volume.affine @ inv_ornt_aff(change, volume.voxels.shape)
    return Volume(apply_orientation(volume.voxels, change), affine, volume.modality)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_canonical_undoes_every_orientation_exactly(codes):
    turned = reoriented(asymmetric(), codes)
    assert turned.orientation == codes
    back = geometry.canonical(turned)
    np.testing.assert_array_equal(back.voxels, asymmetric().voxels)
    np.testing.assert_allclose(back.affine, asymmetric().affine)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_result_put_back_on_a_native_grid_is_not_flipped(codes, make_rigid):
    native = reoriented(asymmetric(), codes)
    matrix = np.diag([1.1, 0.95, 1.02, 1.0]) @ make_rigid((7, -5, 11), (3, -4, 6))
    size, spacing = (60, 62, 58), (1.0, 1.0, 1.0)
    grid = geometry.centred_grid(size, spacing)
    grid[:3, 3] += geometry.apply(matrix, geometry.apply(native.affine, (np.array(native.voxels.shape) - 1) / 2))
    on_grid = geometry.resample(native.voxels, native.affine, size, grid, world=matrix, fill=0)
    row = {
        "native_affine": native.affine.ravel().tolist(),
        "grid_affine": grid.ravel().tolist(),
        "native_to_reference": matrix.ravel().tolist(),
        "native_size": native.voxels.shape,
        "modality": "CT",
        "native_path": "somewhere.nii",
    }
    back = geometry.to_native(on_grid.transpose(2, 1, 0), row, fill=0)
    assert back.voxels.shape == native.voxels.shape
    assert np.corrcoef(back.voxels.ravel(), native.voxels.ravel())[0, 1] > 0.95
    flips = [np.flip(native.voxels, axis) for axis in range(3)]
    assert all(np.corrcoef(back.voxels.ravel(), flip.ravel())[0, 1] < 0.5 for flip in flips)


def test_a_pose_and_a_size_are_told_apart(make_rigid):
    pose = make_rigid((7, -5, 11), (3, -4, 6))
    rigid, scale = geometry.without_scale(np.diag([1.1, 0.95, 1.02, 1.0]) @ pose)
    np.testing.assert_allclose(rigid, pose, atol=1e-12)
    np.testing.assert_allclose(scale, [1.1, 0.95, 1.02])
    row = {"native_to_reference": (np.diag([0.5, 1.0, 0.8, 1.0]) @ pose).ravel().tolist()}
    np.testing.assert_allclose(geometry.head_size(row), [2, 1, 1.25])


def test_simpleitk_places_a_voxel_where_nibabel_does():
    volume = reoriented(asymmetric(), "PIL")
    image = geometry.sitk_image(volume.voxels, volume.affine)
    lps = np.array(image.TransformIndexToPhysicalPoint((3, 5, 7)))
    np.testing.assert_allclose(lps * [-1, -1, 1], nib.affines.apply_affine(volume.affine, [3, 5, 7]))
    np.testing.assert_allclose(geometry.sitk_affine(image), volume.affine, atol=1e-12)
    assert image.GetPixel(3, 5, 7) == volume.voxels[3, 5, 7]


def test_a_simpleitk_transform_does_to_lps_what_the_matrix_does_to_ras(make_rigid):
    matrix = make_rigid((10, 20, 30), (1, 2, 3))
    point = np.array([12.0, -7.0, 31.0])
    flip = np.array([-1, -1, 1])
    moved = np.array(geometry.sitk_transform(matrix).TransformPoint((point * flip).tolist())) * flip
    np.testing.assert_allclose(moved, geometry.apply(matrix, point))
    np.testing.assert_allclose(geometry.ras_matrix(geometry.sitk_transform(matrix)), matrix, atol=1e-12)


def test_ras_matrix_heeds_the_centre_of_rotation():
    transform = sitk.Euler3DTransform((10.0, 20.0, 30.0), 0.1, -0.2, 0.3, (4.0, 5.0, 6.0))
    flip = np.array([-1, -1, 1])
    expected = np.array(transform.TransformPoint((1.0, 2.0, 3.0))) * flip
    np.testing.assert_allclose(
        geometry.apply(geometry.ras_matrix(transform), np.array([1.0, 2.0, 3.0]) * flip), expected
    )


def test_resampling_carries_a_point_through_the_world_transform(make_rigid):
    voxels = np.zeros((21, 21, 21), dtype=np.float32)
    voxels[15, 10, 10] = 1
    affine = geometry.centred_grid((21, 21, 21), (1, 1, 1))
    turned = geometry.resample(voxels, affine, (21, 21, 21), affine, world=make_rigid((0, 0, 90)), fill=0)
    # 5 mm to the right, turned by 90 degrees about the vertical, is 5 mm to the front
    assert np.unravel_index(turned.argmax(), turned.shape) == (10, 15, 10)


def test_resampling_on_its_own_grid_keeps_whole_hu():
    volume = asymmetric()
    same = geometry.resample(volume.voxels, volume.affine, volume.voxels.shape, volume.affine, fill=-1024)
    np.testing.assert_array_equal(same, volume.voxels)


def test_a_fine_pattern_does_not_alias_on_a_coarse_grid():
    fine = np.zeros((64, 64, 64), dtype=np.float32)
    fine[::2] = 1
    affine, coarse = geometry.centred_grid((64, 64, 64), (1, 1, 1)), geometry.centred_grid((16, 16, 16), (4, 4, 4))
    inner = (slice(2, -2),) * 3
    smooth = geometry.anti_aliased(fine, affine, coarse)
    sampled = geometry.resample(smooth, affine, (16, 16, 16), coarse, fill=0)[inner]
    assert abs(sampled - 0.5).max() < 0.02
    np.testing.assert_array_equal(geometry.anti_aliased(fine, affine, affine), fine)


def test_the_working_grid_covers_an_oblique_field_of_view(make_rigid):
    affine = make_rigid((20, 10, 30), (5, 6, 7)) @ np.diag([1.0, 1.5, 2.0, 1.0])
    size, grid = geometry.covering_grid((40, 30, 20), affine, 2.5)
    corners = geometry.apply(affine, np.array(list(itertools.product((0, 39), (0, 29), (0, 19)))))
    index = geometry.apply(np.linalg.inv(grid), corners)
    assert (index > -1).all()
    assert (index < np.array(size)).all()
