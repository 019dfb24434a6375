import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lxml import etree
from PIL import Image

from radsynth.schemas import FINDING_TRUTH
from radsynth.sources import chest_anatomy, chest_phantom
from radsynth.sources.chest_phantom import RATES, draw_findings, make_chest_sample, make_picture, to_square
from radsynth.sources.report_writer import Finding

STUDIES = 26


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chest")
    make_chest_sample(folder, studies=STUDIES, size=64, seed=3, processes=1)
    return folder


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}


def severe(name: str, side: str = "left", zone: str = "lower") -> Finding:
    sizes = {"effusion": 110.0, "consolidation": 110.0, "nodule": 24.0, "mass": 55.0, "pneumothorax": 60.0}
    return Finding(name, side, zone, sizes.get(name, 85.0), 0.9)


def with_and_without(finding: Finding, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """How a finding changes the line integrals of one person, and its mask."""
    person = chest_anatomy.draw_anatomy(seed)
    lesions = [chest_phantom.place(finding, person, np.random.default_rng(seed))]
    frame = chest_anatomy.make_frame("frontal", (256, 256), 1.4, 0.0, 0.0, 0.0, 120.0)
    fixed = chest_phantom.fixed_parts(person, frame, seed)
    integrals = []
    for shown in (lesions, []):
        thorax = chest_anatomy.thorax(chest_phantom.change_anatomy(person, shown), frame)
        integrals.append(chest_phantom.line_integrals(person, shown, frame, fixed, thorax))
        if shown:
            mask = chest_phantom.finding_masks(person, shown, frame, fixed, thorax, integrals[0])[0]
    return np.abs(integrals[0] - integrals[1]), mask


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_as_one(tmp_path):
    for processes in (1, 2):
        make_chest_sample(tmp_path / str(processes), studies=9, size=64, seed=3, processes=processes)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in "12")
    assert len(one) == 6
    assert one == two


def test_a_study_depends_on_the_seed_and_its_own_position_alone(sample, tmp_path):
    make_chest_sample(tmp_path, studies=5, size=64, seed=3, processes=1)
    few, many = members(tmp_path / "NLMCXR_png.tgz"), members(sample / "NLMCXR_png.tgz")
    assert few
    assert few.items() <= many.items()
    make_chest_sample(tmp_path, studies=5, size=64, seed=4, processes=1)
    assert not few.items() & members(tmp_path / "NLMCXR_png.tgz").items()


def test_archives_are_laid_out_as_the_collection_is(sample):
    reports, pictures = members(sample / "NLMCXR_reports.tgz"), members(sample / "NLMCXR_png.tgz")
    assert len(reports) == STUDIES
    for name, xml in reports.items():
        root = etree.fromstring(xml)
        assert name == f"ecgen-radiology/{root.find('uId').get('id').removeprefix('CXR')}.xml"
        assert len(root.findall(".//AbstractText")) == 4
    named = {e.get("id") for xml in reports.values() for e in etree.fromstring(xml).iter("parentImage")}
    assert {Path(name).stem for name in pictures} <= named
    for png in pictures.values():
        picture = Image.open(io.BytesIO(png))
        assert picture.mode == "L"
        assert min(picture.size) == 64
        assert max(picture.size) <= 72


def test_every_truth_row_has_its_mask_and_its_image(sample):
    truth = FINDING_TRUTH.read(sample / "truth.parquet")
    masks = np.load(sample / "masks.npy")
    views = pd.read_parquet(sample / "views.parquet")
    assert masks.shape == (len(truth), 256, 32)
    assert masks.dtype == np.uint8
    assert truth["mask_row"].tolist() == list(range(len(truth)))
    assert set(truth["image_id"]) <= set(views["image_id"])
    assert {f"{i}.png" for i in views["image_id"]} == set(members(sample / "NLMCXR_png.tgz"))


def test_some_subjects_have_two_studies(sample):
    subjects = pd.read_parquet(sample / "subjects.parquet")
    assert subjects["report_id"].is_unique
    assert (subjects["subject_id"].value_counts() == 2).sum() == STUDIES // 12


def test_a_follow_up_shows_the_same_person(sample):
    first, second = (chest_phantom._subject_of(index) for index in (10, 11))
    assert first == second == 10
    assert chest_phantom._subject_of(12) == 12


