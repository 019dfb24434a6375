"""NIH ChestX-ray14: images and labels; the labels become report-like prompts, the boxes become masks.

References
----------
Wang et al., "ChestX-ray8: hospital-scale chest X-ray database and benchmarks", CVPR 2017;
https://nihcc.app.box.com/v/ChestXray-NIHCC
"""

from __future__ import annotations

import csv
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from radsynth.errors import RadsynthError
from radsynth.sources.openi_xml import write_openi_xml
from radsynth.sources.raw_chest import MASK_SIZE, RawChest, Rejected, find_files, raw_chest, require_folder
from radsynth.sources.report_writer import report_for_labels
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS

BOX_FRAME = 1024
"""The boxes are given in pixels of the 1024x1024 images, whatever size the images here have."""

_OWN_NAMES = {"infiltration": "opacity", "infiltrate": "opacity"}
_VIEWS = {"PA": "frontal", "AP": "frontal"}
_WHOLE = re.compile(r"([0-9]+)(\.0*)?")
"""A Patient ID; a table that pandas saved again may have 1.0 for 1."""


def read_nih(folder: str | Path, *, seed: int) -> RawChest:
    """Read a folder that holds ``Data_Entry_2017*.csv`` and the images, in ``images/`` or ``images_*/images/``.

    Each image becomes a study with a report written from its labels by templates, with varied wording and negations
    (`radsynth.sources.report_writer`); the subject is the Patient ID. Rows whose image is not here are passed over.
    With ``BBox_List_2017.csv`` the radiologists' boxes become finding truth, with masks of the box.

    Parameters
    ----------
    seed
        The wording of a report follows from it and the image's name.

    Raises
    ------
    RadsynthError
        Where the label table is missing or lacks a column, a Patient ID is no number, or no image is here.
    """
    folder = require_folder(folder, "a folder with images/ and Data_Entry_2017.csv")
    tables = sorted(folder.glob("Data_Entry_2017*.csv"))
    if not tables:
        raise RadsynthError("no label table", where=folder, expected="Data_Entry_2017.csv")
    rejected: list[Rejected] = []
    files = {path.name: path for path in find_files(folder, (".png",), "image", rejected)}
    columns = "Image Index", "Finding Labels", "Patient ID", "View Position"
    reports, images, spacing = [], [], {}
    for row in _rows(tables[-1], columns):
        name = row["Image Index"]
        path = files.pop(name, None)
        if path is None:
            continue
        labels = [_finding(label) for label in row["Finding Labels"].split("|") if label != "No Finding"]
        if None in labels:
            message = f"{path}: the label {row['Finding Labels']!r} is not known"
            rejected.append(Rejected(str(path), "image", "quarantined", "label_unknown", message))
            continue
        patient = _WHOLE.fullmatch(row["Patient ID"])
        if patient is None:
            where, got = f"{tables[-1]}, {name}", repr(row["Patient ID"])
            raise RadsynthError("the Patient ID is no number", where=where, got=got, expected="a whole number")
        image_id = path.stem
        report_id = f"NIH{image_id}"
        xml = _write(report_id, image_id, [label for label in labels if label], seed)
        reports.append((report_id, f"NIH{int(patient[1]):05d}", f"{tables[-1]}#{name}", xml))
        view = _VIEWS.get(row["View Position"], "unknown")
        images.append((image_id, str(folder), path.relative_to(folder).as_posix(), view))
        spacing[name] = _millimetres(row)
    if not images:
        raise RadsynthError("no image of the label table is here", where=folder, expected="images/*.png")
    for path in files.values():
        message = f"{path}: not in {tables[-1].name}"
        rejected.append(Rejected(str(path), "image", "quarantined", "image_without_label", message))
    truth, masks = _boxes(folder / "BBox_List_2017.csv", spacing)
    return raw_chest(reports, images, rejected, truth, masks)


