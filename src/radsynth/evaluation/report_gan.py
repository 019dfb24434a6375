"""All figures of a report GAN on held-out reports, each with its floor and its worst case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radsynth.evaluation.copies import Pictures, from_array, packed, room_for
from radsynth.evaluation.counterfactual import Pairs, counterfactual_figures
from radsynth.evaluation.entries import entry
from radsynth.evaluation.features import FeatureSpace, imagenet_space, judge_space
from radsynth.evaluation.report_agreement import auroc, auroc_share, octave_power, spread_share
from radsynth.evaluation.report_distribution import distribution_figures
from radsynth.evaluation.retrieval import fit_common_space, retrieval_figures
from radsynth.networks.classifier import FindingsClassifier
from radsynth.reports.encode import TextEncoder
from radsynth.training.chest_data import ChestSet, learnable
from radsynth.training.device import Device
from radsynth.training.drawing import as_read
from radsynth.training.findings import predict
from radsynth.training.report_gan import DRAWN_TOGETHER, ReportGan, generate
from radsynth.vocabulary import FINDINGS, VIEWS

COMPARED = 2
"""Noises a report, at most, in the figures of distributions and diversity: others cost time and say little more."""


@dataclass(frozen=True)
class Drawn:
    """`pictures` float32 (k, n, S, S) in -1..1: k noise seeds for each of n reports, with the judge's reading."""

    pictures: np.ndarray
    logits: np.ndarray
    features: np.ndarray


def read_pictures(
    judge: FindingsClassifier, pictures: Pictures, count: int, device: Device
) -> tuple[np.ndarray, np.ndarray]:
    """The judge's logits (count, K) and features (count, D) for pictures, read when they are needed."""
    both = predict(lambda x: torch.cat([judge(x), judge.features(x)], 1), pictures, count, device)
    return both[:, : len(FINDINGS)], both[:, len(FINDINGS) :]


def draw(
    gan: ReportGan,
    judge: FindingsClassifier,
    data: ChestSet,
    samples: int,
    seed: int,
    device: Device,
    folder: str | Path | None = None,
) -> Drawn:
    """Draw `samples` pictures of every report of `data`, with noise seeds ``seed, seed + 1000, ...``.

    Parameters
    ----------
    folder
        Where the pictures go, memory-mapped; None keeps them in memory.
    """
    shape = (samples, len(data), data.size, data.size)
    pictures = room_for(shape, None if folder is None else Path(folder) / "drawn.npy")
    for first in range(0, len(data), DRAWN_TOGETHER):
        rows = np.arange(first, min(first + DRAWN_TOGETHER, len(data)))
        text = data.text(rows)
        for k in range(samples):
            pictures[k, rows] = generate(gan, *text, seed=seed + 1000 * k, device=device, first=first)
    read = [read_pictures(judge, from_array(p), len(p), device) for p in pictures]
    logits, features = zip(*read, strict=True)
    return Drawn(pictures, np.stack(logits), np.stack(features))


