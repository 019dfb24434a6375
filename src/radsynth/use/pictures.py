"""Chest X-rays from reports: `generate`."""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radsynth.errors import RadsynthError
from radsynth.files import write_json
from radsynth.progress import track
from radsynth.radiographs.radiograph import DRAWN_BY
from radsynth.radiographs.write import png_bytes, stored_values, write_xray_dicom
from radsynth.reports.findings import label_text
from radsynth.reports.parse import check_report
from radsynth.sources.ids import is_utf8
from radsynth.synthetic_dicom import NOTICE
from radsynth.tracking.registry import resolve
from radsynth.training.drawing import MAX_SEED, Drawer, prompt
from radsynth.use.outputs import ABOUT, check_folder, new_folder
from radsynth.use.provenance import about, title
from radsynth.vocabulary import FINDINGS, TARGETS

MODEL = "report-to-xray"
MAX_PICTURES = 10_000
MAX_CSV_BYTES = 2**26


@dataclass(frozen=True)
class Picture:
    """One drawn X-ray.

    Parameters
    ----------
    pixels
        float32 (S, S), -1..1, bright = dense; the patient's left is on the right. (0, 0) where it is in its file alone.
    about
        What its sidecar says: model, report, seed, settings.
    path
        Its file; None where nothing was written.
    """

    pixels: np.ndarray
    about: dict[str, Any]
    path: Path | None


def generate(
    report: str | None = None,
    out: str | Path | None = None,
    *,
    xml: str | Path | None = None,
    csv: str | Path | None = None,
    n: int = 1,
    seed: int = 0,
    view: str = "frontal",
    form: str = "png",
    model: str = "champion",
    force: bool = False,
    keep: bool = True,
    root: str | Path = ".",
) -> list[Picture]:
    """Draw chest X-rays from one report or many.

    Picture number i of all (report after report, `n` each) is drawn with ``seed + i``; any of them is drawn again alone
    from its report and its seed. What a report says and the model has not learned is not drawn, which is told on the
    standard error stream and in the sidecar.

    Parameters
    ----------
    report, xml, csv
        One of them: a text; an Open-i XML file; a UTF-8 table with the columns findings and impression, or one of them.
    out
        Folder to make: a picture and a JSON sidecar each, and ``about.json``. None writes nothing.
    n
        Pictures a report.
    view
        One of the model's views.
    form
        ``png``, grey with 16 bits, or ``dicom``, a secondary capture image.
    model
        Alias, version or model folder.
    force
        Replace `out` where an earlier command made it.
    keep
        Return the pixels of pictures that are written as well; without them memory does not grow with their number.
    root
        The checkout whose registry is asked.

    Raises
    ------
    RadsynthError
        Where a report has no words, a parameter is out of range, there is no such model, or `out` must not be written.
    """
    reports = _reports(report, xml, csv)
    check_numbers(n * len(reports), n, seed)
    if form not in ("png", "dicom"):
        raise RadsynthError("no such format", got=repr(form), expected="png or dicom")
    target = None if out is None else check_folder(out, force, xml or csv)
    resolved = resolve(root, MODEL, model)
    drawer = Drawer(resolved.folder)
    check_view(view, drawer.views)
    common = about("generate", resolved) | {"settings": {"view": view, "size": drawer.size, "format": form}}
    common["text_encoder"] = drawer.description["encoder"]
    unknown = not_learned(drawer)
    read = [label_text(text).values for text in reports]
    ignored = [[finding for finding in unknown if values[finding] == 1] for values in read]
    if names := ", ".join(sorted(set().union(*ignored))):
        print(f"not drawn, since too few reports of the training name it: {names}", file=sys.stderr)

    def drawn() -> Iterator[Picture]:
        jobs = [(place, sample, prompt_) for place, prompt_ in enumerate(reports) for sample in range(n)]
        for number, (place, sample, prompt_) in enumerate(track(jobs, "drawing", unit="pictures")):
            pixels = draw_alone(drawer, prompt_, seed + number, view)
            facts = {"report": prompt_, "report_number": place + 1, "sample": sample + 1, "seed": seed + number}
            facts |= {
                "not_drawn": ignored[place],
                "pixels_sha256": hashlib.sha256(stored_values(pixels).tobytes()).hexdigest(),
            }
            yield Picture(pixels, common | facts, None)

    if target is None:
        return list(drawn())
    with new_folder(target) as folder:
        written = []
        for picture in drawn():
            name = _write(picture, folder, form, title(resolved))
            pixels = picture.pixels if keep else np.empty((0, 0), np.float32)
            written.append(replace(picture, pixels=pixels, path=target / name))
        write_json(folder / ABOUT, common | {"pictures": [picture.path.name for picture in written]})
    return written


