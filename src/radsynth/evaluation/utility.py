"""Is synthetic data of use? Train a finding classifier with it and without it, and test both on real people."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from radsynth.evaluation.features import FeatureSpace, extract
from radsynth.evaluation.ranking import patient_draws, ranking_figures
from radsynth.evaluation.utility_report import Comparison, utility_report
from radsynth.settings import EvaluateUtility
from radsynth.training.chest_data import ChestSet, learnable
from radsynth.training.device import Device
from radsynth.training.report_gan import ReportGan, generate
from radsynth.training.sampler import batch_indices
from radsynth.vocabulary import FINDINGS

BATCH = 64
"""Examples of a step of every arm."""
LEARNING_RATE = 2e-3
"""Of AdamW at the first step; it falls to 0 along a cosine."""
DECAYS = (0.03, 0.3, 3.0)
"""Weight decays to choose from, by the validation split alone."""
NOISE_PICTURES = 64
"""Pictures of noise in the arm that must not gain."""
LEAST_TEST = 3
"""Positives and negatives in the test split below which a finding does not count."""
TOGETHER = {"cpu": 4, "cuda": 64}
"""Pictures in memory at a time, real or drawn. A processor reads four of them in two thirds of the time that it takes
for as many of 32, whose feature maps are large enough for the operating system to map and clear anew each time."""


@dataclass(frozen=True)
class Bank:
    """Features of every picture that an arm may train on, in one table.

    Parameters
    ----------
    features
        (rows, d) float32, perhaps memory-mapped: the real training pictures, then `views` blocks of synthetic ones
        drawn from the same reports, then `views` blocks of the real ones after small changes, then noise.
    labels
        (count, K) of the real pictures: 1, 0, or NaN for unknown. Row i of every block has the labels i.
    views
        Blocks of each kind.
    """

    features: np.ndarray
    labels: np.ndarray
    views: int

    @property
    def count(self) -> int:
        """Real pictures."""
        return len(self.labels)

    def place(self, kind: str, rows: np.ndarray, view: np.ndarray | int = 0) -> np.ndarray:
        """Where in the table a kind's pictures of `rows` stand: ``real``, ``synthetic``, ``augmented``, ``noise``."""
        if kind == "real":
            return rows
        if kind == "noise":
            start = (1 + 2 * self.views) * self.count
            return start + rows % (len(self.features) - start)
        return ({"synthetic": 1, "augmented": 1 + self.views}[kind] + view) * self.count + rows


@dataclass(frozen=True)
class Examples:
    """What one training of one arm sees: rows of the bank's table, and the labels of each (n, K)."""

    places: np.ndarray
    labels: np.ndarray


def arm_names(ratios: Sequence[float]) -> list[str]:
    """Names of the arms; a number is the percentage of the real pictures that is added to them."""
    mixed = [f"{kind}_{100 * ratio:.0f}" for ratio in ratios for kind in ("synthetic", "duplicates", "augmented")]
    rare = ["rare_synthetic", "rare_duplicates", "rare_augmented"]
    return ["real", "synthetic_alone", *mixed, *rare, "noise_100", "permuted"]


def arm_examples(bank: Bank, arm: str, rows: np.ndarray, rare: np.ndarray, ratio: float, seed: int) -> Examples:
    """The training set of an arm.

    The same pictures are duplicated, augmented, or drawn anew from their reports: arms differ in nothing else.

    Parameters
    ----------
    rows
        Real pictures that may be used.
    rare
        (count,) bool: pictures that show a rare finding. The arms ``rare_...`` add to these alone.
    ratio
        Pictures that an arm ``rare_...`` adds for each of these; the others carry theirs in their name.
    """
    rng = np.random.default_rng((seed, 21))
    if arm == "real":
        return Examples(rows, bank.labels[rows])
    if arm == "permuted":
        return Examples(rows, bank.labels[rng.permutation(rows)])
    if arm == "synthetic_alone":
        return Examples(bank.place("synthetic", rows), bank.labels[rows])
    kind = next(k for k in ("synthetic", "duplicates", "augmented", "noise") if k in arm)
    source = rows[rare[rows]] if arm.startswith("rare_") else rows
    ratio = ratio if arm.startswith("rare_") else float(arm.rsplit("_", 1)[1]) / 100
    wanted = np.arange(round(ratio * len(source)))
    view, turn = np.divmod(wanted, max(len(source), 1))
    added = rng.permutation(source)[turn] if len(source) else source
    places = bank.place("real" if kind == "duplicates" else kind, added, view)
    return Examples(np.concatenate([rows, places]), bank.labels[np.concatenate([rows, added])])