@pytest.mark.parametrize("name", list(RATES))
def test_a_severe_finding_changes_line_integrals_inside_its_mask(name):
    side, zone = ("", "") if name in ("cardiomegaly", "edema", "emphysema", "hernia") else ("left", "lower")
    change, mask = with_and_without(severe(name, side, "upper" if name == "pneumothorax" else zone))
    assert mask.sum() > 60
    assert change[mask].mean() > 0.1
    assert change[mask].mean() > 4 * change[~mask].mean()


@pytest.mark.parametrize("name", ["effusion", "pneumothorax", "consolidation", "nodule", "mass", "atelectasis"])
def test_the_patients_left_is_on_the_pictures_right(name):
    person = chest_anatomy.draw_anatomy(5)
    for side in ("left", "right"):
        _, masks = make_picture(person, [severe(name, side, "mid")], seed=2, size=128)
        columns = np.nonzero(masks[0])[1]
        assert (np.mean(columns > 128) > 0.8) == (side == "left")
        assert (np.mean(columns < 128) > 0.8) == (side == "right")


def test_zones_are_one_above_the_other():
    person = chest_anatomy.draw_anatomy(6)
    heights = []
    for zone in ("upper", "mid", "lower"):
        _, masks = make_picture(person, [severe("mass", "right", zone)], seed=2, size=128)
        heights.append(np.nonzero(masks[0])[0].mean())
    assert heights == sorted(heights)


def test_size_and_severity_enlarge_the_mask():
    person = chest_anatomy.draw_anatomy(6)
    small = Finding("effusion", "right", "lower", 25.0, 0.2)
    large = Finding("effusion", "right", "lower", 120.0, 0.9)
    areas = [make_picture(person, [f], seed=2, size=128)[1][0].sum() for f in (small, large)]
    assert areas[0] > 50
    assert areas[1] > 1.5 * areas[0]


def test_lungs_are_darker_than_heart_and_background_is_darkest():
    person = chest_anatomy.draw_anatomy(8)
    picture, _ = make_picture(person, [], seed=4)
    rng = np.random.default_rng([4, 3])
    frame, _ = chest_phantom._frame_of(person, "frontal", 256, rng)
    thorax = chest_anatomy.thorax(person, frame)
    lungs = (thorax.air[0] > 100) | (thorax.air[1] > 100)
    outside = chest_anatomy.body(person, frame) <= 0
    middle = (np.abs(frame.u) < 20) & (thorax.heart > 60)
    assert picture[outside].mean() < picture[lungs].mean() < picture[middle].mean() - 60


def test_a_heart_lies_more_on_the_patients_left():
    person = chest_anatomy.draw_anatomy(8)
    frame = chest_anatomy.make_frame("frontal", (128, 128), 2.6, 0.0, 0.0, 0.0, 110.0)
    heart = chest_anatomy.thorax(person, frame).heart
    assert heart[:, 64:].sum() > 1.3 * heart[:, :64].sum()


def test_the_chord_of_a_sphere_is_exact():
    frame = chest_anatomy.make_frame("frontal", (65, 65), 1.0, 0.0, 0.0, 0.0, 0.0)
    middle, half = chest_anatomy.ellipsoid(frame, (3.0, -4.0, 7.0), (20.0, 20.0, 20.0), 0.6)
    distance = np.hypot(frame.u - 3, frame.z + 4)
    assert np.allclose(half**2, np.maximum(400 - distance**2, 0), atol=0.01)
    assert np.allclose(middle[half > 0], 7.0, atol=1e-4)


def test_a_projected_tube_keeps_its_mass():
    frame = chest_anatomy.make_frame("frontal", (64, 64), 2.0, 0.0, 0.1, 0.0, 0.0)
    points = np.random.default_rng(0).uniform(-40, 40, (500, 3))
    image = chest_anatomy._deposit(frame, points, np.full(500, 3.0))
    assert image.sum() * 2.0**2 == pytest.approx(1500, rel=1e-4)


def test_a_picture_is_padded_to_a_square_around_its_middle():
    square = to_square(np.ones((128, 64), np.float32), 64)
    assert square[:, 16:48].all()
    assert not square[:, :16].any()
    assert not square[:, 48:].any()


def test_a_third_of_studies_are_normal_and_every_finding_is_common_enough_to_learn():
    drawn = [draw_findings(np.random.default_rng([9, i])) for i in range(2000)]
    assert 0.30 < np.mean([not findings for findings in drawn]) < 0.40
    assert max(len(findings) for findings in drawn) == 3
    for name in RATES:
        assert np.mean([any(f.finding == name for f in findings) for findings in drawn]) > 0.06
