"""Everything that is asked of the X-ray networks' maps: do they point, do they hold, what moves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from radsynth.explain import overlays, scores, study
from radsynth.explain.chest import agreement_maps, finding_maps
from radsynth.explain.found import Found
from radsynth.explain.generator import attention_maps, fine, names_finding, words_of
from radsynth.explain.study import Lesions
from radsynth.figures import explanation_overlays
from radsynth.networks.classifier import FindingsClassifier
from radsynth.reports.encode import TextEncoder
from radsynth.settings import Explain
from radsynth.training.chest_data import ChestSet
from radsynth.training.device import cpu_device
from radsynth.training.report_gan import ReportGan, as_batch, generate, other_reports, taught

LOCAL = ("atelectasis", "consolidation", "effusion", "hernia", "mass", "nodule", "opacity", "pneumonia", "pneumothorax")
"""Findings that have a place; the others fill the lungs or the heart."""
HARDLY = 0.2
"""A finding at which maps point less often is named in a note."""
SAID = {"classifier": "the judge's map of a finding", "discriminator": "the map of agreement with the report"}
Choice = tuple[str, str]
"""Layer and method of a map."""


@dataclass(frozen=True)
class Chest:
    """What is studied.

    Parameters
    ----------
    thresholds
        Logit of each finding above which the judge sees it, chosen on validation; of others it says nothing.
    data, lesions
        The pictures of `split`, and their true lesions of `LOCAL` findings; none where the source knows no masks.
    validation, chosen_on
        The same of the validation split: layer and method are chosen there.
    training
        Lesions of all findings of the training split: where a finding may lie.
    """

    judge: FindingsClassifier
    thresholds: dict[str, float]
    gan: ReportGan
    encoder: TextEncoder
    data: ChestSet
    lesions: Lesions
    validation: ChestSet
    chosen_on: Lesions
    training: Lesions
    own: Explain
    split: str
    seed: int

    @property
    def told(self) -> dict[str, Any]:
        """What every figure is told."""
        return {"split": self.split, "seed": self.seed, "repetitions": self.own.bootstrap}

    @property
    def tolerance(self) -> int:
        """Pixels beyond a lesion's edge that still count as a hit."""
        return self.data.size // 32

    @cached_property
    def stated(self) -> list[tuple[int, str, str]]:
        """(index into `data`, finding, side) of all that the reports state."""
        return study.stated_findings(self.data)

    @cached_property
    def zone_of(self) -> Callable[[str, str], np.ndarray]:
        """(finding, side) -> where it may lie, bool (S, S)."""
        return study.zone_maker(self.training)


def study_chest(chest: Chest, plots: Path) -> Found:
    """All figures, tables and notes; the pictures are drawn into `plots`."""
    own, found = chest.own, Found()
    judged, found.tables["choice_judge"] = study.choose_for_judge(
        chest.judge, chest.chosen_on, own.methods, own.method, chest.tolerance
    )
    others = other_reports(chest.validation, chest.chosen_on.rows, chest.seed)
    agreed, found.tables["choice_discriminator"] = study.choose_for_discriminator(
        chest.gan, chest.chosen_on, others, own.methods, own.method, chest.tolerance
    )
    if not len(chest.lesions):
        found.notes.append("The true lesions of the test pictures are not known: no map could be scored against them.")
    text = chest.data.text(np.arange(len(chest.data)))
    drawn = generate(chest.gan, *text, seed=chest.seed, device=cpu_device())
    found += maps_of_findings(chest, drawn, judged, agreed, plots)
    if len(chest.lesions):
        found += closer_look(chest, judged, plots)
    found += planted_flaws(chest, agreed, plots)
    found += edited_reports(chest, plots)
    found += markers(chest, drawn, judged)
    found += words_of_reports(chest, plots)
    found.facts = {
        "layer": judged[0], "method": judged[1], "discriminator_layer": agreed[0], "discriminator_method": agreed[1],
        "lesions": len(chest.lesions), "tolerance_pixels": chest.tolerance, "picture_pixels": chest.data.size,
    }  # fmt: skip
    return found


