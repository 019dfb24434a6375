"""When two collections count as different."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from radsynth.settings import Monitor
from radsynth.validation.drift import (
    compare,
    picture_measures,
    report_measures,
    volume_measures,
    words_of,
)
from radsynth.vocabulary import FINDINGS

LIMITS = Monitor(significance=0.01, max_rate_change=0.1, max_distance=0.2)


def judge(reference, incoming, limits=LIMITS):
    (measure,) = compare({"x": np.asarray(reference)}, {"x": np.asarray(incoming)}, limits)
    return measure


def shares(count: int, of: int) -> np.ndarray:
    return np.arange(of) < count


def test_a_share_is_compared_by_fishers_exact_test():
    measure = judge(shares(3, 4), shares(1, 4))
    assert (measure.reference, measure.incoming, measure.difference) == (0.75, 0.25, 0.5)
    assert measure.p_value == pytest.approx(34 / 70)  # both tails of the hypergeometric distribution, by hand
    assert not measure.drifted


def test_distributions_apart_have_distance_one_and_the_exact_probability():
    measure = judge(np.arange(5.0), np.arange(5.0) + 100)
    assert (measure.reference, measure.incoming, measure.difference) == (2.0, 102.0, 1.0)
    assert measure.p_value == pytest.approx(2 / 252)  # of the 10 choose 5 orders, two part the groups
    assert measure.drifted


def test_a_sure_but_small_difference_is_no_drift():
    measure = judge(shares(5000, 10000), shares(5500, 10000))
    assert measure.p_value < 1e-6
    assert not measure.drifted
    assert judge(shares(5000, 10000), shares(6200, 10000)).drifted


def test_a_large_difference_of_few_is_no_drift():
    measure = judge([1.0, 2.0], [100.0, 200.0])
    assert measure.difference == 1.0
    assert not measure.drifted


def test_the_more_is_measured_the_surer_each_must_be():
    one = judge(np.arange(5.0), np.arange(5.0) + 100)
    names = [f"m{number}" for number in range(10)]
    many = compare({n: np.arange(5.0) for n in names}, {n: np.arange(5.0) + 100 for n in names}, LIMITS)
    assert one.drifted
    assert not any(measure.drifted for measure in many)


def test_collections_of_one_kind_seldom_drift():
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(200):
        sides = [
            {"a": rng.normal(size=40), "b": rng.normal(size=40), "c": rng.random(40) < 0.3, "d": rng.random(40) < 0.05}
            for _ in range(2)
        ]
        alarms += any(measure.drifted for measure in compare(*sides, LIMITS))
    assert alarms <= 6  # 2 are expected of 200 at a significance of 0.01; more than 6 happens once in 200 times


def test_values_that_are_no_numbers_and_measures_of_one_side_do_not_count():
    nothing = np.array([np.nan, np.inf])
    found = compare(
        {"x": np.array([1.0, np.nan]), "y": nothing, "z": np.ones(3)}, {"x": np.ones(2), "y": nothing}, LIMITS
    )
    assert [(measure.name, measure.reference_count, measure.incoming_count) for measure in found] == [("x", 1, 2)]


def test_reports_are_measured_by_findings_length_and_unknown_words():
    labels = {f"label_{finding}": [0, -1] for finding in FINDINGS} | {"label_effusion": [1, 0]}
    reports = pd.DataFrame({"prompt": ["Small left effusion.", "Clear lungs, quux"], **labels})
    found = report_measures(reports, words_of(["small LEFT effusion; clear", "lungs"]))
    assert found["effusion (share)"].tolist() == [True, False]
    assert found["nodule (share)"].tolist() == [False, False]
    assert found["report length (words)"].tolist() == [3.0, 3.0]
    assert found["unknown words (share)"].tolist() == [0.0, pytest.approx(1 / 3)]


def test_pictures_are_measured_by_size_mean_and_contrast_in_the_order_of_the_table():
    pixels = np.zeros((2, 2, 2), np.uint16)
    pixels[1] = [[0, 65535], [65535, 65535]]
    xrays = pd.DataFrame({"row": [1, 0], "native_rows": [10, 20], "native_columns": [30, 40]})
    found = picture_measures(xrays, pixels)
    assert found["picture mean (0..1)"].tolist() == [0.75, 0.0]
    assert found["picture contrast (standard deviation, 0..1)"].tolist() == [pytest.approx(np.sqrt(3) / 4), 0.0]
    assert found["picture rows (px)"].tolist() == [10.0, 20.0]


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_volumes_are_measured_in_their_own_grid_and_inside_the_head(tmp_path, modality):
    """A ball of 40 units with a shell of 1000 between 81 and 90 mm, in air of -1000 or 0."""
    spacing = np.array([2.5, 2.5, 4.0])
    where = np.moveaxis(np.indices((84, 80, 52)), 0, -1) * spacing
    radius = np.linalg.norm(where - where.reshape(-1, 3).mean(0), axis=-1)
    values = np.select([radius < 81, radius < 90], [40.0, 1000.0], -1000.0 if modality == "CT" else 0.0)
    nib.save(nib.Nifti1Image(values.astype(np.int16), np.diag([*spacing, 1.0])), tmp_path / "ball.nii")
    found = volume_measures(str(tmp_path / "ball.nii"), modality)
    assert found[f"{modality} finest spacing (mm)"] == pytest.approx(2.5)
    assert found[f"{modality} coarsest spacing (mm)"] == pytest.approx(4.0)
    assert found[f"{modality} longest side (mm)"] == pytest.approx(210)
    assert found[f"{modality} shortest side (mm)"] == pytest.approx(200)
    shell = 1 - (81 / 90) ** 3
    if modality == "CT":
        # the working grid blurs the shell's two faces over its spacing
        assert found["CT bone (share of the head)"] == pytest.approx(shell, abs=0.1)
        assert found["CT mean in the head (HU)"] == pytest.approx(1000 * shell + 40 * (1 - shell), rel=0.15)
    else:
        assert found["MR mean in the head (0..1 of its range)"] == pytest.approx(shell, abs=0.1)
