"""An MR of a head becomes a CT on its own grid, and nothing of whose head it is goes with it."""

from __future__ import annotations

import errno
import json
import os

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from radsynth.errors import RadsynthError
from radsynth.files import sha256_of
from radsynth.use import head_ct, translate
from radsynth.use.outputs import check_file
from radsynth.use.provenance import about
from radsynth.volumes.geometry import Volume, apply, lps_affine
from radsynth.volumes.io import read_volume, write_nifti

FRAME = "1.2.826.0.1.999.77"
PLANTED = {
    "PatientName": "Quisling^Zebedee",
    "PatientID": "MRN-8675309",
    "PatientBirthDate": "19540417",
    "PatientAddress": "17 Plantain Mews",
    "OtherPatientNames": "Alias^Zeb",
    "StudyDate": "20190823",
    "SeriesDate": "20190824",
    "AcquisitionDateTime": "20190825112233",
    "StudyTime": "071533",
    "InstitutionName": "Hospital of St Elsewhere",
    "InstitutionAddress": "4 Elsewhere Row",
    "ReferringPhysicianName": "Referrer^Dr",
    "OperatorsName": "Operator^Olga",
    "AccessionNumber": "ACC-424242",
    "StationName": "SCANNERBAY9",
    "DeviceSerialNumber": "SER-31337",
    "StudyDescription": "brain of Zebedee",
    "SeriesDescription": "t1 Quisling",
    "ProtocolName": "head Quisling",
    "ImageComments": "comment Zebedee",
    "PatientComments": "lives alone",
    "StudyID": "STUDY-5150",
    "StudyInstanceUID": "1.2.826.0.1.999.11",
    "SeriesInstanceUID": "1.2.826.0.1.999.22",
    "PatientAge": "065Y",
}
PRIVATE = b"PRIVATE-QUISLING"


@pytest.fixture(scope="module")
def model(models) -> str:
    return str(models / "mri_to_ct")


@pytest.fixture(scope="module")
def mr(make_head, oblique) -> Volume:
    return make_head("MR", (12, -20, 31), oblique)


