"""Numbers and names as people read them, and where a figure stands between its bounds."""

from __future__ import annotations

import pytest

from radsynth.report_page.words import between, cell, ends, named, number, plain, scale


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0.0, "0"), (1.0, "1"), (0.80700, "0.807"), (119.5354, "120"), (0.000506225, "0.000506"),
        (-27.19512, "-27.2"), (3401519.34, "3.4e+06"), (12000, "12,000"), (96, "96"), (True, "yes"), (100.0, "100"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_names_are_spelt_as_the_field_does():
    assert named("mae_hu_mean_ct") == "MAE (HU) mean CT"
    assert named("ms_ssim_within_report") == "MS-SSIM within report"
    assert named("label_auroc_share") == "Label AUROC share"


def test_an_interval_is_shown_where_there_is_one():
    assert between({"value": 1.0, "low": 0.5, "high": 2.0}) == "0.5 to 2"
    assert between({"value": 1.0, "low": None, "high": None}) == ""
    assert cell({"value": 1.0, "low": 0.5, "high": 2.0, "n": 3}) == "1 (0.5 to 2)"
    assert between(0.5) == ""


def test_bounds_may_be_numbers_or_intervals_or_unknown():
    assert plain({"value": 2, "low": 1, "high": 3}) == plain(2) == 2.0
    assert plain(None) is None
    assert ends({"value": 2, "low": 1, "high": 3}) == (1.0, 3.0)
    assert ends(2) == (2.0, 2.0)
    assert ends({"value": None}) is None


@pytest.mark.parametrize(("worst", "floor"), [(0.0, 1.0), (4.0, 0.0)])
def test_the_scale_runs_from_the_worst_case_to_the_floor_whichever_is_higher(worst, floor):
    def at(share: float) -> float:
        return worst + share * (floor - worst)

    low, high = sorted((at(0.2), at(0.5)))
    found = scale({"value": at(0.25), "low": low, "high": high, "floor": floor, "worst_case": {"value": worst}})
    assert found == pytest.approx((25, 20, 50, 0.25))


def test_a_value_beyond_a_bound_is_drawn_at_its_end_and_told_as_it_is():
    found = scale({"value": 1.2, "low": 1.1, "high": 1.3, "floor": 1.0, "worst_case": 0.0})
    assert found == pytest.approx((100, 100, 100, 1.2))


def test_there_is_no_scale_without_two_different_bounds():
    assert scale({"value": 1.0, "floor": None, "worst_case": 0.0}) is None
    assert scale({"value": 1.0, "floor": 1.0, "worst_case": 1.0}) is None
    assert scale({"value": None, "floor": 1.0, "worst_case": 0.0}) is None
