"""Volume files: what is read, and what is refused before anything large is allocated."""

from __future__ import annotations

import contextlib
import gzip
import os
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from radsynth.errors import InputQuarantined, InputRefused
from radsynth.files import sha256_of
from radsynth.volumes.geometry import sitk_affine
from radsynth.volumes.io import Volume, check_volume, read_volume, source_sha256, stem, write_nifti

VOXELS = np.random.default_rng(1).integers(-1000, 2000, (6, 7, 8)).astype(np.int16)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 0, 3, -40], [0, 1.5, 0, 20], [0, 0, 0, 1]])


def nifti_bytes(change=None, voxels=VOXELS, affine=AFFINE) -> bytearray:
    """A good NIfTI file, its 348-byte header changed by `change(header)`."""
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    data = bytearray(image.to_bytes())
    if change is not None:
        header = nib.Nifti1Header(bytes(data[:348]), check=False)
        change(header)
        data[:348] = header.binaryblock
    return data


def reason_of(path) -> tuple[str, str]:
    with pytest.raises(InputRefused) as caught:
        check_volume(path)
    assert str(path.parent) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.reason, caught.value.verdict


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_volume_is_read_as_it_was_written(tmp_path, ending):
    path = tmp_path / f"v{ending}"
    write_nifti(Volume(VOXELS, AFFINE), path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    assert volume.orientation == "LSA"
    np.testing.assert_allclose(volume.spacing_mm, [2, 1.5, 3])


def test_equal_volumes_are_written_as_equal_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(Volume(VOXELS, AFFINE), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_stored_integers_are_rescaled_as_the_header_says(tmp_path):
    (tmp_path / "v.nii").write_bytes(nifti_bytes(lambda h: h.set_slope_inter(0.5, -10)))
    np.testing.assert_allclose(read_volume(tmp_path / "v.nii").voxels, VOXELS * 0.5 - 10)


def test_a_big_endian_file_is_read(tmp_path):
    image = nib.Nifti1Image(VOXELS, AFFINE, nib.Nifti1Header(endianness=">"))
    image.set_sform(AFFINE, 1)
    (tmp_path / "v.nii").write_bytes(image.to_bytes())
    np.testing.assert_array_equal(read_volume(tmp_path / "v.nii").voxels, VOXELS)


def _set(name, value, index=None):
    def change(header):
        if index is None:
            header[name] = value
        else:
            header[name][index] = value

    return change


def _mirror(header):
    header["srow_x"] *= -1


def _upside_down(header):
    for row in ("srow_x", "srow_y", "srow_z"):
        header[row][1] *= -1  # this axis points up: handedness changes too, but not left and right


BAD_HEADERS = {
    "nifti_truncated": _set("dim", 9, 3),
    "nifti_size_mismatch": _set("dim", 7, 3),
    "nifti_too_large": lambda h: h["dim"].__setitem__(slice(1, 4), 1200),
    "nifti_4d": lambda h: h["dim"].__setitem__(slice(0, 5), [4, 6, 7, 4, 2]),
    "nifti_dimensions": lambda h: h["dim"].__setitem__(slice(0, 4), [3, 6, 7, -8]),
    "nifti_data_type": _set("datatype", 32),
    "nifti_affine_singular": lambda h: h["srow_x"].__setitem__(slice(0, 3), 0),
    "nifti_affine_nonfinite": _set("srow_y", np.nan, 2),
    "nifti_left_right": _mirror,
    "nifti_forms_disagree": _upside_down,
    "nifti_detached": _set("magic", b"ni1"),
    "nifti_header": _set("magic", b"abc"),
}


@pytest.mark.parametrize("reason", BAD_HEADERS)
def test_a_lying_nifti_header_is_refused(tmp_path, reason):
    (tmp_path / "v.nii").write_bytes(nifti_bytes(BAD_HEADERS[reason]))
    assert reason_of(tmp_path / "v.nii") == (reason, "refused")


@pytest.mark.parametrize("spacing", [0.0, -2.0, np.nan, np.inf])
def test_a_spacing_that_is_no_length_is_refused(tmp_path, spacing):
    (tmp_path / "v.nii").write_bytes(nifti_bytes(_set("pixdim", spacing, 2)))
    assert reason_of(tmp_path / "v.nii") == ("nifti_spacing", "refused")


def test_a_vox_offset_that_is_no_number_is_refused(tmp_path):
    (tmp_path / "v.nii").write_bytes(nifti_bytes(_set("vox_offset", np.nan)))
    assert reason_of(tmp_path / "v.nii") == ("nifti_header", "refused")


def test_a_wrong_gzip_checksum_is_refused(tmp_path):
    packed = bytearray(gzip.compress(nifti_bytes()))
    packed[-6] ^= 0xFF
    (tmp_path / "v.nii.gz").write_bytes(packed)
    assert reason_of(tmp_path / "v.nii.gz") == ("nifti_corrupt", "refused")


def test_a_gzip_stream_that_ends_early_is_refused(tmp_path):
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(nifti_bytes())[:-40])
    assert reason_of(tmp_path / "v.nii.gz") == ("nifti_truncated", "refused")


def test_a_small_file_that_promises_a_large_array_takes_little_memory(tmp_path):
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(nifti_bytes(lambda h: h["dim"].__setitem__(slice(1, 4), 500))))
    tracemalloc.start()
    assert reason_of(tmp_path / "v.nii.gz") == ("nifti_truncated", "refused")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_gzip_bomb_is_read_no_further_than_its_header_says(tmp_path):
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(nifti_bytes() + bytes(1 << 28), compresslevel=1))
    tracemalloc.start()
    assert reason_of(tmp_path / "v.nii.gz") == ("nifti_size_mismatch", "refused")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_quarantined(tmp_path, value):
    voxels = VOXELS.astype(np.float32)
    voxels[3, 3, 3] = value
    write_nifti(Volume(voxels, AFFINE), tmp_path / "v.nii.gz")
    assert reason_of(tmp_path / "v.nii.gz") == ("volume_nonfinite", "quarantined")


