"""A CT written as a DICOM series lies where the volume lay, says that it is synthetic, and is valid."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from radsynth.errors import RadsynthError
from radsynth.synthetic_dicom import new_uid
from radsynth.volumes.dicom_write import frame_of_reference_of, write_ct_series
from radsynth.volumes.geometry import Volume, apply
from radsynth.volumes.io import read_volume

SHAPE = (20, 16, 6)


def affine(axes: str, turn: np.ndarray) -> np.ndarray:
    """Voxel -> RAS mm of a grid with its axes along `axes` (RAS letters), turned by `turn` (4, 4)."""
    directions = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    matrix = np.eye(4)
    for column, (letter, mm) in enumerate(zip(axes, (1.25, 0.9, 2.5), strict=True)):
        row, sign = directions[letter]
        matrix[:3, column] = 0
        matrix[row, column] = sign * mm
    matrix[:3, 3] = (-33.3, 17.1, 1 / 3)
    return turn @ matrix


def lopsided(matrix: np.ndarray) -> Volume:
    """Different along every direction: a ramp along R, a step in A, one bright voxel up on the left."""
    world = apply(matrix, np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1))
    world = world - world.reshape(-1, 3).mean(axis=0)
    hu = -900 + 20 * world[..., 0] + np.where(world[..., 1] > 0, 300, 0) + 7 * world[..., 2]
    at = np.unravel_index((world @ np.array([-1.0, 0.1, 1.0])).argmax(), SHAPE)
    hu[at] = 2500
    return Volume(np.rint(hu).astype(np.int16), matrix, "CT")


@pytest.fixture(params=["LPS", "RAS", "PIR", "ALI", "oblique"])
def volume(request, make_rigid) -> Volume:
    turn = make_rigid((14, -9, 25)) if request.param == "oblique" else np.eye(4)
    return lopsided(affine("LPS" if request.param == "oblique" else request.param, turn))


@pytest.fixture
def series(volume, tmp_path):
    write_ct_series(volume, tmp_path, software="mri-to-ct v3", source="made by a test", frame_of_reference="1.2.3.4")
    return tmp_path


def by_place(voxels: np.ndarray, matrix: np.ndarray) -> dict[tuple[float, ...], int]:
    """Value by RAS mm, rounded to a hundredth."""
    index = np.argwhere(np.ones(voxels.shape, bool))
    places = np.round(apply(matrix, index), 2) + 0.0
    return dict(zip(map(tuple, places.tolist()), voxels[tuple(index.T)].tolist(), strict=True))


def test_pydicom_reads_every_voxel_at_its_place(volume, series):
    found = read_volume(series)
    assert found.modality == "CT"
    assert by_place(found.voxels, found.affine) == by_place(volume.voxels, volume.affine)


def test_simpleitk_reads_every_voxel_at_its_place(volume, series):
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    image = reader.Execute()
    index = np.argwhere(np.ones(volume.voxels.shape, bool))
    expected = by_place(volume.voxels, volume.affine)
    size = image.GetSize()
    voxels = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    corner = np.array(image.GetOrigin())
    steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    index = np.argwhere(np.ones(size, bool))
    ras = (index @ steps.T + corner) * (-1, -1, 1)
    found = dict(zip(map(tuple, (np.round(ras, 2) + 0.0).tolist()), voxels[tuple(index.T)].tolist(), strict=True))
    assert found == expected


def test_it_says_that_it_is_synthetic_and_where_it_lies(series):
    files = [pydicom.dcmread(path) for path in sorted(series.iterdir())]
    assert len(files) == SHAPE[2]
    for file in files:
        assert list(file.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert (file.SyntheticData, file.Modality, file.RescaleType) == ("YES", "CT", "HU")
        assert "research only" in file.ImageComments
        assert file.FrameOfReferenceUID == "1.2.3.4"
    assert len({file.SOPInstanceUID for file in files}) == len(files)
    assert len({file.SeriesInstanceUID for file in files}) == 1


def test_dciodvfy_finds_no_error(series, dicom_errors):
    for path in sorted(series.iterdir()):
        assert dicom_errors(path) == []


def test_equal_volumes_give_equal_bytes_and_others_other_uids(tmp_path):
    first = lopsided(affine("LPS", np.eye(4)))
    changed = Volume(first.voxels + np.int16(1), first.affine, "CT")
    for name, volume in (("a", first), ("b", first), ("c", changed)):
        (tmp_path / name).mkdir()
        write_ct_series(volume, tmp_path / name, software="m", source="s")
    one, same = ((tmp_path / name / "0003.dcm").read_bytes() for name in "ab")
    assert one == same
    uids = [pydicom.dcmread(tmp_path / name / "0003.dcm") for name in "ac"]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert uids[0][keyword].value != uids[1][keyword].value


def test_axes_that_are_not_at_right_angles_are_refused(tmp_path):
    sheared = affine("LPS", np.eye(4))
    sheared[0, 2] = 0.3
    with pytest.raises(RadsynthError, match=r"not at right angles.*write NIfTI"):
        write_ct_series(Volume(np.zeros(SHAPE, np.int16), sheared), tmp_path, software="m", source="s")


@pytest.mark.parametrize(("planted", "found"), [("1.2.840.5", "1.2.840.5"), ("Doe^Jane 1970", None), ("", None)])
def test_a_frame_of_reference_is_taken_over_where_it_is_a_uid(planted, found, tmp_path):
    write_ct_series(lopsided(affine("LPS", np.eye(4))), tmp_path, software="m", source="s")
    for path in tmp_path.iterdir():
        file = pydicom.dcmread(path)
        file["FrameOfReferenceUID"]._value = planted  # past pydicom's own check
        file.save_as(path)
    assert frame_of_reference_of(tmp_path) == found


def test_slices_of_two_frames_of_reference_have_none(tmp_path):
    volume = lopsided(affine("LPS", np.eye(4)))
    write_ct_series(volume, tmp_path, software="m", source="s", frame_of_reference=new_uid("x"))
    file = pydicom.dcmread(tmp_path / "0002.dcm")
    file.FrameOfReferenceUID = new_uid("y")
    file.save_as(tmp_path / "0002.dcm")
    assert frame_of_reference_of(tmp_path) is None
