"""A folder of chest X-rays with reports: Open-i XML files, or one CSV table of image, findings and impression.

Names of files, subjects and studies may be patients' names: what goes on from here is a digest of them, or an Open-i
number. Which file an id stands for is in the tables of ``data/raw/chest``; the quarantine tables name the files that
were set aside, as a user must find them. Neither goes into a model or a report.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from radsynth.errors import InputRefused, RadsynthError
from radsynth.reports.parse import parse_report
from radsynth.sources.ids import id_of, openi_id
from radsynth.sources.openi_xml import write_openi_xml
from radsynth.sources.raw_chest import (
    IMAGE_SUFFIXES,
    RawChest,
    Rejected,
    find_files,
    raw_chest,
    read_report_files,
    report_id_of,
    require_folder,
)
from radsynth.vocabulary import VIEWS

COLUMNS = ("image", "findings", "impression")
OPTIONAL_COLUMNS = ("subject", "study", "view")
MAX_CSV_BYTES = 2**30

_VIEWS = {"pa": "frontal", "ap": "frontal", "ll": "lateral", "lat": "lateral"} | {view: view for view in VIEWS}


def read_chest_folder(folder: str | Path) -> RawChest:
    """Read PNG, JPEG and DICOM images with their reports.

    With one ``.csv`` file in the folder, its columns are image (path inside the folder), findings, impression, and, if
    it has them, subject, study and view (frontal, lateral, PA, AP). Rows of one study are images of one report, whose
    texts must agree. Without it the folder's ``.xml`` files are read as Open-i reports; they name images by the stem of
    the file, and each study is a subject. Ids are digests of names (`radsynth.sources.ids`), but for Open-i's own.

    Raises
    ------
    RadsynthError
        Where there is neither a table nor a report, more than one table, a column is missing, or no image is left.
    """
    folder = require_folder(folder, "a folder of images with Open-i XML files or a CSV table")
    tables = sorted(path for path in folder.glob("*.csv") if not path.name.startswith("."))
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise RadsynthError("more than one table", where=folder, got=names, expected="one .csv or none")
    found = _from_table(folder, tables[0]) if tables else _from_xml(folder)
    for what, frame in (("reports", found.reports), ("images", found.images)):
        if frame.empty:
            first = f"; the first refusal: {found.quarantine['message'].iloc[0]}" if len(found.quarantine) else ""
            raise RadsynthError(f"no {what} that can be used{first}", where=folder)
    return found


def _from_xml(folder: Path) -> RawChest:
    rejected: list[Rejected] = []
    reports = []
    for name, xml in read_report_files(folder, rejected):
        report_id = openi_id(report_id_of(xml, name), "r")
        reports.append((report_id, report_id, name, _without_names(xml, name)))
    images = [
        (openi_id(path.stem, "i"), str(folder), path.relative_to(folder).as_posix(), "unknown")
        for path in find_files(folder, IMAGE_SUFFIXES, "image", rejected)
    ]
    return raw_chest(reports, images, rejected)


def _without_names(xml: bytes, name: str) -> bytes:
    """The report, written anew where its ids are no Open-i numbers; one that cannot be parsed stays to be refused."""
    try:
        report = parse_report(xml, name)
    except InputRefused:
        return xml
    report_id = openi_id(report.report_id, "r")
    image_ids = tuple(openi_id(image_id, "i") for image_id in report.image_ids)
    if (report_id, image_ids) == (report.report_id, report.image_ids):
        return xml
    return write_openi_xml(**report._replace(report_id=report_id, image_ids=image_ids)._asdict())


def _from_table(folder: Path, table: Path) -> RawChest:
    rejected: list[Rejected] = []
    files = {path.relative_to(folder).as_posix() for path in find_files(folder, IMAGE_SUFFIXES, "image", rejected)}
    images, studies, used = [], {}, set()
    for line, row in _rows(table):
        name = row["image"].replace("\\", "/")
        name = name.removeprefix("./")
        problem = _problem(name, files, used)
        if problem:
            reason, what = problem
            where, shown = f"{table}, line {line}", name[:200]
            message = f"{where}: {shown!r} {what}"
            rejected.append(Rejected(f"{where}: {shown}", "image", "quarantined", reason, message))
            continue
        used.add(name)
        image_id, study = id_of(name, "i"), row["study"] or name
        texts = row["findings"], row["impression"], id_of(row["subject"] or study)
        known = studies.setdefault(id_of(study, "r"), (texts, [], line))
        if known[0] != texts:
            where = f"{table}, lines {known[2]} and {line}"
            raise RadsynthError("a study has two different texts or subjects", where=where)
        known[1].append(image_id)
        images.append((image_id, str(folder), name, _VIEWS.get(row["view"].lower(), "unknown")))
    reports = [
        (
            study_id,
            subject,
            f"{table}, line {line}",
            write_openi_xml(
                study_id,
                findings=findings,
                impression=impression,
                image_ids=image_ids,
                caption="Xray Chest",
                title="Report from a table",
            ),
        )
        for study_id, ((findings, impression, subject), image_ids, line) in studies.items()
    ]
    return raw_chest(reports, images, rejected)


def _problem(name: str, files: set[str], used: set[str]) -> tuple[str, str] | None:
    if name.startswith("/") or ".." in name.split("/") or (len(name) > 1 and name[1] == ":"):
        return "image_escape", "points out of the folder"
    if name not in files:
        return "image_missing", "is not in the folder, or no PNG, JPEG or DICOM file"
    if name in used:
        return "image_duplicate", "is named twice"
    return None


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    size = table.stat().st_size
    if size > MAX_CSV_BYTES:
        raise RadsynthError("the table is too large", where=table, got=f"{size}", expected=f"<= {MAX_CSV_BYTES} bytes")
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            header = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            missing = [name for name in COLUMNS if name not in header]
            if missing:
                raise RadsynthError("a column is missing", where=table, got=f"{header[:12]}", expected=f"{missing}")
            reader.fieldnames = header
            for row in reader:
                yield (
                    reader.line_num,
                    {name: (row.get(name) or "").strip() for name in (*COLUMNS, *OPTIONAL_COLUMNS)},
                )
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise RadsynthError(f"not a CSV table in UTF-8 ({error})", where=table) from None