def test_a_constant_volume_is_quarantined(tmp_path):
    write_nifti(Volume(np.full_like(VOXELS, 7), AFFINE), tmp_path / "v.nii")
    assert reason_of(tmp_path / "v.nii") == ("volume_constant", "quarantined")


def test_a_volume_without_a_stated_orientation_is_quarantined(tmp_path):
    def forget(header):
        header["qform_code"] = header["sform_code"] = 0

    (tmp_path / "v.nii").write_bytes(nifti_bytes(forget))
    assert reason_of(tmp_path / "v.nii") == ("nifti_orientation_unknown", "quarantined")


def test_a_handedness_of_0_is_read_as_1_as_the_standard_says(tmp_path):
    def only_qform(header):
        header["sform_code"], header["pixdim"][0] = 0, 0

    right_handed = np.diag([2.0, 3, 1.5, 1])
    (tmp_path / "v.nii").write_bytes(nifti_bytes(only_qform, affine=right_handed))
    assert np.allclose(read_volume(tmp_path / "v.nii").affine, right_handed)


def test_lengths_in_metres_are_quarantined(tmp_path):
    (tmp_path / "v.nii").write_bytes(nifti_bytes(_set("xyzt_units", 1)))
    assert reason_of(tmp_path / "v.nii") == ("nifti_units", "quarantined")


def test_a_single_slice_is_quarantined(tmp_path):
    write_nifti(Volume(VOXELS[:, :, :1], AFFINE), tmp_path / "v.nii")
    assert reason_of(tmp_path / "v.nii") == ("volume_too_small", "quarantined")


