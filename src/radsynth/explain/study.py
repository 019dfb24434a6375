"""What the stage `explain` measures: choosing a map, scoring it, removing, randomising, planting, editing, judging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from radsynth.evaluation.entries import entry
from radsynth.evaluation.patients import mean_over_patients
from radsynth.explain.cams import DeadLayer, activation_maps
from radsynth.explain.chest import (
    agreement_maps,
    discriminator_layers,
    every_agreement_map,
    finding_maps,
    finding_scores,
    judge_layers,
    known_lesions,
    lesion_masks,
    named_maps,
    over_cells,
    realism_maps,
    unusual_patches,
    usual_layer,
)
from radsynth.explain.faithfulness import deletion_insertion, road
from radsynth.explain.generator import difference_maps
from radsynth.explain.localisation import centre_map, edge_maps, energy_inside, pointing_hits, random_maps
from radsynth.explain.planted import other_side, stripes
from radsynth.explain.randomisation import Cascade, cascade
from radsynth.explain.verdicts import allowed_zone, tally, verdicts
from radsynth.networks.classifier import FindingsClassifier
from radsynth.reports.edit import removed, sides_switched
from radsynth.reports.encode import TextEncoder
from radsynth.training.chest_data import OTHER_SIDE, ChestSet
from radsynth.training.device import cpu_device
from radsynth.training.drawing import as_read
from radsynth.training.findings import predict
from radsynth.training.report_gan import ReportGan, as_batch, generate
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS, TARGETS

CHEAP = ("gradcam", "gradcam++", "hirescam", "layercam")
"""Methods that are tried at every layer."""
SURVIVES_ABOVE = 0.5
"""Mean rank correlation with the map of all-shuffled weights above which a map fails: it does not show the network."""


@dataclass(frozen=True)
class Lesions:
    """Pictures with a true lesion each: a row of `frame` (index, finding, mask_row, side) and its mask, bool (S, S)."""

    data: ChestSet
    frame: pd.DataFrame
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def rows(self) -> np.ndarray:
        """Their pictures' places in `data`."""
        return self.frame["index"].to_numpy()

    @property
    def findings(self) -> list[str]:
        """Of each lesion."""
        return self.frame["finding"].tolist()

    @property
    def pictures(self) -> Tensor:
        """(n, 1, S, S)."""
        return self.data.pictures(self.rows)

    @property
    def patients(self) -> np.ndarray:
        """Of each lesion."""
        return self.data.frame["subject_id"].to_numpy()[self.rows]

    def some(self, count: int) -> Lesions:
        """`count` of them, evenly spaced over the findings in turn."""
        order = np.argsort(self.frame["finding"].to_numpy(), kind="stable")
        chosen = np.sort(order[spread(len(order), count)])
        return Lesions(self.data, self.frame.iloc[chosen].reset_index(drop=True), self.masks[chosen])


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` places among `count`, evenly spaced: not chosen by what is seen there."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def true_lesions(data: ChestSet, raw: str | Path, findings: tuple[str, ...]) -> Lesions:
    """The lesions of a split's pictures whose masks are known; none where the source knows no masks."""
    frame = known_lesions(data, raw, findings)
    frame = frame[frame["mask_row"] >= 0].reset_index(drop=True)
    return Lesions(data, frame, lesion_masks(raw, frame["mask_row"].to_numpy(), data.size))


def choose(maps: dict[tuple[str, str], np.ndarray], masks: np.ndarray, tolerance: int) -> tuple[tuple[str, str], list]:
    """The layer and method whose maps point at the most lesions, energy inside deciding ties; and a row for each."""
    rows = []
    for (layer, method), found in maps.items():
        rows.append(
            {
                "layer": layer,
                "method": method,
                "hit_rate": round(float(pointing_hits(found, masks, tolerance).mean()), 4),
                "energy_inside": round(float(energy_inside(found, masks).mean()), 4),
                "lesions": len(masks),
            }
        )
    best = max(rows, key=lambda row: (row["hit_rate"], row["energy_inside"]))
    return (best["layer"], best["method"]), [row | {"chosen": row is best} for row in rows]


def choose_for_judge(
    judge: FindingsClassifier, lesions: Lesions, methods: Sequence[str], fallback: str, tolerance: int
) -> tuple[tuple[str, str], list]:
    """`choose` over all layers of the judge, on the lesions of the validation split."""
    tried = [m for m in methods if m in CHEAP]
    if not len(lesions) or not tried:
        return (usual_layer(judge), fallback), []
    found = activation_maps(
        judge, judge_layers(judge), lesions.pictures, finding_scores(lesions.findings), tried, skip_dead=True
    )
    size = lesions.data.size
    return choose({key: over_cells(maps, size) for key, maps in found.items()}, lesions.masks, tolerance)


def choose_for_discriminator(
    gan: ReportGan, lesions: Lesions, others: np.ndarray, methods: Sequence[str], fallback: str, tolerance: int
) -> tuple[tuple[str, str], list]:
    """`choose` over the last layers of the discriminator, for agreement rather than with the reports `others`."""
    tried = [m for m in methods if m in CHEAP]
    if not len(lesions) or not tried:
        return ("last", fallback), []
    own, other = (gan.conditioner(*lesions.data.text(rows)) for rows in (lesions.rows, others))
    layers = list(discriminator_layers(gan.discriminator))
    found = every_agreement_map(gan.discriminator, lesions.pictures, own, other, layers, tried, skip_dead=True)
    return choose(found, lesions.masks, tolerance)


def methods_side_by_side(
    judge: FindingsClassifier, lesions: Lesions, layer: str, methods: Sequence[str], tolerance: int
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Every method at one layer on the same lesions: a row of scores each, the dead ones with the reason; and maps."""
    rows: list[dict[str, Any]] = []
    kept = {}
    at = {layer: judge_layers(judge)[layer]}
    for method in methods:
        row: dict[str, Any] = {"method": method, "layer": layer, "lesions": len(lesions)}
        try:
            raw = activation_maps(judge, at, lesions.pictures, finding_scores(lesions.findings), (method,))
        except DeadLayer as dead:
            rows.append(row | {"hit_rate": None, "energy_inside": None, "refused": str(dead)})
            continue
        kept[method] = over_cells(raw[layer, method], lesions.data.size)
        rows.append(
            row
            | {
                "hit_rate": round(float(pointing_hits(kept[method], lesions.masks, tolerance).mean()), 4),
                "energy_inside": round(float(energy_inside(kept[method], lesions.masks).mean()), 4),
                "refused": "",
            }
        )
    return rows, kept


def faithfulness_figures(
    judge: FindingsClassifier, lesions: Lesions, maps: np.ndarray, split: str, seed: int, repetitions: int
) -> dict[str, Any]:
    """Deletion, insertion and ROAD of the maps, beside random maps."""
    scores = finding_scores(lesions.findings)
    noise = random_maps(len(lesions), lesions.data.size, 8, seed + 1)
    found, chance = (deletion_insertion(judge, lesions.pictures, m, scores) for m in (maps, noise))
    roads = [road(judge, lesions.pictures, m, scores, (90,), seed) for m in (maps, noise)]

    def mean(values: np.ndarray) -> Any:
        return mean_over_patients(values, lesions.patients, repetitions, seed)

    common = {"split": split, "seeds": [seed]}
    scale = "0 is the blurred picture's logit, 1 the whole picture's; pictures where blurring changes nothing left out"
    return {
        "deletion_auc": entry(
            mean(found.deletion), **common, worst_case=mean(chance.deletion),
            definition=f"share of the logit left while the map's highest places are blurred first, 8 steps; {scale}; "
            "lower is better; worst case: random maps",
        ),
        "insertion_auc": entry(
            mean(found.insertion), **common, worst_case=mean(chance.insertion),
            definition=f"share of the logit back while the map's highest places come back first, 8 steps; {scale}; "
            "higher is better; worst case: random maps",
        ),
        "road": entry(
            mean(roads[0]), **common, worst_case=mean(roads[1]),
            definition="(logit when the least relevant tenth of the picture is taken out - when the most is) / 2, "
            "taken out pixels filled in from their neighbours; higher is better; worst case: random maps",
        ),
    }  # fmt: skip


def randomisation(
    judge: FindingsClassifier, lesions: Lesions, layer: str, method: str, split: str, seed: int, repetitions: int
) -> tuple[dict[str, Any], list[dict[str, Any]], Cascade]:
    """Cascading randomisation of the judge, from its head down to its first convolution."""
    parts = ["head+local", "whole+shown", *(f"blocks.{i}" for i in reversed(range(len(judge.blocks)))), "stem"]
    found = cascade(
        judge, parts, lambda net: finding_maps(net, lesions.pictures, lesions.findings, method, layer), seed
    )
    rows = [
        {
            "shuffled_down_to": name,
            "rank_correlation": round(float(rank.mean()), 4),
            "similarity": round(float(like.mean()), 4),
            "hit_rate": round(float(pointing_hits(maps, lesions.masks, lesions.data.size // 32).mean()), 4),
        }
        for name, rank, like, maps in zip(
            found.names, found.rank_correlation, found.similarity, found.maps, strict=True
        )
    ]

    def mean(values: np.ndarray) -> Any:
        return mean_over_patients(values, lesions.patients, repetitions, seed)

    figures = {
        "randomised_rank_correlation": entry(
            mean(found.rank_correlation[-1]), split=split, seeds=[seed], worst_case=1.0,
            definition="Spearman correlation of the judge's maps with those after all its weights were shuffled; near "
            f"0 is right, above {SURVIVES_ABOVE} it does not show the network; worst case: a map that does not change",
        ),
        "randomised_similarity": entry(
            mean(found.similarity[-1]), split=split, seeds=[seed], worst_case=1.0,
            definition="SSIM of the judge's maps with those after all its weights were shuffled, each map divided by "
            "its largest magnitude; worst case: a map that does not change",
        ),
    }  # fmt: skip
    return figures, rows, found


def planted_figures(
    name: str,
    what: str,
    maps: np.ndarray,
    clean: np.ndarray,
    pictures: np.ndarray,
    masks: np.ndarray,
    patients: np.ndarray,
    split: str,
    seed: int,
    repetitions: int,
) -> dict[str, Any]:
    """How often a map's highest place lies on a planted flaw, beside the same map of the picture without it.

    Parameters
    ----------
    maps, clean
        Evidence AGAINST the picture with, and without, the flaw.
    pictures
        With the flaw, for the edge map.
    """
    size = pictures.shape[-1]
    tolerance = size // 32
    others = {
        "random maps": random_maps(len(maps), size, 8, seed),
        "the centre": np.broadcast_to(centre_map(size), maps.shape),
        "an edge map": edge_maps(pictures),
    }

    def mean(values: np.ndarray) -> Any:
        return mean_over_patients(values, patients, repetitions, seed)

    hits, before = (pointing_hits(m, masks, tolerance).astype(float) for m in (maps, clean))
    beside = {key: pointing_hits(m, masks, tolerance).mean() for key, m in others.items()}
    said = ", ".join(f"{key} {value:.2f}" for key, value in beside.items())
    return {
        f"{name}_hit_rate": entry(
            mean(hits), split=split, seeds=[seed], floor=1.0, worst_case=mean(before),
            definition=f"{what}: share of maps whose strongest evidence against the picture lies on the flaw, within "
            f"{tolerance} pixels; worst case: the same place in the map of the picture without it; {said}",
        ),
        f"{name}_hit_rate_gain": entry(
            mean(hits - before), split=split, seeds=[seed],
            definition=f"{what}: hit rate with the flaw minus the same without it, paired by picture",
        ),
    }  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """A planted flaw: pictures without and with it, where it is, evidence against the picture with it; (n, S, S)."""

    clean: np.ndarray
    pictures: np.ndarray
    masks: np.ndarray
    maps: dict[str, np.ndarray]


def plant_stripes(
    gan: ReportGan,
    data: ChestSet,
    usual: ChestSet,
    count: int,
    method: str,
    split: str,
    seed: int,
    repetitions: int,
) -> tuple[dict[str, Any], Planted]:
    """A stripe in real X-rays, looked for by the patch logits and by the map of the realism logit.

    Parameters
    ----------
    usual
        Other real pictures, that say which patch logits are usual at each place.
    """
    rows = spread(len(data), count)
    clean = data.pictures(rows)[:, 0].numpy()
    pictures, masks = stripes(clean, seed)
    patients = data.frame["subject_id"].to_numpy()[rows]
    known = usual.pictures(np.arange(len(usual)))
    kinds: dict[str, tuple[str, Callable[[Tensor], np.ndarray]]] = {
        "stripe_patches": (
            "a stripe, how unusual the discriminator's patch logits are at their place",
            lambda x: -unusual_patches(gan.discriminator, x, known),
        ),
        "stripe_realism": ("a stripe, map of realism", lambda x: realism_maps(gan.discriminator, x, method)),
    }
    figures, maps = {}, {}
    for name, (what, of) in kinds.items():
        against, before = -of(as_batch(pictures)), -of(as_batch(clean))
        maps[name] = against
        figures |= planted_figures(
            f"planted_{name}", what, against, before, pictures, masks, patients, split, seed, repetitions
        )
    return figures, Planted(clean, pictures, masks, maps)


def plant_wrong_side(
    gan: ReportGan,
    encoder: TextEncoder,
    lesions: Lesions,
    usual: ChestSet,
    learned: np.ndarray,
    layer: str,
    method: str,
    split: str,
    seed: int,
    repetitions: int,
) -> tuple[dict[str, Any], Planted] | None:
    """Lesions moved to the other side, looked for in two maps of the report GAN's discriminator.

    Where it disagrees with the report rather than with the report's mirror image; and, if it names findings, where it
    sees the finding on the side that the report does not say.

    Parameters
    ----------
    usual
        Other real pictures, that say what is usual at each place.
    learned
        (len(TARGETS),) bool: what the discriminator was taught to name.
    """
    frame = lesions.frame
    chosen = np.flatnonzero(frame["side"].isin(("left", "right")) & frame["finding"].isin(SIDED_FINDINGS))
    if not len(chosen):
        return None
    rows = lesions.rows[chosen]
    prompts = lesions.data.frame["prompt"].iloc[rows].tolist()
    own_text = lesions.data.text(rows)
    own = gan.conditioner(*own_text)
    mirrored = gan.conditioner(*as_read(encoder, [sides_switched(p) for p in prompts], own_text[2]))
    clean = lesions.pictures[chosen, 0].numpy()
    pictures, masks = other_side(clean, lesions.masks[chosen])
    kinds: dict[str, tuple[str, Callable[[Tensor], np.ndarray]]] = {
        "wrong_side": (
            "map of agreement with the report rather than with left and right exchanged",
            lambda x: -agreement_maps(gan.discriminator, x, own, mirrored, method, layer),
        )
    }
    if gan.discriminator.names is not None:
        known = usual.pictures(np.arange(len(usual)))
        findings = frame["finding"].iloc[chosen]
        said = [TARGETS.index(f"{f}_{side}") for f, side in zip(findings, frame["side"].iloc[chosen], strict=True)]
        not_said = OTHER_SIDE[said]
        wanted = np.where(learned[not_said], not_said, [TARGETS.index(f) for f in findings])
        kinds["wrong_side_named"] = (
            "map of the finding as the discriminator names it, on the side that the report does not say (on either "
            "where it has not learned the sides)",
            lambda x: named_maps(gan.discriminator, x, wanted, known),
        )
    patients = lesions.patients[chosen]
    figures, maps = {}, {}
    for name, (what, of) in kinds.items():
        maps[name], before = of(as_batch(pictures)), of(as_batch(clean))
        figures |= planted_figures(
            f"planted_{name}", f"a lesion moved to the other side, {what}", maps[name], before, pictures, masks,
            patients, split, seed, repetitions,
        )  # fmt: skip
    with torch.inference_mode():
        answers = []
        for x in (clean, pictures):
            features = gan.discriminator.features(as_batch(x))
            difference = gan.discriminator.head(features, own) - gan.discriminator.head(features, mirrored)
            answers.append(difference.numpy())
    figures["planted_wrong_side_noticed"] = entry(
        mean_over_patients((answers[1] < answers[0]).astype(float), patients, repetitions, seed),
        split=split, seeds=[seed], floor=1.0, worst_case=0.5,
        definition="share of pictures whose agreement (logit with the report minus with the sides exchanged) falls "
        "when the lesion changes sides; worst case: chance",
    )  # fmt: skip
    return figures, Planted(clean, pictures, masks, maps)


@dataclass(frozen=True)
class Edited:
    """Pictures drawn with and without a finding's sentences, with the zone where the finding may lie; (n, S, S)."""

    findings: list[str]
    prompts: list[str]
    drawn: np.ndarray
    without: np.ndarray
    maps: np.ndarray
    zones: np.ndarray


def counterfactuals(
    gan: ReportGan,
    judge: FindingsClassifier,
    encoder: TextEncoder,
    data: ChestSet,
    stated: list[tuple[int, str, str]],
    zone_of: Callable[[str, str], np.ndarray],
    count: int,
    split: str,
    seed: int,
    repetitions: int,
) -> tuple[dict[str, Any], Edited] | None:
    """Take the sentences of a finding out, draw with the same noise, and see what changes and where."""
    cases = []
    for index, finding, side in stated:
        prompt = str(data.frame["prompt"].iloc[index])
        left = removed(prompt, finding)
        if left is not None:
            cases.append((index, finding, side, prompt, left))
    cases.sort(key=lambda case: case[1])
    cases = [cases[i] for i in spread(len(cases), count)]
    if not cases:
        return None
    rows, findings, sides, prompts, edited = (list(part) for part in zip(*cases, strict=True))
    text = data.text(np.array(rows))
    drawn = generate(gan, *text, seed=seed, device=cpu_device())
    without = generate(gan, *as_read(encoder, edited, text[2]), seed=seed, device=cpu_device())
    maps = difference_maps(drawn, without)
    zones = np.stack([zone_of(f, s) for f, s in zip(findings, sides, strict=True)])
    patients = data.frame["subject_id"].to_numpy()[rows]
    shifted = np.roll(np.arange(len(rows)), len(rows) // 2)
    logits = [predict(judge, lambda r, x=x: as_batch(x[r]), len(rows), cpu_device()) for x in (drawn, without)]
    columns = [FINDINGS.index(f) for f in findings]
    falls = (logits[0] - logits[1])[np.arange(len(rows)), columns]

    def mean(values: np.ndarray) -> Any:
        return mean_over_patients(np.asarray(values, float), patients, repetitions, seed)

    common = {"split": split, "seeds": [seed]}
    figures = {
        "sentence_removed_in_zone": entry(
            mean(pointing_hits(np.abs(maps), zones)), **common, floor=1.0,
            worst_case=mean(pointing_hits(np.abs(maps), zones[shifted])),
            definition="a finding's sentences are taken out of the report and the same noise drawn again: share of "
            "pictures whose largest change lies where the finding may; worst case: other reports' zones",
        ),
        "sentence_removed_logit_fall": entry(
            mean(falls), **common,
            definition="mean fall of the judge's logit of the finding when its sentences are taken out; 0: no effect",
        ),
    }  # fmt: skip
    return figures, Edited(findings, prompts, drawn, without, maps, zones)


def verdict_figures(
    judge: FindingsClassifier,
    thresholds: dict[str, float],
    data: ChestSet,
    drawn: np.ndarray,
    stated: list[tuple[int, str, str]],
    zone_of: Callable[[str, str], np.ndarray],
    layer: str,
    method: str,
    split: str,
    seed: int,
    repetitions: int,
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, list[dict[str, Any]]]]:
    """Of every finding that a report states: does the drawn picture show it, and where it may be?

    The same is asked of the real picture (floor) and of a picture drawn for a report without the finding (worst case).

    Parameters
    ----------
    thresholds
        The judge's logit of each finding above which it sees it.
    drawn
        (len(data), S, S), one a report.
    stated
        (index into `data`, finding, side); findings without a threshold are left out, at least one has one.
    """
    stated = [case for case in stated if case[1] in thresholds]
    rows = np.array([i for i, _, _ in stated])
    findings = [f for _, f, _ in stated]
    columns = np.array([FINDINGS.index(f) for f in findings])
    rng = np.random.default_rng(seed)
    lacking = [np.flatnonzero(data.labels[:, k] != 1) for k in columns]
    other = np.array([rng.choice(rows_without if len(rows_without) else len(data)) for rows_without in lacking])
    zones = np.stack([zone_of(f, s) for _, f, s in stated])
    patients = data.frame["subject_id"].to_numpy()[rows]
    tables = {}
    reals = data.pictures(np.arange(len(data)))[:, 0].numpy()
    for kind, pictures in (("drawn", drawn[rows]), ("real", reals[rows]), ("mismatched", drawn[other])):
        logits = predict(judge, lambda r, x=pictures: as_batch(x[r]), len(rows), cpu_device())
        maps = finding_maps(judge, as_batch(pictures), findings, method, layer)
        tables[kind] = verdicts(findings, logits[np.arange(len(rows)), columns], thresholds, maps, zones)
    table = tables["drawn"]
    table.insert(0, "image_id", data.frame["image_id"].to_numpy()[rows])
    table.insert(2, "side", [s for _, _, s in stated])

    def mean(kind: str, column: str) -> Any:
        return mean_over_patients(tables[kind][column].to_numpy(float), patients, repetitions, seed)

    said = {
        "accepted": "that are accepted: the judge sees the finding, and its map points into the zone where it may lie",
        "agrees": "that the judge sees, at the threshold with the largest sensitivity + specificity on validation",
        "in_zone": "that the judge's map places where training lesions of the finding and side lie",
    }
    figures = {
        f"marker_{column}": entry(
            mean("drawn", column), split=split, seeds=[seed], floor=mean("real", column),
            worst_case=mean("mismatched", column),
            definition=f"share of the findings stated by the reports of drawn pictures {text}; findings for which the "
            "judge has no threshold are left out; floor: real pictures; worst case: pictures drawn for reports without "
            "the finding",
        )
        for column, text in said.items()
    }  # fmt: skip
    counts = [
        row | {"accepted_of_real": int(part["accepted"].sum())}
        for row, (_, part) in zip(tally(table), tables["real"].groupby("finding"), strict=True)
    ]
    limits = [{"finding": f, "logit_threshold": round(t, 4)} for f, t in thresholds.items()]
    return figures, table, {"marker_verdicts": counts, "judge_thresholds": limits}


def stated_findings(data: ChestSet) -> list[tuple[int, str, str]]:
    """(index, finding, side) of every finding that a report states, in picture order."""
    found = []
    for i, row in enumerate(data.labels):
        for k in np.flatnonzero(row == 1):
            finding = FINDINGS[k]
            found.append((i, finding, str(data.frame[f"side_{finding}"].iloc[i])))
    return found


def zone_maker(training: Lesions) -> Callable[[str, str], np.ndarray]:
    """`allowed_zone` over the lesions of the training split, each computed once."""
    findings, sides = np.array(training.findings), training.frame["side"].to_numpy()
    masks = training.masks
    known: dict[tuple[str, str], np.ndarray] = {}

    def zone_of(finding: str, side: str) -> np.ndarray:
        if (finding, side) not in known:
            known[finding, side] = allowed_zone(masks, findings, sides, finding, side)
        return known[finding, side]

    return zone_of


def plain(value: float, told: dict[str, Any], definition: str) -> dict[str, Any]:
    """An entry for a number that has no interval."""
    return entry(value, split=told["split"], seeds=[told["seed"]], definition=definition)
