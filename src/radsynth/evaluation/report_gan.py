"""All figures of a report GAN on held-out reports, each with its floor and its worst case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from radsynth.evaluation.entries import entry
from radsynth.evaluation.features import imagenet_space, judge_space
from radsynth.evaluation.intervals import Interval
from radsynth.evaluation.report_agreement import auroc, auroc_share, octave_power, spread_share
from radsynth.evaluation.report_distribution import distribution_figures
from radsynth.networks.classifier import FindingsClassifier
from radsynth.training.chest_data import ChestSet, learnable
from radsynth.training.device import Device
from radsynth.training.findings import predict
from radsynth.training.report_gan import ReportGan, generate
from radsynth.training.scores import kernel_distance
from radsynth.vocabulary import FINDINGS


@dataclass(frozen=True)
class Drawn:
    """`pictures` float32 (k, n, S, S) in -1..1: k noise seeds for each of n reports, with the judge's reading."""

    pictures: np.ndarray
    logits: np.ndarray
    features: np.ndarray


def read_pictures(judge: FindingsClassifier, pictures: np.ndarray, device: Device) -> tuple[np.ndarray, np.ndarray]:
    """The judge's logits (n, K) and features (n, D) for pictures (n, S, S)."""
    both = predict(
        lambda x: torch.cat([judge(x), judge.features(x)], 1),
        lambda rows: torch.from_numpy(pictures[rows])[:, None],
        len(pictures),
        device,
    )
    return both[:, : len(FINDINGS)], both[:, len(FINDINGS) :]


def draw(gan: ReportGan, judge: FindingsClassifier, data: ChestSet, samples: int, seed: int, device: Device) -> Drawn:
    """Draw `samples` pictures of every report of `data`, with noise seeds ``seed .. seed + samples - 1``."""
    text = data.text(np.arange(len(data)))
    pictures = np.stack([generate(gan, *text, seed=seed + 1000 * k, device=device) for k in range(samples)])
    logits, features = zip(*(read_pictures(judge, p, device) for p in pictures), strict=True)
    return Drawn(pictures, np.stack(logits), np.stack(features))