@pytest.fixture(scope="module")
def series(mr, tmp_path_factory):
    """The oblique MR as the DICOM series of somebody in particular."""
    folder = tmp_path_factory.mktemp("Quisling_Zebedee_19540417")
    lps, spacing = lps_affine(mr.affine), mr.spacing_mm
    for k in range(mr.voxels.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MRImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.999.33.{k + 1}"
        file = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        file.SOPClassUID, file.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        for name, value in PLANTED.items():
            setattr(file, name, value)
        file.private_block(0x0029, "QUISLING CORP", create=True).add_new(1, "OB", PRIVATE)
        file.Modality, file.FrameOfReferenceUID = "MR", FRAME
        file.ImagePositionPatient = [round(float(mm), 6) for mm in lps[:3, 3] + k * lps[:3, 2]]
        file.ImageOrientationPatient = [round(float(c), 8) for c in (lps[:3, :2] / spacing[:2]).T.ravel()]
        file.PixelSpacing = [spacing[1], spacing[0]]
        file.Rows, file.Columns = mr.voxels.shape[1], mr.voxels.shape[0]
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
        file.PixelData = np.ascontiguousarray(mr.voxels[:, :, k].T).astype("<i2").tobytes()
        file.save_as(folder / f"Quisling{k:03d}.dcm", enforce_file_format=True)
    return folder


def likeness(ct: np.ndarray, mr: np.ndarray) -> float:
    """Correlation of a CT that shows the MR with an MR, all over the volume."""
    return float(np.corrcoef(ct.ravel().clip(-200), mr.ravel())[0, 1])


@pytest.fixture
def nothing_drawn(monkeypatch):
    """The networks give back the MR they see, 0..1 as 0..1000 HU and air outside the head: only geometry is left."""

    def same(model, volume, depth_mm, **_):
        return np.where(depth_mm > 0, volume * 1000, -1024).astype(np.float32)

    monkeypatch.setattr(head_ct, "translate_volume", same)


@pytest.mark.slow
def test_every_voxel_of_the_ct_lies_where_its_mr_voxel_lies(mr, model, nothing_drawn, tmp_path):
    write_nifti(mr, tmp_path / "mr.nii.gz")
    ct = translate(tmp_path / "mr.nii.gz", tmp_path / "ct.nii.gz", model=model)
    found = read_volume(tmp_path / "ct.nii.gz")
    assert found.voxels.dtype == np.int16
    np.testing.assert_array_equal(found.voxels, ct.voxels)
    assert ct.voxels.shape == mr.voxels.shape
    np.testing.assert_allclose(found.affine, mr.affine, atol=1e-4)
    straight = likeness(ct.voxels, mr.voxels)
    for axis in range(3):
        # the nose and the ball are on one side; two voxels are one of the model's grid
        assert likeness(ct.voxels, np.flip(mr.voxels, axis)) < straight, axis
        for shift in (-2, 2):
            assert likeness(ct.voxels, np.roll(mr.voxels, shift, axis)) < straight, (axis, shift)
    assert ct.voxels[0, 0, 0] == -1024


@pytest.fixture(scope="module")
def ct_series(series, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "ct"
    translate(series, out, form="dicom", model=model)
    return out


@pytest.mark.slow
def test_a_series_gives_a_series_in_the_same_place_and_frame(ct_series, series, dicom_errors):
    import SimpleITK as sitk

    mr, ct = read_volume(series), read_volume(ct_series)
    assert ct.modality == "CT"
    np.testing.assert_allclose(ct.affine, mr.affine, atol=1e-3)
    assert ct.voxels.shape == mr.voxels.shape
    files = [pydicom.dcmread(path) for path in sorted(ct_series.glob("*.dcm"))]
    assert {file.FrameOfReferenceUID for file in files} == {FRAME}
    assert {file.StudyInstanceUID for file in files} & {PLANTED["StudyInstanceUID"]} == set()
    assert dicom_errors(ct_series / "0001.dcm") == []
    images = []
    for folder in (series, ct_series):
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        images.append(reader.Execute())
    for attribute in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(*(getattr(image, attribute)() for image in images), atol=1e-3)
    world = images[1].TransformIndexToPhysicalPoint((20, 30, 25))
    by_itk = images[1].GetPixel(20, 30, 25)
    index = np.rint(apply(np.linalg.inv(ct.affine), np.array(world) * (-1, -1, 1))).astype(int)
    assert ct.voxels[tuple(index)] == by_itk


@pytest.mark.slow
def test_no_byte_of_whose_head_it_is_is_in_the_output(ct_series, series):
    planted = {value.encode() for value in PLANTED.values()}
    planted |= {part for value in planted for part in value.split(b"^") if len(part) > 3}
    planted |= {PRIVATE, b"QUISLING", b"Quisling", b"1.2.826.0.1.999.33", str(series).encode(), b"Zebedee"}
    # what is looked for is there to be found
    given = b"".join(path.read_bytes() for path in series.iterdir())
    assert all(value in given for value in planted - {str(series).encode()})
    for path in ct_series.iterdir():
        content = path.read_bytes() + path.name.encode()
        assert [value for value in planted if value in content] == [], path.name


@pytest.mark.slow
def test_the_sidecar_says_how_it_was_made_without_the_inputs_name(ct_series, series, models):
    said = json.loads((ct_series / "about.json").read_text())
    assert said["model"]["sha256"] == sha256_of(models / "mri_to_ct")
    assert said["input"]["sha256"] == sha256_of(series)
    assert said["output"]["air_hu"] == -1024
    assert np.shape(said["placement"]["native_to_reference_ras_mm"]) == (4, 4)
    assert "research only" in said["notice"]


def test_an_output_that_cannot_be_written_is_told_before_the_work(mr, model, monkeypatch, tmp_path):
    monkeypatch.setattr(head_ct, "align_new_mr", lambda *_: pytest.fail("placed"))
    write_nifti(mr, tmp_path / "mr.nii.gz")
    for out, form in (("mr.nii.gz/ct.nii.gz", "nifti"), ("mr.nii.gz/ct", "dicom")):
        with pytest.raises(RadsynthError, match="cannot be written"):
            translate(tmp_path / "mr.nii.gz", tmp_path / out, form=form, model=model)


def flat(hu: int) -> Volume:
    return Volume(np.full((2, 2, 2), hu, np.int16), np.eye(4), "CT")


def mistake(path, default, out, **asked) -> str:
    with pytest.raises(RadsynthError) as caught:
        translate(path, out, **({"model": default} | asked))
    assert "\n" not in str(caught.value)
    assert not out.exists()
    return str(caught.value)


def test_a_ct_is_not_taken_for_an_mr(make_head, model, tmp_path):
    write_nifti(make_head("CT", (0, 0, 0)), tmp_path / "ct.nii.gz")
    said = mistake(tmp_path / "ct.nii.gz", model, tmp_path / "out.nii.gz")
    assert "not an MR" in said
    assert "values in HU" in said


def test_an_x_ray_is_not_taken_for_an_mr(model, tmp_path):
    from radsynth.radiographs.write import png_bytes, write_xray_dicom

    stored = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    (tmp_path / "x.png").write_bytes(png_bytes(stored, {}))
    (tmp_path / "x").mkdir()
    write_xray_dicom(stored, tmp_path / "x" / "x.dcm", view="frontal", software="m", source="s", key="k")
    out = tmp_path / "out.nii.gz"
    assert "not a volume; expected a NIfTI" in mistake(tmp_path / "x.png", model, out)
    assert "give its folder" in mistake(tmp_path / "x" / "x.dcm", model, out)
    assert "no position, orientation or spacing" in mistake(tmp_path / "x", model, out)


def test_a_box_of_noise_is_no_head(model, tmp_path):
    noise = np.random.default_rng(0).integers(0, 9, (40, 40, 40)).astype(np.int16)
    write_nifti(Volume(noise, np.diag([1.0, 1.0, 1.0, 1.0])), tmp_path / "n.nii.gz")
    assert "no head in the volume" in mistake(tmp_path / "n.nii.gz", model, tmp_path / "out.nii.gz")


def test_sheared_axes_are_refused_for_dicom_before_the_work(make_head, model, tmp_path):
    sheared = make_head("MR", (0, 0, 0))
    sheared.affine[0, 2] = 0.8
    write_nifti(sheared, tmp_path / "s.nii.gz")
    assert "not at right angles" in mistake(tmp_path / "s.nii.gz", model, tmp_path / "out", form="dicom")


@pytest.mark.parametrize(
    ("out", "asked", "said"),
    [
        ("ct.mha", {}, "not the name of a NIfTI file"),
        ("ct.nii.gz", {"form": "dicom"}, "a DICOM series is a folder"),
        ("ct", {"form": "png"}, "no such format"),
        ("ct.nii", {"model": "./nowhere"}, "no such folder"),
        ("ct.nii", {}, "no such file or folder"),
    ],
)
def test_other_mistakes_are_told_in_one_line(out, asked, said, model, tmp_path):
    path = tmp_path / "not-there.nii" if not asked else tmp_path
    assert said in mistake(path, model, tmp_path / out, **asked)


def test_a_model_without_its_reference_is_told_what_to_do(make_head, models, tmp_path):
    import shutil

    shutil.copytree(models / "mri_to_ct", tmp_path / "old", ignore=shutil.ignore_patterns("common_grid*"))
    write_nifti(make_head("MR", (0, 0, 0)), tmp_path / "mr.nii")
    assert "dvc repro train_cyclegan" in mistake(tmp_path / "mr.nii", str(tmp_path / "old"), tmp_path / "out.nii")


def test_a_ct_that_is_there_is_kept_unless_forced(model, tmp_path):
    (tmp_path / "ct.json").write_text("{}")
    with pytest.raises(RadsynthError, match=r"ct.json: is there already"):
        translate(tmp_path / "mr.nii", tmp_path / "ct.nii", model=model)
    with pytest.raises(RadsynthError, match=r"ct.json: is not replaced"):
        translate(tmp_path / "mr.nii", tmp_path / "ct.nii", model=model, force=True)


def test_at_no_moment_a_sidecar_lies_beside_another_ct(monkeypatch, tmp_path):
    ct, sidecar, moments = tmp_path / "ct.nii", tmp_path / "ct.json", []
    replace = os.replace

    def look():
        moments.append((ct.exists(), sidecar.exists()))
        if all(moments[-1]):
            assert json.loads(sidecar.read_text())["hu"] == nib.load(ct).get_fdata()[0, 0, 0]

    def watched(source, target):
        look()
        replace(source, target)
        look()

    monkeypatch.setattr(os, "replace", watched)
    for hu in (0, 40):
        head_ct._write(flat(hu), ct, "nifti", None, {"hu": hu}, tmp_path / "mr.nii")
    assert (True, False) not in moments
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ct.json", "ct.nii"]


def test_a_ct_that_cannot_be_written_leaves_the_old_one_with_its_sidecar(monkeypatch, tmp_path):
    head_ct._write(flat(0), tmp_path / "ct.nii", "nifti", None, {"hu": 0}, tmp_path / "mr.nii")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(head_ct, "write_nifti", full)
    with pytest.raises(RadsynthError, match=r"cannot be written \(No space left"):
        head_ct._write(flat(40), tmp_path / "ct.nii", "nifti", None, {"hu": 40}, tmp_path / "mr.nii")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("form", ["nifti", "dicom"])
def test_the_mr_is_not_replaced_by_its_ct(form, model, tmp_path):
    mr = tmp_path / ("mr.nii.gz" if form == "nifti" else "mr")
    mr.mkdir() if form == "dicom" else mr.write_bytes(b"the patient's")
    with pytest.raises(RadsynthError, match=r"the input .* would be overwritten"):
        translate(mr, mr, form=form, model=model, force=True)


def test_a_ct_that_radsynth_made_is_replaced_where_forced(tmp_path):
    ct = tmp_path / "ct.nii.gz"
    head_ct._write(flat(0), ct, "nifti", None, about("translate", None), tmp_path / "mr.nii")
    assert check_file(ct, tmp_path / "ct.json", force=True, given=tmp_path / "mr.nii") == ct


@pytest.mark.slow
@pytest.mark.realdata
def test_a_real_mr_comes_back_on_its_own_grid(realdata, model, tmp_path):
    path = realdata / "brain" / "mr" / "ch2.nii.gz"
    ct = translate(path, tmp_path / "ct.nii.gz", model=model)
    mr = read_volume(path)
    assert ct.voxels.shape == mr.voxels.shape
    np.testing.assert_allclose(ct.affine, mr.affine)
    assert (ct.voxels > -1000).mean() > 0.1
