"""Reports become pictures that can be drawn again from what their sidecars say."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from PIL import Image

from radsynth.errors import RadsynthError
from radsynth.files import sha256_of
from radsynth.radiographs.decode import decode
from radsynth.radiographs.write import stored_values
from radsynth.sources.openi_xml import write_openi_xml
from radsynth.training.drawing import Drawer
from radsynth.use import generate
from radsynth.use.pictures import MODEL
from radsynth.vocabulary import TARGETS

REPORT = "Large left pleural effusion. No pneumothorax."


@pytest.fixture(scope="module")
def gan(models) -> str:
    return str(models / "report_gan")


def without_fracture(folder):
    drawer = Drawer(folder)
    drawer.gan.conditioner.taught[TARGETS.index("fracture")] = False
    return drawer


def test_a_picture_is_drawn_again_from_its_sidecar(gan, tmp_path):
    table = tmp_path / "reports.csv"
    table.write_text(f"Findings,impression\n{REPORT},Effusion.\nThe heart is enlarged.,\n", encoding="utf-8")
    drawn = generate(csv=table, n=2, seed=7, out=tmp_path / "out", model=gan)
    assert len({picture.about["pixels_sha256"] for picture in drawn}) == 4
    for picture in drawn:
        said = json.loads(picture.path.with_suffix(".json").read_text())
        again = generate(report=said["report"], seed=said["seed"], model=gan)[0]
        np.testing.assert_array_equal(again.pixels, picture.pixels)
        np.testing.assert_array_equal(np.asarray(Image.open(picture.path)), stored_values(picture.pixels))
        assert again.about["pixels_sha256"] == said["pixels_sha256"]


def test_a_sidecar_names_model_version_digests_report_seed_and_settings(gan, models, tmp_path):
    generate(REPORT, tmp_path / "out", seed=3, model=gan)
    said = json.loads((tmp_path / "out" / "report_0001_01.json").read_text())
    weights = sha256_of(models / "report_gan" / "weights.safetensors")
    assert said["model"]["name"] == "report-to-xray"
    assert said["model"]["version"] is None
    assert said["model"]["sha256"] == sha256_of(models / "report_gan")
    assert said["model"]["files_sha256"]["weights.safetensors"] == weights
    assert (said["report"], said["seed"]) == (REPORT, 3)
    assert said["settings"] == {"view": "frontal", "size": 32, "format": "png"}
    assert "research only" in said["notice"]


def test_what_the_model_has_not_learned_is_told(gan, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("radsynth.use.pictures.Drawer", without_fracture)
    generate("Healed left rib fracture. Large effusion.", tmp_path / "out", model=gan)
    assert "not drawn, since too few reports of the training name it: fracture\n" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "report_0001_01.json").read_text())["not_drawn"] == ["fracture"]
    generate("No fracture. Large effusion.", model=gan)
    assert "not drawn" not in capsys.readouterr().err


def test_a_png_says_what_it_is(gan, tmp_path):
    generate(REPORT, tmp_path / "out", model=gan)
    image = Image.open(tmp_path / "out" / "report_0001_01.png")
    assert "synthetic" in image.text["Description"]
    assert "report-to-xray" in image.text["Software"]
    assert "research only" in image.text["Disclaimer"]
    assert image.mode.startswith("I;16")


def test_a_png_is_read_back_with_the_grey_values_that_were_drawn(gan, tmp_path):
    (picture,) = generate(REPORT, tmp_path / "out", model=gan)
    own, stored = decode(picture.path.read_bytes(), ""), stored_values(picture.pixels)
    np.testing.assert_array_equal(own.pixels, stored)
    assert (own.window_low, own.window_high) == (0, 65535)


def test_a_dicom_holds_the_picture_and_is_valid(gan, tmp_path, dicom_errors):
    (picture,) = generate(REPORT, tmp_path / "out", form="dicom", model=gan)
    assert dicom_errors(picture.path) == []
    np.testing.assert_array_equal(decode(picture.path.read_bytes(), "").pixels, stored_values(picture.pixels))
    file = pydicom.dcmread(picture.path)
    assert (file.SyntheticData, file.ManufacturerModelName) == ("YES", "report-to-xray")
    assert b"effusion" not in picture.path.read_bytes()


def test_xml_and_text_of_the_same_words_give_the_same_picture(gan, tmp_path):
    (tmp_path / "r.xml").write_bytes(write_openi_xml("CXR1", findings=REPORT, impression="", indication="Doe, 44"))
    one, same = generate(xml=tmp_path / "r.xml", model=gan)[0], generate(REPORT, model=gan)[0]
    np.testing.assert_array_equal(one.pixels, same.pixels)
    assert "Doe" not in json.dumps(one.about)


def test_the_champion_of_the_checkout_is_asked_for_by_default(gan, monkeypatch):
    from radsynth.use import pictures

    asked, resolve = [], pictures.resolve
    monkeypatch.setattr(pictures, "resolve", lambda *a: asked.append(a) or resolve(".", MODEL, gan))
    generate(REPORT, root="somewhere")
    assert asked == [("somewhere", "report-to-xray", "champion")]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"report": " .. XXXX"}, "the report has no words"),
        ({"report": ""}, "the report has no words"),
        ({"report": "Effusion \udcfc."}, r"report: the report is not text in UTF-8; got '.*udcfc"),
        ({}, "one source of reports is needed; got none"),
        ({"report": "a", "xml": "b"}, "got report and xml"),
        ({"report": "a", "n": 0}, "too few or too many pictures; got 0"),
        ({"report": "a", "n": 10_001}, "too few or too many pictures"),
        ({"report": "a", "seed": -1}, "seed is out of range; got -1"),
        ({"report": "a", "form": "jpeg"}, "no such format; got 'jpeg'; expected png or dicom"),
        ({"report": "a", "view": "lateral"}, "does not draw this view; got 'lateral'; expected frontal"),
        ({"xml": "not-there.xml"}, "not-there.xml: cannot be read"),
        ({"csv": "not-there.csv"}, "not-there.csv: not a readable CSV table"),
        ({"report": "a", "model": "./not/there"}, "no such folder"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(asked, said, gan, tmp_path):
    with pytest.raises(RadsynthError, match=said) as caught:
        generate(out=tmp_path / "out", **({"model": gan} | asked))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a table of reports"),
        (b"image,label\na,b\n", "not a table of reports; got image, label"),
        (b"findings,impression\n", "a table without a report"),
        (b"findings,impression\nClear.,\n,\n", "line 3: the report has no words"),
        (b"findings\n\xff\xfe\n", "not a readable CSV table in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_with_its_line(content, said, gan, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(RadsynthError, match=said):
        generate(csv=tmp_path / "t.csv", model=gan)


def test_a_folder_that_is_there_is_kept_unless_forced(gan, tmp_path):
    generate(REPORT, tmp_path / "out", n=2, model=gan)
    with pytest.raises(RadsynthError, match="is there already"):
        generate(REPORT, tmp_path / "out", model=gan)
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    generate(REPORT, tmp_path / "out", model=gan, force=True)
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


def test_a_folder_that_cannot_be_made_is_told_before_the_drawing(gan, monkeypatch, tmp_path):
    monkeypatch.setattr("radsynth.use.pictures.draw_alone", lambda *_: pytest.fail("drawn"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(RadsynthError, match="cannot be written"):
        generate(REPORT, tmp_path / "file" / "out", model=gan)


def test_pixels_that_are_not_kept_are_in_their_files_alone(gan, tmp_path):
    kept = generate(REPORT, tmp_path / "a", n=2, model=gan)
    for picture, same in zip(generate(REPORT, tmp_path / "b", n=2, model=gan, keep=False), kept, strict=True):
        assert picture.pixels.size == 0
        assert picture.path.read_bytes() == same.path.read_bytes()
        assert picture.about == same.about


def test_pictures_are_written_while_others_are_drawn_and_are_there_whole_or_not_at_all(gan, monkeypatch, tmp_path):
    from radsynth.use import pictures

    there, draw = [], pictures.draw_alone

    def draw_or_fail(*arguments):
        there.append(len(list(tmp_path.rglob("*.png"))))
        if len(there) == 3:
            raise RadsynthError("enough")
        return draw(*arguments)

    monkeypatch.setattr(pictures, "draw_alone", draw_or_fail)
    with pytest.raises(RadsynthError, match="enough"):
        generate(REPORT, tmp_path / "out", n=3, model=gan)
    assert there == [0, 1, 2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["xml", "csv"])
def test_a_folder_that_holds_the_reports_is_not_replaced(kind, gan, tmp_path):
    generate(REPORT, tmp_path / "out", model=gan)
    given = tmp_path / "out" / f"reports.{kind}"
    xml = write_openi_xml("CXR1", findings=REPORT, impression="")
    given.write_bytes(xml if kind == "xml" else b"findings\nClear.\n")
    with pytest.raises(RadsynthError, match=r"the input .* would be overwritten"):
        generate(out=tmp_path / "out", model=gan, force=True, **{kind: given})


def test_another_text_encoder_than_that_of_the_training_is_refused(models, tmp_path):
    import shutil

    shutil.copytree(models / "report_gan", tmp_path / "m")
    known = json.loads((tmp_path / "m" / "model.json").read_text())
    known["encoder"]["digest"] = "0" * 64
    (tmp_path / "m" / "model.json").write_text(json.dumps(known))
    with pytest.raises(RadsynthError, match="not the one of the training"):
        generate(REPORT, model=str(tmp_path / "m"))
