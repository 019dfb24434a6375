"""Reading reports from Open-i XML."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from radsynth.errors import InputQuarantined, InputRefused
from radsynth.reports.parse import MAX_XML_BYTES, check_report, parse_report, parse_reports, prompt_of
from radsynth.schemas import QUARANTINE, RAW_REPORTS, REPORTS
from radsynth.sources.openi_xml import write_openi_xml


def document(abstract: str, head: str = "", uid: str = "CXR1") -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{head}<eCitation><uId id="{uid}"/><MedlineCitation><Article>'
        f"<Abstract>{abstract}</Abstract></Article></MedlineCitation></eCitation>"
    ).encode()


def section(label: str, text: str) -> str:
    return f'<AbstractText Label="{label}">{text}</AbstractText>'


def raw(*documents: bytes, ids: list[str] | None = None) -> pd.DataFrame:
    ids = ids or [f"CXR{n}" for n in range(1, len(documents) + 1)]
    rows = [(i, f"S{i}", f"{i}.xml", xml) for i, xml in zip(ids, documents, strict=True)]
    return pd.DataFrame(rows, columns=list(RAW_REPORTS.columns))


def reason_of(xml: bytes) -> str:
    with pytest.raises(InputRefused) as refusal:
        parse_report(xml, "7.xml")
    assert str(refusal.value).startswith("7.xml: ")
    assert "\n" not in str(refusal.value)
    return refusal.value.reason


def test_every_part_of_a_written_report_is_read_back() -> None:
    said = {
        "findings": "Heart <normal> & lungs clear.",
        "impression": "1. No acute disease.",
        "indication": "Cough",
        "comparison": "None.",
    }
    xml = write_openi_xml("CXR5", image_ids=["CXR5_1", "CXR5_2"], mesh=["normal"], **said)
    report = parse_report(xml)
    assert report._asdict() == said | {"report_id": "CXR5", "image_ids": ("CXR5_1", "CXR5_2"), "mesh": ("normal",)}


def test_image_ids_come_from_the_attribute_and_never_from_the_url() -> None:
    xml = document(section("FINDINGS", "Clear.")).replace(
        b"</eCitation>", b'<parentImage id="CXR1_a"><panel><url>/x/CXR1_b.jpg</url></panel></parentImage></eCitation>'
    )
    assert parse_report(xml).image_ids == ("CXR1_a",)


def test_white_space_is_collapsed_and_nothing_else_changed() -> None:
    xml = document(section("FINDINGS", "The  heart\n   is XXXX .") + section("IMPRESSION", ""))
    report = parse_report(xml)
    assert report.findings == "The heart is XXXX ."
    assert report.impression == ""


def test_text_of_nested_elements_entities_and_cdata_is_kept() -> None:
    xml = document(section("FINDINGS", "A <b>small</b> nodule &amp; a <![CDATA[<1 cm]]> cyst<!-- x -->, &#233;."))
    assert parse_report(xml).findings == "A small nodule & a <1 cm cyst, \u00e9."


def test_the_word_impression_inside_findings_stays_there() -> None:
    xml = document(section("FINDINGS", "Clear. Impression: no change.") + section("IMPRESSION", "Normal."))
    report = parse_report(xml)
    assert (report.findings, report.impression) == ("Clear. Impression: no change.", "Normal.")


def test_a_document_type_is_refused_even_where_harmless() -> None:
    body = section("FINDINGS", "&x;")
    assert reason_of(document(body, '<!DOCTYPE eCitation [<!ENTITY x "boo">]>')) == "xml_doctype"
    assert reason_of(document(body, '<!DOCTYPE eCitation SYSTEM "file:///etc/passwd">')) == "xml_doctype"


def test_entities_are_refused_before_they_are_read() -> None:
    nested = "".join(f'<!ENTITY x{n + 1} "{f"&x{n};" * 10}">' for n in range(9))
    bomb = document(section("FINDINGS", "Clear."), f'<!DOCTYPE eCitation [<!ENTITY x0 "boo">{nested}]>', uid="&x9;")
    assert reason_of(bomb) == "xml_doctype"
    assert reason_of(bomb[:200]) == "xml_doctype"


def test_a_document_type_in_another_encoding_is_refused() -> None:
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE eCitation [<!ENTITY x "boo">]><eCitation/>'
    assert reason_of(text.encode("utf-16")) == "xml_doctype"


def test_outside_files_are_never_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret words")
    xi = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text" href="{secret.as_uri()}"/>'
    assert "secret" not in parse_report(document(section("FINDINGS", f"Clear. {xi}"))).findings


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (b"", "xml_malformed"),
        (b"hello", "xml_malformed"),
        (document(section("FINDINGS", "Clear."))[:-20], "xml_malformed"),
        (document(section("FINDINGS", "&unknown;")), "xml_malformed"),
        (b"\x00\xff\xfe\x00", "xml_malformed"),
        (b'<?xml version="1.0" encoding="no-such"?><eCitation/>', "xml_malformed"),
        (b"<html><body/></html>", "xml_not_openi"),
        (document(""), "xml_not_openi"),
        (document(section("FINDINGS", "Clear."), uid=""), "xml_not_openi"),
        (b"<a>" * 100_000 + b"</a>" * 100_000, "xml_malformed"),
        (b"x" * (MAX_XML_BYTES + 1), "xml_too_large"),
    ],
)
def test_what_is_no_report_is_refused_with_its_reason(xml: bytes, reason: str) -> None:
    assert reason_of(xml) == reason


def test_a_file_is_checked_as_the_stage_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "1.xml"
    path.write_bytes(document(section("FINDINGS", "Clear.")))
    assert check_report(path).findings == "Clear."
    path.write_bytes(document(section("FINDINGS", " ") + section("IMPRESSION", "")))
    with pytest.raises(InputQuarantined) as refusal:
        check_report(path)
    assert refusal.value.reason == "report_empty"
    with pytest.raises(InputRefused, match="cannot be read") as refusal:
        check_report(tmp_path / "none.xml")
    assert refusal.value.reason == "report_unreadable"


def test_the_prompt_is_the_cleaned_findings_and_impression() -> None:
    xml = document(section("FINDINGS", "No XXXX of effusion") + section("IMPRESSION", "1. Normal chest x-XXXX."))
    assert prompt_of(parse_report(xml)) == "No evidence of effusion. Normal chest x-ray."


def test_good_reports_are_unharmed_by_bad_ones(tmp_path: Path) -> None:
    good = write_openi_xml("CXR1", findings="Small left effusion.", impression="", image_ids=["a"])
    empty = write_openi_xml("CXR3", findings="", impression="", image_ids=["c"])
    other = write_openi_xml("CXR9", findings="Clear.", impression="", image_ids=["d"])
    last = write_openi_xml("CXR5", findings="Clear.", impression="")
    frame = raw(good, b"<broken", empty, other, last, good, ids=["CXR1", "CXR2", "CXR3", "CXR4", "CXR5", "CXR1"])
    reports, quarantine = parse_reports(frame)
    REPORTS.write(reports, tmp_path / "r.parquet")
    QUARANTINE.write(quarantine, tmp_path / "q.parquet")
    assert list(reports["report_id"]) == ["CXR1", "CXR5"]
    assert list(reports["row"]) == [0, 1]
    assert list(reports["usable"]) == [True, False]
    assert list(quarantine["reason"]) == ["xml_malformed", "report_empty", "report_id_differs", "report_duplicate"]
    assert list(quarantine["verdict"]) == ["refused", "quarantined", "quarantined", "quarantined"]


def test_nothing_but_bad_reports_gives_an_empty_table(tmp_path: Path) -> None:
    reports, quarantine = parse_reports(raw(b"<broken"))
    REPORTS.write(reports, tmp_path / "r.parquet")
    QUARANTINE.write(quarantine, tmp_path / "q.parquet")
    assert reports.empty
    assert len(quarantine) == 1


def test_flags_labels_and_digests_say_what_the_text_says() -> None:
    text = "Stable XXXX small left effusion. No XXXX pneumothorax."
    xml = write_openi_xml("CXR1", findings=text, impression="", image_ids=["a"])
    row = parse_reports(raw(xml))[0].iloc[0]
    assert row["findings"] == text
    assert row["xxxx_count"] == 2
    assert "XXXX" not in row["prompt"]
    assert (row["label_effusion"], row["side_effusion"]) == (1, "left")
    assert row["label_pneumothorax"] == 0
    assert list(row["negated"]) == ["pneumothorax"]
    assert (row["mentions_prior"], row["names_side"], row["has_negation"]) == (True, True, True)
    assert row["prompt_sha256"] == hashlib.sha256(row["prompt"].lower().encode()).hexdigest()
    assert row["source_sha256"] == hashlib.sha256(xml).hexdigest()


@pytest.mark.realdata
def test_all_open_i_reports_are_read_as_counted_by_hand(open_i) -> None:
    raw_reports, reports, quarantine = open_i
    assert len(raw_reports) == 3955
    assert list(quarantine["reason"]) == ["report_empty"] * 28
    assert (reports["impression"] == "").sum() == 34 - 28
    assert (reports["findings"] == "").sum() == 530 - 28
    assert sum(map(len, reports["image_ids"])) > 7400
    assert not reports["prompt"].str.contains("XXXX").any()
    assert (reports["prompt"].str.len() > 10).mean() > 0.99
    assert 0.9 < reports["has_negation"].mean() < 1
    by_id = reports.set_index("report_id")
    assert list(by_id.loc["CXR54", "image_ids"]) == ["CXR54_IM-2145-1001", "CXR54_IM-2145-1002"]
    assert by_id.loc["CXR303", "label_pleural_thickening"] == 1
    assert by_id.loc["CXR303", "label_hernia"] == 1
