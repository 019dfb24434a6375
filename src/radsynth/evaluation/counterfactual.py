"""The same noise, another report: does what the edit changed, and only that, change in the picture?

Real pairs (one patient with and without a finding, all else equal) do not exist, so no figure here has a floor of real
pairs; where real pictures can say something, unpaired ones stand in, and the definition says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radsynth.evaluation.entries import entry
from radsynth.evaluation.patients import mean_over_patients
from radsynth.reports.edit import GENERIC, negated, resized, switched, unrelated
from radsynth.reports.findings import label_text
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS

KINDS = ("negated", "side", "size")
MARGIN = 1 / 16
"""By how much of the picture's side a lesion mask is enlarged: the drawn chest is not the real one."""

Draw = Callable[[Sequence[str], np.ndarray], np.ndarray]
"""Prompts and their rows of the test set -> pictures (n, S, S); place i has the same noise in every call."""
Judged = tuple[np.ndarray, np.ndarray]
"""Pictures (n, S, S) in -1..1, and the judge's logits (n, K) on them."""
Read = Callable[[np.ndarray], np.ndarray]
"""Pictures (n, S, S) -> the judge's logits (n, K)."""


@dataclass(frozen=True)
class Edit:
    """A report of the test set, and the same with one finding changed; `direction` as `reports.edit.resized` says."""

    row: int
    finding: str
    prompt: str
    edited: str
    direction: int = 0


@dataclass(frozen=True)
class Pairs:
    """Pictures (n, S, S) in -1..1 of the reports of `edits`, before and after, with equal noise."""

    edits: list[Edit]
    before: np.ndarray
    after: np.ndarray


def choose_edits(
    prompts: Sequence[str], findings: Sequence[str], kind: str, most: int, seed: int
) -> tuple[list[Edit], int, int]:
    """Random edits of one kind, in the order of the reports.

    Returns
    -------
    tuple
        At most `most` edits; how many could be made; of how many findings stated (with one side, for ``side``).
    """
    found, stated = [], 0
    for row, prompt in enumerate(prompts):
        labels = label_text(prompt)
        for finding in findings:
            if labels.values[finding] != 1 or (kind == "side" and labels.sides[finding] not in ("left", "right")):
                continue
            stated += 1
            if kind == "size":
                made = resized(prompt, finding)
            else:
                text = (negated if kind == "negated" else switched)(prompt, finding)
                made = None if text is None else (text, 0)
            if made is not None:
                found.append(Edit(row, finding, prompt, *made))
    order = np.random.default_rng((seed, 41, KINDS.index(kind))).permutation(len(found))[:most]
    return [found[i] for i in sorted(order)], len(found), stated


