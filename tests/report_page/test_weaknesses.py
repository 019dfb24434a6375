"""Weaknesses are found where they are, and nowhere else."""

from __future__ import annotations

import pytest

from radsynth.evaluation.entries import entry
from radsynth.evaluation.intervals import Interval
from radsynth.report_page.evidence import Evidence
from radsynth.report_page.weaknesses import weaknesses


def told(figures=None, **more) -> str:
    """All weaknesses of one stage with these figures, as one text."""
    content = {"figures": figures or {}} | more
    return "\n".join(weaknesses(Evidence({}, "", {"evaluate_report_gan": content}, {}, {}, {}, {}, [])))


def figure(value, low, high, floor, worst_case, n=50):
    return entry(Interval(value, low, high, n), split="test", seeds=[1], floor=floor, worst_case=worst_case)


GOOD = figure(0.9, 0.85, 0.95, 1.0, 0.5)


def test_a_good_figure_is_no_weakness():
    assert "evaluate_report_gan" not in told({"share": GOOD})


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (figure(0.6, 0.49, 0.7, 1.0, 0.5), "cannot be told from its worst case: 0.6 (0.49 to 0.7) against 0.5"),
        (figure(0.6, 0.56, 0.7, 1.0, Interval(0.5, 0.4, 0.58, 9)), "cannot be told from its worst case"),
        (figure(0.2, 0.1, 0.3, 1.0, 0.5), "is worse than its worst case"),
        (figure(0.6, 0.55, 0.65, 1.0, 0.5), "Nearer to the worst case than to the floor"),
        (figure(0.9, 0.85, 0.95, 1.0, 0.5, n=4), "fewer than 10 patients (as few as 4)"),
        (figure(0.9, 0.85, 0.95, None, 0.5), "Without floor"),
        (figure(0.9, 0.85, 0.95, 1.0, None), "Without worst case"),
        (entry(0.9, split="test", seeds=[], floor=1.0, worst_case=0.5, n=50), "Without interval"),
        (entry(None, split="test", seeds=[], floor=1.0, worst_case=0.5), "Not measured"),
    ],
)
def test_each_kind_of_bad_figure_is_named(bad, words):
    assert words in told({"good": GOOD, "share": bad})
    assert words not in told({"good": GOOD})


def test_lower_is_better_where_the_floor_is_below_the_worst_case():
    assert "worst" not in told({"kid": figure(0.1, 0.05, 0.2, 0.0, 1.0)})
    assert "Nearer to the worst case" in told({"kid": figure(0.8, 0.7, 0.9, 0.0, 1.0)})


def test_a_baseline_that_does_as_well_is_named():
    close = {"mae_hu": figure(119.5, 110, 130, 0, 350), "mae_hu_atlas": figure(119.6, 110, 130, 0, 350)}
    far = close | {"mae_hu_atlas": figure(200, 190, 210, 0, 350)}
    assert "not beyond doubt better than that of the baseline atlas" in told(close)
    assert "not beyond doubt" not in told(far)


def test_a_baseline_that_every_head_is_better_than_is_not_named():
    close = {"mae_hu": figure(110, 100, 120, 0, 350), "mae_hu_atlas": figure(115, 105, 125, 0, 350)}
    assert "not beyond doubt" not in told(close | {"mae_hu_gain_on_atlas": figure(5, 4, 6, None, None)})
    assert "gain in pairs" in told(close | {"mae_hu_gain_on_atlas": figure(5, -1, 11, None, None)})


def test_findings_that_the_judge_does_not_find_again_are_named_worst_first():
    values = {"mass": {"auroc_drawn": 0.6, "auroc_real": 0.8}, "edema": {"auroc_drawn": 0.9, "auroc_real": 1.0}}
    values["nodule"] = {"auroc_drawn": 0.52, "auroc_real": None}
    rows = [{"finding": finding} | row for finding, row in values.items()]
    said = told(tables={"per_finding": rows})
    assert "hardly drawn" in said
    assert said.index("nodule (AUROC 0.52)") < said.index("mass (AUROC 0.6, on real pictures 0.8)")
    assert "edema" not in said


def test_phantoms_small_profiles_and_unlearned_findings_are_named():
    evidence = Evidence(
        {"profile": "quickstart", "acquire_chest": {"source": "phantom"}, "acquire_brain": {"source": "folder"}},
        "", {}, {}, {}, {"classifier": {"findings": ["mass", "pleural_thickening"], "learned": ["mass"]}}, {}, [],
    )  # fmt: skip
    said = "\n".join(weaknesses(evidence))
    assert "chest X-rays are drawn phantoms" in said
    assert "heads are drawn phantoms" not in said
    assert "profile quickstart" in said
    assert "pleural thickening" in said
    assert "mass" not in said


def test_an_audit_that_did_not_pass_is_named_with_its_reason():
    audit = {"report_to_xray_passed": False, "report_to_xray_reason": "two copies", "mri_to_ct_passed": True}
    said = "\n".join(weaknesses(Evidence({}, "", {"audit_report_gan": audit}, {}, {}, {}, {}, [])))
    assert "did not pass report_to_xray: two copies" in said
    assert "mri_to_ct" not in said
