"""Facts about the embedded head sample."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from radsynth.schemas import RAW_VOLUMES
from radsynth.sources import head_phantom

ORIENTATIONS = ["LPS", "PIR", "RAS"]


@pytest.fixture(scope="module")
def anatomy() -> head_phantom.Anatomy:
    """A person with one haemorrhage, on the left, and nothing calcified."""
    drawn = head_phantom.draw_anatomy(np.random.default_rng(3))
    lesion = head_phantom.Lesion("haemorrhage", (-32.0, -20.0, 30.0), (13.0, 13.0, 13.0))
    return dataclasses.replace(drawn, age=0.0, calcified_pallidum=False, lesions=(lesion,))


@pytest.fixture(scope="module")
def maps(anatomy: head_phantom.Anatomy) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return head_phantom.tissue_maps(anatomy)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("heads")
    return folder, head_phantom.make_head_sample(folder, unpaired=1, paired=1, seed=7, processes=1)


def world_mm(image: nib.Nifti1Image, mask: np.ndarray) -> np.ndarray:
    """(N, 3) RAS mm of a mask's voxels, through the file's affine alone."""
    return nib.affines.apply_affine(image.affine, np.argwhere(mask))


def bright_in_brain_window(image: nib.Nifti1Image, head_centre: np.ndarray) -> np.ndarray:
    """The largest region of acute blood near the middle of the head, away from bone."""
    hu = ndimage.gaussian_filter(np.asarray(image.dataobj).astype(np.float32), 1.0)
    mask = (hu > 56) & (hu < 80)
    mask &= ndimage.distance_transform_edt(hu < 150) > 6
    where = nib.affines.apply_affine(image.affine, np.stack(np.indices(mask.shape), -1))
    mask &= np.linalg.norm(where - head_centre, axis=-1) < 60
    labels, _ = ndimage.label(mask)
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_lesion_planted_on_the_left_is_on_the_patients_left_in_every_orientation(maps, orientation: str) -> None:
    _, hu, affine = maps
    image = head_phantom.render_ct(hu, affine, np.eye(4), np.random.default_rng(0), orientation)
    assert "".join(nib.aff2axcodes(image.affine)) == orientation
    blood = world_mm(image, bright_in_brain_window(image, np.array([0.0, -17.0, 25.0])))
    assert len(blood) * abs(np.linalg.det(image.affine[:3, :3])) > 2000
    assert blood[:, 0].mean() == pytest.approx(-32, abs=6)
    assert blood[:, 1].mean() == pytest.approx(-20, abs=6)
    assert blood[:, 2].mean() == pytest.approx(30, abs=6)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_nose_is_in_front_and_the_vertex_above_in_every_orientation(maps, orientation: str) -> None:
    t1, _, affine = maps
    image = head_phantom.render_mr(t1, affine, np.eye(4), np.random.default_rng(1), orientation)
    assert "".join(nib.aff2axcodes(image.affine)) == orientation
    signal = ndimage.gaussian_filter(np.asarray(image.dataobj).astype(np.float32), 1.0)
    head = world_mm(image, signal > 0.2 * np.percentile(signal, 98))
    front = head[np.argmax(head[:, 1])]
    assert front[1] > 90
    assert front[2] < -30
    assert abs(front[0]) < 12
    top = head[np.argmax(head[:, 2])]
    assert -60 < top[1] < 30


def test_ct_is_in_hounsfield_units(maps) -> None:
    _, hu, affine = maps
    image = head_phantom.render_ct(hu, affine, np.eye(4), np.random.default_rng(2), "RAS")
    assert image.get_data_dtype() == np.int16
    values = np.asarray(image.dataobj)
    inside = values[values >= -1024]
    assert inside.min() >= -1024
    assert np.percentile(inside, 99.9) > 1200
    brain = nib.affines.apply_affine(np.linalg.inv(image.affine), [[30.0, -10.0, 45.0]])[0].round().astype(int)
    block = values[tuple(slice(c - 6, c + 7) for c in brain)]
    assert 20 < np.median(block) < 45
    air = nib.affines.apply_affine(np.linalg.inv(image.affine), [[72.0, 72.0, 40.0]])[0].round().astype(int)
    assert np.median(values[tuple(slice(c - 2, c + 3) for c in air)]) == pytest.approx(-1000, abs=15)


def test_some_scans_are_padded_below_minus_1024_outside_the_scan_circle(maps, monkeypatch) -> None:
    draws = [head_phantom._draw_padding(np.random.default_rng(i)) for i in range(200)]
    assert 0.2 < np.mean([d is not None and d < -1024 for d in draws]) < 0.6
    assert None in draws
    _, hu, affine = maps
    monkeypatch.setattr(head_phantom, "_draw_padding", lambda rng: -2000.0)
    image = head_phantom.render_ct(hu, affine, np.eye(4), np.random.default_rng(0), "RAS")
    values = np.asarray(image.dataobj)
    assert (values[:20, :20] == -2000).all()
    assert values[60:-60, 60:-60].min() >= -1024


def test_t1_contrast_is_that_of_t1(maps) -> None:
    t1, hu, _ = maps
    white = t1[(hu > 26) & (hu < 31) & (t1 > 0.7)].mean()
    csf = t1[(hu > 4) & (hu < 11) & (t1 < 0.3)].mean()
    fat = t1[(hu < -80) & (hu > -110) & (t1 > 0.8)].mean()
    bone = t1[hu > 1100].mean()
    assert fat > white > 2 * csf > 4 * bone


def test_the_table_fits_its_schema_and_names_files_that_are_there(sample, tmp_path: Path) -> None:
    folder, frame = sample
    RAW_VOLUMES.write(frame, tmp_path / "volumes.parquet")
    assert frame.volume_id.is_unique
    assert list(frame.modality) == ["MR", "CT", "MR", "CT"]
    assert list(frame.paired) == [False, False, True, True]
    assert frame.subject_id.nunique() == 3
    for path in frame.path:
        assert Path(path).is_relative_to(folder)
        image = nib.load(path)
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
        assert np.linalg.det(image.affine[:3, :3]) != 0


def test_subjects_differ(maps) -> None:
    draws = [head_phantom.draw_anatomy(np.random.default_rng([7, i])) for i in range(60)]
    assert len({d.seed for d in draws}) == len(draws)
    assert np.std([d.skull_mm for d in draws]) > 0.5
    assert np.std([d.scale for d in draws], axis=0).min() > 0.02
    assert 0.3 < np.mean([bool(d.lesions) for d in draws]) < 0.7
    assert {lesion.kind for d in draws for lesion in d.lesions} == set(head_phantom.LESIONS)
    other = head_phantom.tissue_maps(draws[0])[1]
    bone, other_bone = maps[1] > 600, other > 600
    assert 2 * (bone & other_bone).sum() / (bone.sum() + other_bone.sum()) < 0.8


def all_bytes(frame: pd.DataFrame) -> dict[str, bytes]:
    return {row.volume_id: Path(row.path).read_bytes() for row in frame.itertuples()}


def test_equal_seeds_make_equal_bytes_and_other_seeds_do_not(sample, tmp_path: Path) -> None:
    first = all_bytes(sample[1])
    again = all_bytes(head_phantom.make_head_sample(tmp_path / "a", unpaired=0, paired=1, seed=7, processes=1))
    other = all_bytes(head_phantom.make_head_sample(tmp_path / "b", unpaired=0, paired=1, seed=8, processes=1))
    for volume_id, data in again.items():
        assert data == first[volume_id]
        assert data != other[volume_id]


@pytest.mark.slow
def test_two_processes_make_what_one_makes(sample, tmp_path: Path) -> None:
    first = all_bytes(sample[1])
    for volume_id, data in all_bytes(
        head_phantom.make_head_sample(tmp_path, unpaired=1, paired=0, seed=7, processes=2)
    ).items():
        assert data == first[volume_id]


def test_the_truth_motion_lays_a_subjects_mr_and_ct_over_each_other(sample) -> None:
    folder, frame = sample
    pair = frame[frame.paired].set_index("modality")
    mr, ct = nib.load(pair.loc["MR"].path), nib.load(pair.loc["CT"].path)
    truth = json.loads((folder / "paired" / f"{pair.loc['MR'].subject_id}_truth.json").read_text())
    motion = np.array(truth["mr_to_ct"])
    np.testing.assert_allclose(motion[:3, :3] @ motion[:3, :3].T, np.eye(3), atol=1e-9)
    assert 2 < np.linalg.norm(motion[:3, 3]) < 10

    signal = ndimage.gaussian_filter(np.asarray(mr.dataobj).astype(np.float32), 0.7)
    head = signal > 0.12 * np.percentile(signal, 98)

    def head_dice(mr_to_ct: np.ndarray) -> float:
        to_voxel = np.linalg.inv(ct.affine) @ mr_to_ct @ mr.affine
        volume = np.asarray(ct.dataobj).astype(np.float32)
        arguments = (to_voxel[:3, :3], to_voxel[:3, 3])
        moved = ndimage.affine_transform(volume, *arguments, output_shape=mr.shape, order=1, cval=-5000)
        seen = moved > -4000
        solid = ndimage.binary_closing(moved > -400, iterations=2) & seen
        mine = ndimage.binary_closing(head, iterations=4) & seen
        return 2 * (solid & mine).sum() / (solid.sum() + mine.sum())

    aligned = head_dice(motion)
    assert aligned > 0.95
    assert aligned > head_dice(np.eye(4)) + 0.005
    assert aligned > head_dice(np.linalg.inv(motion)) + 0.01
