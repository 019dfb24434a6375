"""A synthetic training set from a plan: `dataset`."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radsynth.errors import RadsynthError
from radsynth.files import sha256_of, write_json
from radsynth.progress import track
from radsynth.radiographs.write import png_bytes, stored_values
from radsynth.reports.findings import label_text
from radsynth.sources.report_writer import Finding, Report, report_for_findings
from radsynth.synthetic_dicom import NOTICE
from radsynth.tracking.registry import resolve
from radsynth.training.drawing import Drawer, prompt
from radsynth.use.judge import JUDGE, Judge
from radsynth.use.outputs import ABOUT, check_folder, new_folder
from radsynth.use.pictures import MODEL, check_numbers, check_view, draw_alone, not_learned, png_texts
from radsynth.use.provenance import about, title
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS, SIDES

NORMAL = "normal"
"""In a plan: no finding at all."""
NORMAL_BELOW = 0.5
"""Probability below which no finding speaks against a normal chest."""
COLUMNS = ("finding", "side", "count")
LABELS = ("image", "findings", "impression", "subject", "study", "view", "finding", "side", "seed", "judged")
ZONED = ("atelectasis", "consolidation", "fibrosis", "mass", "nodule", "opacity", "pneumonia")
SIZES_MM = {"nodule": (8.0, 28.0), "mass": (32.0, 70.0)}
MAX_WORDINGS = 50
CARD = """# Synthetic chest X-rays

**{notice}.** No picture shows a person. {accepted} of {drawn} pictures were accepted.

| finding | side | drawn | accepted | rejected | judged |
| --- | --- | --- | --- | --- | --- |
{table}

## What is here

- `images/`: the accepted pictures (grey PNG, 16 bits, bright = dense) and `labels.csv`: image, findings and
  impression as the report says them, subject, study, view, what was asked for, seed, `label_*` as read off the
  report (1 present, 0 absent, -1 uncertain), `score_*`, the judge's probabilities.
- `rejected/`: the pictures on which the judge disagreed, with the same columns in `rejected.csv`.
- `plan.csv` and `about.json`: what was asked for, and all digests.

`radsynth configure chest=folder acquire_chest.path=<this folder>/images` reads the accepted ones, alone. They are for
a training of one's own, where they stay out of validation and test: mixed into a folder of real pictures, radsynth's
`split_chest` would deal them into validation and test too. What they add to real ones is measured by its stage
`evaluate_utility`.

## Provenance

- Model: {name}, {version}, SHA-256 `{model}`.
- Judge: SHA-256 `{judge}`; it sees a finding from this probability on: {learned}.
- Seed {seed}, view {view}, {size} pixels; radsynth {radsynth}.
- Reports: written by radsynth's report writer in varied words, from the plan.

## Limits

- Accepted means that one classifier, trained on the same real pictures as the model, agrees. It does not mean that a
  radiologist would. Findings that it has not learned are not judged at all.
- What the model draws badly is drawn badly here. The pictures carry the biases of its training data.
- Never use them to evaluate: a set made from a model's idea of a finding says nothing about patients.
"""
MAX_PLAN_BYTES = 2**20
MAX_DIGITS = 9
"""Of a count; Python refuses to read numbers of thousands."""


@dataclass(frozen=True)
class Wanted:
    """One line of a plan: a finding (or ``normal``), the patient's side (``""`` for either), how many pictures."""

    finding: str
    side: str
    count: int


@dataclass(frozen=True)
class Dataset:
    """What was made.

    Parameters
    ----------
    rows
        Of every picture: the columns of labels.csv, the labels, the judge's scores, `accepted`.
    about
        What ``about.json`` says: model, judge, its thresholds, plan, counts.
    path
        The folder; None where nothing was written.
    """

    rows: list[dict[str, Any]]
    about: dict[str, Any]
    path: Path | None

    @property
    def accepted(self) -> list[dict[str, Any]]:
        """The rows that the judge did not reject."""
        return [row for row in self.rows if row["accepted"]]