def mirrored_halves(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures made of the patient's left half and its mirror image, and of the right half and its: (n, S, S) each.

    On a frontal picture the patient's left is on the right.
    """
    half = pictures.shape[-1] // 2
    left, right = pictures.copy(), pictures.copy()
    left[..., :half] = pictures[..., -half:][..., ::-1]
    right[..., -half:] = pictures[..., :half][..., ::-1]
    return left, right


def side_evidence(read: Read, pictures: np.ndarray, together: int = 128) -> np.ndarray:
    """The judge's logits on the left half with its mirror image, minus those on the right: (n, K), > 0 for left."""
    found = []
    for start in range(0, len(pictures), together):
        left, right = mirrored_halves(pictures[start : start + together])
        found.append(read(left) - read(right))
    return np.concatenate(found)


def share_inside(difference: np.ndarray, masks: np.ndarray, margin: float = MARGIN) -> np.ndarray:
    """Share of the absolute difference (n, S, S) that lies in masks (n, S, S), each enlarged by `margin` of S.

    (n,), NaN where there is no difference.
    """
    from scipy.ndimage import distance_transform_edt

    reach = margin * masks.shape[-1]
    near = np.stack([distance_transform_edt(~mask) <= reach for mask in masks])
    amount = np.abs(difference)
    total = amount.sum((1, 2))
    return np.where(total > 0, (amount * near).sum((1, 2)) / np.where(total > 0, total, 1), np.nan)


def counterfactual_figures(
    draw: Draw,
    read: Read,
    prompts: Sequence[str],
    subjects: np.ndarray,
    columns: np.ndarray,
    real: Judged,
    labels: np.ndarray,
    sides: np.ndarray,
    noises: Sequence[Judged],
    masks: Mapping[tuple[int, str], np.ndarray],
    *,
    most: int,
    split: str,
    seed: int,
    repetitions: int,
    feature_space: str,
) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]], list[str], dict[str, Pairs]]:
    """Negate, switch side, change size: figures, tables, notes and the pairs of pictures.

    Parameters
    ----------
    columns
        Findings that the judge can read on real pictures.
    real
        The reports' real pictures.
    labels, sides
        (n, K) of the reports.
    noises
        Pictures of all reports with one noise, and with another.
    masks
        (row, finding) -> true lesion mask (S, S) bool of the report's real picture; empty where none is known.
    most
        Pairs of each kind, at most.
    """
    known = [FINDINGS[k] for k in columns]
    figures: dict[str, dict[str, Any]] = {}
    tables: dict[str, list[dict[str, Any]]] = {}
    notes = ["Counterfactual figures have no floor of real pairs: nobody was X-rayed twice with one finding changed."]
    pairs: dict[str, Pairs] = {}
    (real_pictures, real_logits), (one, other) = real, noises

    def put(name: str, values: np.ndarray, owners: np.ndarray, definition: str, **more: Any) -> None:
        figures[name] = entry(
            mean_over_patients(values, owners, repetitions, seed),
            **({"split": split, "seeds": [seed], "feature_space": feature_space} | more),
            definition=definition,
        )

    for kind in KINDS:
        wanted = known if kind != "side" else [f for f in known if f in SIDED_FINDINGS]
        edits, made, stated = choose_edits(prompts, wanted, kind, most, seed)
        if not edits:
            notes.append(f"No counterfactual prompt of the kind '{kind}': no report states a finding to edit.")
            continue
        notes.append(f"Counterfactual '{kind}': {made} of {stated} statements can be edited alone, {len(edits)} drawn.")
        rows = np.array([e.row for e in edits])
        place, ks = np.arange(len(edits)), np.array([FINDINGS.index(e.finding) for e in edits])
        owners = subjects[rows]
        before, after = (draw([getattr(e, of) for e in edits], rows) for of in ("prompt", "edited"))
        pairs[kind] = Pairs(edits, before, after)
        logits = read(before), read(after)
        change = (logits[1] - logits[0])[place, ks]
        others = np.abs(logits[1] - logits[0])
        others[:, FINDINGS.index(GENERIC)] = np.nan  # it may change along with the finding
        others[place, ks] = np.nan
        noise = np.abs(other[1][rows] - one[1][rows])
        noise = np.where(np.isnan(others), np.nan, noise)
        plain = draw([unrelated(e.prompt) for e in edits], rows) if kind == "negated" else None
        if plain is not None:
            base = (read(plain) - logits[0])[place, ks]
            whole = real_logits[:, ks], labels[:, ks]
            apart = np.array([_gap(score, label) for score, label in zip(whole[0].T, whole[1].T, strict=True)])
            put(
                "counterfactual_negated_logit_change", change, owners,
                "mean change of the judge's logit of a finding when the report denies it, same noise; floor: its mean "
                "on real pictures of other patients without the finding minus with it (no pairs); worst case: a "
                "sentence changed that names no finding",
                floor=mean_over_patients(-apart, owners, repetitions, seed),
                worst_case=mean_over_patients(base, owners, repetitions, seed),
            )  # fmt: skip
            put(
                "counterfactual_negated_share_falling", (change < 0).astype(float), owners,
                "share of pairs in which the judge's logit of the denied finding falls; worst case: a sentence changed "
                "that names no finding",
                worst_case=float((base < 0).mean()),
            )  # fmt: skip
        elif kind == "side":
            _put_sides(put, read, (before, after), (real_pictures, labels, sides), edits, ks, columns, owners)
        else:
            direction = np.array([e.direction for e in edits])
            put(
                "counterfactual_size_logit_change", change * direction, owners,
                "mean change of the judge's logit of a finding from its smaller to its larger size, same noise; no "
                "floor; worst case: no change",
                worst_case=0.0,
            )  # fmt: skip
            put(
                "counterfactual_size_share_following", (change * direction > 0).astype(float), owners,
                "share of pairs in which the larger size has the higher logit; no floor; worst case: chance",
                worst_case=0.5,
            )  # fmt: skip
        put(
            f"counterfactual_{kind}_others_change", _row_means(others), owners,
            "mean absolute change of the judge's logits of the other findings (but opacity, a word for many), "
            "same noise, 0 is best; worst case: the same report drawn with another noise",
            floor=0.0,
            worst_case=float(np.nanmean(noise)) if np.isfinite(noise).any() else None,
        )  # fmt: skip
        _put_regions(put, kind, edits, after - before, other[0][rows] - one[0][rows], masks, owners)
        tables[f"counterfactual_{kind}"] = _by_finding(edits, logits, ks, change)
    return figures, tables, notes, pairs


