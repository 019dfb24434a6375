"""A picture is explained as it is: which finding, by whom, with a map in the picture's size."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from radsynth.errors import RadsynthError
from radsynth.explain.chest import finding_maps
from radsynth.radiographs.write import png_bytes, stored_values
from radsynth.synthetic_dicom import NOTICE
from radsynth.training.findings import load_findings
from radsynth.training.report_gan import as_batch
from radsynth.use import explain, generate

REPORT = "Small right pneumothorax."


@pytest.fixture(scope="module")
def asked(models) -> dict[str, object]:
    return {"model": str(models / "report_gan"), "judge": models / "classifier"}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    picture = np.random.default_rng(0).uniform(-1, 1, (32, 32))
    picture[4:9, 20:29] = 1
    path = tmp_path_factory.mktemp("image") / "x.png"
    path.write_bytes(png_bytes(stored_values(picture), {}))
    return path


def test_an_image_is_explained_by_the_judge_alone(image, asked, models, tmp_path):
    found = explain(image, tmp_path / "why", finding="pneumothorax", **asked)
    assert set(found.maps) == {"classifier"}
    expected = finding_maps(
        load_findings(models / "classifier"), as_batch(found.picture[None]), ["pneumothorax"], "hirescam"
    )[0]
    np.testing.assert_array_equal(np.load(tmp_path / "why" / "classifier_map.npy"), expected)
    assert expected.shape == found.picture.shape == (32, 32)
    assert Image.open(tmp_path / "why" / "classifier_overlay.png").size[0] > 100
    names = {path.name for path in (tmp_path / "why").iterdir()}
    assert names == {"about.json", "picture.png", "classifier_map.npy", "classifier_overlay.png"}


def test_the_strongest_finding_is_the_most_probable_of_those_learned(image, asked):
    found = explain(image, **asked).about
    learned = found["judge"]["learned"]
    assert found["finding"] == max(learned, key=lambda name: found["probabilities"][name])
    assert found["finding_learned"]
    assert not explain(image, finding="hernia", **asked).about["finding_learned"]


def test_a_drawn_picture_is_the_one_that_generate_draws(asked, tmp_path):
    found = explain(report=REPORT, seed=7, out=tmp_path / "why", **asked)
    drawn = generate(REPORT, seed=7, model=asked["model"])[0]
    np.testing.assert_array_equal(found.picture, drawn.pixels)
    assert set(found.maps) == {"classifier", "discriminator"}
    said = json.loads((tmp_path / "why" / "about.json").read_text())
    assert (said["report"], said["seed"], said["source"]) == (REPORT, 7, "drawn")
    assert said["notice"] == found.about["notice"] == NOTICE
    assert said["model"]["name"] == "report-to-xray"
    assert "synthetic" in Image.open(tmp_path / "why" / "picture.png").text["Description"]


def test_a_given_image_is_not_called_synthetic(image, asked, tmp_path):
    said = explain(image, tmp_path / "why", report=REPORT, **asked).about
    assert "seed" not in said
    assert "synthetic" not in Image.open(tmp_path / "why" / "picture.png").text["Description"]
    assert said["notice"] == "research only, not for clinical use"
    assert json.loads((tmp_path / "why" / "about.json").read_text())["notice"] == said["notice"]


def test_the_other_report_is_of_other_findings_and_changes_the_map(image, asked):
    ill = explain(image, report=REPORT, **asked)
    normal = explain(image, report="The lungs are clear.", **asked)
    assert "clear" in ill.about["against"]
    assert "effusions" in normal.about["against"]
    chosen = explain(image, report=REPORT, against="Large hiatal hernia.", **asked)
    assert chosen.about["against"] == "Large hiatal hernia."
    assert not np.array_equal(chosen.maps["discriminator"], ill.maps["discriminator"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "nothing to explain"),
        ({"image": "not-there.png"}, "not-there.png: no such file"),
        ({"report": "..."}, "the report has no words"),
        ({"report": REPORT, "finding": "gout"}, "no such finding; got 'gout'"),
        ({"report": REPORT, "method": "lime"}, "no such method; got 'lime'"),
        ({"report": REPORT, "view": "lateral"}, "does not draw this view"),
        ({"report": REPORT, "against": ""}, "against: the report has no words"),
        ({"report": REPORT, "judge": "not/there"}, "not/there: no model here"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(wrong, said, asked, tmp_path):
    with pytest.raises(RadsynthError, match=said) as caught:
        explain(out=tmp_path / "why", **(asked | wrong))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_image_is_not_replaced_by_its_explanation(asked, tmp_path):
    generate(REPORT, tmp_path / "drawn", model=asked["model"])
    image = tmp_path / "drawn" / "report_0001_01.png"
    with pytest.raises(RadsynthError, match=r"the input .* would be overwritten"):
        explain(image, tmp_path / "drawn", force=True, **asked)
    assert image.exists()


def test_a_model_that_is_no_judge_is_refused(image, models):
    with pytest.raises(RadsynthError, match="not a classifier of findings"):
        explain(image, judge=models / "report_gan")


def test_a_judge_of_pictures_of_another_size_is_refused(image, asked, large_judge):
    with pytest.raises(RadsynthError, match=r"another size .*a judge for 64 pixels; expected 32 pixels; train both"):
        explain(report=REPORT, **(asked | {"judge": large_judge}))
    assert explain(image, judge=large_judge).picture.shape == (64, 64)


def test_a_text_file_is_no_image(asked, tmp_path):
    (tmp_path / "x.png").write_text("hello")
    with pytest.raises(RadsynthError, match="not an image that is read here"):
        explain(tmp_path / "x.png", **asked)