def augmented(pictures: Tensor, numbers: Sequence[int], seed: int) -> Tensor:
    """Pictures (B, 1, S, S) after small changes as classifiers are commonly trained with.

    Shifted by up to 5 % of the side, scaled by 0.9..1.1, contrast 0.8..1.2 and offset up to 5 % of the range; edges
    repeated. Never mirrored: reports name left and right. The change depends on the seed and the picture's number.
    """
    drawn = np.stack([np.random.default_rng((seed, 22, int(number))).uniform(-1, 1, 5) for number in numbers])
    shift, scale, contrast, offset = np.split(torch.from_numpy(drawn.astype(np.float32)), [2, 3, 4], axis=1)
    turn = torch.zeros(len(pictures), 2, 3)
    turn[:, 0, 0] = turn[:, 1, 1] = 1 / (1 + 0.1 * scale[:, 0])
    turn[:, :, 2] = 0.1 * shift
    grid = F.affine_grid(turn, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return (moved * (1 + 0.2 * contrast)[..., None, None] + 0.1 * offset[..., None, None]).clamp(-1, 1)


def all_pictures(
    train: ChestSet, rows: np.ndarray, draw: Callable[[np.ndarray, int], np.ndarray], views: int, seed: int
) -> tuple[Callable[[np.ndarray], Tensor], int]:
    """A reader of the pictures of a `Bank` in the order of its table, and how many there are.

    Nothing is kept: a picture is read, changed or drawn when its row is asked for.

    Parameters
    ----------
    rows
        Training pictures to use.
    draw
        (training rows, seed) -> synthetic pictures (B, S, S) from their reports.
    """
    count = len(rows)

    def block(number: int, inside: np.ndarray) -> Tensor:
        if number == 0:
            return train.pictures(rows[inside])
        if number <= views:
            noise = seed + 100_000 * (number * count + int(inside[0]) + 1)
            return torch.from_numpy(draw(rows[inside], noise))[:, None]
        if number <= 2 * views:
            return augmented(train.pictures(rows[inside]), inside, seed + number)
        rng = np.random.default_rng((seed, 23, int(inside[0])))
        return torch.from_numpy(rng.uniform(-1, 1, (len(inside), 1, train.size, train.size)).astype(np.float32))

    def read(asked: np.ndarray) -> Tensor:
        number, inside = np.minimum(asked // count, 1 + 2 * views), asked.copy()
        inside -= number * count
        return torch.cat([block(int(n), inside[number == n]) for n in np.unique(number)])

    return read, (1 + 2 * views) * count + NOISE_PICTURES


def train_heads(
    features: np.ndarray, arms: Sequence[Examples], *, steps: int, decays: Sequence[float], seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Train linear classifiers, one for each training set and weight decay, all with the same number of steps.

    Every set is standardised by its own mean and standard deviation, so that no arm knows anything of another.

    Parameters
    ----------
    features
        (rows, d) that `Examples.places` point into.

    Returns
    -------
    callable
        Features (n, d) -> logits (len(arms), len(decays), n, K).
    """
    moments = [_moments(features, arm.places) for arm in arms]
    mean, scale = (torch.from_numpy(np.stack(part))[:, None] for part in zip(*moments, strict=True))
    width, findings = features.shape[1], arms[0].labels.shape[1]
    weights = [torch.zeros(len(arms), width, findings, requires_grad=True) for _ in decays]
    biases = torch.zeros(len(arms), 1, len(decays) * findings, requires_grad=True)
    groups: list[dict[str, Any]] = [
        {"params": [weight], "weight_decay": decay} for weight, decay in zip(weights, decays, strict=True)
    ]
    optimizer = torch.optim.AdamW([*groups, {"params": [biases], "weight_decay": 0.0}], lr=LEARNING_RATE, fused=True)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        chosen = [batch_indices(len(arm.places), BATCH, step * BATCH, seed + k) for k, arm in enumerate(arms)]
        x = np.stack([features[arm.places[rows]] for arm, rows in zip(arms, chosen, strict=True)])
        y = torch.from_numpy(np.stack([arm.labels[rows] for arm, rows in zip(arms, chosen, strict=True)]))
        logits = torch.baddbmm(biases, (torch.from_numpy(x) - mean) / scale, torch.cat(weights, 2))
        wanted = y.repeat(1, 1, len(decays))
        known = ~wanted.isnan()
        losses = F.binary_cross_entropy_with_logits(logits, wanted.nan_to_num(), reduction="none")
        optimizer.zero_grad(set_to_none=True)
        ((losses * known).sum() / BATCH).backward()
        optimizer.step()
        slower.step()
    together = torch.cat(weights, 2).detach()

    @torch.inference_mode()
    def classify(x: np.ndarray) -> np.ndarray:
        found = np.empty((len(arms), len(decays), len(x), findings), np.float32)
        for start in range(0, len(x), 1024):
            block = torch.from_numpy(np.array(x[start : start + 1024]))[None]
            logits = torch.baddbmm(biases, (block - mean) / scale, together)
            found[:, :, start : start + 1024] = logits.unflatten(2, (len(decays), findings)).transpose(1, 2).numpy()
        return found

    return classify


def _moments(features: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (d,) of some rows, in blocks; what does not vary is left as it is."""
    total, square = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for start in range(0, len(places), 4096):
        block = features[places[start : start + 4096]].astype(np.float64)
        total += block.sum(0)
        square += (block**2).sum(0)
    mean = total / len(places)
    deviation = np.sqrt(np.maximum(square / len(places) - mean**2, 0))
    return mean.astype(np.float32), np.where(deviation > 1e-3, deviation, 1.0).astype(np.float32)


def chosen_by_validation(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For every training of (trainings, decays, n, K) logits the decay with the highest macro AUROC: (trainings,)."""
    once = np.ones((1, len(labels)), np.float32)

    def score(of_decay: np.ndarray) -> float:
        areas = np.array([ranking_figures(of_decay[:, k], labels[:, k], once)[0, 0] for k in range(labels.shape[1])])
        known = areas[np.isfinite(areas)]
        return float(known.mean()) if len(known) else 0.0

    return np.array([[score(of_decay) for of_decay in training] for training in logits]).argmax(1)


def compare_arms(
    bank: Bank,
    subjects: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray] | None,
    test: tuple[np.ndarray, np.ndarray, np.ndarray],
    rare: np.ndarray,
    own: EvaluateUtility,
    *,
    seed: int,
) -> list[Comparison]:
    """Train every arm on all real patients and on a few of them, and test all on the same people.

    Parameters
    ----------
    subjects
        (count,) patient of each real training picture.
    validation
        Features and labels that choose the weight decay; None takes the middle one.
    test
        Features, labels and patients.
    rare
        (K,) bool, the rare findings.
    own
        Settings of the stage.
    """
    features, labels, people = test
    draws = patient_draws(people, own.bootstrap, seed)
    shows_rare = (bank.labels[:, rare] == 1).any(1)
    found = []
    for regime in ("full", "few"):
        rows = [_rows_of(regime, subjects, own.few_share, seed + k) for k in range(own.seeds)]
        names = arm_names(own.ratios)
        values = np.empty((len(names), 2, labels.shape[1], len(draws)), np.float32)
        spread, pictures, decays = [], [], []
        for arm, name in enumerate(names):
            sets = [
                arm_examples(bank, name, own_rows, shows_rare, max(own.ratios), seed + k)
                for k, own_rows in enumerate(rows)
            ]
            classify = train_heads(bank.features, sets, steps=own.steps, decays=DECAYS, seed=seed)
            best = np.full(own.seeds, len(DECAYS) // 2)
            if validation is not None:
                best = chosen_by_validation(classify(validation[0]), validation[1])
            logits = classify(features)[np.arange(own.seeds), best]
            each = np.stack(
                [[ranking_figures(one[:, k], labels[:, k], draws) for k in range(labels.shape[1])] for one in logits]
            )
            values[arm] = each.mean(0).transpose(1, 0, 2)
            spread.append(np.nanmean(each[:, :, 0, 0], axis=1).std())
            pictures.append(int(np.mean([len(s.places) for s in sets])))
            decays.append([DECAYS[b] for b in best])
        real = int(np.mean([len(r) for r in rows]))
        found.append(Comparison(regime, names, values, spread, pictures, decays, real, len(np.unique(people))))
    return found


def _rows_of(regime: str, subjects: np.ndarray, share: float, seed: int) -> np.ndarray:
    """All rows, or those of a random share of the patients, at least one."""
    if regime == "full":
        return np.arange(len(subjects))
    people = np.unique(subjects)
    kept = np.random.default_rng((seed, 24)).permutation(people)[: max(round(share * len(people)), 1)]
    return np.flatnonzero(np.isin(subjects, kept))


def evaluate_utility(
    gan: ReportGan, sets: dict[str, ChestSet], space: FeatureSpace, own: EvaluateUtility, *, seed: int, device: Device
) -> tuple[dict[str, Any], list[Comparison]]:
    """Measure what the model's pictures are worth to a classifier of findings.

    Synthetic pictures are drawn from the reports of the training split alone. A finding counts where the training
    pictures hold five positives and negatives and the test split three.

    Returns
    -------
    dict
        Flat values, ``figures``, ``tables`` and ``notes``; where nothing can be measured, ``reason`` says why.
    list of Comparison
        For the picture; empty where nothing can be measured.
    """
    train = sets["train"]
    rows = _capped(train.frame["subject_id"].to_numpy(), own.training_pictures, seed)
    if "test" not in sets:
        return utility_report([], reason="no test split"), []
    test = sets["test"]
    countable = learnable(train.labels[rows]) & learnable(test.labels, LEAST_TEST)
    if not countable.any():
        reason = f"no finding has 5 positives and negatives in training and {LEAST_TEST} in the test split"
        return utility_report([], reason=reason), []
    columns = np.flatnonzero(countable)
    positives = (train.labels[rows][:, columns] == 1).sum(0)
    rare = np.zeros(len(columns), bool)
    rare[np.argsort(positives, kind="stable")[: own.rare_findings]] = True
    views = math.ceil(max(own.ratios))

    def draw(chosen: np.ndarray, noise: int) -> np.ndarray:
        return generate(gan, *train.text(chosen), seed=noise, device=device)

    with TemporaryDirectory(prefix="radsynth-utility-") as folder:

        def features(pictures: Callable[[np.ndarray], Tensor], count: int, name: str) -> np.ndarray:
            path = Path(folder) / f"{name}.npy"
            return extract(space, pictures, count, device, batch_size=TOGETHER.get(device.device.type, 4), path=path)

        bank = Bank(
            features(*all_pictures(train, rows, draw, views, seed), "bank"), train.labels[rows][:, columns], views
        )
        held = {
            name: (features(sets[name].pictures, len(sets[name]), name), sets[name].labels[:, columns])
            for name in ("validation", "test")
            if name in sets
        }
        comparisons = compare_arms(
            bank,
            train.frame["subject_id"].to_numpy()[rows],
            held.get("validation"),
            (*held["test"], test.frame["subject_id"].to_numpy()),
            rare,
            own,
            seed=seed,
        )
    return utility_report(
        comparisons,
        findings=[FINDINGS[k] for k in columns],
        rare=rare,
        positives=np.stack([positives, (test.labels[:, columns] == 1).sum(0)], 1),
        own=own,
        space=str(space),
        seeds=[seed + k for k in range(own.seeds)],
        decays=DECAYS,
        validated="validation" in held,
    ), comparisons


def _capped(subjects: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Rows of randomly drawn patients, all of a patient or none, at most `most` rows (but one patient at least)."""
    people, member, sizes = np.unique(subjects, return_inverse=True, return_counts=True)
    order = np.random.default_rng((seed, 25)).permutation(len(people))
    kept = order[: max(int((np.cumsum(sizes[order]) <= most).sum()), 1)]
    return np.flatnonzero(np.isin(member, kept))