def evaluate_report_gan(
    gan: ReportGan,
    judge: FindingsClassifier,
    train: ChestSet,
    test: ChestSet,
    *,
    samples: int,
    bootstrap: int,
    seed: int,
    device: Device,
) -> tuple[dict[str, Any], Drawn]:
    """Judge the model on the reports of `test`.

    A finding counts where the judge learned it (five positives in training), the test split holds at least three
    positives and three negatives, and the judge's AUROC on real pictures is above 0.6.

    Returns
    -------
    dict
        Flat figures; under ``"figures"`` each as `entries.entry` says; under ``"details"`` those of agreement with
        value, low, high (95 % bootstrap over patients), n, split, seeds, floor and worst case where they apply.
    Drawn
        The pictures that were judged.
    """
    real_pictures = test.pictures(np.arange(len(test)))[:, 0].numpy()
    real_logits, real_features = read_pictures(judge, real_pictures, device)
    drawn = draw(gan, judge, test, samples, seed, device)
    labels = test.labels
    countable = learnable(train.labels) & learnable(labels, 3)
    on_real = np.array([auroc(real_logits[:, k], labels[:, k]) for k in range(len(FINDINGS))])
    columns = np.flatnonzero(countable & (np.nan_to_num(on_real) > 0.6))
    subjects = test.frame["subject_id"].to_numpy()

    agreement = auroc_share(list(drawn.logits), real_logits, labels, columns, subjects, bootstrap, seed)
    shuffled = _derangement(len(test), seed)
    chance = auroc_share(list(drawn.logits[:, shuffled]), real_logits, labels, columns, subjects, bootstrap, seed)
    per_finding = {
        FINDINGS[k]: {
            "auroc_real": round(float(on_real[k]), 4),
            "auroc_drawn": round(float(np.mean([auroc(d[:, k], labels[:, k]) for d in drawn.logits])), 4),
            "positives": int((labels[:, k] == 1).sum()),
        }
        for k in columns
    }
    share, within, between, compared = spread_share(
        drawn.features.transpose(1, 0, 2), real_features, np.nan_to_num(labels, nan=2)
    )
    floor_features = _features_of(judge, train, len(test), seed, device)
    power = octave_power(drawn.pictures[0]) / octave_power(real_pictures)
    scale = real_features.std(0) + 1e-6
    kid = kernel_distance(drawn.features[0] / scale, real_features / scale)
    kid_floor = kernel_distance(floor_features / scale, real_features / scale)
    noise = np.random.default_rng(seed).uniform(-1, 1, real_pictures[:64].shape).astype(np.float32)
    kid_worst = kernel_distance(read_pictures(judge, noise, device)[1] / scale, real_features / scale)

    def detail(interval: Interval, **more: Any) -> dict[str, Any]:
        return {k: round(v, 4) for k, v in interval._asdict().items()} | {"split": "test", **more}

    seeds = [seed + 1000 * k for k in range(samples)]
    space = "features of models/classifier, each divided by its standard deviation on real test pictures"
    figures: dict[str, Any] = {
        "label_auroc_share": agreement["share"].value,
        "label_auroc_share_shuffled": chance["share"].value,
        "label_auroc_drawn": agreement["drawn"].value,
        "label_auroc_real": agreement["real"].value,
        "label_auroc_shuffled": chance["drawn"].value,
        "spread_share": share,
        "kernel_distance": kid,
        "kernel_distance_real_real": kid_floor,
        "power_ratio_finest_octave": float(power[-1]),
        "power_ratio_second_octave": float(power[-2]),
        "reports": len(test),
    }
    figures = {
        k: round(v, 4) if isinstance(v, float) and v == v else (None if v != v else v) for k, v in figures.items()
    }
    details = {
        "label_auroc_share": detail(agreement["share"], seeds=seeds, worst_case=detail(chance["share"])),
        "label_auroc_drawn": detail(agreement["drawn"], seeds=seeds, floor=detail(agreement["real"])),
        "kernel_distance": {
            "value": round(kid, 4),
            "n": len(test),
            "split": "test",
            "seeds": seeds[:1],
            "feature_space": space,
            "floor": round(kid_floor, 4),
            "worst_case": round(kid_worst, 4),
        },
        "spread_share": {"within_prompt": within, "between_patients": between, "reports": compared, "split": "test"},
        "power_ratio_by_octave": [round(float(p), 4) for p in power],
        "per_finding": per_finding,
    }
    described = {"split": "test", "seeds": seeds}
    measured = {
        "label_auroc_share": entry(
            agreement["share"], **described, worst_case=chance["share"], feature_space="logits of models/classifier",
            definition="(AUROC on drawn - 0.5) / (AUROC on real - 0.5), mean over findings, the judge's logits against "
            "the report's labels; 1 is as readable as real; worst case: shuffled reports",
        ),
        "label_auroc_drawn": entry(
            agreement["drawn"], **described, floor=agreement["real"], worst_case=chance["drawn"],
            feature_space="logits of models/classifier",
            definition="mean AUROC over findings on drawn pictures; floor: on real; worst case: shuffled reports",
        ),
    } | distribution_figures(
        {"": imagenet_space(device), "_judge": judge_space(judge)},
        real_pictures, drawn.pictures, labels, subjects,
        **described, repetitions=bootstrap, seed=seed, device=device,
    )  # fmt: skip
    flat = {name: figure["value"] for name, figure in measured.items() if name not in figures}
    return _finite(figures | flat | {"details": details, "figures": measured}), drawn


def _finite(value: Any) -> Any:
    """The same structure with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _derangement(n: int, seed: int) -> np.ndarray:
    """A permutation that leaves nothing in its place: every report meets another report's picture."""
    order = np.random.default_rng(seed).permutation(n)
    moved = np.empty(n, int)
    moved[order] = np.roll(order, 1)
    return moved


def _features_of(judge: FindingsClassifier, data: ChestSet, count: int, seed: int, device: Device) -> np.ndarray:
    rows = np.random.default_rng(seed).permutation(len(data))[:count]
    return read_pictures(judge, data.pictures(np.sort(rows))[:, 0].numpy(), device)[1]
