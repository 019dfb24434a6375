"""DICOM series folders: sorted by geometry, rescaled to HU, and put aside where they are not one plain stack."""

from __future__ import annotations

import contextlib

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from radsynth.errors import InputRefused
from radsynth.volumes.io import check_series, read_volume

VOXELS = np.random.default_rng(3).integers(0, 3000, (40, 48, 6)).astype(np.uint16)
SERIES = generate_uid(entropy_srcs=["series"])
STEP = 2.5


def write_slice(folder, index, *, name=None, change=None, voxels=VOXELS):
    """One axial CT slice; `change(dataset)` spoils it before it is written."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(index)])
    path = folder / (name or f"{index:03d}.dcm")
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.Modality = SERIES, "CT"
    data.PatientName, data.PatientID = "Never^Read", "12345"
    data.ImagePositionPatient, data.ImageOrientationPatient = [-50, -60, 10 + STEP * index], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.RescaleSlope, data.RescaleIntercept = [0.8, 0.5], 1, -1024
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 48, 40, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = voxels[:, :, index].T.astype("<u2").tobytes()
    if change is not None:
        change(data)
    data.save_as(path, enforce_file_format=True)


def write_series(folder, change=None, last_change=None, names=None):
    for index in range(VOXELS.shape[2]):
        last = index == VOXELS.shape[2] - 1
        write_slice(
            folder, index, name=names and names[index], change=(last_change if last and last_change else change)
        )


def reason_of(folder) -> str:
    with pytest.raises(InputRefused) as caught:
        check_series(folder)
    assert "Never" not in str(caught.value)
    return caught.value.reason


def setting(**values):
    def change(data):
        for name, value in values.items():
            setattr(data, name, value)

    return change


def test_slices_are_sorted_by_where_they_lie_and_rescaled_to_hu(tmp_path):
    write_series(tmp_path, names=["e", "b", "f.dcm", "a", "d.dcm", "c"])
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.voxels, VOXELS.astype(int) - 1024)
    assert volume.voxels.dtype == np.int16
    assert volume.modality == "CT"
    assert volume.orientation == "LPS"
    np.testing.assert_allclose(volume.spacing_mm, [0.5, 0.8, STEP])
    np.testing.assert_allclose(volume.affine[:3, 3], [50, 60, 10])


def test_the_affine_agrees_with_simpleitk(tmp_path):
    import SimpleITK as sitk

    from radsynth.volumes.geometry import sitk_affine

    write_series(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    volume = read_volume(tmp_path)
    np.testing.assert_allclose(volume.affine, sitk_affine(image), atol=1e-6)
    np.testing.assert_array_equal(volume.voxels, sitk.GetArrayFromImage(image).transpose(2, 1, 0))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_a_compressed_series_has_the_same_hu(tmp_path, syntax):
    write_series(tmp_path, change=lambda data: data.compress(syntax, generate_instance_uid=False))
    assert pydicom.dcmread(tmp_path / "000.dcm", stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_volume(tmp_path).voxels, VOXELS.astype(int) - 1024)


def test_a_compressed_stream_larger_than_rows_and_columns_is_refused(tmp_path):
    def compress_and_lie(data):
        data.compress(JPEG2000Lossless, generate_instance_uid=False)
        data.Rows = 20

    write_series(tmp_path, change=compress_and_lie)
    assert reason_of(tmp_path) == "dicom_size_mismatch"


def test_a_deflated_data_set_is_refused_unread(tmp_path):
    write_series(tmp_path)
    path = tmp_path / "002.dcm"
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path)
    assert reason_of(tmp_path) == "dicom_transfer_syntax"


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (setting(ImagePositionPatient=[-50, -60, 30]), "dicom_spacing_not_uniform"),
        (setting(ImagePositionPatient=[-50, -60, 10]), "dicom_duplicate_slices"),
        (setting(SeriesInstanceUID=generate_uid(entropy_srcs=["other"])), "dicom_mixed_series"),
        (setting(PixelSpacing=[0.7, 0.5]), "dicom_mixed_geometry"),
        (setting(ImageOrientationPatient=[1, 0, 0, 0, 0, 1]), "dicom_mixed_geometry"),
        (setting(Rows=49), "dicom_size_mismatch"),
        (setting(Rows=5000), "dicom_too_large"),
        (setting(Rows=0), "dicom_too_large"),
        (setting(NumberOfFrames=2), "dicom_multiframe"),
        (setting(SamplesPerPixel=3), "dicom_data_type"),
        (setting(ImagePositionPatient=None), "dicom_no_geometry"),
        (setting(PixelSpacing=[0.0, 0.5]), "dicom_header"),
        (lambda d: d.__delitem__("PixelData"), "dicom_no_pixels"),
    ],
)
def test_a_series_that_is_not_one_plain_stack_is_not_used(tmp_path, last, reason):
    write_series(tmp_path, last_change=last)
    assert reason_of(tmp_path) == reason


def test_a_tilted_gantry_is_quarantined(tmp_path):
    for index in range(VOXELS.shape[2]):
        write_slice(tmp_path, index, change=setting(ImagePositionPatient=[-50, -60 + index * 0.8, 10 + STEP * index]))
    assert reason_of(tmp_path) == "dicom_gantry_tilt"


def test_a_modality_other_than_mr_and_ct_is_quarantined(tmp_path):
    write_series(tmp_path, change=setting(Modality="PT"))
    assert reason_of(tmp_path) == "dicom_modality"


def test_an_empty_folder_and_a_false_dcm_are_refused(tmp_path):
    assert reason_of(tmp_path) == "dicom_empty"
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    assert reason_of(tmp_path) == "dicom_header"


def test_a_readme_beside_the_slices_does_no_harm(tmp_path):
    write_series(tmp_path)
    (tmp_path / "README.txt").write_text("hello")
    check_series(tmp_path)


def test_links_in_the_folder_are_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "series").mkdir()
    write_series(tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").iterdir():
        (tmp_path / "series" / path.name).symlink_to(path)
    assert reason_of(tmp_path / "series") == "dicom_empty"


def test_random_damage_is_refused_or_read_but_never_crashes(tmp_path):
    rng = np.random.default_rng(0)
    write_series(tmp_path)
    good = (tmp_path / "003.dcm").read_bytes()
    for _ in range(150):
        data = bytearray(good)
        for place in rng.integers(128, len(data), rng.integers(1, 8)):
            data[place] = rng.integers(0, 256)
        (tmp_path / "003.dcm").write_bytes(data[: rng.integers(140, len(data) + 1)])
        with contextlib.suppress(InputRefused):
            check_series(tmp_path)
