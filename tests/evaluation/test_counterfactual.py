"""Counterfactual figures of generators whose obedience is known."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.evaluation.counterfactual import (
    choose_edits,
    counterfactual_figures,
    mirrored_halves,
    share_inside,
    side_evidence,
)
from radsynth.reports.findings import label_text
from radsynth.vocabulary import FINDINGS

SIDE = 32
K = FINDINGS.index("effusion")
PROMPTS = [
    f"Heart size is normal. {size} {side} pleural effusion. The trachea is midline."
    for size in ("Small", "Large")
    for side in ("left", "right")
] * 3 + ["Heart size is normal. The lungs are clear."] * 6
SUBJECTS = np.arange(len(PROMPTS))
LABELS = np.array([[label_text(p).values[f] for f in FINDINGS] for p in PROMPTS], float)
SIDES = np.array([[label_text(p).sides[f] for f in FINDINGS] for p in PROMPTS])


def place_of(side: str) -> tuple[slice, slice]:
    """Where an effusion lies: the patient's left is on the picture's right."""
    return slice(22, 30), slice(20, 28) if side == "left" else slice(4, 12)


def draw(prompts, rows, obeys=True):
    """A generator that draws effusions as bright squares, brighter where large, or one that ignores its reports."""
    pictures = np.random.default_rng(0).normal(0, 0.01, (len(prompts), SIDE, SIDE)).astype(np.float32)
    for picture, text in zip(pictures, prompts, strict=True):
        side = label_text(text).sides["effusion"]
        if side and obeys:
            picture[place_of(side)] += 1.0 if "Large" in text else 0.5
    return pictures


def read(pictures):
    """A judge that sees the brightest place low in the picture as an effusion."""
    logits = np.zeros((len(pictures), len(FINDINGS)), np.float32)
    logits[:, K] = 4 * pictures[:, 20:].max((1, 2))
    return logits


def judged(pictures):
    return pictures, read(pictures)


def figures(drawing):
    noises = np.stack([draw(PROMPTS, None), np.random.default_rng(9).normal(0, 1, (len(PROMPTS), SIDE, SIDE))])
    masks = {}
    for row, prompt in enumerate(PROMPTS):
        if (side := label_text(prompt).sides["effusion"]) != "":
            masks[row, "effusion"] = np.zeros((SIDE, SIDE), bool)
            masks[row, "effusion"][place_of(side)] = True
    known = judged(draw(PROMPTS, None))
    both = [judged(pictures.astype(np.float32)) for pictures in noises]
    return counterfactual_figures(
        drawing, read, PROMPTS, SUBJECTS, np.array([K]), known, LABELS, SIDES, both, masks,
        most=12, split="test", seed=0, repetitions=20, feature_space="x",
    )  # fmt: skip


def test_a_generator_that_obeys_gets_full_marks():
    found, tables, notes, pairs = figures(draw)
    values = {name: figure["value"] for name, figure in found.items()}
    assert values["counterfactual_negated_share_falling"] == 1
    assert values["counterfactual_negated_logit_change"] == pytest.approx(
        found["counterfactual_negated_logit_change"]["floor"]["value"], rel=0.1
    )
    assert values["counterfactual_side_read"] == values["counterfactual_side_share_following"] == 1
    assert values["counterfactual_size_share_following"] == 1
    assert values["counterfactual_size_logit_change"] == pytest.approx(2, abs=0.2)
    for kind in ("negated", "side", "size"):
        assert values[f"counterfactual_{kind}_others_change"] == 0, "the judge sees nothing but effusions"
        assert values[f"counterfactual_{kind}_change_in_lesion"] > 0.95
        assert found[f"counterfactual_{kind}_change_in_lesion"]["worst_case"] < 0.6
        assert len(pairs[kind].edits) == len(pairs[kind].before) == 12
        assert tables[f"counterfactual_{kind}"][0]["pairs"] == 12
    assert any("no floor" in note for note in notes)


def test_a_generator_that_ignores_its_report_gets_the_marks_of_chance():
    found, *_ = figures(lambda prompts, rows: draw(prompts, rows, obeys=False))
    assert found["counterfactual_negated_share_falling"]["value"] == 0
    assert found["counterfactual_negated_logit_change"]["value"] == 0
    assert found["counterfactual_side_read"]["value"] == 0.5, "read before as after, and one of both is wrong"
    assert found["counterfactual_size_logit_change"]["value"] == 0
    assert "counterfactual_side_change_in_lesion" in found
    assert found["counterfactual_side_change_in_lesion"]["value"] is None


def test_halves_are_the_patients():
    picture = np.tile(np.array([0.0, 1, 2, 3]), (4, 1))[None]
    left, right = mirrored_halves(picture)
    assert left[0, 0].tolist() == [3, 2, 2, 3]
    assert right[0, 0].tolist() == [0, 1, 1, 0]
    lesion = np.zeros((1, SIDE, SIDE), np.float32)
    lesion[0][place_of("left")] = 1
    assert side_evidence(read, lesion)[0, K] == 4


def test_the_share_inside_a_mask_is_that_of_its_area_for_an_even_difference():
    mask = np.zeros((1, 64, 64), bool)
    mask[0, :, :32] = True
    assert share_inside(np.ones((1, 64, 64)), mask, 0.0) == pytest.approx([0.5])
    assert share_inside(-np.ones((1, 64, 64)), mask, 1 / 16) == pytest.approx([36 / 64])
    assert share_inside(mask * 1.0, mask) == pytest.approx([1.0])
    assert np.isnan(share_inside(np.zeros((1, 64, 64)), mask)).all()


def test_edits_are_chosen_by_the_seed_and_counted():
    chosen, made, stated = choose_edits(PROMPTS, ["effusion"], "negated", 5, 3)
    assert (len(chosen), made, stated) == (5, 12, 12)
    assert choose_edits(PROMPTS, ["effusion"], "negated", 5, 3)[0] == chosen
    assert choose_edits(PROMPTS, ["cardiomegaly"], "negated", 5, 3) == ([], 0, 0)
