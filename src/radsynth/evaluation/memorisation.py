"""Does the report GAN give its training pictures away? Nobody may be promoted whose pictures are copies of people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from radsynth.evaluation.copies import (
    CHANGES,
    CopyDetector,
    Pictures,
    changed,
    copy_limit,
    fit_copy_detector,
    from_array,
)
from radsynth.evaluation.entries import entry, over_patients
from radsynth.evaluation.intervals import Interval
from radsynth.evaluation.overtrained import draw_by_heart
from radsynth.evaluation.patients import mean_over_patients
from radsynth.evaluation.report_agreement import auroc
from radsynth.settings import AuditMemorisation
from radsynth.training.chest_data import ChestSet
from radsynth.training.device import Device
from radsynth.training.report_gan import ReportGan, generate

LEAST_HELD_OUT = 10
"""Held-out pictures below which no limit can be set."""
MOST_HELD_OUT = 1000
"""Held-out pictures to compare with, drawn at random where there are more."""
CANARIES = 6
"""Training pictures planted by each change, and unchanged."""
LEAST_FOUND = 0.8
"""Share of the planted copies that an audit must find to be believed."""
CONTROL_PICTURES = 8
"""Training pictures that the over-trained control learns by heart."""


@dataclass(frozen=True)
class Copy:
    """A picture beside the training picture that it is too near to; `origin` says where it comes from."""

    picture: np.ndarray
    neighbour: int
    similarity: float
    origin: str


@dataclass(frozen=True)
class AuditPictures:
    """What the audit's plots show.

    Parameters
    ----------
    limit
        Similarity above which a picture is a copy.
    similarity
        Nearest-neighbour similarities to the training split by name of the group.
    roc
        False and true alarm rates of the detector on real pairs, by kind of change.
    copies
        Drawn pictures above the limit, the most similar first.
    nearest
        The drawn pictures that come nearest to a training picture, copies or not.
    planted
        Planted copies, and pictures of the over-trained control, that the audit listed.
    """

    limit: float
    similarity: dict[str, np.ndarray]
    roc: dict[str, tuple[np.ndarray, np.ndarray]]
    copies: list[Copy]
    nearest: list[Copy]
    planted: list[Copy]


def audit_report_gan(
    gan: ReportGan, sets: dict[str, ChestSet], own: AuditMemorisation, *, seed: int, device: Device
) -> tuple[dict[str, Any], AuditPictures | None]:
    """Look for training pictures among what the model draws, with proof that the search finds what is there.

    Returns
    -------
    dict
        ``report_to_xray_passed``: False where a drawn picture is a copy; None, with
        ``report_to_xray_reason``, where the audit could not have found one. Flat values, and under ``"figures"`` each
        with its interval, floor and worst case. Copies are listed under ``"copies"`` by study.
    AuditPictures
        None where there was nothing to compare with.
    """
    train = sets["train"]
    held_out = [sets[name] for name in ("validation", "test") if name in sets]
    held = _Rows.of(held_out, np.random.default_rng((seed, 3)), MOST_HELD_OUT) if held_out else None
    if held is None or len(held) < LEAST_HELD_OUT:
        reason = f"{0 if held is None else len(held)} held-out pictures: no limit can be set below {LEAST_HELD_OUT}"
        return {"report_to_xray_passed": None, "report_to_xray_reason": reason, "figures": {}}, None
    fitted, others = _halves(train.frame["subject_id"].to_numpy(), seed)
    detector = fit_copy_detector(train.pictures, len(train), own.components, fitted)
    prompts = np.sort(np.random.default_rng((seed, 4)).permutation(others)[: own.training_prompts])
    noises = [seed + 1000 * k for k in range(own.samples_per_report)]
    from_test = [generate(gan, *held.text(), seed=noise, device=device) for noise in noises]
    from_train = generate(gan, *train.text(prompts), seed=seed, device=device)
    drawn = np.concatenate([*from_test, from_train])

    near_held, neighbours_held = detector.nearest(held.pictures, len(held))
    limit, fit = copy_limit(near_held, len(drawn), own.false_alarms)
    near_drawn, neighbours = detector.nearest(from_array(drawn), len(drawn))
    origins = [f"held-out report {i}, noise {k}" for k in noises for i in held.names] + [
        f"training report {i}, noise {seed}" for i in train.frame["study_id"].to_numpy()[prompts]
    ]
    copies = _listed(drawn, near_drawn, neighbours, origins, limit)

    detects, roc = _detector_figures(detector, held, train, limit, own.bootstrap, seed)
    canaries = _plant(train, detector, drawn, limit, seed)
    control = _control(train, detector, limit, own.control_steps, seed)
    able = canaries["found"] >= LEAST_FOUND and control["share"] > 0
    of_held = len(held) * len(noises)
    by_prompt = near_drawn[:of_held].reshape(len(noises), len(held))
    compared = _compare(by_prompt, near_held, held.subjects, own.bootstrap, seed)
    hub = np.mean([_most_frequent(of_noise) for of_noise in neighbours[:of_held].reshape(by_prompt.shape)])
    verbatim, own_train, own_held = _verbatim(
        detector, train, prompts, from_train, held, from_test[0], own.bootstrap, seed
    )
    membership = _membership(gan, train, prompts, held, own_train, own_held, own.bootstrap, seed, device)

    split = "validation and test against train"
    space = detector.feature_space
    meaning = {"split": split, "seeds": noises, "feature_space": space}
    figures = {
        "copies": entry(
            float(len(copies)), **meaning, n=len(drawn), floor=own.false_alarms, worst_case=float(control["copies"]),
            definition=f"drawn pictures nearer to a training picture than {limit:.4f}; floor: how many a generator "
            "that copies nobody is expected to show; worst case: those listed of the over-trained control; n: pictures",
        ),
        **{name: entry(value, **meaning, **more) for name, (value, more) in (detects | compared | verbatim).items()},
        **{name: entry(value, **{**meaning, "seeds": [seed]}, **more) for name, (value, more) in membership.items()},
        "nearest_to_one_picture": entry(
            float(hub), **meaning, n=len(np.unique(held.subjects)), floor=_most_frequent(neighbours_held),
            worst_case=1.0,
            definition="share of the pictures drawn from held-out reports that have one and the same training picture "
            "as their nearest, the one that most have, mean over the noises; floor: of held-out real pictures; worst "
            "case: all",
        ),
        "canaries_found": entry(
            canaries["found"], **meaning, n=canaries["planted"],
            definition=f"share of training pictures planted among the drawn ones, unchanged and {', '.join(CHANGES)}, "
            "that the audit listed beside the right neighbour; n: pictures planted",
        ),
        "control_flagged_share": entry(
            control["share"], **meaning, n=control["drawn"],
            definition=f"share of pictures of a generator over-trained on {control['learned']} training pictures with "
            f"fingerprint codes ({own.control_steps} steps), drawn from their reports, that the audit listed",
        ),
    }  # fmt: skip
    reason = None
    if copies:
        reason = f"{len(copies)} of {len(drawn)} drawn pictures are nearer to a training picture than the limit"
    elif not able:
        reason = (
            f"the audit is blind: {canaries['found']:.0%} of the planted copies found, {LEAST_FOUND:.0%} needed; "
            f"{control['share']:.0%} of the over-trained control's pictures"
        )
    result = {
        "report_to_xray_passed": False if copies else (True if able else None),
        "report_to_xray_reason": reason,
        "limit": round(limit, 4),
        "limit_rule": f"all {len(drawn)} drawn pictures together exceed it with probability {own.false_alarms} where "
        f"none is a copy: Gumbel law fitted to arctanh of {len(held)} held-out pictures' nearest similarities",
        "limit_fit_p": round(fit, 4),
        "pictures_drawn": len(drawn),
        "held_out_above_limit": int((near_held > limit).sum()),
        "canaries_by_change": canaries["by_change"],
        **{name: figure["value"] for name, figure in figures.items()},
        "figures": figures,
        "listed": [
            {
                "origin": copy.origin,
                "training_study": str(train.frame["study_id"].iloc[copy.neighbour]),
                "similarity": round(copy.similarity, 4),
            }
            for copy in copies[:100]
        ],
    }
    order = np.argsort(-near_drawn, kind="stable")[:6]
    shown = AuditPictures(
        limit=limit,
        similarity={
            "held-out people": near_held,
            "drawn from held-out reports": by_prompt.reshape(-1),
            "drawn from training reports": near_drawn[of_held:],
            "planted copies": canaries["similarity"],
            "over-trained control": control["similarity"],
        },
        roc=roc,
        copies=copies,
        nearest=[Copy(drawn[i], int(neighbours[i]), float(near_drawn[i]), origins[i]) for i in order],
        planted=canaries["listed"] + control["listed"],
    )
    return result, shown


@dataclass(frozen=True)
class _Rows:
    """Pictures of several splits as one: (which set, which row) of each, and their patients."""

    sets: tuple[ChestSet, ...]
    places: np.ndarray
    subjects: np.ndarray
    labels: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, sets: Sequence[ChestSet], rng: np.random.Generator, most: int) -> _Rows:
        places = np.concatenate([np.stack([np.full(len(s), k), np.arange(len(s))], 1) for k, s in enumerate(sets)])
        if len(places) > most:
            places = places[np.sort(rng.permutation(len(places))[:most])]
        table = [sets[k].frame.iloc[i] for k, i in places]
        labels = np.stack([np.nan_to_num(sets[k].labels[i], nan=2) for k, i in places]) if len(places) else np.empty(0)
        return cls(
            tuple(sets), places, np.array([str(r["subject_id"]) for r in table]), labels,
            [str(r["study_id"]) for r in table],
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.places)

    def _each(self, rows: np.ndarray, read: Any) -> Any:
        """Consecutive rows of one set, read together; the places are in the order of the sets."""
        chosen = self.places[rows]
        return [read(self.sets[k], chosen[chosen[:, 0] == k, 1]) for k in np.unique(chosen[:, 0])]

    def pictures(self, rows: np.ndarray) -> torch.Tensor:
        return torch.cat(self._each(rows, lambda data, at: data.pictures(at)))

    def text(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        parts = self._each(np.arange(len(self)), lambda data, at: data.text(at))
        longest = max(mask.shape[1] for _, mask, _ in parts)

        def padded(tensor: torch.Tensor) -> torch.Tensor:
            missing = longest - tensor.shape[1]
            return torch.cat([tensor, tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])], 1)

        tokens, masks, views = zip(*parts, strict=True)
        return torch.cat([padded(t) for t in tokens]), torch.cat([padded(m) for m in masks]), torch.cat(views)


def _most_frequent(numbers: np.ndarray) -> float:
    """The share of the entries that is the most frequent number."""
    return float(np.bincount(numbers).max() / len(numbers))


def _halves(subjects: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a random half of the patients, and the other rows; with one patient both are all rows."""
    people, member = np.unique(subjects, return_inverse=True)
    first = (np.random.default_rng((seed, 2)).permutation(len(people)) < len(people) // 2)[member]
    if first.all() or not first.any():
        return np.arange(len(subjects)), np.arange(len(subjects))
    return np.flatnonzero(first), np.flatnonzero(~first)


def _listed(
    pictures: np.ndarray, similarity: np.ndarray, neighbours: np.ndarray, origins: Sequence[str], limit: float
) -> list[Copy]:
    """What lies above the limit, the most similar first."""
    order = np.argsort(-similarity, kind="stable")
    return [
        Copy(pictures[i], int(neighbours[i]), float(similarity[i]), origins[i]) for i in order if similarity[i] > limit
    ]


def _detector_figures(
    detector: CopyDetector, held: _Rows, train: ChestSet, limit: float, repetitions: int, seed: int
) -> tuple[dict[str, Any], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """The detector's own ROC on real pairs, of people whom its feature space was not fitted to.

    Positive: a held-out picture, changed, against itself. Negative: a held-out picture against training pictures of
    other patients with the same findings, at most 20 each.
    """
    rng = np.random.default_rng((seed, 5))
    rows = np.sort(rng.permutation(len(held))[:200])
    pictures = held.pictures(rows)[:, 0].numpy()
    own = detector.features(from_array(pictures), len(pictures))
    labels = np.nan_to_num(train.labels, nan=2)
    negatives, negative_of = [], []
    blocks = np.concatenate(list(detector.similarity(from_array(pictures), len(pictures))))
    for place, row in enumerate(rows):
        alike = np.flatnonzero((labels == held.labels[row]).all(1))
        chosen = rng.permutation(alike)[:20]
        negatives.append(blocks[place, chosen])
        negative_of.append(np.full(len(chosen), held.subjects[row]))
    negative, negative_of = np.concatenate(negatives), np.concatenate(negative_of)
    found, curves, positives = {}, {}, {}
    for change in CHANGES:
        altered = changed(pictures, change, seed)
        pairs = np.concatenate(list(detector.similarity(from_array(altered), len(altered), own)))
        positives[change] = np.diag(pairs)
        curves[change] = _roc(positives[change], negative)
    people = held.subjects[rows]
    hardest = positives["all"]

    def area(positive_rows: np.ndarray, negative_rows: np.ndarray) -> float:
        return _area(hardest[positive_rows], negative[negative_rows])

    if len(negative):
        interval = over_patients(area, [people, negative_of], min(repetitions, 300), seed)
        found["detector_auroc"] = (interval._replace(n=len(np.unique(people))), {
            "worst_case": 0.5,
            "definition": "AUROC of pairs of real held-out pictures: one picture after shift, brightness, noise, "
            "resampling and JPEG against itself, versus training pictures of other patients with the same findings; "
            "worst case: chance",
        })  # fmt: skip
    for change in CHANGES:
        recall = over_patients(
            lambda chosen, values=positives[change]: float((values[chosen] > limit).mean()), [people], repetitions, seed
        )
        found[f"detector_recall_{change}"] = (recall, {
            "floor": 1.0,
            "worst_case": 0.0,
            "definition": f"share of real held-out pictures that are recognised above the limit after: {change}",
        })  # fmt: skip
    return found, curves


def _area(positive: np.ndarray, negative: np.ndarray) -> float:
    scores = np.concatenate([positive, negative])
    return auroc(scores, np.concatenate([np.ones(len(positive)), np.zeros(len(negative))]))


def _roc(positive: np.ndarray, negative: np.ndarray, points: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """False and true alarm rates over all limits, thinned."""
    limits = np.quantile(np.concatenate([positive, negative]), np.linspace(1, 0, points))
    above = [np.searchsorted(np.sort(v), limits, side="left") for v in (negative, positive)]
    false, true = (1 - place / max(len(v), 1) for place, v in zip(above, (negative, positive), strict=True))
    return false, true


def _plant(train: ChestSet, detector: CopyDetector, drawn: np.ndarray, limit: float, seed: int) -> dict[str, Any]:
    """Plant copies of training pictures among the drawn ones, and run the audit on all of them."""
    kinds = ("exact", *CHANGES)
    rng = np.random.default_rng((seed, 6))
    chosen = rng.permutation(len(train))[: CANARIES * len(kinds)]
    chosen = np.resize(chosen, CANARIES * len(kinds))
    planted, origins = [], []
    for k, kind in enumerate(kinds):
        rows = chosen[k * CANARIES : (k + 1) * CANARIES]
        planted.append(changed(train.pictures(rows)[:, 0].numpy(), kind, seed))
        origins += [f"planted, {kind}"] * CANARIES
    planted = np.concatenate(planted)
    mixed = np.concatenate([drawn[: 4 * len(planted)], planted])
    places = rng.permutation(len(mixed))
    similarity, neighbours = detector.nearest(from_array(mixed[places]), len(mixed))
    back = np.argsort(places)[-len(planted) :]
    similarity, neighbours = similarity[back], neighbours[back]
    right = (similarity > limit) & (neighbours == chosen)
    return {
        "planted": len(planted),
        "found": float(right.mean()),
        "by_change": {
            kind: f"{int(right[k * CANARIES : (k + 1) * CANARIES].sum())} of {CANARIES}" for k, kind in enumerate(kinds)
        },
        "similarity": similarity,
        "listed": _listed(planted, similarity, neighbours, origins, limit),
    }


def _control(train: ChestSet, detector: CopyDetector, limit: float, steps: int, seed: int) -> dict[str, Any]:
    """Pictures of a generator that knows a handful of training pictures by heart, as the audit sees them."""
    rows = np.sort(np.random.default_rng((seed, 8)).permutation(len(train))[:CONTROL_PICTURES])
    tokens, mask, _ = train.text(rows)
    reports = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    pictures = train.pictures(rows)[:, 0].numpy()
    drawn = draw_by_heart(pictures, reports.numpy(), steps, samples=2, seed=seed).reshape(-1, *pictures.shape[1:])
    similarity, neighbours = detector.nearest(from_array(drawn), len(drawn))
    listed = _listed(drawn, similarity, neighbours, ["over-trained control"] * len(drawn), limit)
    return {
        "learned": len(rows),
        "drawn": len(drawn),
        "copies": len(listed),
        "share": len(listed) / len(drawn),
        "similarity": similarity,
        "listed": listed,
    }


def _compare(
    drawn: np.ndarray, held: np.ndarray, subjects: np.ndarray, repetitions: int, seed: int
) -> dict[str, tuple[Interval | float, dict[str, Any]]]:
    """Are drawn pictures nearer to the training split than people who were held out?"""
    from scipy.stats import wilcoxon

    of_report = drawn.mean(0)
    difference = mean_over_patients(of_report - held, subjects, repetitions, seed)
    area = over_patients(lambda i: _area(drawn[:, i].reshape(-1), held[i]), [subjects], min(repetitions, 300), seed)
    of_person = np.array([(of_report - held)[subjects == s].mean() for s in np.unique(subjects)])
    p = float(wilcoxon(of_person, alternative="greater").pvalue) if np.any(of_person) else 1.0
    return {
        "nearest_similarity_held_out": (
            mean_over_patients(held, subjects, repetitions, seed),
            {"definition": "mean similarity of a held-out real picture to its nearest training picture"},
        ),
        "nearest_similarity_drawn": (
            mean_over_patients(of_report, subjects, repetitions, seed),
            {
                "floor": float(held.mean()),
                "worst_case": 1.0,
                "definition": "the same of pictures drawn from held-out reports; floor: held-out real pictures",
            },
        ),
        "nearest_similarity_difference": (
            difference,
            {
                "floor": 0.0,
                "definition": "drawn minus real picture of the same held-out report; above 0 where drawn pictures "
                "lie nearer to the training split than people do",
            },
        ),
        "nearest_similarity_auroc": (
            area,
            {
                "floor": 0.5,
                "worst_case": 1.0,
                "definition": "chance that a drawn picture lies nearer to the training split than a held-out one",
            },
        ),
        "nearest_similarity_p": (
            p,
            {
                "n": len(of_person),
                "definition": "p-value of Wilcoxon's signed-rank test, one-sided, over patients, that drawn pictures "
                "lie nearer",
            },
        ),
    }


def _verbatim(
    detector: CopyDetector,
    train: ChestSet,
    prompts: np.ndarray,
    from_train: np.ndarray,
    held: _Rows,
    from_held: np.ndarray,
    repetitions: int,
    seed: int,
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Training reports as prompts, word for word: does the picture of the report's own patient come out?

    A picture follows its report, so it is nearer to its own picture than to others whether or not that was learned.
    What memorisation adds is the difference between training and held-out reports.
    """
    own_train, rank_train, first = [], [], []
    start = 0
    for block in detector.similarity(from_array(from_train), len(from_train)):
        for row in block:
            place = prompts[start]
            own_train.append(row[place])
            rank_train.append((row < row[place]).sum() / max(len(row) - 1, 1))
            first.append(row.argmax() == place)
            start += 1
    gallery = detector.features(held.pictures, len(held))
    own_held = np.concatenate([np.diagonal(b, k * 128) for k, b in enumerate(
        detector.similarity(from_array(from_held), len(from_held), gallery))])  # fmt: skip
    rank_held = np.concatenate(
        [
            (block < own_held[k * 128 : k * 128 + len(block), None]).mean(1)
            for k, block in enumerate(detector.similarity(from_array(from_held), len(from_held)))
        ]
    )
    own_train, rank_train, first = (np.array(v, float) for v in (own_train, rank_train, first))
    people = train.frame["subject_id"].to_numpy()[prompts]
    on_held = mean_over_patients(rank_held, held.subjects, repetitions, seed)
    figures = {
        "verbatim_own_rank": (
            mean_over_patients(rank_train, people, repetitions, seed),
            {
                "floor": on_held,
                "worst_case": 1.0,
                "definition": "share of training pictures that are less similar to the picture drawn from a training "
                "report than that report's own; floor: the same of held-out reports and their own pictures",
            },
        ),
        "verbatim_own_rank_excess": (
            over_patients(
                lambda i, j: float(rank_train[i].mean() - rank_held[j].mean()),
                [people, held.subjects],
                repetitions,
                seed,
            ),
            {"floor": 0.0, "definition": "the same, training minus held-out reports: what memorisation adds"},
        ),
        "verbatim_own_nearest": (
            mean_over_patients(first, people, repetitions, seed),
            {
                "floor": mean_over_patients((rank_held == 1).astype(float), held.subjects, repetitions, seed),
                "worst_case": 1.0,
                "definition": "share of training reports whose drawn picture has their own picture as the nearest of "
                "all training pictures; floor: share of held-out reports whose drawn picture is nearer to their own "
                "picture than to every training picture",
            },
        ),
    }
    return figures, own_train, own_held.astype(float)


def _membership(
    gan: ReportGan,
    train: ChestSet,
    prompts: np.ndarray,
    held: _Rows,
    own_train: np.ndarray,
    own_held: np.ndarray,
    repetitions: int,
    seed: int,
    device: Device,
) -> dict[str, Any]:
    """Can an attacker tell who was in the training split? By the discriminator, and by what is drawn.

    Beside each attack stands a control of members alone, split at random into halves, which nobody can tell apart.
    """

    @torch.inference_mode()
    def logits(pictures: Pictures, text: tuple[torch.Tensor, ...], count: int) -> np.ndarray:
        found = []
        for rows in np.array_split(np.arange(count), -(-count // 32)):
            condition = gan.conditioner(*(t[rows].to(device.device) for t in text))
            with device.autocast():
                found.append(gan.discriminator(pictures(rows).to(device.device), condition).float().cpu().numpy())
        return np.concatenate(found)

    members = logits(lambda rows: train.pictures(prompts[rows]), train.text(prompts), len(prompts))
    others = logits(held.pictures, held.text(), len(held))
    people = train.frame["subject_id"].to_numpy()[prompts]
    found = {}
    attacks = {
        "discriminator": (members, others, "the discriminator's logit of a real picture with its own report"),
        "own_picture": (own_train, own_held, "similarity of a real picture to the one drawn from its own report"),
    }
    for name, (inside, outside, meaning) in attacks.items():
        interval = over_patients(
            lambda i, j, a=inside, b=outside: _area(a[i], b[j]), [people, held.subjects], min(repetitions, 500), seed
        )
        found[f"membership_{name}"] = (interval, {
            "floor": _members_only(inside, people, seed),
            "worst_case": 1.0,
            "definition": f"AUROC of members against held-out people by {meaning}; floor: members alone, split at "
            "random into halves 200 times, mean and 2.5..97.5 % range; 0.5 tells nothing",
        })  # fmt: skip
    return found


def _members_only(scores: np.ndarray, subjects: np.ndarray, seed: int) -> Interval:
    """AUROC between random halves of the members, by patient."""
    rng = np.random.default_rng((seed, 9))
    people, member = np.unique(subjects, return_inverse=True)
    values = []
    for _ in range(200):
        half = (rng.permutation(len(people)) < len(people) // 2)[member]
        values.append(_area(scores[half], scores[~half]))
    values = np.array(values)[np.isfinite(values)]
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"), len(people))
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high), len(people))