def _write(report_id: str, image_id: str, labels: list[str], seed: int) -> bytes:
    rng = np.random.default_rng([seed, zlib.crc32(image_id.encode())])
    report = report_for_labels(labels, rng)
    return write_openi_xml(
        report_id,
        findings=report.findings,
        impression=report.impression,
        image_ids=[image_id],
        mesh=sorted(labels) or ["normal"],
        caption="Xray Chest",
        title="Prompt written from the labels of NIH ChestX-ray14",
    )


def _finding(label: str) -> str | None:
    name = label.strip().lower().replace(" ", "_")
    name = _OWN_NAMES.get(name, name)
    return name if name in FINDINGS else None


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Rows as dictionaries; the header's ``OriginalImage[Width,Height]`` is two columns because of its comma."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            missing = [name for name in columns if name not in header]
            if missing:
                raise RadsynthError("a column is missing", where=path, got=f"{header[:12]}", expected=f"{missing}")
            for number, row in enumerate(reader, start=2):
                if len(row) < max(header.index(name) for name in columns) + 1:
                    raise RadsynthError("a row is too short", where=f"{path}, line {number}", got=f"{row}"[:120])
                yield dict(zip(header, (value.strip() for value in row), strict=False))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise RadsynthError(f"not a CSV table ({error})", where=path) from None


def _millimetres(row: dict[str, str]) -> tuple[float, float]:
    """Size of one pixel of the 1024 frame, (x, y) mm; not a number where the table does not say it."""
    try:
        width, height = float(row["OriginalImage[Width"]), float(row["Height]"])
        return (
            width * float(row["OriginalImagePixelSpacing[x"]) / BOX_FRAME,
            height * float(row["y]"]) / BOX_FRAME,
        )
    except (KeyError, ValueError):
        return math.nan, math.nan


def _boxes(
    path: Path, spacing: dict[str, tuple[float, float]]
) -> tuple[list[tuple[str, str, str, str, float, float, int]], list[np.ndarray]]:
    truth: list[tuple[str, str, str, str, float, float, int]] = []
    masks: list[np.ndarray] = []
    if not path.is_file():
        return truth, masks
    for row in _rows(path, ("Image Index", "Finding Label", "Bbox [x")):
        finding, name = _finding(row["Finding Label"]), row["Image Index"]
        if finding is None or name not in spacing:
            continue
        try:
            x, y, width, height = (float(row[key]) for key in ("Bbox [x", "y", "w", "h]"))
        except (KeyError, ValueError):
            raise RadsynthError("a box is not four numbers", where=f"{path}, {name}", got=f"{row}"[:120]) from None
        mm_x, mm_y = spacing[name]
        # A frontal image shows the patient's right on its left.
        side = ("right" if x + width / 2 < BOX_FRAME / 2 else "left") if finding in SIDED_FINDINGS else ""
        truth.append((Path(name).stem, finding, side, "", max(width * mm_x, height * mm_y), math.nan, len(masks)))
        masks.append(box_mask(x, y, width, height))
    return truth, masks


def box_mask(x: float, y: float, width: float, height: float, frame: int = BOX_FRAME) -> np.ndarray:
    """The mask of a box given in another frame: pixels whose centre lies in it, and at least one.

    Parameters
    ----------
    x, y, width, height
        Left and upper edge, and size, in pixels of a `frame` x `frame` image.

    Returns
    -------
    bool (256, 256)
    """
    mask = np.zeros((MASK_SIZE, MASK_SIZE), dtype=bool)
    scale = MASK_SIZE / frame
    top, bottom = _covered(y * scale, (y + height) * scale)
    left, right = _covered(x * scale, (x + width) * scale)
    mask[top:bottom, left:right] = True
    return mask


def _covered(low: float, high: float) -> tuple[int, int]:
    first = min(max(round(low), 0), MASK_SIZE - 1)
    return first, min(max(round(high), first + 1), MASK_SIZE)