def maps_of_findings(chest: Chest, drawn: np.ndarray, judged: Choice, agreed: Choice, plots: Path) -> Found:
    """Overlays of the judge and of agreement, on real and drawn pictures; all true lesions are scored."""
    known = len(chest.lesions) > 0
    if known:
        rows, findings = chest.lesions.rows, chest.lesions.findings
    else:
        local = [(i, f) for i, f, _ in chest.stated if f in LOCAL]
        rows, findings = np.array([i for i, _ in local], int), [f for _, f in local]
    found = Found()
    if not len(rows):
        return found
    condition, other = (
        chest.gan.conditioner(*chest.data.text(of)) for of in (rows, other_reports(chest.data, rows, chest.seed))
    )
    shown = study.spread(len(rows), chest.own.images)
    for kind, pictures in (("real", chest.data.pictures(rows)), ("drawn", as_batch(drawn[rows]))):
        scored = known and kind == "real"
        some = np.arange(len(rows)) if scored else shown
        maps = {
            "classifier": finding_maps(chest.judge, pictures[some], [findings[i] for i in some], judged[1], judged[0]),
            "discriminator": agreement_maps(
                chest.gan.discriminator, pictures[some], condition[some], other[some], agreed[1], agreed[0]
            ),
        }
        for name, one in maps.items():
            explanation_overlays(
                pictures[shown, 0].numpy(),
                one[np.searchsorted(some, shown)],
                plots / f"{name}_{kind}.png",
                titles=[f"{findings[i]} ({kind})" for i in shown],
                masks=chest.lesions.masks[shown] if scored else None,
                unit="logit of the finding" if name == "classifier" else "logit, own report minus another",
            )
        if scored:
            found += scores_over_lesions(chest, maps)
    return found


def scores_over_lesions(chest: Chest, maps: dict[str, np.ndarray]) -> Found:
    """The maps' scores over true lesions, beside maps without a network."""
    lesions, tolerance = chest.lesions, chest.tolerance
    findings = np.array(chest.training.findings)
    local = np.isin(findings, LOCAL)
    blind = scores.without_network(
        lesions.pictures[:, 0].numpy(), lesions.findings, chest.training.masks[local], findings[local], chest.seed
    )
    others = {name: scores.measures(one, lesions.masks, tolerance) for name, one in blind.items()}
    found = Found(scores.prior_figures(others, lesions.patients, **chest.told))
    prior = others.get("prior", {}).get("hit_rate")
    for name, one in maps.items():
        measured, what = scores.measures(one, lesions.masks, tolerance), SAID[name]
        found.figures |= scores.lesion_figures(
            name, measured, others, lesions.patients, **chest.told, tolerance=tolerance, what=what
        )
        rows = found.tables[f"{name}_by_finding"] = scores.by_finding(measured, prior, lesions.findings)
        missed = [row["finding"] for row in rows if row["hit_rate"] < HARDLY]
        if missed:
            found.notes.append(f"On real test pictures {what} hardly ever points at: {', '.join(missed)}.")
        for other in ("prior", "prior_of_finding"):
            found.note_if_no_better(
                f"{name}_hit_rate_gain_on_{other}",
                f"{what.capitalize()} is not shown to beat {scores.SAID[other]}.",
            )
    return found


def closer_look(chest: Chest, judged: Choice, plots: Path) -> Found:
    """What is costly, on few lesions: all methods, removal, randomisation."""
    (layer, method), few = judged, chest.lesions.some(chest.own.lesions)
    rows, maps = study.methods_side_by_side(chest.judge, few, layer, chest.own.methods, chest.tolerance)
    best = maps[method] if method in maps else finding_maps(chest.judge, few.pictures, few.findings, method, layer)
    figures, steps, cascade = study.randomisation(chest.judge, few, layer, method, **chest.told)
    overlays.draw_methods(few, maps, layer, plots / "methods.png")
    overlays.draw_randomisation(few, cascade, layer, method, plots / "randomisation.png")
    changes = figures["randomised_rank_correlation"]["value"] < study.SURVIVES_ABOVE
    note = (
        f"Shuffling the judge's weights {'changes' if changes else 'does NOT change'} its maps: "
        f"{'they show the network' if changes else 'they do not show what it learned'}."
    )
    figures = study.faithfulness_figures(chest.judge, few, best, **chest.told) | figures
    return Found(figures, {"methods": rows, "randomisation": steps}, [note])