def evaluate_report_gan(
    gan: ReportGan,
    judge: FindingsClassifier,
    train: ChestSet,
    test: ChestSet,
    *,
    pooled: np.ndarray,
    encoder: TextEncoder,
    masks: Mapping[tuple[int, str], np.ndarray],
    samples: int,
    counterfactuals: int,
    bootstrap: int,
    seed: int,
    device: Device,
    folder: str | Path,
    split: str = "test",
    spaces: Mapping[str, FeatureSpace] | None = None,
) -> tuple[dict[str, Any], Drawn, dict[str, Pairs]]:
    """Judge the model on the reports of `test`.

    A finding counts where the judge learned it (five positives in training), the test split holds at least three
    positives and three negatives, and the judge's AUROC on real pictures is above 0.6.

    Parameters
    ----------
    pooled
        Mean BERT vectors (R, e) of all reports, by `report_row`.
    encoder
        The frozen BERT of the training, for edited reports.
    masks
        (row of `test`, finding) -> true lesion mask (S, S) bool; empty where the source knows none.
    counterfactuals
        Pairs of each kind of edit, at most.
    folder
        Where pictures lie while they are compared: memory does not grow with their number.
    split
        What `test` is, for the figures.
    spaces
        More feature spaces by suffix of their figures' names.

    Returns
    -------
    dict
        ``"figures"``: each as `entries.entry` says, their values again at the top; ``"tables"``: rows by finding and by
        octave; ``"notes"``: what the figures do not show.
    Drawn
        The pictures that were judged.
    dict
        Counterfactual pairs by kind.
    """
    real_logits, real_features = read_pictures(judge, test.pictures, len(test), device)
    drawn = draw(gan, judge, test, samples, seed, device, folder)
    real_pictures = packed(
        lambda rows: test.pictures(rows)[:, 0].numpy(), drawn.pictures.shape[1:], Path(folder) / "real.npy"
    )
    labels = test.labels
    on_real = np.array([auroc(real_logits[:, k], labels[:, k]) for k in range(len(FINDINGS))])
    countable = learnable(train.labels) & learnable(labels, 3) & (np.nan_to_num(on_real) > 0.6)
    columns = np.flatnonzero(countable)
    subjects = test.frame["subject_id"].to_numpy()
    prompts = test.frame["prompt"].tolist()
    seeds = [seed + 1000 * k for k in range(samples)]
    described: dict[str, Any] = {"split": split, "seeds": seeds}
    judge_features = judge_space(judge)
    figures, tables = _agreement(
        real_logits, drawn, labels, columns, subjects, described, bootstrap, seed, judge_features
    )
    figures |= _texture_and_spread(real_pictures, real_features, drawn, labels, subjects, described, judge_features)
    figures |= distribution_figures(
        {"": imagenet_space(device), "_judge": judge_features, **(spaces or {})},
        real_pictures, drawn.pictures[:COMPARED], labels, subjects,
        split=split, seeds=seeds[:COMPARED], repetitions=bootstrap, seed=seed, device=device,
        read={"_judge": (real_features, drawn.features[:COMPARED])}, folder=folder,
    )  # fmt: skip

    common = fit_common_space(
        read_pictures(judge, train.pictures, len(train), device)[1],
        pooled[train.frame["report_row"].to_numpy()],
        f"{judge_features} with mean BERT vectors ({encoder.name}, sha256 {encoder.digest[:12]}), "
        f"{len(train)} real training pictures",
    )
    figures |= retrieval_figures(
        common, real_features, drawn.features, pooled[test.frame["report_row"].to_numpy()], prompts, subjects,
        **described, repetitions=bootstrap, seed=seed,
    )  # fmt: skip

    found, rows_by_finding, notes, pairs = counterfactual_figures(
        lambda texts, of: _draw_texts(gan, encoder, texts, test.frame["view_position"].to_numpy()[of], seed, device),
        lambda pictures: read_pictures(judge, from_array(pictures), len(pictures), device)[0],
        prompts, subjects, columns, (real_pictures, real_logits), labels,
        test.frame[[f"side_{f}" for f in FINDINGS]].to_numpy(),
        [(drawn.pictures[k], drawn.logits[k]) for k in (0, -1)], masks,
        most=counterfactuals, split=split, seed=seed, repetitions=bootstrap,
        feature_space=f"logits of models/classifier, sha256 {judge_features.digest}",
    )  # fmt: skip
    figures |= found
    notes = [*_notes(figures, columns, split), *notes]
    flat = {name: figure["value"] for name, figure in figures.items()} | {"reports": len(test)}
    return flat | {"figures": figures, "tables": tables | rows_by_finding, "notes": notes}, drawn, pairs


