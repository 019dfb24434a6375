import math

import numpy as np
import pytest

from radsynth.evaluation.ct_anatomy import (
    DEFINITIONS,
    anatomy_figures,
    slice_step,
    surface_distance_95,
    tissue_masks,
)

SPACING = (1.0, 2.0, 3.0)


@pytest.fixture
def head():
    """A block with air, soft tissue and bone of 2, 3 and 1 slices."""
    true = np.zeros((6, 8, 8))
    true[:2], true[2:5], true[5] = -900, 40, 1000
    return true, np.ones(true.shape, bool)


def test_tissues_are_those_of_the_true_ct_and_part_the_mask(head):
    true, mask = head
    tissues = tissue_masks(true, mask)
    assert [int(tissues[t].sum()) for t in ("air", "soft", "bone")] == [128, 192, 64]
    made = true + np.array([10, -20, 30, -30, 60, 100.0])[:, None, None]
    figures = anatomy_figures(made, true, mask, SPACING)
    assert set(figures) == set(DEFINITIONS)
    assert (figures["mae_hu_air"], figures["me_hu_air"]) == (15, -5)
    assert (figures["mae_hu_soft"], figures["me_hu_soft"]) == (40, 20)
    assert (figures["mae_hu_bone"], figures["me_hu_bone"]) == (100, 100)


def test_the_limits_belong_to_soft_tissue():
    true = np.array([-301.0, -300, 200, 201])[:, None, None]
    tissues = tissue_masks(true, np.ones(true.shape, bool))
    assert [tissues[t][:, 0, 0].tolist().index(True) for t in ("air", "soft", "bone")] == [0, 1, 3]
    assert tissues["soft"].sum() == 2


def test_a_perfect_copy_has_no_distance_and_steps_as_the_true_ct(head):
    true, mask = head
    true = true + np.random.default_rng(0).normal(0, 30, true.shape)
    figures = anatomy_figures(true, true, mask, SPACING)
    assert figures["bone_hd95_mm"] == 0
    assert all(figures[f"slice_step_{p}"] == 1 for p in ("axial", "coronal", "sagittal", "worst"))


def test_two_parallel_plates_are_as_far_apart_as_their_planes_in_millimetres():
    for axis, spacing in ((0, 3.0), (1, 2.0), (2, 1.0)):
        one, other = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
        np.moveaxis(one, axis, 0)[1] = True
        np.moveaxis(other, axis, 0)[5] = True
        assert surface_distance_95(one, other, SPACING) == pytest.approx(4 * spacing)


def test_the_worse_direction_counts_and_a_twentieth_of_outliers_does_not():
    plate = np.zeros((40, 10, 10), bool)
    plate[0] = True
    few, many = plate.copy(), plate.copy()
    few[30, :2, :2] = True  # 4 of 104 surface voxels
    many[30, :3, :3] = True  # 9 of 109
    assert surface_distance_95(few, plate, (1, 1, 1)) == 0
    assert surface_distance_95(many, plate, (1, 1, 1)) == 30
    assert surface_distance_95(plate, many, (1, 1, 1)) == 30, "symmetric"


def test_only_the_surface_is_compared():
    solid = np.zeros((11, 11, 11), bool)
    solid[1:-1, 1:-1, 1:-1] = True
    hollow = solid.copy()
    hollow[5, 5, 5] = False
    assert surface_distance_95(solid, solid, SPACING) == 0
    assert surface_distance_95(solid, hollow, SPACING) == 0, "one cavity of 6 among hundreds of surface voxels"


def test_a_ct_without_bone_has_no_bone_distance(head):
    true, mask = head
    figures = anatomy_figures(np.zeros(true.shape), true, mask, SPACING)
    assert math.isnan(figures["bone_hd95_mm"])
    soft = anatomy_figures(np.zeros(true.shape), np.full(true.shape, 40.0), mask, SPACING)
    assert math.isnan(soft["mae_hu_bone"])
    assert math.isnan(soft["slice_step_axial"]), "a flat true CT has no step to compare with"


def test_a_step_is_the_mean_difference_of_neighbours_that_are_both_inside():
    volume = np.arange(5)[:, None, None] ** 2 * np.ones((5, 4, 4))
    inside = np.ones(volume.shape, bool)
    assert slice_step(volume, inside, 0) == (1 + 3 + 5 + 7) / 4
    assert slice_step(volume, inside, 1) == 0
    inside[0] = inside[4] = False
    assert slice_step(volume, inside, 0) == (3 + 5) / 2


def test_jumps_between_slices_and_blurring_are_told_apart(head):
    true, mask = head
    true = true + np.random.default_rng(0).normal(0, 30, true.shape)
    jumping = true + np.where(np.arange(6) % 2, 200, -200)[:, None, None]
    figures = anatomy_figures(jumping, true, mask, SPACING)
    assert figures["slice_step_axial"] > 1.2
    assert figures["slice_step_coronal"] == pytest.approx(1)
    assert figures["slice_step_worst"] == figures["slice_step_axial"]
    blurred = true.mean(axis=2, keepdims=True) + 0.1 * (true - true.mean(axis=2, keepdims=True))
    figures = anatomy_figures(blurred, true, mask, SPACING)
    assert figures["slice_step_worst"] == figures["slice_step_sagittal"] == pytest.approx(0.1)
