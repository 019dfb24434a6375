"""A folder of X-rays with Open-i XML or a CSV table as a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from radsynth.errors import RadsynthError
from radsynth.reports.parse import parse_reports
from radsynth.sources.chest_folder import read_chest_folder
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
    assert list(raw.images["image_id"]) == ["a", "sub_c"]
    assert list(raw.images["member"]) == ["a.png", "sub/c.dcm"]
    assert list(reports["findings"]) == ["Small <left> effusion, & more.", "Clear."]
    assert [list(ids) for ids in reports["image_ids"]] == [["a"], ["sub_c"]]
    assert list(raw.reports["subject_id"]) == ["a", "sub_c"]


def test_rows_of_one_study_are_images_of_one_report(folder: Path) -> None:
    write_table(
        folder,
        "image,findings,impression,study,subject,view\n"
        "a.png,Clear.,Normal.,s1,p1,PA\nb.jpg,Clear.,Normal.,s1,p1,Lateral\nsub/c.dcm,Clear.,Normal.,s2,p1,\n",
    )
    raw = read_chest_folder(folder)
    reports, _ = parse_reports(raw.reports)
    assert list(raw.reports["report_id"]) == ["s1", "s2"]
    assert list(raw.reports["subject_id"]) == ["p1", "p1"]
    assert list(reports["image_ids"][0]) == ["a", "b"]
    assert dict(zip(raw.images["image_id"], raw.images["view_hint"], strict=True)) == {
        "a": "frontal",
        "b": "lateral",
        "sub_c": "unknown",
    }


def test_a_study_with_two_texts_is_refused_with_its_lines(folder: Path) -> None:
    write_table(folder, "image,findings,impression,study\na.png,Clear.,,s\nb.jpg,Effusion.,,s\n")
    with pytest.raises(RadsynthError, match=r"table.csv, lines 2 and 3: study 's' has two different texts"):
        read_chest_folder(folder)


def test_images_outside_missing_or_named_twice_are_quarantined(folder: Path) -> None:
    (folder.parent / "secret.png").write_bytes(b"x")
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    names = ["a.png", "../secret.png", "/etc/passwd", "no.png", "a.png", "table.csv", "link.png"]
    write_table(folder, "image,findings,impression\n" + "".join(f"{name},Clear.,\n" for name in names))
    raw = read_chest_folder(folder)
    assert list(raw.images["image_id"]) == ["a"]
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
    xml = write_openi_xml("CXR7", findings="Clear.", impression="", image_ids=["b", "c"])
    (folder / "7.xml").write_bytes(xml)
    (folder / "sub/a.png").unlink()
    raw = read_chest_folder(folder)
    assert raw.reports.iloc[0].to_dict() | {"name": ""} == {
        "report_id": "CXR7",
        "subject_id": "CXR7",
        "name": "",
        "xml": xml,
    }
    assert list(raw.images["image_id"]) == ["a", "b", "c"]


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
