"""The gate: may the challenger take the champion's place? Both are scored again on the checkout's test set of today."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from radsynth.errors import RadsynthError
from radsynth.files import read_json, sha256_of
from radsynth.tracking.facts import PASSED

if TYPE_CHECKING:
    import pandas as pd

    from radsynth.evaluation.intervals import Interval
    from radsynth.evaluation.rescore import Compared, Figures
    from radsynth.settings import Rule, Settings
    from radsynth.tracking.registry import Version

MODES = ("enabled", "dry_run", "disabled")
Outcome = Literal["promoted", "refused", "unchanged", "dry_run"]


@dataclass(frozen=True)
class Check:
    """One line of the table: a figure of both models, what is asked of it, and whether it holds.

    Parameters
    ----------
    challenger, champion, gain
        ``{"value", "low", "high", "n"}`` with null for what could not be measured; for facts a word; null where there
        is nothing to compare with.
    asked
        Thresholds by name: ``floor``, ``better_by``, ``lower_end``, ``max_drop``; {} for a figure that is only shown.
    failed
        Why it does not hold, one sentence each.
    """

    name: str
    challenger: dict[str, Any] | str | None
    champion: dict[str, Any] | str | None = None
    gain: dict[str, Any] | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    better: Literal["higher", "lower", ""] = ""
    definition: str = ""

    @property
    def passed(self) -> bool:
        """Whether all that is asked holds."""
        return not self.failed


@dataclass(frozen=True)
class Decision:
    """What the gate found and what came of it.

    Parameters
    ----------
    version, champion
        The challenger, and the champion before the decision (None: there was none).
    outcome
        ``promoted``, ``refused``, ``unchanged`` (it is the champion already, whole) or ``dry_run`` (nothing was moved).
    passed
        Whether every check holds; in the mode ``disabled`` nothing is scored.
    basis
        The test set and the judge by digest, patients, those left out because a model learned from them, the versions
        of which that is not known, seed and repetitions.
    decided_at
        UTC, ISO 8601.
    """

    name: str
    version: int
    champion: int | None
    mode: str
    outcome: Outcome
    passed: bool
    checks: tuple[Check, ...] = ()
    basis: dict[str, Any] = field(default_factory=dict)
    decided_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why checks do not hold."""
        return tuple(f"{check.name}: {reason}" for check in self.checks for reason in check.failed)

    @property
    def verdict(self) -> str:
        """One word or two: ``promoted``, ``refused``, ``unchanged``, ``would be promoted``, ``would be refused``."""
        if self.outcome != "dry_run":
            return self.outcome
        return "would be promoted" if self.passed else "would be refused"

    @property
    def exit_code(self) -> int:
        """Of the command line: 4 where the gate refused."""
        return 4 if self.outcome == "refused" else 0

    def record(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return asdict(self) | {
            "checks": [asdict(check) | {"passed": check.passed, "failed": list(check.failed)} for check in self.checks],
            "reasons": list(self.reasons),
        }

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Decision:
        """The decision that `record` was made from."""
        checks = [{k: v for k, v in check.items() if k != "passed"} for check in record["checks"]]
        kept = {k: v for k, v in record.items() if k not in ("reasons", "checks")}
        return cls(**kept, checks=tuple(Check(**check | {"failed": tuple(check["failed"])}) for check in checks))

    def __str__(self) -> str:
        return table(self)


def decide(
    root: str | Path,
    name: str,
    challenger: Version,
    champion: Version | None,
    *,
    mode: str,
    settings: Settings,
    files: Callable[[Version], None],
    named: bool = False,
    rolled_back: Sequence[Version] = (),
) -> Decision:
    """Judge `challenger` against `champion` (None: floors alone).

    A challenger that is the champion's model is ``unchanged``. Where files of the champion are damaged, one with its
    weights may take its place by floors alone.

    Parameters
    ----------
    files
        Checks a version's files, raising RadsynthError where they are not those that were registered.
    named
        Whether a person named this version: only then may weights come back that were rolled back.
    rolled_back
        The versions that were rolled back.

    Raises
    ------
    RadsynthError
        Where the checkout has no test set or no judge to score with.
    """
    from radsynth.tracking.registry import same_weights

    root, before = Path(root), champion.version if champion else None
    if mode not in MODES:
        raise RadsynthError("no such mode of the gate", got=repr(mode), expected=" or ".join(MODES))
    if champion and same_weights(champion, challenger):
        model = "radsynth.model_sha256"
        if not _files(champion, None, files).passed:
            champion = None  # nothing is left of it to be scored or asked for: its own weights come back
        elif champion.version == challenger.version or champion.tags.get(model) == challenger.tags.get(model):
            return Decision(name, challenger.version, before, mode, "unchanged", True)
    checks = [_files(challenger, None if mode == "disabled" else champion, files)]
    whole, basis = checks[0].passed, {}
    if mode != "disabled":
        checks += _facts(challenger, champion, named, [v for v in rolled_back if same_weights(v, challenger)])
        if whole:
            measured, basis = _SCORERS[name](root, challenger, champion, settings)
            checks += measured
    passed = all(check.passed for check in checks)
    outcome: Outcome = "dry_run" if mode == "dry_run" else "promoted" if passed else "refused"
    return Decision(name, challenger.version, before, mode, outcome, passed, tuple(checks), basis)


def table(decision: Decision) -> str:
    """The decision as a person reads it: a headline, one line a check, the reasons."""
    against = f"against v{decision.champion}" if decision.champion else "no champion before it"
    head = f"{decision.name} v{decision.version}, {against}, gate {decision.mode}"
    rows = [("", "challenger", "champion", "gain (95 %)", "asked", "")]
    for check in decision.checks:
        holds = "-" if not check.asked else "yes" if check.passed else "NO"
        texts = (shown(check.challenger), shown(check.champion), shown(check.gain), _asked(check))
        rows.append((check.name, *texts, holds))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([head, *(lines if decision.checks else []), conclusion(decision)])


def conclusion(decision: Decision) -> str:
    """One line: what came of it, and why."""
    why = "; ".join(decision.reasons)
    if decision.outcome == "unchanged":
        return f"unchanged: {decision.name} v{decision.version} holds the champion's weights"
    if decision.outcome == "promoted":
        return f"promoted: {decision.name} v{decision.version} is the champion"
    if decision.outcome == "refused":
        return f"refused: {why}"
    return f"dry run, nothing moved: {decision.verdict}{f': {why}' if why else ''}"


def _files(challenger: Version, champion: Version | None, files: Callable[[Version], None]) -> Check:
    found: dict[str, str | None] = {}
    failed = []
    for role, version in (("challenger", challenger), ("champion", champion)):
        if version is None:
            continue
        try:
            files(version)
            found[role] = "as registered"
        except RadsynthError as error:
            found[role] = "changed"
            failed.append(f"{error.what} ({role})")
    return Check("files", found["challenger"], found.get("champion"), None, {"is": "as registered"}, tuple(failed))


def _facts(challenger: Version, champion: Version | None, named: bool, rolled_back: Sequence[Version]) -> list[Check]:
    checks, version = [], challenger.version
    for name in ("validation", "memorisation"):
        word, before = (v.tags.get(f"radsynth.{name}", "missing") if v else None for v in (challenger, champion))
        failed = () if word == PASSED else (f"{word}, asked {PASSED}",)
        checks.append(Check(name, word, before, None, {"is": PASSED}, failed))
    if rolled_back:
        held = "" if challenger in rolled_back else f"holds the weights of v{rolled_back[-1].version}, which "
        what = f"v{version} {held}was"
        step = f"`radsynth promote {challenger.name} --version {version}` brings it back"
        failed = () if named else (f"{what} rolled back; {step}",)
        checks.append(Check("rolled back", "yes", None, None, {"is": "no, or named by --version"}, failed))
    return checks


def _score_xrays(
    root: Path, challenger: Version, champion: Version | None, settings: Settings
) -> tuple[list[Check], dict[str, Any]]:
    from radsynth import schemas
    from radsynth.evaluation.rescore import FINDING, XRAY_FIGURES, compare, report_gan_figures
    from radsynth.training.chest_data import load_chest
    from radsynth.training.device import pick_device
    from radsynth.training.findings import load_findings
    from radsynth.training.report_gan import load_report_gan

    chest, device, rules = root / "data" / "chest", pick_device(), settings.gate.report_to_xray
    judge = load_findings(root / "models" / "classifier").to(device.device)
    views = [set(read_json(v.folder / "model.json")["views"]) for v in (challenger, champion) if v]
    shared = tuple(sorted(set.intersection(*views)))
    if not shared:
        raise RadsynthError("challenger and champion draw no common view", got=views)
    sets = load_chest(chest / "manifest.parquet", chest / "xrays", chest / "embeddings", shared)
    if "test" not in sets:
        raise RadsynthError("no test picture to score the models on", where=chest / "manifest.parquet")
    encoder = read_json(chest / "embeddings" / "encoder.json")
    frame, manifest = sets["test"].frame, schemas.CHEST.read(chest / "manifest.parquet")
    unseen, check, left_out = _unseen(
        root, challenger, champion, manifest, list(frame["subject_id"]), rules.least_patients
    )
    test = replace(sets["test"], frame=frame[frame["subject_id"].isin(unseen)].reset_index(drop=True))
    subjects = test.frame["subject_id"].to_numpy()

    def scored(version: Version) -> Figures:
        gan, description = load_report_gan(version.folder)
        if description["encoder"]["digest"] != encoder["digest"]:
            raise RadsynthError(
                "the model cannot be scored on this test set: text encoder",
                got=description["encoder"]["digest"][:12],
                expected=encoder["digest"][:12],
            )
        return report_gan_figures(
            gan.to(device.device),
            judge,
            sets["train"],
            test,
            samples=settings.evaluate_report_gan.samples_per_report,
            seed=settings.seed,
            device=device,
        )

    compared, blocked = {}, []
    if unseen:
        compared, blocked = _compared(
            scored,
            challenger,
            champion,
            lambda a, b: compare(a, b, subjects, XRAY_FIGURES, settings.gate.repetitions, settings.seed),
        )
    asked = {name: getattr(rules, name) for name in XRAY_FIGURES}
    checks = [_judge(name, compared.get(name), rule, rules.least_patients) for name, rule in asked.items()]
    checks += [
        _judge_finding(name, figure, rules.max_finding_drop)
        for name, figure in compared.items()
        if name.startswith(FINDING)
    ]
    basis = {
        "manifest_sha256": sha256_of(chest / "manifest.parquet"),
        "judge_sha256": sha256_of(root / "models" / "classifier"),
        "views": list(shared),
        "pictures": len(test),
        "patients": len(unseen),
        **left_out,
        "samples_per_report": settings.evaluate_report_gan.samples_per_report,
        "seed": settings.seed,
        "repetitions": settings.gate.repetitions,
    }
    return [check, *blocked, *checks], basis


def _score_cts(
    root: Path, challenger: Version, champion: Version | None, settings: Settings
) -> tuple[list[Check], dict[str, Any]]:
    import numpy as np

    from radsynth import schemas
    from radsynth.evaluation.rescore import CT_FIGURES, compare, mri_to_ct_figures
    from radsynth.training.cyclegan import load_mri_to_ct
    from radsynth.training.device import pick_device
    from radsynth.training.slices import paired_subjects, read_heads

    brain, rules = root / "data" / "brain", settings.gate.mri_to_ct
    manifest = schemas.VOLUMES.read(brain / "manifest.parquet")
    mr, ct = (read_heads(brain / "aligned", manifest, modality, "test") for modality in ("MR", "CT"))
    people = paired_subjects(mr, ct)
    unseen, check, left_out = _unseen(
        root, challenger, champion, manifest, people or [*mr.subjects, *ct.subjects], rules.least_patients
    )
    subjects: tuple[str, ...] = ()

    mr, ct = (heads.only([subject for subject in heads.subjects if subject in unseen]) for heads in (mr, ct))

    def scored(version: Version) -> Figures:
        nonlocal subjects
        _require_same_grid(version.folder, brain / "aligned")
        model, _ = load_mri_to_ct(version.folder)
        model.networks.to(pick_device().device)
        model.atlases.to(pick_device().device)
        figures, subjects = mri_to_ct_figures(model, mr, ct)
        return figures

    compared, blocked = _compared(
        scored,
        challenger,
        champion,
        lambda a, b: compare(a, b, np.array(subjects), CT_FIGURES, settings.gate.repetitions, settings.seed),
    )
    names = [name for name in CT_FIGURES if name in compared or hasattr(rules, name)]
    checks = [_judge(n, compared.get(n), getattr(rules, n, None), rules.least_patients) for n in names]
    basis = {
        "manifest_sha256": sha256_of(brain / "manifest.parquet"),
        "patients": len(subjects),
        **left_out,
        "seed": settings.seed,
        "repetitions": settings.gate.repetitions,
    }
    return [check, *blocked, *checks], basis


def _unseen(
    root: Path,
    challenger: Version,
    champion: Version | None,
    manifest: pd.DataFrame,
    subjects: Sequence[str],
    least: int,
) -> tuple[set[str], Check, dict[str, Any]]:
    """Test patients whom neither version learned from, the check that they are enough, and what the basis says.

    Parameters
    ----------
    manifest
        The CHEST or VOLUMES table of today.
    subjects
        Its test patients, as often as they come.
    """
    from radsynth.tracking.learned import learned_from

    everybody, seen, unknown = set(subjects), set(), []
    for role, version in (("challenger", challenger), ("champion", champion)):
        if version is None:
            continue
        learned = learned_from(root, version, manifest)
        if learned is None:
            unknown.append(f"{role} v{version.version}")
        seen |= learned or set()
    unseen, left_out = everybody - seen, len(everybody & seen)
    few = f"{len(unseen)} left, asked at least {least}: {left_out} of {len(everybody)} were learned from by"
    failed = (f"{few} challenger or champion",) if left_out and len(unseen) < least else ()
    definition = "test patients that neither model learned from"
    if unknown:
        definition += f"; not known of {' and '.join(unknown)}, whose data were not recorded or are no longer there"
    asked = {"is": f"at least {least}"} if left_out else {}
    check = Check("test patients", f"{len(unseen)} of {len(everybody)}", None, None, asked, failed, "", definition)
    return unseen, check, {"patients_left_out": left_out, "learned_from_unknown": unknown}


def _require_same_grid(model: Path, aligned: Path) -> None:
    """One new CT may make another head the reference: heads then lie elsewhere, and in another size (docs/adr/0021)."""
    from radsynth.volumes.common_grid import FILE

    own, today = (sha256_of(folder / FILE)[:12] if (folder / FILE).is_file() else "none" for folder in (model, aligned))
    if own != today or own == "none":
        what = "the model cannot be scored on this test set: its heads are placed by another reference head or grid"
        raise RadsynthError(what, got=f"{FILE} {own}", expected=today)


_SCORERS = {"report-to-xray": _score_xrays, "mri-to-ct": _score_cts}


def _compared(
    scored: Callable[[Version], Figures],
    challenger: Version,
    champion: Version | None,
    compare: Callable[[Figures, Figures | None], dict[str, Compared]],
) -> tuple[dict[str, Compared], list[Check]]:
    """The figures of both; a model that cannot read today's test set has none, and a check says why."""
    figures, words, failed = [], [], []
    for role, version in (("challenger", challenger), ("champion", champion)):
        if version is None:
            figures.append(None)
            words.append(None)
            continue
        try:
            figures.append(scored(version))
            words.append("scored")
        except RadsynthError as error:
            figures.append(None)
            words.append("not scored")
            failed.append(f"{role} v{version.version}: {error}")
    if not failed:
        return compare(*figures), []
    check = Check("test set", words[0], words[1], None, {"is": "scored"}, tuple(failed))
    return {}, [check]


def _judge(name: str, figure: Compared | None, rule: Rule | None, least_patients: int) -> Check:
    asked = {} if rule is None else {key: value for key, value in rule.model_dump().items() if value is not None}
    if figure is None:
        return Check(name, None, None, None, asked, ("missing, and it is asked for",) if asked else ())
    own, gain = figure.challenger, figure.gain
    better, sign = ("higher", 1) if figure.higher_is_better else ("lower", -1)
    failed = []

    def ask(key: str, value: float, text: str, direction: int = 1) -> None:
        if key not in asked:
            return
        if not math.isfinite(value):
            failed.append(f"{text} is missing")
        elif direction * value < direction * asked[key]:
            failed.append(
                f"{text} {number(value)}, asked at {'least' if direction > 0 else 'most'} {number(asked[key])}"
            )

    ask("floor", own.value, "value", sign)
    if gain is not None:
        ask("better_by", gain.value, "gain")
        ask("lower_end", gain.low, "lower end of the gain")
    if asked and own.n < least_patients:
        failed.append(f"{own.n} patients, asked at least {least_patients}")
    return Check(
        name, _numbers(own), _numbers(figure.champion), _numbers(gain), asked, tuple(failed), better, figure.definition
    )


def _judge_finding(name: str, figure: Compared, max_drop: float) -> Check:
    gain = figure.gain
    worse = gain is not None and math.isfinite(gain.value) and gain.value < -max_drop and gain.high < 0
    failed = (f"fell by {number(-gain.value)}, asked at most {number(max_drop)}",) if worse else ()
    asked = {"max_drop": max_drop} if gain is not None else {}
    own = _numbers(figure.challenger)
    return Check(name, own, _numbers(figure.champion), _numbers(gain), asked, failed, "higher", figure.definition)


def _numbers(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in interval._asdict().items()
    }


def shown(cell: dict[str, Any] | str | None) -> str:
    """A figure with its interval, or a word, as tables and cards show it."""
    if not isinstance(cell, dict):
        return cell or ""
    if cell["value"] is None:
        return "missing"
    ends = "" if cell["low"] is None else f" ({number(cell['low'])} to {number(cell['high'])})"
    return f"{number(cell['value'])}{ends}"


def _asked(check: Check) -> str:
    words = {
        "floor": "at most {}" if check.better == "lower" else "at least {}",
        "better_by": "gain {}",
        "lower_end": "gain from {}",
        "max_drop": "no drop over {}",
        "is": "{}",
    }
    asked = {k: v for k, v in check.asked.items() if k not in ("better_by", "lower_end") or check.gain}
    return ", ".join(words[key].format(v if isinstance(v, str) else number(v)) for key, v in asked.items())


def number(value: float) -> str:
    """Four digits, more only before the point."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def to_tag(decision: Decision) -> str:
    """The record as one line of JSON, for a tag."""
    return json.dumps(decision.record(), sort_keys=True, allow_nan=False)
