"""NIH ChestX-ray14 as a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radsynth.errors import RadsynthError
from radsynth.reports.parse import parse_reports
from radsynth.sources.nih import box_mask, read_nih

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
ROWS = [
    "00000001_000.png,Cardiomegaly|Effusion,0,1,58,M,PA,2048,2048,0.2,0.2,",
    "00000001_001.png,No Finding,1,1,58,M,AP,2048,2048,0.2,0.2,",
    "00000002_000.png,Infiltration|Pleural_Thickening,0,2,81,M,PA,2500,2048,0.171,0.171,",
    "00000003_000.png,Hernia,0,3,81,F,PA,2582,2991,0.143,0.143,",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images_002/images").mkdir(parents=True)
    (tmp_path / "images/00000001_000.png").write_bytes(b"a")
    (tmp_path / "images/00000001_001.png").write_bytes(b"b")
    (tmp_path / "images_002/images/00000002_000.png").write_bytes(b"c")
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([HEADER, *ROWS]) + "\n")
    return tmp_path


def test_labels_become_reports_that_say_them(folder: Path) -> None:
    raw = read_nih(folder, seed=7)
    reports, quarantine = parse_reports(raw.reports)
    assert quarantine.empty
    by_id = reports.set_index("report_id")
    said = {i: {c for c in by_id.columns if c.startswith("label_") and by_id.loc[i, c] == 1} for i in by_id.index}
    assert said == {
        "NIH00000001_000": {"label_cardiomegaly", "label_effusion"},
        "NIH00000001_001": set(),
        "NIH00000002_000": {"label_opacity", "label_pleural_thickening"},
    }
    assert reports["usable"].all()
    assert list(by_id.loc["NIH00000002_000", "image_ids"]) == ["00000002_000"]


def test_subject_is_the_patient_and_view_is_known(folder: Path) -> None:
    raw = read_nih(folder, seed=7)
    assert list(raw.reports["subject_id"]) == ["NIH00001", "NIH00001", "NIH00002"]
    assert list(raw.images["view_hint"]) == ["frontal"] * 3
    assert list(raw.images["member"]) == [
        *("images/00000001_000.png", "images/00000001_001.png", "images_002/images/00000002_000.png")
    ]


def test_a_patient_is_the_same_in_a_table_that_pandas_saved_again(folder: Path) -> None:
    table = folder / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace(",1,58", ",1.0,58"))
    assert list(read_nih(folder, seed=7).reports["subject_id"]) == ["NIH00001", "NIH00001", "NIH00002"]


@pytest.mark.parametrize("wrong", ["", "nan", "1.5", "-1", "P1"])
def test_a_patient_without_a_number_is_named_with_its_row(wrong: str, folder: Path) -> None:
    table = folder / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace(",2,81", f",{wrong},81"))
    said = rf"Data_Entry_2017.csv, 00000002_000.png: the Patient ID is no number; got '{wrong}'"
    with pytest.raises(RadsynthError, match=said):
        read_nih(folder, seed=7)


def test_wording_follows_from_the_seed_and_the_image_alone(folder: Path) -> None:
    first, again, other = (read_nih(folder, seed=seed).reports for seed in (7, 7, 8))
    assert first.equals(again)
    assert list(first["xml"]) != list(other["xml"])
    table = folder / "Data_Entry_2017.csv"
    table.write_text("\n".join([HEADER, *ROWS[1:]]) + "\n")
    fewer = read_nih(folder, seed=7).reports
    assert list(fewer["xml"]) == list(first["xml"])[1:]


def test_boxes_become_masks_scaled_from_the_original_frame(folder: Path) -> None:
    (folder / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000001_000.png,Effusion,512.0,256.0,256.0,128.0,,,\n"
        "00000002_000.png,Infiltrate,100.0,100.0,200.0,200.0,,,\n"
        "00000001_000.png,Cardiomegaly,300.0,300.0,400.0,200.0,,,\n"
        "00009999_000.png,Mass,1,1,1,1,,,\n"
    )
    raw = read_nih(folder, seed=7)
    assert list(raw.truth["finding"]) == ["effusion", "opacity", "cardiomegaly"]
    assert list(raw.truth["side"]) == ["left", "right", ""]
    assert list(raw.truth["image_id"]) == ["00000001_000", "00000002_000", "00000001_000"]
    assert raw.truth["size_mm"][0] == pytest.approx(256 * 0.2 * 2)
    mask = np.unpackbits(raw.masks[0], axis=-1).astype(bool)
    assert mask.shape == (256, 256)
    assert mask[64:96, 128:192].all()
    assert mask.sum() == 32 * 64


def test_a_box_is_never_empty_and_never_outside() -> None:
    assert box_mask(1020, 1020, 50, 50).sum() == 1
    assert box_mask(10, 10, 0.1, 0.1).sum() == 1
    assert box_mask(-5, -5, 2000, 2000).all()


def test_what_does_not_fit_is_quarantined(folder: Path) -> None:
    (folder / "images/stray.png").write_bytes(b"x")
    table = folder / "Data_Entry_2017.csv"
    table.write_text(table.read_text().replace("No Finding", "Scurvy"))
    quarantine = read_nih(folder, seed=7).quarantine
    assert set(quarantine["reason"]) == {"label_unknown", "image_without_label"}


def test_a_table_that_is_none_is_named_in_one_line(folder: Path) -> None:
    table = folder / "Data_Entry_2017.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(RadsynthError, match=r"a column is missing.*Image Index"):
        read_nih(folder, seed=7)
    table.write_text(f"{HEADER}\n00000001_000.png,Effusion\n")
    with pytest.raises(RadsynthError, match=r"line 2: a row is too short"):
        read_nih(folder, seed=7)
    table.unlink()
    with pytest.raises(RadsynthError, match="no label table"):
        read_nih(folder, seed=7)


@pytest.mark.realdata
def test_the_real_set_is_read_with_its_boxes(realdata: Path) -> None:
    raw = read_nih(realdata / "nih", seed=7)
    assert len(raw.images) == len(raw.reports) == 589
    assert raw.quarantine.empty
    assert raw.truth["image_id"].nunique() == 27
    assert len(raw.masks) == len(raw.truth) == 30
    reports, _ = parse_reports(raw.reports)
    assert (reports["label_pneumonia"] == 1).sum() == 305