def dataset(
    plan: str | Path | Sequence[tuple[str, str, int]],
    out: str | Path | None = None,
    *,
    seed: int = 0,
    view: str = "frontal",
    threshold: float | None = None,
    model: str = "champion",
    judge: str | Path | None = None,
    force: bool = False,
    root: str | Path = ".",
) -> Dataset:
    """Draw a labelled training set, so that rare findings can be augmented.

    A report in varied words is written for every picture, the picture drawn, and the judge asked. A picture on which it
    disagrees is rejected: the finding's probability is below its threshold, or, for a normal chest, that of any finding
    that it has learned is not (by default, none speaks against a normal chest below 0.5). A finding that it has not
    learned is not judged, and the table says so.

    Parameters
    ----------
    plan
        CSV file with the columns finding, side and count, or such rows. Side may be empty: left or right by chance.
    out
        Folder to make: ``images/`` with the pictures and ``labels.csv``, which the source ``folder`` reads;
        ``rejected/`` with ``rejected.csv``; ``README.md``, the card; ``plan.csv``; ``about.json``. None writes nothing.
    seed
        Of picture i it is ``seed + i``; the words follow from it too.
    threshold
        Probability, 0..1, for every finding. None: for each finding the judge's own, at which it was right most often
        on its validation split; 0.5 where that had too few pictures.
    model
        Alias, version or model folder.
    judge
        Model folder of the classifier, ``models/classifier`` of the checkout by default.
    force
        Replace `out` where an earlier command made it.
    root
        The checkout whose registry is asked.

    Raises
    ------
    RadsynthError
        Where the plan cannot be read or asks for what is not there or not learned, the judge was trained on pictures of
        another size than the model draws, or `out` must not be written.
    """
    lines = read_plan(plan) if isinstance(plan, str | Path) else [_wanted(*row, "plan") for row in plan]
    total = sum(line.count for line in lines)
    check_numbers(total, 1, seed)
    if threshold is not None and not 0 <= threshold <= 1:
        raise RadsynthError("the threshold is no probability", got=threshold, expected="0 to 1")
    given = plan if isinstance(plan, str | Path) else None
    target = None if out is None else check_folder(out, force, given)
    resolved = resolve(root, MODEL, model)
    judging = Judge(Path(root) / JUDGE if judge is None else judge)
    drawer = Drawer(resolved.folder)
    check_view(view, drawer.views)
    judging.require_size(drawer.size)
    unknown = not_learned(drawer)
    if asked := [line.finding for line in lines if line.finding in unknown]:
        raise RadsynthError(
            "the model has not learned to draw this finding: too few reports of its training name it",
            got=asked[0],
            expected=", ".join(finding for finding in (*FINDINGS, NORMAL) if finding not in unknown),
        )
    facts = about("dataset", resolved) | {
        "judge": judging.facts | {"thresholds": {f: round(at, 6) for f, at in bars(judging, threshold).items()}},
        "settings": {"seed": seed, "view": view, "size": drawer.size},
        "plan": [vars(line) for line in lines],
    }
    if target is None:
        rows = [row for row, _ in _rows(lines, drawer, judging, seed, view, threshold)]
        return Dataset(rows, facts | {"counts": counts(lines, rows)}, None)
    with new_folder(target) as folder:
        rows = []
        texts = png_texts(title(resolved))
        for name in ("images", "rejected"):
            (folder / name).mkdir()
        for row, pixels in _rows(lines, drawer, judging, seed, view, threshold):
            room = folder / ("images" if row["accepted"] else "rejected")
            (room / row["image"]).write_bytes(png_bytes(stored_values(pixels), texts))
            rows.append(row)
        facts["counts"] = counts(lines, rows)
        _write_table(folder / "images" / "labels.csv", [row for row in rows if row["accepted"]])
        _write_table(folder / "rejected" / "rejected.csv", [row for row in rows if not row["accepted"]])
        _write_plan(folder / "plan.csv", lines)
        facts["labels_sha256"] = sha256_of(folder / "images" / "labels.csv")
        (folder / "README.md").write_text(_card(facts), encoding="utf-8")
        write_json(folder / ABOUT, facts)
    return Dataset(rows, facts, target)


def read_plan(path: str | Path) -> list[Wanted]:
    """Read a plan.

    Raises
    ------
    RadsynthError
        Where it is no such table, or a line asks for what is not there; says which line.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_PLAN_BYTES:
            raise RadsynthError("the plan is too large", where=path, expected=f"at most {MAX_PLAN_BYTES} bytes")
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            reader.fieldnames = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            missing = [name for name in COLUMNS if name not in reader.fieldnames]
            if missing:
                got = ", ".join(reader.fieldnames)[:80] or "nothing"
                raise RadsynthError("not a plan", where=path, got=got, expected=", ".join(COLUMNS))
            lines = [
                _wanted(*((row.get(name) or "").strip().lower() for name in COLUMNS), f"{path}, line {reader.line_num}")
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RadsynthError(f"not a readable CSV table in UTF-8 ({error})", where=path) from None
    if not lines:
        raise RadsynthError("a plan without a line", where=path, expected=", ".join(COLUMNS))
    return lines


def _wanted(finding: str, side: str, count: int | str, where: object) -> Wanted:
    if finding not in (*FINDINGS, NORMAL):
        raise RadsynthError("no such finding", where=where, got=repr(finding), expected=", ".join((*FINDINGS, NORMAL)))
    if side not in SIDES:
        raise RadsynthError("no such side", where=where, got=repr(side), expected="left, right, both or nothing")
    if side and finding not in SIDED_FINDINGS:
        raise RadsynthError(f"{finding} has no side", where=where, got=repr(side), expected="nothing")
    number = str(count).strip()
    if not (number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS and int(number) > 0):
        got, most = repr(count)[:80], 10**MAX_DIGITS - 1
        raise RadsynthError("not a number of pictures", where=where, got=got, expected=f"1 to {most}")
    return Wanted(finding, side, int(number))


def _rows(
    lines: Sequence[Wanted], drawer: Drawer, judging: Judge, seed: int, view: str, threshold: float | None
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Every picture of the plan with its row."""
    jobs = [line for line in lines for _ in range(line.count)]
    for number, wanted in enumerate(track(jobs, "drawing", unit="pictures")):
        side, report, text = write_words(wanted, np.random.default_rng((seed, number)))
        pixels = draw_alone(drawer, text, seed + number, view)
        scores = dict(zip(FINDINGS, judging.scores(pixels[None])[0].tolist(), strict=True))
        name = f"synthetic_{number + 1:06d}"
        labels = label_text(text)
        judged = bool(judging.learned) if wanted.finding == NORMAL else wanted.finding in judging.learned
        row: dict[str, Any] = {
            "image": f"{name}.png",
            "findings": report.findings,
            "impression": report.impression,
            "subject": name,
            "study": name,
            "view": view,
            "finding": wanted.finding,
            "side": side,
            "seed": seed + number,
            "judged": judged,
            "accepted": agrees(wanted.finding, scores, bars(judging, threshold, wanted.finding)),
        }
        row |= {f"label_{finding}": labels.values[finding] for finding in FINDINGS}
        row |= {f"score_{finding}": round(scores[finding], 6) for finding in judging.learned}
        yield row, pixels