def not_learned(drawer: Drawer) -> list[str]:
    """The findings that too few reports of the model's training name for it to learn them: it never draws them."""
    taught = dict(zip(TARGETS, drawer.gan.conditioner.taught.tolist(), strict=True))
    return [finding for finding in FINDINGS if not taught[finding]]


def draw_alone(drawer: Drawer, text: str, seed: int, view: str) -> np.ndarray:
    """One picture (S, S), float32 -1..1, that depends on nothing but model, text, seed and view."""
    return drawer.draw([text], seeds=[seed], view=view)[0, 0]


def check_numbers(total: int, n: int, seed: int) -> None:
    """Refuse counts and seeds out of range."""
    if n < 1 or total > MAX_PICTURES:
        raise RadsynthError("too few or too many pictures", got=total, expected=f"1 to {MAX_PICTURES} in all")
    if not 0 <= seed <= MAX_SEED - total:
        raise RadsynthError("the seed is out of range", got=seed, expected=f"0 to {MAX_SEED - total}")


def check_view(view: str, views: Sequence[str]) -> None:
    """Refuse a view that the model does not draw."""
    if view not in views:
        raise RadsynthError("the model does not draw this view", got=repr(view), expected=" or ".join(views))


def one_prompt(text: str, where: object = None) -> str:
    """A report's text as the model reads it.

    Raises
    ------
    RadsynthError
        Where it has no words.
    """
    return _worded(text, "", where)


def _worded(findings: str, impression: str, where: object) -> str:
    found = prompt(findings, impression)
    if not any(letter.isalpha() for letter in found):
        got = repr(f"{findings} {impression}".strip()[:60])
        raise RadsynthError("the report has no words", where=where, got=got, expected="findings or an impression")
    if not is_utf8(found):
        raise RadsynthError("the report is not text in UTF-8", where=where, got=ascii(found[:60]))
    return found


def _reports(report: str | None, xml: str | Path | None, table: str | Path | None) -> list[str]:
    """The prompts that were asked for, one a report."""
    given = [name for name, value in (("report", report), ("xml", xml), ("csv", table)) if value is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none"
        raise RadsynthError("one source of reports is needed", got=got, expected="a report, an XML file or a CSV table")
    if report is not None:
        return [one_prompt(report, "report")]
    if xml is not None:
        found = check_report(xml)
        return [_worded(found.findings, found.impression, xml)]
    return _from_table(Path(table))  # type: ignore[arg-type]


def _from_table(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise RadsynthError("the table is too large", where=path, expected=f"at most {MAX_CSV_BYTES} bytes")
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            if not {"findings", "impression"} & set(columns):
                got = ", ".join(columns)[:80] or "nothing"
                raise RadsynthError("not a table of reports", where=path, got=got, expected="findings, impression")
            reader.fieldnames = columns
            rows = [
                _worded(row.get("findings") or "", row.get("impression") or "", f"{path}, line {reader.line_num}")
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RadsynthError(f"not a readable CSV table in UTF-8 ({error})", where=path) from None
    if not rows:
        raise RadsynthError("a table without a report", where=path)
    return rows


def _write(picture: Picture, folder: Path, form: str, software: str) -> str:
    """Write a picture and its sidecar; returns the picture's name."""
    facts = picture.about
    stem = f"report_{facts['report_number']:04d}_{facts['sample']:02d}"
    stored = stored_values(picture.pixels)
    name = f"{stem}.png" if form == "png" else f"{stem}.dcm"
    if form == "png":
        (folder / name).write_bytes(png_bytes(stored, png_texts(software)))
    else:
        write_xray_dicom(
            stored,
            folder / name,
            view=facts["settings"]["view"],
            software=software,
            source=f"drawn by {software} from a report; {NOTICE}",
            key=f"{stem}\0{facts['seed']}",
        )
    write_json(folder / f"{stem}.json", facts | {"file": name})
    return name


def png_texts(software: str) -> dict[str, str]:
    """What the text chunks of a synthetic picture say."""
    return {"Description": NOTICE, "Software": DRAWN_BY + software, "Disclaimer": "research only, not for diagnosis"}