def planted_flaws(chest: Chest, agreed: Choice, plots: Path) -> Found:
    """A stripe, and a lesion on the wrong side, in real pictures: do the discriminator's maps find them?"""
    figures, striped = study.plant_stripes(
        chest.gan, chest.data, chest.validation, chest.own.images, "hirescam", **chest.told
    )
    found, moved = Found(figures), None
    planted = study.plant_wrong_side(
        chest.gan, chest.encoder, chest.lesions, chest.validation, taught(chest.training.data), *agreed, **chest.told
    )
    if planted is None:
        found.notes.append("No true lesion on a known side: none could be moved to the other.")
    else:
        found.figures |= planted[0]
        moved = planted[1]
    overlays.draw_planted(striped, moved, plots / "planted.png")
    for name, what in (
        ("planted_stripe_patches", "The map of how unusual the discriminator's patch logits are"),
        ("planted_stripe_realism", "The discriminator's map of realism"),
        ("planted_wrong_side", "The discriminator's map of agreement"),
        ("planted_wrong_side_named", "The discriminator's map of a finding on the side that the report does not say"),
    ):
        found.note_if_no_better(
            f"{name}_hit_rate_gain",
            f"{what} does not find the planted flaw more often than it points there without it.",
        )
    return found


def edited_reports(chest: Chest, plots: Path) -> Found:
    """A finding's sentences taken out of its report: what changes in the drawn picture, and where?"""
    edited = study.counterfactuals(
        chest.gan, chest.judge, chest.encoder, chest.data, chest.stated, chest.zone_of, chest.own.images, **chest.told
    )
    if edited is None:
        return Found()
    overlays.draw_edits(edited[1], plots / "counterfactuals.png")
    return Found(edited[0])


def markers(chest: Chest, drawn: np.ndarray, judged: Choice) -> Found:
    """A verdict on every finding that a drawn picture should show."""
    found = Found(
        notes=[
            "An accepted drawn picture is one in which this judge sees the finding at a place that is possible; "
            "it is no reading by a radiologist."
        ]
    )
    findings = {finding for _, finding, _ in chest.stated}
    if findings & set(chest.thresholds):
        found.figures, by_picture, found.tables = study.verdict_figures(
            chest.judge, chest.thresholds, chest.data, drawn, chest.stated, chest.zone_of, *judged, **chest.told
        )
        found.tables["marker_verdicts_by_picture"] = by_picture.to_dict("records")
    silent = sorted(findings - set(chest.thresholds))
    if silent:
        found.notes.append(
            f"No verdict on {', '.join(silent)}: the judge has not learned it, or too few are in the "
            "validation split to choose a threshold."
        )
    return found


def words_of_reports(chest: Chest, plots: Path) -> Found:
    """Where the generator's cross-attention reads the words that name findings and sides."""
    first = {case[1]: case for case in reversed(chest.stated) if case[1] in LOCAL}
    chosen = list(first.values())[:6]
    if not chosen:
        return Found()
    text = chest.data.text(np.array([i for i, _, _ in chosen]))
    attended = attention_maps(chest.gan, *text, seed=chest.seed)
    if attended is None:
        return Found(notes=["The generator has no cross-attention: there are no maps of words."])
    maps, gate = attended
    drawn = generate(chest.gan, *text, seed=chest.seed, device=cpu_device())
    rows = []
    for n, (i, finding, side) in enumerate(chosen):
        cells: list[overlays.Cell] = [("drawn", drawn[n], None, chest.zone_of(finding, side))]
        words = words_of(chest.encoder, str(chest.data.frame["prompt"].iloc[i]))
        wanted = dict.fromkeys(word for word, _ in words if names_finding(word) or word in ("left", "right"))
        for word in list(wanted)[:5]:
            pieces = [p for other, places in words if other == word for p in places if p < maps.shape[1]]
            if pieces:
                one = maps[n, pieces].mean(0)
                cells.append((word, drawn[n], fine(one - one.mean(), chest.data.size), None))
        rows.append(cells)
    overlays.draw_words(rows, [f"{f} {s}".strip() for _, f, s in chosen], plots / "word_regions.png")
    definition = "the factor with which cross-attention to the words enters the generator; 0 is not at all"
    return Found(
        {"word_attention_gate": study.plain(gate, chest.told, definition)},
        notes=[
            f"The generator's cross-attention enters with a gate of {gate:.3f} (0 is not at all); most of "
            "what a report does to a picture comes through the pooled text."
        ],
    )