def _agreement(
    real_logits: np.ndarray,
    drawn: Drawn,
    labels: np.ndarray,
    columns: np.ndarray,
    subjects: np.ndarray,
    described: dict[str, Any],
    bootstrap: int,
    seed: int,
    space: FeatureSpace,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Whether the judge reads off drawn pictures what their reports say."""
    agreement = auroc_share(list(drawn.logits), real_logits, labels, columns, subjects, bootstrap, seed)
    shuffled = _derangement(len(labels), seed)
    chance = auroc_share(list(drawn.logits[:, shuffled]), real_logits, labels, columns, subjects, bootstrap, seed)
    described = {**described, "feature_space": f"logits of models/classifier, sha256 {space.digest}"}
    figures = {
        "label_auroc_share": entry(
            agreement["share"], **described, floor=1.0, worst_case=chance["share"],
            definition="(AUROC on drawn - 0.5) / (AUROC on real - 0.5), mean over findings, the judge's logits against "
            "the report's labels; 1 is as readable as real, which is the floor; worst case: shuffled reports",
        ),
        "label_auroc_drawn": entry(
            agreement["drawn"], **described, floor=agreement["real"], worst_case=chance["drawn"],
            definition="mean AUROC over findings on drawn pictures; floor: on real; worst case: shuffled reports",
        ),
        "label_auroc_real": entry(
            agreement["real"], **(described | {"seeds": []}), worst_case=0.5,
            definition="mean AUROC over findings on real pictures: what the judge itself can; worst case: chance",
        ),
    }  # fmt: skip
    by_finding = []
    for k, (on_drawn, on_real), (on_shuffled, _) in zip(
        columns, agreement["by_finding"], chance["by_finding"], strict=True
    ):
        by_finding.append(
            {"finding": FINDINGS[k], "positives": int((labels[:, k] == 1).sum())}
            | _cells("auroc_drawn", on_drawn)
            | _cells("auroc_real", on_real)
            | {"auroc_shuffled": _rounded(on_shuffled.value)}
        )
    return figures, {"auroc_by_finding": by_finding}


def _texture_and_spread(
    real_pictures: np.ndarray,
    real_features: np.ndarray,
    drawn: Drawn,
    labels: np.ndarray,
    subjects: np.ndarray,
    described: dict[str, Any],
    space: FeatureSpace,
) -> dict[str, Any]:
    """Power of the finest details, and how far pictures of one report lie apart."""
    power = octave_power(drawn.pictures[0]) / octave_power(real_pictures)
    halves = (
        octave_power(real_pictures[::2]) / octave_power(real_pictures[1::2]) if len(real_pictures) > 1 else [None] * 5
    )
    octaves = {
        f"power_ratio_{name}_octave": entry(
            float(power[at]), split=described["split"], seeds=described["seeds"][:1], n=len(labels),
            feature_space=f"pixels {real_pictures.shape[-1]}x{real_pictures.shape[-1]}", floor=halves[at],
            definition=f"power of drawn over that of real pictures, {where} of the spatial frequencies that they can "
            "hold; 1 is as sharp as real; floor: every second real picture over the others",
        )
        for name, at, where in (("finest", -1, "the upper half"), ("second", -2, "the second quarter"))
    }  # fmt: skip
    share, _, _, compared = spread_share(
        drawn.features.transpose(1, 0, 2), real_features, np.nan_to_num(labels, nan=2), subjects=subjects
    )
    return octaves | {
        "spread_share": entry(
            share, **described, n=compared, feature_space=str(space), floor=1.0, worst_case=0.0,
            definition="mean distance between pictures drawn from one report, over that between real pictures of "
            "different patients with its findings (at least 4; n counts reports); worst case: one picture a report",
        )
    }  # fmt: skip


def _draw_texts(
    gan: ReportGan, encoder: TextEncoder, texts: Sequence[str], views: np.ndarray, seed: int, device: Device
) -> np.ndarray:
    """Pictures (n, S, S) of n texts; the noise depends on the seed and the place in the list alone."""
    view = torch.tensor([VIEWS.index(v) for v in views])
    return generate(gan, *as_read(encoder, texts, view), seed=seed, device=device)


def _notes(figures: dict[str, Any], columns: np.ndarray, split: str) -> list[str]:
    """Plain words about what stands out."""
    notes = [
        "The judge was trained on the same training pictures as the model, for the findings that reports name: it says "
        "whether a finding can be read, not whether a radiologist would believe the picture."
    ]
    if split != "test":
        notes.append(f"There is no test split: the figures are of the {split} split, which the model has seen.")
    if not len(columns):
        notes.append("No finding has enough positives that the judge can read: agreement and edits are not measured.")
    side = figures.get("counterfactual_side_read")
    coverage = figures.get("coverage")
    if (
        coverage
        and coverage["value"] is not None
        and coverage["floor"]
        and coverage["value"] < 0.5 * _value(coverage["floor"])
    ):
        notes.append(
            "In ImageNet features the drawn pictures lie apart from the real ones: they can be told apart by texture."
        )
    if side and side["low"] is not None and side["low"] <= side["worst_case"]:
        notes.append(
            "The side that a report names cannot be shown to reach the picture: the judge reads it as if by chance."
        )
    return notes


def _value(floor: Any) -> float:
    return floor["value"] if isinstance(floor, dict) else floor


def _cells(name: str, interval: Any) -> dict[str, Any]:
    return {
        name: _rounded(interval.value),
        f"{name}_low": _rounded(interval.low),
        f"{name}_high": _rounded(interval.high),
    }


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _derangement(n: int, seed: int) -> np.ndarray:
    """A permutation that leaves nothing in its place: every report meets another report's picture."""
    order = np.random.default_rng(seed).permutation(n)
    moved = np.empty(n, int)
    moved[order] = np.roll(order, 1)
    return moved
