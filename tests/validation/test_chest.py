"""What the chest suite lets pass, and what it stops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from radsynth import schemas
from radsynth.validation.chest import difference_hash, label_rates
from radsynth.validation.run import Outcome, Report


def outcome(report: Report, name: str) -> Outcome:
    return next(o for o in report.outcomes if o.name == name)


def failed(report: Report) -> set[str]:
    return {o.name for o in report.critical + report.warnings}


def test_valid_data_pass_every_expectation_but_the_drift_that_has_no_reference(chest):
    report = chest.judge()
    assert failed(report) == set()
    (drift,) = report.skipped
    assert drift.name == "label rates are those of the last accepted data"
    assert "radsynth accept-data" in drift.skipped


FLAWS = [
    ("no report appears twice", "reports", 0, {"report_id": "CXR2"}, "CXR2"),
    ("the number of XXXX tokens is not negative", "reports", 35, {"xxxx_count": -1}, "CXR36"),
    ("no image appears twice", "manifest", 1, {"image_id": "CXR1_IM-1"}, "CXR1_IM-1"),
    ("every image is in a split", "manifest", 2, {"split": "training"}, "CXR3_IM-1"),
    ("every view is a known word", "manifest", 3, {"view_position": "AP"}, "CXR4_IM-1"),
    ("no subject is in two splits", "manifest", 30, {"subject_id": "CXR5"}, "CXR5_IM-1"),
    (
        "no prompt is in two splits",
        "manifest",
        31,
        {"prompt": "FINDING NUMBER 5 OF THIS CHEST. NO EFFUSION."},
        "CXR6_IM-1",
    ),
    ("no XXXX is left in a prompt", "manifest", 6, {"prompt": "Heart size XXXX."}, "CXR7_IM-1"),
    ("no prompt holds control characters", "manifest", 7, {"prompt": "Heart\x07 size normal."}, "CXR8_IM-1"),
    ("prompt is never empty", "manifest", 8, {"prompt": ""}, "CXR9_IM-1"),
    ("prompt is never missing", "manifest", 9, {"prompt": None}, "CXR10_IM-1"),
    ("prompts have a plausible length (characters)", "manifest", 10, {"prompt": "normal " * 1000}, "CXR11_IM-1"),
    ("every prompt is that of its report", "manifest", 11, {"report_row": 12}, "CXR12_IM-1"),
    ("every prompt is that of its report", "manifest", 32, {"report_row": 999}, "CXR33_IM-1"),
    ("every image row is that of its X-ray", "manifest", 12, {"image_row": 13}, "CXR13_IM-1"),
    ("every image row is that of its X-ray", "manifest", 13, {"image_row": -1}, "CXR14_IM-1"),
    ("every image names its source by SHA-256", "manifest", 14, {"source_sha256": "?"}, "CXR15_IM-1"),
    ("labels are -1, 0 or 1", "manifest", 15, {"label_edema": 2}, "CXR16_IM-1 edema"),
    ("sides are known words", "manifest", 16, {"side_nodule": "links"}, "CXR17_IM-1 nodule"),
    ("zones are known words", "manifest", 18, {"zone_nodule": "middle"}, "CXR19_IM-1 nodule"),
    (
        "only findings that have a side are given a side or a zone",
        "manifest",
        17,
        {"side_cardiomegaly": "left"},
        "CXR18_IM-1 cardiomegaly",
    ),
]


@pytest.fixture(scope="module")
def flawed(chest) -> Report:
    """The report on data that have every flaw, each in a row of its own."""
    for _, table, row, values, _ in FLAWS:
        chest = chest.edited(table, row, **values)
    return chest.judge()


@pytest.mark.parametrize(("name", "row"), [(flaw[0], flaw[4]) for flaw in FLAWS])
def test_a_critical_flaw_is_found_and_its_row_is_named(flawed, name, row):
    result = outcome(flawed, name)
    assert (result.success, result.severity) == (False, "critical")
    assert row in result.offending


def test_too_few_studies_are_critical(chest):
    settings = chest.settings.model_copy(update={"min_studies": 41})
    assert {o.name for o in chest.with_(settings=settings).judge().critical} == {"there are enough studies"}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_empty_split_is_critical(chest, split):
    manifest = chest.manifest[chest.manifest["split"] != split].reset_index(drop=True)
    assert f"the {split} split is not empty" in {o.name for o in chest.with_(manifest=manifest).judge().critical}


def test_data_without_any_row_fail_instead_of_passing_silently(chest):
    empty = chest.with_(
        reports=schemas.REPORTS.empty(),
        xrays=schemas.XRAYS.empty(),
        manifest=schemas.CHEST.empty(),
        pixels=chest.pixels[:0],
    )
    assert {"there are enough studies", "the train split is not empty"} <= {o.name for o in empty.judge().critical}


def pixels_with(chest, row, picture):
    pixels = chest.pixels.copy()
    pixels[row] = picture
    return chest.with_(pixels=pixels)


def test_a_black_picture_is_critical(chest):
    critical = {o.name: o.offending for o in pixels_with(chest, 7, 0).judge().critical}
    assert critical["no picture is all black or all white (mean, 0..1)"] == ["CXR8_IM-1"]
    assert critical["every picture has contrast (standard deviation, 0..1)"] == ["CXR8_IM-1"]


def test_the_padding_around_a_picture_is_not_judged(chest):
    padded = np.zeros_like(chest.pixels[7])
    padded[:, :8] = chest.pixels[7][:, :8]
    changed = pixels_with(chest, 7, padded).edited("xrays", 7, content_columns=8)
    assert failed(changed.judge()) == set()


def test_a_saturated_picture_is_a_warning(chest):
    picture = np.where(chest.pixels[7] > 30000, 65535, 0).astype(np.uint16)
    report = pixels_with(chest, 7, picture).judge()
    assert {o.name: o.offending for o in report.warnings} == {"few pixels are saturated": ["CXR8_IM-1"]}
    assert not report.critical


def test_the_same_picture_in_two_splits_is_critical(chest):
    report = pixels_with(chest, 30, chest.pixels[2]).judge()
    assert set(outcome(report, "no picture is in two splits").offending) == {"CXR3_IM-1", "CXR31_IM-1"}


def test_the_same_picture_twice_in_one_split_is_no_leak(chest):
    assert failed(pixels_with(chest, 3, chest.pixels[2]).judge()) == set()


def test_a_place_or_a_size_of_an_absent_finding_is_a_warning(chest):
    report = chest.edited("manifest", 21, zone_mass="upper").edited("manifest", 20, size_mass="large").judge()
    assert {o.name: o.offending for o in report.warnings} == {
        "no side or zone is given to an absent finding": ["CXR22_IM-1 mass"],
        "no size is given to an absent finding": ["CXR21_IM-1 mass"],
    }


def test_nearly_the_same_picture_in_two_splits_is_a_warning(chest):
    rng = np.random.default_rng(0)
    near = (chest.pixels[2] * 0.9 + rng.integers(0, 500, chest.pixels[2].shape)).astype(np.uint16)
    report = pixels_with(chest, 30, near).judge()
    assert {o.name for o in report.warnings} == {"no picture of the training split nearly equals a held-out one"}
    assert not report.critical


def test_the_difference_hash_ignores_brightness_and_contrast_but_not_the_picture(chest):
    first, second = difference_hash(chest.pixels[0]), difference_hash(chest.pixels[1])
    assert np.array_equal(first, difference_hash(chest.pixels[0] * 0.5 + 1000))
    assert (first != second).sum() > 60


def test_a_rare_finding_is_a_warning_that_names_it(chest):
    manifest = chest.manifest.assign(label_hernia=0)
    report = chest.with_(manifest=manifest).judge()
    (warning,) = report.warnings
    assert warning.name == "every finding has enough positive studies in the training split"
    assert warning.offending == ["hernia"]


def test_a_study_with_many_images_counts_once(chest):
    manifest = pd.concat(
        [chest.manifest, chest.manifest.iloc[[4] * 30].assign(image_id=[f"more-{n}" for n in range(30)])]
    )
    assert label_rates(manifest) == label_rates(chest.manifest)


def test_many_anonymisation_tokens_and_many_prior_studies_are_warnings(chest):
    reports = chest.reports.assign(xxxx_count=1, mentions_prior=True)
    assert failed(chest.with_(reports=reports).judge()) == {
        "few reports held de-identification tokens",
        "few reports speak of prior studies",
    }


def test_many_files_set_aside_are_a_warning_by_kind(chest):
    quarantine = pd.DataFrame(
        [{"path": f"{n}.png", "kind": "image", "verdict": "refused", "reason": "r", "message": "m"} for n in range(20)]
    )
    (warning,) = chest.with_(quarantine=quarantine).judge().warnings
    assert (warning.name, warning.offending) == ("few files were set aside", ["image"])


def test_label_drift_is_a_warning_that_names_the_finding(chest):
    rates = label_rates(chest.manifest)
    assert failed(chest.with_(reference=rates).judge()) == set()
    (warning,) = chest.with_(reference=rates | {"edema": 0.9}).judge().warnings
    assert (warning.name, warning.offending) == ("label rates are those of the last accepted data", ["edema"])


def test_at_most_ten_rows_are_named(chest):
    result = outcome(chest.with_(manifest=chest.manifest.assign(split="?")).judge(), "every image is in a split")
    assert len(result.offending) == 10
    assert result.observed == "40 of 40 rows fail"
