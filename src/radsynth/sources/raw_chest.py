"""What every source of chest data gives, and what they share in making it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from radsynth.errors import RadsynthError
from radsynth.reports.parse import MAX_XML_BYTES
from radsynth.schemas import FINDING_TRUTH, QUARANTINE, RAW_IMAGES, RAW_REPORTS
from radsynth.sources.ids import shown_name

MASK_SIZE = 256
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")

_UID = re.compile(rb'<uId\s+id\s*=\s*"([^"<]{1,200})"')
_NUMBERS = re.compile(r"(\d+)")


class RawChest(NamedTuple):
    """Chest data as a source gives it.

    `reports`, `images`, `truth` and `quarantine` are the tables RAW_REPORTS, RAW_IMAGES, FINDING_TRUTH and QUARANTINE;
    `masks` is uint8 (M, 256, 32): 256x256 masks through `numpy.packbits` on the last axis.
    """

    reports: pd.DataFrame
    images: pd.DataFrame
    truth: pd.DataFrame
    masks: np.ndarray
    quarantine: pd.DataFrame


class Rejected(NamedTuple):
    """One row of the quarantine table."""

    path: str
    kind: str
    verdict: str
    reason: str
    message: str


def raw_chest(
    reports: Iterable[tuple[str, str, str, bytes]],
    images: Iterable[tuple[str, str, str, str]],
    rejected: Iterable[Rejected] = (),
    truth: Iterable[tuple[str, str, str, str, float, float, int]] = (),
    masks: Iterable[np.ndarray] = (),
) -> RawChest:
    """Build the tables from rows in the order of their columns; `masks` are boolean (256, 256).

    Of images with one id the first stays, the others are quarantined as ``image_duplicate``. Reports and images are
    put in the natural order of their ids, so that an archive and its unpacked files give the same tables.
    """
    rejected, kept = list(rejected), {}
    for image_id, container, member, view in images:
        if image_id in kept:
            path = f"{container}/{member}"
            message = f"{path}: a second image {image_id}"
            rejected.append(Rejected(path, "image", "quarantined", "image_duplicate", message))
        else:
            kept[image_id] = (image_id, container, member, view)
    packed = [np.packbits(mask.astype(bool), axis=-1) for mask in masks]
    return RawChest(
        _frame(sorted(reports, key=lambda row: (natural_order(row[0]), row[2])), RAW_REPORTS),
        _frame(sorted(kept.values(), key=lambda row: natural_order(row[0])), RAW_IMAGES),
        _frame(truth, FINDING_TRUTH),
        np.stack(packed) if packed else np.zeros((0, MASK_SIZE, MASK_SIZE // 8), dtype=np.uint8),
        _frame(rejected, QUARANTINE),
    )


def report_id_of(xml: bytes, name: str) -> str:
    """The id a report's bytes seem to name (``uId/@id``), else one from its file's name: ``17.xml`` is CXR17.

    The bytes are not parsed here; `radsynth.reports.parse` compares this with what the document really says.
    """
    match = _UID.search(xml)
    if match:
        return match[1].decode("utf-8", "replace").strip()
    stem = Path(name).stem
    return f"CXR{stem}" if stem.isdigit() else stem


def bounded_xml(xml: bytes) -> bytes:
    """At most one byte more than a report may have: enough for the parser to refuse it."""
    return xml[: MAX_XML_BYTES + 1]


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts CXR9 before CXR10."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in _NUMBERS.split(name) if part)


def find_files(folder: Path, suffixes: tuple[str, ...], kind: str, rejected: list[Rejected]) -> Iterator[Path]:
    """Yield a folder's regular files below it, in name order.

    Links and names that are not UTF-8 are quarantined, hidden names passed over.
    """
    for path in sorted(folder.rglob("*")):
        if not path.name.lower().endswith(suffixes) or path.name.startswith("."):
            continue
        if shown := shown_name(path):
            message = f"{shown}: its name is not UTF-8; rename it"
            rejected.append(Rejected(shown, kind, "quarantined", "file_name", message))
        elif path.is_symlink():
            message = f"{path}: a link, which could point out of the folder"
            rejected.append(Rejected(str(path), kind, "quarantined", "file_link", message))
        elif path.is_file():
            yield path


def read_report_files(folder: Path, rejected: list[Rejected]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the XML files below a folder."""
    for path in find_files(folder, (".xml",), "report", rejected):
        with open(path, "rb") as file:
            yield str(path), file.read(MAX_XML_BYTES + 1)


def require_folder(folder: str | Path, expected: str) -> Path:
    """`folder` as a path.

    Raises
    ------
    RadsynthError
        Where it is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RadsynthError("no such folder", where=folder, expected=expected, next_step="set acquire_chest.path")
    return folder


def _frame(rows: Iterable[tuple[object, ...]], table: object) -> pd.DataFrame:
    rows = list(rows)
    return pd.DataFrame(rows, columns=list(table.columns)) if rows else table.empty()  # type: ignore[attr-defined]
