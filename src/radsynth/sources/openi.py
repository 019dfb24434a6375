"""The Open-i (Indiana University) chest X-ray collection, as the NLM distributes it, and its download.

References
----------
Demner-Fushman et al., "Preparing a collection of radiology examinations for distribution and retrieval", JAMIA 23(2),
2016; https://openi.nlm.nih.gov
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from radsynth.errors import RadsynthError
from radsynth.sources.archives import iter_members, list_members
from radsynth.sources.raw_chest import (
    IMAGE_SUFFIXES,
    RawChest,
    Rejected,
    bounded_xml,
    find_files,
    raw_chest,
    read_report_files,
    report_id_of,
    require_folder,
)

REPORTS_ARCHIVE = "NLMCXR_reports"
IMAGES_ARCHIVE = "NLMCXR_png"
MAX_REPORTS_BYTES = 4 * 2**30
"""Reports are held in memory: the collection's unpack to 21 MB."""

_ARCHIVE_SUFFIXES = (".tgz", ".tar.gz", ".tar", ".zip")


def read_openi(folder: str | Path) -> RawChest:
    """Read a folder that holds ``NLMCXR_reports.tgz`` and ``NLMCXR_png.tgz``, or their unpacked files.

    Either archive may be packed or not, or be a .tar or .zip. Images are listed, not copied and not decoded. The
    collection names no patients, so that each study is a subject of its own, unless ``subjects.parquet``
    (report_id, subject_id) lies beside; nor does it name views: ``views.parquet`` (image_id, view) may.

    Raises
    ------
    RadsynthError
        Where there are no reports or no images.
    InputRefused
        Where an archive is corrupt or hostile; see `radsynth.sources.archives.iter_members`.
    """
    folder = require_folder(folder, f"a folder with {REPORTS_ARCHIVE}.tgz and {IMAGES_ARCHIVE}.tgz")
    rejected: list[Rejected] = []
    subjects = _beside(folder / "subjects.parquet", "report_id", "subject_id")
    views = _beside(folder / "views.parquet", "image_id", "view")
    reports = []
    for name, xml in _reports(folder, rejected):
        report_id = report_id_of(xml, name)
        reports.append((report_id, subjects.get(report_id, report_id), name, bounded_xml(xml)))
    images = [
        (stem, container, member, views.get(stem, "unknown"))
        for container, member in _images(folder, rejected)
        for stem in [Path(member).stem]
    ]
    for what, found, archive in (("reports", reports, REPORTS_ARCHIVE), ("images", images, IMAGES_ARCHIVE)):
        if not found:
            expected = f"{archive}.tgz or its unpacked files"
            raise RadsynthError(f"no {what} here", where=folder, expected=expected, next_step="set acquire_chest.path")
    return raw_chest(reports, images, rejected)


def _reports(folder: Path, rejected: list[Rejected]) -> Iterator[tuple[str, bytes]]:
    archive = _archive(folder, REPORTS_ARCHIVE)
    if archive is None:
        yield from read_report_files(folder, rejected)
    else:
        for name, xml in iter_members(archive, suffixes=(".xml",), max_total_bytes=MAX_REPORTS_BYTES):
            yield f"{archive}!{name}", xml


def _images(folder: Path, rejected: list[Rejected]) -> Iterator[tuple[str, str]]:
    archive = _archive(folder, IMAGES_ARCHIVE)
    if archive is None:
        for path in find_files(folder, IMAGE_SUFFIXES, "image", rejected):
            yield str(folder), path.relative_to(folder).as_posix()
    else:
        for name, _ in list_members(archive, suffixes=IMAGE_SUFFIXES):
            yield str(archive), name


def _archive(folder: Path, stem: str) -> Path | None:
    return next((path for suffix in _ARCHIVE_SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()), None)


def _beside(path: Path, key: str, value: str) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        table = pq.read_table(path, columns=[key, value])
    except (OSError, ValueError) as error:
        raise RadsynthError(f"not the table expected ({error})", where=path, expected=f"{key}, {value}") from None
    return dict(zip(map(str, table[key].to_pylist()), map(str, table[value].to_pylist()), strict=True))
