"""What the comparison of training sets says: figures, tables, and plain sentences where synthetic data do not help."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radsynth.evaluation.entries import entry
from radsynth.evaluation.intervals import Interval
from radsynth.settings import EvaluateUtility

MEASURES = {"auroc": "AUROC", "auprc": "average precision"}


@dataclass(frozen=True)
class Comparison:
    """Every arm of one regime, tested on the same people.

    Parameters
    ----------
    regime
        ``full``: all real training patients; ``few``: a share of them.
    names
        Of the arms.
    values
        (arms, 2, K, 1 + R): AUROC and average precision of each finding, mean over the trainings; on the test split
        as it is, then on R bootstrap samples of its patients. NaN where a sample lacks a class.
    spread
        Standard deviation of each arm's macro AUROC over its trainings.
    pictures
        In each arm's training set, mean over the trainings.
    decays
        Weight decays chosen for the trainings of each arm.
    real
        Real pictures in the regime, mean over the trainings.
    patients
        In the test split.
    """

    regime: str
    names: list[str]
    values: np.ndarray
    spread: list[float]
    pictures: list[int]
    decays: list[list[float]]
    real: int
    patients: int

    def value(self, arm: str, measure: str, columns: np.ndarray | None = None, minus: str | None = None) -> Interval:
        """Mean over findings (all, or `columns`) of an arm, or its difference to another arm on the same samples."""
        chosen = self._samples(arm, measure, columns)
        if minus is not None:
            chosen = chosen - self._samples(minus, measure, columns)
        drawn = chosen[1:][np.isfinite(chosen[1:])]
        low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
        return Interval(float(chosen[0]), float(low), float(high), self.patients)

    def _samples(self, arm: str, measure: str, columns: np.ndarray | None) -> np.ndarray:
        of_finding = self.values[self.names.index(arm), list(MEASURES).index(measure)].astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return np.nanmean(of_finding if columns is None else of_finding[columns], axis=0)


def partner(arm: str, kind: str) -> str:
    """The arm that adds the same pictures in another way: ``synthetic_50`` -> ``duplicates_50``."""
    return arm.replace("synthetic", kind).replace("augmented", kind)


def utility_report(
    comparisons: Sequence[Comparison],
    *,
    reason: str | None = None,
    findings: Sequence[str] = (),
    rare: np.ndarray | None = None,
    positives: np.ndarray | None = None,
    own: EvaluateUtility | None = None,
    space: str = "",
    seeds: Sequence[int] = (),
    decays: Sequence[float] = (),
    validated: bool = True,
) -> dict[str, Any]:
    """Figures, tables and notes of the comparisons; without any, null and `reason`.

    Parameters
    ----------
    positives
        (K, 2): real positives in training and in test.
    """
    if not comparisons:
        why = f"The use of synthetic pictures to a classifier could not be measured: {reason}."
        return {"reason": reason, "full_real_auroc": None, "figures": {}, "tables": {}, "notes": [why]}
    figures: dict[str, Any] = {}
    for comparison in comparisons:
        figures |= _figures(comparison, rare, own, space, seeds, decays, validated)
    return {
        "reason": None,
        **{name: figure["value"] for name, figure in figures.items()},
        "figures": figures,
        "tables": {
            "arms": [row for comparison in comparisons for row in _arm_rows(comparison, rare)],
            "findings": [row for comparison in comparisons for row in _finding_rows(comparison, findings, positives)],
        },
        "notes": _notes(comparisons, [f for f, r in zip(findings, rare, strict=True) if r], rare, own),
    }


def synthetic_arms(names: Sequence[str]) -> list[str]:
    """The arms that hold synthetic pictures."""
    return [name for name in names if "synthetic" in name]


def _figures(
    found: Comparison,
    rare: np.ndarray,
    own: EvaluateUtility,
    space: str,
    seeds: Sequence[int],
    decays: Sequence[float],
    validated: bool,
) -> dict[str, Any]:
    described: dict[str, Any] = {"split": "test", "seeds": seeds, "feature_space": space}
    who = "all real training patients" if found.regime == "full" else f"{own.few_share:.0%} of the training patients"
    how = (
        f"linear classifier on frozen features, {own.steps} steps, {len(seeds)} trainings, {who} "
        f"({found.real} pictures); weight decay of {', '.join(map(str, decays))} "
        f"{'chosen on the validation split' if validated else 'fixed at the middle: no validation split'}"
    )
    figures = {}
    for arm in ["real", *synthetic_arms(found.names)]:
        columns, which = (np.flatnonzero(rare), "rare findings") if arm.startswith("rare_") else (None, "findings")
        for measure, word in MEASURES.items():
            name = f"{found.regime}_{arm}_{measure}"
            real = found.value("real", measure, columns)
            figures[name] = entry(
                found.value(arm, measure, columns), **described,
                floor=real, worst_case=found.value("permuted", measure, columns),
                definition=f"mean {word} over {which}, {_meaning(arm)}; {how}; floor: real pictures alone; worst case: "
                "real pictures with permuted labels",
            )  # fmt: skip
            if arm == "real":
                continue
            control = partner(arm, "duplicates")
            paired = control in found.names
            figures[f"{name}_gain"] = entry(
                found.value(arm, measure, columns, minus="real"), **described,
                floor=found.value(control, measure, columns, minus="real") if paired else 0.0,
                worst_case=found.value("noise_100", measure, columns, minus="real"),
                definition=f"{word} over {which}, {_meaning(arm)}, minus real pictures alone; the same trainings and "
                f"bootstrap samples of patients; floor: {'the same real pictures repeated' if paired else 'equality'}; "
                "worst case: pictures of noise added, one a real picture",
            )  # fmt: skip
            if paired:
                figures[f"{name}_over_duplicates"] = entry(
                    found.value(arm, measure, columns, minus=control), **described, floor=0.0,
                    worst_case=found.value("noise_100", measure, columns, minus=control),
                    definition=f"{word} over {which}, {_meaning(arm)}, minus the same real pictures repeated equally "
                    "often; worst case: pictures of noise added, one a real picture",
                )  # fmt: skip
    return figures


def _meaning(arm: str) -> str:
    if arm == "real":
        return "trained on real pictures"
    if arm == "synthetic_alone":
        return "trained on synthetic pictures alone, one of each training report"
    if arm == "rare_synthetic":
        return "trained on real pictures and synthetic ones of reports with a rare finding"
    return f"trained on real pictures and {arm.rsplit('_', 1)[1]} % as many synthetic ones"


def _arm_rows(found: Comparison, rare: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for k, arm in enumerate(found.names):
        row: dict[str, Any] = {"patients": found.regime, "arm": arm, "pictures": found.pictures[k]}
        for measure in MEASURES:
            row |= _cells(measure, found.value(arm, measure))
        row["auroc_sd_of_trainings"] = _round(found.spread[k])
        for measure in MEASURES:
            row |= _cells(f"{measure}_minus_real", found.value(arm, measure, minus="real"))
        for measure in MEASURES:
            control = partner(arm, "duplicates")
            against = control if control in found.names and control != arm else None
            gain = found.value(arm, measure, minus=against) if against else Interval(np.nan, np.nan, np.nan, 0)
            row |= _cells(f"{measure}_minus_duplicates", gain)
        row |= _cells("rare_auroc_minus_real", found.value(arm, "auroc", np.flatnonzero(rare), minus="real"))
        row["weight_decays"] = " ".join(map(str, found.decays[k]))
        rows.append(row)
    return rows


def _finding_rows(found: Comparison, findings: Sequence[str], positives: np.ndarray) -> list[dict[str, Any]]:
    shown = ["real", *synthetic_arms(found.names), "rare_duplicates", "rare_augmented"]
    rows = []
    for k in np.argsort(positives[:, 0], kind="stable"):
        row: dict[str, Any] = {
            "patients": found.regime,
            "finding": findings[k],
            "positives_train": int(positives[k, 0]),
            "positives_test": int(positives[k, 1]),
        }
        for arm in shown:
            row[f"auroc_{arm}"] = _round(found.value(arm, "auroc", np.array([k])).value)
        for arm in shown[1:]:
            gain = found.value(arm, "auroc", np.array([k]), minus="real")
            row |= _cells(f"{arm}_minus_real", gain)
        rows.append(row)
    return rows


def _cells(name: str, interval: Interval) -> dict[str, float | None]:
    ends = {"": interval.value, "_low": interval.low, "_high": interval.high}
    return {f"{name}{end}": _round(value) for end, value in ends.items()}


def _round(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _notes(
    comparisons: Sequence[Comparison], rare_names: Sequence[str], rare: np.ndarray, own: EvaluateUtility
) -> list[str]:
    notes = []
    for found in comparisons:
        notes += _verdict(found, rare, own)
    intervals = sum(len(synthetic_arms(found.names)) for found in comparisons) * len(MEASURES)
    notes.append(
        f"{intervals} differences to real pictures alone were looked at; where synthetic pictures made no difference "
        f"at all, about {0.05 * intervals:.1f} of their 95 % intervals would exclude zero by chance. The intervals "
        "hold the chance of who is in the test split, not that of who is in the training split or of the generator's "
        "own training."
    )
    notes.append(
        f"Rare findings here: {', '.join(rare_names)}, those with the fewest training positives. The classifier is a "
        "linear layer on frozen features of a network trained on photographs: it shows what these features can tell, "
        "and a network trained on X-rays from end to end may gain more or less. Where drawn pictures lie apart from "
        "real ones in these features (coverage and density in evaluate_report_gan), a classifier trained on them alone "
        "fails whatever they show. The generator has seen the pictures "
        "of all training patients, also where the classifier is given few of them: that comparison is of a site with "
        "few pictures of its own and a finished generator, not of a generator trained on few."
    )
    return notes


def _verdict(found: Comparison, rare: np.ndarray, own: EvaluateUtility) -> list[str]:
    """Where synthetic pictures help, and where they do not, in words that follow the intervals."""
    start = "With all real patients" if found.regime == "full" else f"With {own.few_share:.0%} of the real patients"
    groups: dict[str, list[str]] = {"helps": [], "like_copies": [], "unsure": [], "hurts": []}
    for arm in synthetic_arms(found.names):
        columns = np.flatnonzero(rare) if arm.startswith("rare_") else None
        for measure, word in MEASURES.items():
            gain = found.value(arm, measure, columns, minus="real")
            name = f"{arm} ({word} {gain.value:+.3f}, {gain.low:+.3f} to {gain.high:+.3f})"
            control = partner(arm, "duplicates")
            over = found.value(arm, measure, columns, minus=control) if control in found.names else gain
            if gain.high < 0:
                groups["hurts"].append(name)
            elif not gain.low > 0:
                groups["unsure"].append(name)
            else:
                groups["helps" if over.low > 0 else "like_copies"].append(name)
    said = {
        "helps": "synthetic pictures help, against real pictures alone and against repeating them",
        "like_copies": "synthetic pictures are better than real pictures alone, but not surely better than repeating "
        "the same real pictures",
        "unsure": "synthetic pictures do NOT help beyond doubt, the interval of the difference includes zero",
        "hurts": "synthetic pictures do NOT help, the classifier becomes worse",
    }
    lines = [f"{start} {said[key]}: {'; '.join(arms)}." for key, arms in groups.items() if arms]
    if not groups["helps"]:
        lines.insert(0, f"{start} no arm with synthetic pictures beats real pictures beyond doubt.")
    augmented = [name for name in found.names if name.startswith("augmented_")]
    if augmented:
        most = augmented[-1]
        gain = found.value(most, "auroc", minus="real")
        lines.append(
            f"{start} small shifts, scale and brightness of the real pictures ({most}) change the AUROC by "
            f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})."
        )
    return lines
