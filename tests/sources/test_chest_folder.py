"""A folder of X-rays with Open-i XML or a CSV table as a source."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from radsynth.errors import RadsynthError
from radsynth.reports.parse import parse_reports
from radsynth.sources.chest_folder import read_chest_folder
from radsynth.sources.ids import id_of, openi_id
from radsynth.sources.openi_xml import write_openi_xml


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "b.jpg", "sub/c.dcm", "sub/a.png"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write_table(folder: Path, text: str) -> None:
    (folder / "table.csv").write_text(text, encoding="utf-8-sig")


def test_a_table_gives_a_report_an_image(folder: Path) -> None:
    write_table(
        folder, 'Image,Findings,Impression\na.png,"Small <left> effusion, & more.",Effusion.\nsub/c.dcm,Clear.,\n'
    )
    raw = read_chest_folder(folder)
    reports, quarantine = parse_reports(raw.reports)
    assert quarantine.empty
    assert dict(zip(raw.images["member"], raw.images["image_id"], strict=True)) == {
        "a.png": id_of("a.png", "i"),
        "sub/c.dcm": id_of("sub/c.dcm", "i"),
    }
    texts = dict(zip(reports["subject_id"], reports["findings"], strict=True))
    assert texts == {id_of("a.png"): "Small <left> effusion, & more.", id_of("sub/c.dcm"): "Clear."}
    assert {ids[0] for ids in reports["image_ids"]} == set(raw.images["image_id"])


def test_rows_of_one_study_are_images_of_one_report(folder: Path) -> None:
    write_table(
        folder,
        "image,findings,impression,study,subject,view\n"
        "a.png,Clear.,Normal.,s1,p1,PA\nb.jpg,Clear.,Normal.,s1,p1,Lateral\nsub/c.dcm,Clear.,Normal.,s2,p1,\n",
    )
    raw = read_chest_folder(folder)
    reports, _ = parse_reports(raw.reports)
    assert set(raw.reports["report_id"]) == {id_of("s1", "r"), id_of("s2", "r")}
    assert list(raw.reports["subject_id"]) == [id_of("p1")] * 2
    assert {len(ids) for ids in reports["image_ids"]} == {1, 2}
    assert dict(zip(raw.images["member"], raw.images["view_hint"], strict=True)) == {
        "a.png": "frontal",
        "b.jpg": "lateral",
        "sub/c.dcm": "unknown",
    }


def test_names_of_files_subjects_and_studies_stay_in_the_raw_tables(folder: Path) -> None:
    (folder / "Doe_John.png").write_bytes(b"x")
    write_table(folder, "image,findings,impression,study,subject\nDoe_John.png,Clear.,,Doe CT,Doe John\na.png,,,,\n")
    raw = read_chest_folder(folder)
    assert "Doe" not in raw.reports.to_csv()
    assert "Doe" not in raw.images.drop(columns="member").to_csv()
    reports, quarantine = parse_reports(raw.reports)
    assert "Doe" not in reports.to_csv()
    assert list(quarantine["path"]) == [f"{folder / 'table.csv'}, line 3"]


def test_names_in_xml_become_digests_and_open_i_numbers_stay(folder: Path) -> None:
    for name in ("Doe_John.png", "CXR1_1_IM-0001-3001.png"):
        (folder / name).write_bytes(b"x")
    ours, theirs = (
        write_openi_xml(report_id, findings="A <small> effusion.", impression="Effusion.", image_ids=[image_id])
        for report_id, image_id in (("Doe", "Doe_John"), ("CXR1", "CXR1_1_IM-0001-3001"))
    )
    (folder / "Doe.xml").write_bytes(ours)
    (folder / "1.xml").write_bytes(theirs)
    raw = read_chest_folder(folder)
    assert theirs in set(raw.reports["xml"])
    reports, quarantine = parse_reports(raw.reports)
    assert quarantine.empty
    assert set(reports["findings"]) == {"A <small> effusion."}
    images = dict(zip(reports["report_id"], reports["image_ids"].map(list), strict=True))
    assert images == {"CXR1": ["CXR1_1_IM-0001-3001"], id_of("Doe", "r"): [id_of("Doe_John", "i")]}
    assert set(images["CXR1"] + images[id_of("Doe", "r")]) <= set(raw.images["image_id"])
    assert "Doe" not in reports.to_csv() + raw.images.drop(columns="member").to_csv()


def test_a_study_with_two_texts_is_refused_with_its_lines(folder: Path) -> None:
    write_table(folder, "image,findings,impression,study\na.png,Clear.,,s\nb.jpg,Effusion.,,s\n")
    with pytest.raises(RadsynthError, match=r"table.csv, lines 2 and 3: a study has two different texts"):
        read_chest_folder(folder)


def test_images_outside_missing_or_named_twice_are_quarantined(folder: Path) -> None:
    (folder.parent / "secret.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    names = ["a.png", "../secret.png", "/etc/passwd", "no.png", "a.png", "table.csv", "link.png"]
    write_table(folder, "image,findings,impression\n" + "".join(f"{name},Clear.,\n" for name in names))
    raw = read_chest_folder(folder)
    assert list(raw.images["member"]) == ["a.png"]
    assert list(raw.quarantine["reason"]) == [
        *(
            "file_link",
            "image_escape",
            "image_escape",
            "image_missing",
            "image_duplicate",
            "image_missing",
            "image_missing",
        )
    ]


def test_without_a_table_open_i_files_are_read(folder: Path) -> None:
    xml = write_openi_xml("CXR7", findings="Clear.", impression="", image_ids=["CXR7_IM-0001-1001"])
    (folder / "7.xml").write_bytes(xml)
    (folder / "sub/a.png").unlink()
    raw = read_chest_folder(folder)
    assert raw.reports.iloc[0].to_dict() | {"name": ""} == {
        "report_id": "CXR7",
        "subject_id": "CXR7",
        "name": "",
        "xml": xml,
    }
    assert set(raw.images["image_id"]) == {id_of(name, "i") for name in "abc"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,findings\na.png,x\n", "a column is missing"),
        ("", "a column is missing"),
        ("image,findings,impression\n", "no reports that can be used"),
        ("image,findings,impression\nno.png,x,y\n", "no reports that can be used; the first refusal"),
    ],
)
def test_a_table_that_cannot_be_used_is_named_in_one_line(folder: Path, text: str, message: str) -> None:
    write_table(folder, text)
    with pytest.raises(RadsynthError, match=message) as error:
        read_chest_folder(folder)
    assert "\n" not in str(error.value)


def test_a_table_in_another_encoding_or_two_tables_are_refused(folder: Path) -> None:
    (folder / "table.csv").write_bytes(b"image,findings,impression\na.png,\xff\xfe,\n")
    with pytest.raises(RadsynthError, match="not a CSV table in UTF-8"):
        read_chest_folder(folder)
    (folder / "second.csv").write_text("image\n")
    with pytest.raises(RadsynthError, match="more than one table"):
        read_chest_folder(folder)


def test_a_folder_without_reports_is_refused(folder: Path) -> None:
    with pytest.raises(RadsynthError, match="no reports"):
        read_chest_folder(folder)
    with pytest.raises(RadsynthError, match="no such folder"):
        read_chest_folder(folder / "nowhere")


def test_a_name_that_is_not_utf8_is_set_aside_and_the_others_are_read(folder: Path) -> None:
    write_table(folder, "image,findings,impression\na.png,Clear.,\n")
    Path(os.fsdecode(os.fsencode(folder) + b"/M\xfcller.png")).write_bytes(b"x")
    raw = read_chest_folder(folder)
    assert list(raw.images["member"]) == ["a.png"]
    assert list(raw.quarantine["reason"]) == ["file_name"]
    assert r"M\xfcller.png" in raw.quarantine["message"].iloc[0]


def test_a_table_that_is_a_folder_is_refused_in_one_line(folder: Path) -> None:
    (folder / "x.csv").mkdir()
    with pytest.raises(RadsynthError, match="not a CSV table"):
        read_chest_folder(folder)


@pytest.mark.parametrize("name", ["CXR0012345678", "CXR12345", "CXR1_IM-1", "CXR01"])
def test_a_number_that_open_i_does_not_have_is_no_id(name: str) -> None:
    assert openi_id(name, "r") == id_of(name, "r")
