"""Reports made of the sentences of others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from radsynth.reports.vectors import NO_SENTENCE, ReportVectors
from radsynth.training.chest_data import OTHER_SIDE, ChestSet
from radsynth.training.mixed_reports import mixed_reports
from radsynth.vocabulary import TARGETS

SENTENCES = ["Small left effusion.", "Small right effusion.", "No effusion.", "Right lower lobe mass", "Clear lungs."]


@pytest.fixture
def reports(chest_set: ChestSet) -> ChestSet:
    """Three reports of these sentences; a sentence's one vector is its number, that of its other side 100 more."""
    made = [[0, 3], [2, 4], [1, 3, 4]]
    rows = np.full((3, 3), NO_SENTENCE)
    for row, sentences in zip(rows, made, strict=True):
        row[: len(sentences)] = sentences
    switched = np.array([5, 6, 2, 7, 4, 0, 1, 3])
    vectors = np.array([0, 1, 2, 3, 4, 100, 101, 103], np.float16)[:, None]
    frame = chest_set.frame.iloc[:3].copy()
    frame["prompt"] = ["; ".join(SENTENCES[k] for k in sentences) for sentences in made]
    return replace(chest_set, frame=frame, reports=ReportVectors(vectors, np.arange(9), rows, switched, 16))


def test_sentences_go_come_and_change_places(reports: ChestSet) -> None:
    chosen = np.zeros(400, int)
    tokens, mask, _, _ = mixed_reports(reports, chosen, 0)
    made = {tuple(t[m, 0].int().tolist()) for t, m in zip(tokens, mask, strict=True)}
    assert made >= {(0,), (3,), (0, 3), (3, 0)}, "sentences of the own report, some left out, in any order"
    assert () not in made
    assert (mask.sum(1) == 1).float().mean() > 0.25, "many of a single sentence, as prompts are"
    assert any({0, 4} <= set(report) for report in made), "another's sentence beside an own one"


def test_labels_are_of_the_sentences_that_are_left(reports: ChestSet) -> None:
    tokens, mask, _, targets = mixed_reports(reports, np.arange(300) % 3, 1)
    for vectors, known, target in zip(tokens, mask, targets, strict=True):
        said = set(vectors[known, 0].int().tolist())
        assert target[TARGETS.index("effusion")] == bool(said & {0, 1})
        assert target[TARGETS.index("mass_right")] == (3 in said)
        assert target[TARGETS.index("mass_lower")] == (3 in said)
        assert target[TARGETS.index("effusion_left")] == (0 in said)


def test_sides_are_exchanged_in_text_and_labels(reports: ChestSet) -> None:
    chosen = np.arange(60) % 3
    tokens, mask, view, targets = mixed_reports(reports, chosen, 2)
    other_tokens, other_mask, other_view, other_targets = mixed_reports(reports, chosen, 2, switched=True)
    exchanged = {0: 100, 1: 101, 3: 103, 2: 2, 4: 4}
    assert (mask == other_mask).all()
    assert (view == other_view).all()
    assert [exchanged[int(v)] for v in tokens[mask][:, 0]] == other_tokens[mask][:, 0].int().tolist()
    np.testing.assert_array_equal(targets[:, OTHER_SIDE], other_targets)
