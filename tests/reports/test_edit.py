"""Edits of reports change one finding and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.reports.edit import negated, removed, resized, sides_switched, switched, unrelated
from radsynth.reports.findings import label_text
from radsynth.sources.report_writer import Finding, write_report
from radsynth.vocabulary import FINDINGS, SIZES

REAL = (  # in the manner of the Open-i reports
    "The heart size is within normal limits. There is a moderate right pleural effusion. The left lung is clear. No "
    "pneumothorax. Moderate right-sided effusion."
)


def test_a_denied_finding_is_denied_once_and_its_sentences_are_gone():
    assert negated(REAL, "effusion") == (
        "The heart size is within normal limits. No pleural effusion. The left lung is clear. No pneumothorax."
    )


def test_a_switched_finding_takes_the_clear_lung_with_it():
    assert switched(REAL, "effusion") == (
        "The heart size is within normal limits. There is a moderate left pleural effusion. No pneumothorax. Moderate "
        "left-sided effusion."
    )


def test_switching_twice_gives_the_report_back():
    text = "Patchy consolidation in the right middle lobe. Small left effusion. Right lung consolidation."
    there = switched(text, "consolidation")
    assert there == "Patchy consolidation in the lingula. Small left effusion. Left lung consolidation."
    assert switched(there, "consolidation") == text


@pytest.mark.parametrize(
    ("text", "finding", "edited", "direction"),
    [
        ("Small left pneumothorax.", "pneumothorax", "Large left pneumothorax.", 1),
        ("There is a large hiatal hernia.", "hernia", "There is a small hiatal hernia.", -1),
        ("Moderate cardiomegaly.", "cardiomegaly", "Severe cardiomegaly.", 1),
        ("The heart is markedly enlarged.", "cardiomegaly", "The heart is mildly enlarged.", -1),
        ("A 1.2 cm nodule in the left lung.", "nodule", "A 2.4 cm nodule in the left lung.", 1),
        ("Right mass measuring 60 mm.", "mass", "Right mass measuring 30 mm.", -1),
        ("A 6 x 4 cm mass.", "mass", "A 3 x 2 cm mass.", -1),
        ("A 52 x 18 mm mass.", "mass", "A 26 x 9 mm mass.", -1),
        ("A 6.0 cm x 4.2 cm mass.", "mass", "A 3.0 cm x 2.1 cm mass.", -1),
        ("A nodule of 8 by 12 mm.", "nodule", "A nodule of 16 by 24 mm.", 1),
    ],
)
def test_sizes_go_to_the_other_end(text, finding, edited, direction):
    assert resized(text, finding) == (edited, direction)


@pytest.mark.parametrize(
    ("text", "finding", "edited"),
    [
        ("A 21 mm nodule.", "nodule", "A 10 mm nodule."),
        ("A 45 mm mass.", "mass", "A 90 mm mass."),
        ("A 6 mm nodule.", "nodule", None),
    ],
)
def test_a_length_turns_where_its_label_does(text, finding, edited):
    found = resized(text, finding)
    assert (found and found[0]) == edited
    assert edited is None or (label_text(text).sizes[finding] == "large") != (
        label_text(edited).sizes[finding] == "large"
    )


def test_a_sentence_that_states_two_findings_is_left_alone():
    text = "Small left effusion and atelectasis. Heart size is normal."
    assert [negated(text, "effusion"), switched(text, "effusion"), resized(text, "effusion")] == [None, None, None]


def test_what_is_not_stated_or_has_no_side_or_no_size_cannot_be_edited():
    assert negated(REAL, "pneumothorax") is None
    assert switched("Bilateral pleural effusions.", "effusion") is None
    assert switched("Cardiomegaly.", "cardiomegaly") is None
    assert resized("Cardiomegaly.", "cardiomegaly") is None
    assert resized("Large left effusion. Small left effusion.", "effusion") is None


def test_edits_of_written_reports_change_their_finding_alone():
    rng, made = np.random.default_rng(0), dict.fromkeys(("negated", "switched", "resized"), 0)
    for _ in range(150):
        labels = rng.choice(FINDINGS, size=2, replace=False)
        facts = [Finding(str(f), str(rng.choice(["left", "right"])), "lower", 20.0, rng.random()) for f in labels]
        report = write_report(facts, rng)
        text = f"{report.findings} {report.impression}".strip()
        before = label_text(text)
        assert label_text(unrelated(text)) == before
        assert unrelated(text) != text
        for finding in labels:
            others = [f for f in FINDINGS if f not in (finding, "opacity")]
            if (edited := negated(text, finding)) is not None:
                made["negated"] += 1
                after = label_text(edited)
                assert after.values[finding] == 0
                assert [after.values[f] for f in others] == [before.values[f] for f in others]
            if (edited := switched(text, finding)) is not None:
                made["switched"] += 1
                assert {before.sides[finding], label_text(edited).sides[finding]} == {"left", "right"}
            if (sized := resized(text, finding)) is not None:
                made["resized"] += 1
                after, (_, direction) = label_text(sized[0]), sized
                assert after._replace(sizes=before.sizes) == before
                assert [after.sizes[f] for f in others] == [before.sizes[f] for f in others]
                grown = SIZES.index(after.sizes[finding]) - SIZES.index(before.sizes[finding])
                assert grown * direction >= 0
    assert min(made.values()) > 20, made


def test_sentences_of_a_finding_are_taken_out_and_no_others():
    text = "There is a large left pleural effusion. The heart is enlarged. No pneumothorax."
    assert removed(text, "effusion") == "The heart is enlarged. No pneumothorax."
    assert removed(text, "pneumothorax") is None
    assert removed("Left pleural effusion.", "effusion") is None


def test_all_sides_are_switched_whole_words_only():
    assert sides_switched("Left effusion, right lung clear, leftward shift.") == (
        "Right effusion, left lung clear, leftward shift."
    )
    assert sides_switched("Mass in the right middle lobe, lingula clear.") == (
        "Mass in the lingula, right middle lobe clear."
    )
