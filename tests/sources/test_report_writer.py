import re
from collections import Counter

import numpy as np
import pytest

from radsynth.sources.chest_phantom import RATES, draw_findings
from radsynth.sources.report_writer import Finding, mesh_terms, report_for_labels, write_report
from radsynth.vocabulary import FINDINGS

NAMES = {
    "atelectasis": "atelecta",
    "cardiomegaly": "cardiomegaly|enlarge|increased",
    "consolidation": "consolidation|airspace disease",
    "edema": "edema",
    "effusion": "effusion",
    "emphysema": "emphysem",
    "fibrosis": "fibro",
    "fracture": "fracture",
    "hernia": "hernia",
    "mass": "mass",
    "nodule": "nodul",
    "opacity": "opacit|infiltrate",
    "pleural_thickening": "thickening",
    "pneumonia": "pneumonia",
    "pneumothorax": "pneumothorax",
}
NEGATED = re.compile(r"\b(no|negative for|without|free of)\b", re.IGNORECASE)


def stated(text: str) -> str:
    """The sentences that state something, negations left out."""
    return " ".join(s for s in re.split(r"(?<=[.])\s+", text) if not NEGATED.search(s)).lower()


def negated(text: str) -> str:
    return " ".join(s for s in re.split(r"(?<=[.])\s+", text) if NEGATED.search(s)).lower()


def reports(finding: Finding, count: int = 60):
    return [write_report([finding], np.random.default_rng(i)) for i in range(count)]


@pytest.mark.parametrize("name", FINDINGS)
def test_what_is_present_is_stated_and_never_negated(name):
    finding = Finding(name, "" if name in ("cardiomegaly", "edema", "emphysema", "hernia") else "right", "", 0.0, 0.5)
    for report in reports(finding):
        for text in (report.findings, report.impression):
            if text:
                assert re.search(NAMES[name], stated(text)) or (name == "cardiomegaly" and "heart" in stated(text))
                assert not re.search(rf"\b({NAMES[name]})", negated(text))


def test_what_is_absent_is_never_stated():
    for seed in range(400):
        rng = np.random.default_rng(seed)
        findings = draw_findings(rng)
        report = write_report(findings, rng)
        text = stated(f"{report.findings} {report.impression}")
        for name in set(RATES) - {f.finding for f in findings}:
            words = "enlarged|cardiomegaly" if name == "cardiomegaly" else NAMES[name]
            if name == "effusion" or not any(f.finding == "effusion" for f in findings):
                assert not re.search(words, text) or name == "mass", (name, text)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["effusion", "pneumothorax", "nodule", "mass", "consolidation", "atelectasis"])
def test_the_side_is_named_and_the_other_is_not_said_to_have_it(name, side):
    other = {"left": "right", "right": "left"}[side]
    for report in reports(Finding(name, side, "lower", 0.0, 0.5)):
        text = f"{report.findings} {report.impression}".lower()
        if text.strip():
            assert side in text
            assert not re.search(rf"\b{other}\b(?! lung (is )?clear)", text)


def test_degree_words_follow_severity():
    for severity, right, wrong in ((0.1, "small|tiny", "moderate|large"), (0.9, "large", "small|tiny|moderate")):
        texts = [f"{r.findings} {r.impression}" for r in reports(Finding("effusion", "left", "lower", 0.0, severity))]
        assert any(re.search(right, stated(t)) for t in texts)
        assert not any(re.search(rf"\b({wrong})\b", stated(t)) for t in texts)


def test_a_nodules_size_is_told_in_millimetres_or_centimetres():
    texts = [f"{r.findings} {r.impression}" for r in reports(Finding("nodule", "left", "upper", 14.0, 0.4))]
    sizes = {match for t in texts for match in re.findall(r"[\d.]+ [cm]m", t)}
    assert sizes == {"14 mm", "1.4 cm"}


def test_wording_varies_between_abnormal_reports_and_repeats_between_normal_ones():
    abnormal = [r.findings + r.impression for r in reports(Finding("effusion", "left", "lower", 40.0, 0.5), 200)]
    assert len(set(abnormal)) > 180
    normal = Counter(write_report([], np.random.default_rng(i)).findings for i in range(300))
    assert normal.most_common(1)[0][1] > 30
    assert len(normal) > 80


def test_the_collections_flaws_occur_at_their_rates():
    drawn = []
    for seed in range(1500):
        rng = np.random.default_rng(seed)
        drawn.append(write_report(draw_findings(rng), rng))
    assert 0.07 < np.mean([not r.findings for r in drawn]) < 0.14
    assert 0.003 < np.mean([not r.impression for r in drawn]) < 0.03
    assert 0.15 < np.mean(["XXXX" in r.findings for r in drawn]) < 0.5
    assert 0.1 < np.mean([bool(re.match(r"1\. ", r.impression)) for r in drawn]) < 0.4
    prior = re.compile(r"unchanged|stable|prior|previous|persistent", re.IGNORECASE)
    assert 0.12 < np.mean([bool(prior.search(r.findings + r.impression)) for r in drawn]) < 0.45


def test_removed_words_leave_findings_sides_and_negations_alone():
    from radsynth.sources.report_writer import _take_words_out

    text = "No left pleural effusion. The visualized osseous structures are intact."
    for seed in range(30):
        taken = _take_words_out(text, np.random.default_rng(seed))
        assert "XXXX" in taken
        assert taken.startswith("No left pleural effusion.")


def test_mesh_terms_are_written_as_the_indexers_write_them():
    assert mesh_terms([]) == ("normal",)
    assert mesh_terms([Finding("effusion", "left", "lower", 60, 0.5)]) == ("Pleural Effusion/left/moderate",)
    assert mesh_terms([Finding("atelectasis", "both", "lower", 60, 0.1)]) == (
        "Pulmonary Atelectasis/base/bilateral/mild",
    )
    assert mesh_terms([Finding("cardiomegaly", severity=0.9)]) == ("Cardiomegaly/severe",)


@pytest.mark.parametrize("name", FINDINGS)
def test_reports_for_labels_state_the_label_without_a_side(name):
    texts = set()
    for seed in range(40):
        report = report_for_labels([name], np.random.default_rng(seed))
        both = f"{report.findings} {report.impression}"
        assert report.findings
        assert report.impression
        assert re.search(NAMES[name], stated(both)) or name == "cardiomegaly"
        about_it = " ".join(s for s in re.split(r"(?<=[.])\s+", stated(both)) if re.search(NAMES[name], s))
        assert not re.search(r"\b(left|right|mild|severe|tiny|XXXX|nan|[cm]m)\b", about_it)
        assert "{" not in both
        texts.add(both)
    assert len(texts) > 30


def test_reports_for_labels_take_known_labels_only():
    with pytest.raises(ValueError, match="not in the vocabulary"):
        report_for_labels(["measles"], np.random.default_rng(0))


def test_no_labels_give_a_normal_report():
    report = report_for_labels([], np.random.default_rng(1))
    assert report.mesh == ("normal",)
    assert not re.search("effusion|consolidation|pneumothorax", stated(report.findings + " " + report.impression))