def test_random_damage_is_refused_or_read_but_never_crashes(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "v.nii"
    for _ in range(300):
        data = nifti_bytes()
        for place in rng.integers(0, 348, rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        with contextlib.suppress(InputRefused):
            read_volume(path)


@pytest.mark.parametrize("name", ["v.mha", "v.nrrd"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_metaimage_and_nrrd_are_read_as_simpleitk_reads_them(tmp_path, name, compressed, dtype):
    image = sitk.GetImageFromArray(VOXELS.transpose(2, 1, 0).astype(dtype))
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.3, -0.2, 0.5)
    image.SetDirection(turn.GetMatrix())
    sitk.WriteImage(image, str(tmp_path / name), useCompression=compressed)
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.voxels, VOXELS.astype(dtype))
    np.testing.assert_allclose(volume.affine, sitk_affine(image), atol=1e-6)


def meta(tmp_path, data_file="LOCAL", payload=b"", name="v.mha", **changes):
    keys = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "CompressedData": "False", "Offset": "0 0 0",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1", "ElementSpacing": "1 1 1", "DimSize": "6 7 8",
        "ElementType": "MET_SHORT",
    }  # fmt: skip
    keys |= changes | {"ElementDataFile": data_file}
    path = tmp_path / name
    path.write_bytes("".join(f"{k} = {v}\n" for k, v in keys.items()).encode() + payload)
    return path


def nrrd(tmp_path, payload=b"", name="v.nrrd", **changes):
    keys = {
        "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "6 7 8",
        "space directions": "(1,0,0) (0,1,0) (0,0,1)", "endian": "little", "encoding": "raw", "space origin": "(0,0,0)",
    }  # fmt: skip
    keys |= {k.replace("_", " "): v for k, v in changes.items()}
    path = tmp_path / name
    path.write_bytes(b"NRRD0004\n" + "".join(f"{k}: {v}\n" for k, v in keys.items()).encode() + b"\n" + payload)
    return path


RAW = VOXELS.tobytes(order="F")


@pytest.mark.parametrize("target", ["../secret.raw", "/etc/passwd", "sub/secret.raw", "LIST", "..", "a\\b"])
def test_data_in_another_folder_are_never_read(tmp_path, target):
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    for secret in (tmp_path / "secret.raw", inside / "sub" / "secret.raw"):
        secret.write_bytes(RAW)
    expected = "metaimage_not_a_file" if target == "LIST" else "metaimage_data_file_outside"
    assert reason_of(meta(inside, target, name="v.mhd"))[0] == expected
    if target != "LIST":
        assert reason_of(nrrd(inside, data_file=target, name="v.nhdr"))[0] == "nrrd_data_file_outside"


def test_a_link_beside_the_header_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(RAW)
    inside = tmp_path / "inside"
    inside.mkdir()
    os.symlink(tmp_path / "secret", inside / "v.raw")
    assert reason_of(meta(inside, "v.raw", name="v.mhd"))[0] == "metaimage_data_file_outside"


def test_data_beside_the_header_are_read(tmp_path):
    (tmp_path / "v.raw").write_bytes(RAW)
    np.testing.assert_array_equal(read_volume(meta(tmp_path, "v.raw", name="v.mhd")).voxels, VOXELS)
    np.testing.assert_array_equal(read_volume(nrrd(tmp_path, data_file="v.raw", name="v.nhdr")).voxels, VOXELS)


def test_a_volume_is_named_by_its_voxels_wherever_they_lie(tmp_path):
    inside = [meta(tmp_path, payload=RAW), nrrd(tmp_path, RAW)]
    assert [source_sha256(path) for path in inside] == [sha256_of(path) for path in inside]
    beside = [meta(tmp_path, "v.raw", name="v.mhd"), nrrd(tmp_path, data_file="v.raw", name="v.nhdr")]
    (tmp_path / "v.raw").write_bytes(RAW)
    before = [source_sha256(path) for path in beside]
    assert before == [source_sha256(path) for path in beside]
    (tmp_path / "v.raw").write_bytes(RAW[::-1])
    assert all(source_sha256(path) != was for path, was in zip(beside, before, strict=True))


@pytest.mark.parametrize(
    ("changes", "payload", "reason"),
    [
        ({"DimSize": "6 7 9"}, RAW, "metaimage_truncated"),
        ({"DimSize": "6 7 7"}, RAW, "metaimage_size_mismatch"),
        ({"DimSize": "9999 9999 9999"}, RAW, "metaimage_too_large"),
        ({"DimSize": "6 7"}, RAW, "metaimage_dimensions"),
        ({"DimSize": "6 7 x"}, RAW, "metaimage_header"),
        ({"ElementNumberOfChannels": "3"}, RAW, "metaimage_dimensions"),
        ({"ElementType": "MET_STRING"}, RAW, "metaimage_data_type"),
        ({"ElementSpacing": "1 0 1"}, RAW, "metaimage_spacing"),
        ({"ElementSpacing": "1 nan 1"}, RAW, "metaimage_spacing"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, RAW, "metaimage_affine_singular"),
        ({"Offset": "0 inf 0"}, RAW, "metaimage_affine_nonfinite"),
        ({"CompressedData": "True"}, RAW, "metaimage_corrupt"),
    ],
)
def test_a_lying_metaimage_header_is_refused(tmp_path, changes, payload, reason):
    assert reason_of(meta(tmp_path, payload=payload, **changes)) == (reason, "refused")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sizes": "6 7 9"}, "nrrd_truncated"),
        ({"sizes": "6 7 7"}, "nrrd_size_mismatch"),
        ({"sizes": "99999 7 8"}, "nrrd_too_large"),
        ({"dimension": "4", "sizes": "6 7 8 1"}, "nrrd_dimensions"),
        ({"type": "block"}, "nrrd_data_type"),
        ({"encoding": "bzip2"}, "nrrd_data_type"),
        ({"encoding": "gzip"}, "nrrd_corrupt"),
        ({"space directions": "(1,0,0) (1,0,0) (0,0,1)"}, "nrrd_affine_singular"),
        ({"space directions": "(0,0,0) (0,1,0) (0,0,1)"}, "nrrd_spacing"),
        ({"byte skip": "-1"}, "nrrd_header"),
        ({"space": "scanner-xyz"}, "nrrd_orientation_unknown"),
    ],
)
def test_a_lying_nrrd_header_is_refused(tmp_path, changes, reason):
    assert reason_of(nrrd(tmp_path, payload=RAW, **changes))[0] == reason


def test_other_formats_and_missing_files_are_refused(tmp_path):
    (tmp_path / "v.txt").write_text("hello")
    assert reason_of(tmp_path / "v.txt") == ("volume_format", "refused")
    assert reason_of(tmp_path / "none.nii") == ("nifti_not_a_file", "refused")


def test_an_empty_file_is_refused_whatever_its_name(tmp_path):
    for name in ("v.nii", "v.nii.gz", "v.mha", "v.nrrd"):
        (tmp_path / name).write_bytes(b"")
        assert reason_of(tmp_path / name)[1] == "refused"


def test_quarantine_is_a_milder_refusal():
    assert issubclass(InputQuarantined, InputRefused)


def test_stem_drops_a_double_ending():
    assert stem("a/sub.01.nii.gz") == "sub.01"
    assert stem("a/series folder") == "series folder"
