"""Reading radiology reports from Open-i XML: sections, MeSH terms and image names, with hostile files refused.

The tables' text flags and finding labels are made here too, so that one pass over the reports gives all that later
stages read.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lxml import etree

from radsynth.errors import InputQuarantined, InputRefused
from radsynth.progress import track
from radsynth.reports.clean import clean_text, count_tokens, normalise_space
from radsynth.reports.findings import Labels, has_negation, label_text, mentions_prior, names_side
from radsynth.schemas import QUARANTINE, REPORTS

if TYPE_CHECKING:
    import pandas as pd

MAX_XML_BYTES = 2**20
"""Largest report accepted; the largest of the 3,955 Open-i reports is 15 kB."""

_SECTIONS = ("FINDINGS", "IMPRESSION", "INDICATION", "COMPARISON")


class Report(NamedTuple):
    """One report as its file says it: white space normalised, nothing else changed."""

    report_id: str
    findings: str
    impression: str
    indication: str
    comparison: str
    mesh: tuple[str, ...]
    image_ids: tuple[str, ...]


_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    huge_tree=False,
    recover=False,
    remove_comments=True,
    remove_pis=True,
)


def parse_report(xml: bytes, name: str = "report") -> Report:
    """Read one Open-i ``eCitation`` document.

    Parameters
    ----------
    xml
        The document's bytes, at most 1 MiB.
    name
        The file it came from, for messages.

    Returns
    -------
    Report
        ``image_ids`` from ``parentImage/@id`` (the stem of the image's file), ``mesh`` from ``MeSH/major``. A section
        that is missing or empty is ``""``.

    Raises
    ------
    InputRefused
        ``xml_too_large``, ``xml_doctype`` (a document type, where entities would be declared), ``xml_malformed``,
        ``xml_not_openi`` (well-formed, but not an Open-i report).

    References
    ----------
    Demner-Fushman et al., "Preparing a collection of radiology examinations for distribution and retrieval", JAMIA
    23(2), 2016; https://openi.nlm.nih.gov
    """
    if len(xml) > MAX_XML_BYTES:
        limit = f"at most {MAX_XML_BYTES} bytes"
        raise InputRefused("xml_too_large", "the report is too large", where=name, got=f"{len(xml)}", expected=limit)
    if b"<!DOCTYPE" in xml:
        raise _doctype(name)
    try:
        root = etree.fromstring(xml, _PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise InputRefused("xml_malformed", f"not well-formed XML ({error})", where=name) from None
    if root.getroottree().docinfo.internalDTD is not None:  # in an encoding where the bytes look different
        raise _doctype(name)
    report_id, sections, mesh, image_ids = "", {}, [], {}
    for part in root.iterchildren("uId", "MedlineCitation", "MeSH", "parentImage"):
        tag = part.tag
        if tag == "parentImage":  # the larger half of the document, of which the name is all that is used
            image_ids[part.get("id", "").strip()] = None
        elif tag == "MedlineCitation":
            for section in part.iter("AbstractText"):
                text = normalise_space("".join(section.itertext()) if len(section) else section.text or "")
                label = section.get("Label", "").strip().upper()
                sections[label] = f"{sections[label]} {text}".strip() if label in sections else text
        elif tag == "MeSH":
            mesh += [term.text.strip() for term in part.iterchildren("major") if term.text]
        else:
            report_id = report_id or part.get("id", "").strip()
    image_ids.pop("", None)
    if root.tag != "eCitation" or not report_id or not sections.keys() & {"FINDINGS", "IMPRESSION"}:
        details = {"where": name, "got": str(root.tag)[:80], "expected": "eCitation with uId and AbstractText sections"}
        raise InputRefused("xml_not_openi", "not an Open-i report", **details)
    text_of = sections.get
    return Report(report_id, *[text_of(label, "") for label in _SECTIONS], tuple(filter(None, mesh)), tuple(image_ids))


def check_report(path: str | Path) -> Report:
    """Read a report's file and say whether it can be used.

    Raises
    ------
    InputRefused
        As `parse_report` does, or ``report_unreadable``.
    InputQuarantined
        ``report_empty``: neither findings nor impression.
    """
    try:
        with open(path, "rb") as file:
            xml = file.read(MAX_XML_BYTES + 1)
    except OSError as error:
        raise InputRefused("report_unreadable", f"cannot be read ({error.strerror})", where=path) from None
    report = parse_report(xml, str(path))
    _require_text(report, str(path))
    return report


def prompt_of(report: Report) -> str:
    """Return the cleaned findings and impression as one text: what the text encoder reads."""
    parts = [clean_text(report.findings), clean_text(report.impression)]
    return " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts if part)


def parse_reports(raw: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Parse, clean and label reports.

    Parameters
    ----------
    raw
        A `schemas.RAW_REPORTS` table.

    Returns
    -------
    reports
        A `schemas.REPORTS` table, in the order of `raw`, ``row`` counting from 0.
    quarantine
        A `schemas.QUARANTINE` table of what was left out: refused files, and quarantined ones - ``report_empty``, a
        second report of the same id (``report_duplicate``), a file whose ``uId`` is not the id it was listed under
        (``report_id_differs``).
    """
    import pandas as pd

    rows, rejected, seen = [], [], set()
    records = raw[["report_id", "subject_id", "name", "xml"]].itertuples(index=False)
    for record in track(records, "parsing reports", total=len(raw), unit="reports"):
        try:
            report = parse_report(record.xml, record.name)
            _require_text(report, record.name)
            if report.report_id != record.report_id:
                details = {"where": record.name, "got": report.report_id, "expected": record.report_id}
                raise InputQuarantined("report_id_differs", "the report's uId is another", **details)
            if report.report_id in seen:
                raise InputQuarantined("report_duplicate", f"a second report {report.report_id}", where=record.name)
        except InputRefused as error:
            rejected.append((record.name, "report", error.verdict, error.reason, str(error)))
            continue
        seen.add(report.report_id)
        rows.append(_row(len(rows), record.subject_id, report, record.xml))
    reports = pd.DataFrame(rows, columns=list(REPORTS.columns)) if rows else REPORTS.empty()
    return reports, pd.DataFrame(rejected, columns=list(QUARANTINE.columns), dtype="str")


def _row(row: int, subject_id: str, report: Report, xml: bytes) -> dict[str, object]:
    written, prompt = f"{report.findings} {report.impression}", prompt_of(report)
    labels: Labels = label_text(prompt)
    return {
        "row": row,
        **report._asdict(),
        "subject_id": subject_id,
        "prompt": prompt,
        "mesh": list(report.mesh),
        "image_ids": list(report.image_ids),
        "negated": list(labels.negated),
        "xxxx_count": count_tokens(written),
        "mentions_prior": mentions_prior(prompt),
        "names_side": names_side(prompt),
        "has_negation": has_negation(prompt),
        "usable": bool(prompt and report.image_ids),
        "prompt_sha256": hashlib.sha256(prompt.lower().encode()).hexdigest(),
        "source_sha256": hashlib.sha256(xml).hexdigest(),
        **labels.columns(),
    }


def _require_text(report: Report, name: str) -> None:
    if not report.findings and not report.impression:
        raise InputQuarantined("report_empty", "neither findings nor impression", where=name)


def _doctype(name: str) -> InputRefused:
    return InputRefused("xml_doctype", "the report declares a document type", where=name, expected="none")