def bars(judge: Judge, threshold: float | None, wanted: str = "") -> dict[str, float]:
    """From which probability on each finding that the judge has learned is there: `threshold`, or the judge's own.

    A normal chest must stay below all of them: the judge's own, each right for one rare finding, would together leave
    hardly any, so that none lies below `NORMAL_BELOW` there.
    """
    if threshold is not None:
        return dict.fromkeys(judge.learned, threshold)
    least = NORMAL_BELOW if wanted == NORMAL else 0.0
    return {finding: max(judge.thresholds.get(finding, 0.5), least) for finding in judge.learned}


def agrees(finding: str, scores: dict[str, float], thresholds: dict[str, float]) -> bool:
    """Whether the judge does not disagree with the request; of a finding without a threshold it says nothing."""
    if finding == NORMAL:
        return all(scores[other] < at for other, at in thresholds.items())
    return finding not in thresholds or scores[finding] >= thresholds[finding]


def write_words(wanted: Wanted, rng: np.random.Generator) -> tuple[str, Report, str]:
    """The side, a report that states what is wanted and nothing else, and its prompt.

    What the labeller reads in the words decides: a wording in which it does not find the request, or finds more, is
    written anew.
    """
    side = wanted.side
    if not side and wanted.finding in SIDED_FINDINGS:
        side = ("left", "right")[int(rng.integers(2))]
    facts = []
    if wanted.finding != NORMAL:
        low, high = SIZES_MM.get(wanted.finding, (0.0, 0.0))
        zone = ("upper", "mid", "lower")[int(rng.integers(3))] if wanted.finding in ZONED else ""
        facts = [Finding(wanted.finding, side, zone, float(rng.uniform(low, high)), float(rng.uniform(0.2, 1.0)))]
    for _ in range(MAX_WORDINGS):
        report = report_for_findings(facts, rng)
        text = prompt(report.findings, report.impression)
        labels = label_text(text)
        present = {finding for finding, value in labels.values.items() if value != 0}
        if present == {fact.finding for fact in facts} and all(labels.sides[f.finding] == f.side for f in facts):
            return side, report, text
    raise RadsynthError(f"no wording states {wanted.finding} {side} and nothing else", got=f"{MAX_WORDINGS} wordings")


def counts(lines: Sequence[Wanted], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every line of the plan how many pictures were drawn, accepted, rejected, and whether they were judged."""
    found, start = [], 0
    for line in lines:
        part = rows[start : start + line.count]
        start += line.count
        tally = Counter(row["accepted"] for row in part)
        found.append(
            {
                "finding": line.finding,
                "side": line.side,
                "drawn": line.count,
                "accepted": tally[True],
                "rejected": tally[False],
                "judged": all(row["judged"] for row in part),
            }
        )
    return found


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = [*LABELS, *(f"label_{finding}" for finding in FINDINGS)]
    scores = [name for name in rows[0] if name.startswith("score_")] if rows else []
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*columns, *scores], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_plan(path: Path, lines: Sequence[Wanted]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(vars(line) for line in lines)


def _card(facts: dict[str, Any]) -> str:
    """The dataset card, from what was recorded."""
    model, judge, settings = facts["model"], facts["judge"], facts["settings"]
    accepted = sum(line["accepted"] for line in facts["counts"])
    drawn = sum(line["drawn"] for line in facts["counts"])
    version = f"version {model['version']}" if model["version"] is not None else "asked for by its folder"
    learned = ", ".join(f"{finding} {at:.2f}" for finding, at in judge["thresholds"].items()) or "none"
    table = [
        f"| {line['finding']} | {line['side'] or '-'} | {line['drawn']} | {line['accepted']} | {line['rejected']} | "
        f"{'yes' if line['judged'] else 'no'} |"
        for line in facts["counts"]
    ]
    return CARD.format(
        notice=NOTICE.capitalize(),
        accepted=accepted,
        drawn=drawn,
        table="\n".join(table),
        name=model["name"],
        version=version,
        model=model["sha256"],
        judge=judge["sha256"],
        learned=learned,
        radsynth=facts["radsynth"],
        **settings,
    )
