"""What the brain suite lets pass, and what it stops."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.validation.run import Outcome, Report


def outcome(report: Report, name: str) -> Outcome:
    return next(o for o in report.outcomes if o.name == name)


def array_with(brain, name, row, values):
    array = getattr(brain, name).copy()
    array[row] = values
    return brain.with_(**{name: array})


def test_valid_volumes_pass_every_expectation(brain):
    report = brain.judge()
    assert [o.name for o in report.outcomes if o.success is not True] == []


def sheared():
    matrix = np.eye(4)
    matrix[0, 1] = 0.3
    return matrix.ravel().tolist()


def mirrored():
    return np.diag([-1.0, 1, 1, 1]).ravel().tolist()


def doubled():
    return np.diag([2.0, 2, 2, 1]).ravel().tolist()


FLAWS = [
    ("no volume appears twice", 1, {"volume_id": "mr0"}, "mr0"),
    ("every modality is MR or CT", 2, {"modality": "PET"}, "mr2"),
    ("no subject is in two splits", 0, {"subject_id": "both"}, "mr0"),
    ("subjects with both modalities are never trained on", 5, {"paired": True}, "ct1"),
    ("no volume's bytes are in two splits", 4, {"source_sha256": f"{7:064x}"}, "ct0"),
    ("every volume is in a split", 6, {"split": ""}, "ct2"),
    ("CT is in HU, MR is in arbitrary units", 4, {"intensity_unit": "arbitrary"}, "ct0"),
    ("native voxels are not too small (mm)", 3, {"native_spacing_mm": [0.05, 1, 1]}, "mr3"),
    ("native voxels are not too large (mm)", 7, {"native_spacing_mm": [1.0, 1, 20]}, "ct3"),
    ("native voxels are not too small (mm): known for every row", 4, {"native_spacing_mm": [1, 1, np.nan]}, "ct0"),
    ("all volumes lie on the same grid", 5, {"grid_affine": np.eye(4).ravel().tolist()}, "ct1"),
    ("every registration turns, moves and scales, no more", 6, {"native_to_reference": sheared()}, "ct2"),
    ("every registration turns, moves and scales, no more", 7, {"native_to_reference": mirrored()}, "ct3"),
    ("every registration turns, moves and scales, no more", 2, {"native_to_reference": doubled()}, "mr2"),
    ("every registration ended with a finite metric", 3, {"registration_metric": np.nan}, "mr3"),
    ("every intensity scale can be inverted", 7, {"intensity_high": -1024.0}, "ct3"),
    ("every MR voxel is a number: known for every row", 3, {"row": 77}, "mr3"),
]


@pytest.fixture(scope="module")
def flawed(brain) -> Report:
    """The report on volumes whose table has every flaw."""
    for _, index, values, _ in FLAWS:
        brain = brain.edited(index, **values)
    return brain.judge()


@pytest.mark.parametrize(("name", "volume"), [(flaw[0], flaw[3]) for flaw in FLAWS])
def test_a_flaw_in_the_table_is_critical_and_its_volume_is_named(flawed, name, volume):
    result = outcome(flawed, name)
    assert (result.success, result.severity) == (False, "critical")
    assert volume in result.offending


def test_hounsfield_units_below_their_range_are_critical(brain):
    padded = brain.ct[0].copy()
    padded[0, 0, 0] = -1500
    below = outcome(array_with(brain, "ct", 0, padded).judge(), "the lowest CT voxel lies in -1024..3071 HU")
    assert (below.success, below.offending, below.values) == (False, ["ct0"], ["-1500"])


def test_a_ct_without_air_soft_tissue_or_bone_is_critical(brain):
    no_air = np.where(brain.ct[1] == -1000, 30, brain.ct[1])
    no_soft_tissue = np.where(brain.ct[2] == 30, -1000, brain.ct[2])
    no_bone = np.where(brain.ct[3] == 900, 250, brain.ct[3])
    changed = brain
    for row, volume in ((1, no_air), (2, no_soft_tissue), (3, no_bone)):
        changed = array_with(changed, "ct", row, volume)
    assert {o.name: o.offending for o in changed.judge().critical} == {
        "CT has air (share of the volume below -300 HU)": ["ct1"],
        "CT has soft tissue (share of the head in -150..150 HU)": ["ct2"],
        "CT has bone (share of the head above 300 HU)": ["ct3"],
    }


def test_an_mr_voxel_that_is_no_number_is_critical(brain):
    volume = brain.mr[1].copy()
    volume[3, 3, 3] = np.nan
    result = outcome(array_with(brain, "mr", 1, volume).judge(), "every MR voxel is a number")
    assert (result.success, result.offending) == (False, ["mr1"])


def test_mr_outside_0_to_1_is_critical(brain):
    report = array_with(brain, "mr", 1, brain.mr[1] * 3).judge()
    assert outcome(report, "the brightest MR voxel lies in 0..1").offending == ["mr1"]


def test_an_mr_without_contrast_is_critical(brain):
    report = array_with(brain, "mr", 1, 0.5).judge()
    assert [o.offending for o in report.critical] == [["mr1"]]


def test_an_impossible_head_mask_is_critical_and_an_unusual_one_a_warning(brain):
    small = np.where(brain.mr_depth_mm[0] > 30, 5, 0)
    changed = array_with(array_with(brain, "mr_depth_mm", 0, 0), "mr_depth_mm", 1, small)
    report = array_with(changed, "ct_depth_mm", 0, 5).judge()
    assert outcome(report, "the MR head mask has a possible volume (litres)").offending == ["mr0"]
    everything = outcome(report, "the CT head mask has a possible volume (litres)")
    assert (everything.success, everything.values) == (False, ["13.82"])
    unusual = outcome(report, "the MR head mask has a usual volume (litres)")
    assert (unusual.severity, unusual.offending) == ("warning", ["mr0", "mr1"])


def test_too_few_training_volumes_of_one_modality_are_critical(brain):
    report = brain.edited(0, split="validation").judge()
    result = outcome(report, "there are enough training volumes of each modality")
    assert (result.success, result.offending, result.values) == (False, ["MR"], ["1"])


def test_no_volume_at_all_fails_instead_of_passing_silently(brain):
    names = {o.name for o in brain.with_(volumes=brain.volumes.iloc[:0]).judge().critical}
    assert {"there are enough MR volumes", "there are enough CT volumes"} <= names


def test_volumes_without_any_held_out_one_are_a_warning(brain):
    volumes = brain.volumes.assign(split="train", paired=False, subject_id=brain.volumes["volume_id"])
    report = brain.with_(volumes=volumes).judge()
    assert not report.critical
    assert [o.suite for o in report.warnings] == ["validation volumes", "test volumes"]


def test_pairs_set_aside_for_fine_tuning_are_known_and_must_be_pairs(brain):
    aside = brain.edited(3, split="few_pairs").edited(7, split="few_pairs")
    report = aside.judge()
    assert not report.critical
    assert outcome(report, "subjects with both modalities are trained on in few_pairs alone").success
    assert [row["split"] for row in report.tables["Splits"]] == ["train", "validation", "test", "few_pairs"]
    single = outcome(aside.edited(0, split="few_pairs").judge(), "subjects of few_pairs have both modalities")
    assert (single.success, single.severity, single.offending) == (False, "critical", ["mr0"])
    assert outcome(aside.edited(7, split="test").judge(), "no subject is in two splits").success is False