def _put_sides(
    put: Callable[..., None],
    read: Read,
    drawn: tuple[np.ndarray, np.ndarray],
    known: tuple[np.ndarray, np.ndarray, np.ndarray],
    edits: list[Edit],
    ks: np.ndarray,
    columns: np.ndarray,
    owners: np.ndarray,
) -> None:
    """Whether the side that the judge reads is the one that the report says, before and after the edit."""
    real, labels, sides = known
    evidence = side_evidence(read, real)
    level = np.array([_median(evidence[labels[:, k] == 0, k]) for k in range(labels.shape[1])])
    chosen = [
        (i, k) for k in columns for i in np.flatnonzero((labels[:, k] == 1) & np.isin(sides[:, k], ("left", "right")))
    ]
    hits = [(evidence[i, k] > level[k]) == (sides[i, k] == "left") for i, k in chosen]
    place = np.arange(len(edits))
    said = np.array([label_text(e.prompt).sides[e.finding] == "left" for e in edits])
    before, after = (side_evidence(read, p)[place, ks] for p in drawn)
    right = np.stack([(before > level[ks]) == said, (after > level[ks]) == ~said])
    put(
        "counterfactual_side_read", right.mean(0), owners,
        "share of drawn pictures, before and after the switch, on which the judge reads the side that the report says: "
        "its logit of the left half with its mirror image against the right half's, beyond the median of real pictures "
        "without the finding; floor: real pictures with a stated side; worst case: chance",
        floor=float(np.mean(hits)) if hits else None, worst_case=0.5,
    )  # fmt: skip
    toward = np.where(said, before - after, after - before)
    put(
        "counterfactual_side_share_following", (toward > 0).astype(float), owners,
        "share of pairs in which the judge's left-minus-right logit of the finding moves to the new side, same noise; "
        "no floor; worst case: chance",
        worst_case=0.5,
    )  # fmt: skip


def _put_regions(
    put: Callable[..., None],
    kind: str,
    edits: list[Edit],
    difference: np.ndarray,
    noise: np.ndarray,
    masks: Mapping[tuple[int, str], np.ndarray],
    owners: np.ndarray,
) -> None:
    """Whether the picture changes where the lesion is; of a switch also where its mirror image is."""
    with_mask = np.array([i for i, e in enumerate(edits) if (e.row, e.finding) in masks], int)
    if not len(with_mask):
        return
    regions = np.stack([masks[edits[i].row, edits[i].finding] for i in with_mask])
    if kind == "side":
        regions = regions | regions[..., ::-1]
    put(
        f"counterfactual_{kind}_change_in_lesion", share_inside(difference[with_mask], regions), owners[with_mask],
        "share of the absolute difference of the two pictures in the true lesion of the report's real picture"
        f"{' or its mirror image' if kind == 'side' else ''}, enlarged by {MARGIN:g} of the side; no floor; worst "
        "case: the difference between two noises",
        feature_space="pixels", worst_case=float(np.nanmean(share_inside(noise[with_mask], regions))),
    )  # fmt: skip


def _by_finding(
    edits: list[Edit], logits: tuple[np.ndarray, np.ndarray], ks: np.ndarray, change: np.ndarray
) -> list[dict[str, Any]]:
    place = np.arange(len(edits))
    found = []
    for k in np.unique(ks):
        own = ks == k
        before, after = (float(read[place, ks][own].mean()) for read in logits)
        found.append(
            {
                "finding": FINDINGS[k],
                "pairs": int(own.sum()),
                "logit_before": round(before, 3),
                "logit_after": round(after, 3),
                "share_falling": round(float((change[own] < 0).mean()), 3),
            }
        )
    return found


def _row_means(values: np.ndarray) -> np.ndarray:
    """Means of the rows over what is not NaN; NaN where all is."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)


def _gap(scores: np.ndarray, labels: np.ndarray) -> float:
    if not ((labels == 1).any() and (labels == 0).any()):
        return float("nan")
    return float(scores[labels == 1].mean() - scores[labels == 0].mean())


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0
