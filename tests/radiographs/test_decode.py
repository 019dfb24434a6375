"""Facts about reading one image file."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
)

from radsynth.errors import InputQuarantined, InputRefused
from radsynth.radiographs import decode as module
from radsynth.radiographs.decode import decode
from radsynth.radiographs.prepare import check_image

GREY8 = np.add.outer(np.arange(64), 2 * np.arange(48)).astype(np.uint8)
GREY16 = (np.add.outer(np.arange(64), 2 * np.arange(48)) * 300).astype(np.uint16)


def saved(array_or_image, file_format="PNG", **options) -> bytes:
    image = array_or_image if isinstance(array_or_image, Image.Image) else Image.fromarray(array_or_image)
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def dicom(pixels=GREY16, syntax=ExplicitVRLittleEndian, frames=None, **tags) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Secret^Name", "ID-4711", "19500101"
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    if pixels is not None:
        dataset.Rows, dataset.Columns = pixels.shape[-2:]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        dataset.PixelData = tags.pop("PixelData", pixels.astype(pixels.dtype.newbyteorder(order)).tobytes())
        dataset["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    if frames:
        dataset.NumberOfFrames = frames
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(InputRefused) as caught:
        decode(data, "film.png")
    assert "film.png" in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(columns: int, rows: int, stream: bytes, bits: int = 8, colour: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


# ---- PNG and JPEG ----


@pytest.mark.parametrize("pixels", [GREY8, GREY16])
def test_a_grey_png_keeps_every_value(pixels):
    radiograph = decode(saved(pixels), "a")
    np.testing.assert_array_equal(radiograph.pixels, pixels)
    assert radiograph.pixels.dtype == pixels.dtype
    assert (radiograph.bits_stored, radiograph.file_format) == (8 * pixels.itemsize, "PNG")
    assert (radiograph.view_position, radiograph.window_low) == ("unknown", None)


@pytest.mark.parametrize("pixels", [GREY8, GREY16])
def test_the_fast_png_reader_and_pillow_agree(pixels, monkeypatch):
    fast = decode(saved(pixels), "a")
    monkeypatch.setattr(module, "_decode_grey_png", lambda data: None)
    np.testing.assert_array_equal(decode(saved(pixels), "a").pixels, fast.pixels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_a_grey_picture_stored_in_colour_is_the_grey_picture(mode):
    radiograph = decode(saved(Image.fromarray(GREY8).convert(mode)), "a")
    np.testing.assert_array_equal(radiograph.pixels, GREY8)
    assert radiograph.photometric_interpretation == {"LA": "MONOCHROME2", "P": "PALETTE COLOR"}.get(mode, "RGB")


def test_a_one_bit_png_becomes_black_and_white():
    radiograph = decode(saved(Image.fromarray(GREY8 > 80)), "a")
    np.testing.assert_array_equal(radiograph.pixels, np.where(GREY8 > 80, 255, 0))
    assert radiograph.bits_stored == 1


def test_a_jpeg_is_read_within_its_own_loss():
    radiograph = decode(saved(GREY8, "JPEG", quality=95), "a")
    assert np.abs(radiograph.pixels.astype(int) - GREY8).max() <= 6
    assert radiograph.file_format == "JPEG"


def test_the_content_decides_what_a_file_is_not_its_name(tmp_path):
    path = tmp_path / "film.dcm"
    path.write_bytes(saved(GREY8, "JPEG"))
    check_image(path)
    assert reason(saved(GREY8, "GIF")) == "image_unknown_format"


def test_broken_images_are_refused_with_a_reason():
    whole, stream = saved(GREY8), zlib.compress(b"".join(b"\0" + bytes(64) for _ in range(64)))
    assert reason(b"") == "image_empty"
    assert reason(b"hello") == "image_unknown_format"
    assert reason(whole[:20]) == "image_truncated"
    assert reason(whole[: len(whole) // 2]) == "image_truncated"
    assert reason(saved(GREY8, "JPEG")[:200]) == "image_truncated"
    assert reason(saved(GREY8, "JPEG")[:-300]) == "image_truncated"
    assert reason(whole[:60] + bytes([whole[60] ^ 255]) + whole[61:]) == "image_unreadable"
    assert reason(png(64, 64, zlib.compress(bytes(100)))) == "image_truncated"
    assert reason(png(64, 64, stream, colour=5)) == "image_unreadable"


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    def fail(*_args, **_kwargs):
        raise AssertionError("decoded")

    monkeypatch.setattr(Image, "open", fail)
    monkeypatch.setattr(module, "_decode_grey_png", fail)
    assert reason(png(60_000, 60_000, zlib.compress(bytes(1000)))) == "image_too_large"
    jpeg = bytearray(saved(GREY8, "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    assert reason(bytes(jpeg)) == "image_too_large"


def test_a_jpeg_of_endless_scans_is_refused():
    jpeg = saved(GREY8, "JPEG", progressive=True)
    assert reason(jpeg[:-2] + b"\xff\xda\x00\x02" * 200 + jpeg[-2:]) == "image_too_large"


@pytest.mark.filterwarnings("ignore:overflow")
def test_pictures_that_show_nothing_are_set_aside():
    for data, expected in (
        (saved(np.full((64, 64), 7, np.uint8)), "image_constant"),
        (saved(np.eye(8, dtype=np.uint8)), "image_too_small"),
        (dicom(RescaleSlope="1e308", RescaleIntercept="0"), "image_nonfinite"),
    ):
        with pytest.raises(InputQuarantined) as caught:
            decode(data, "a")
        assert caught.value.reason == expected


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputRefused) as caught:
        check_image(tmp_path / "none.png")
    assert caught.value.reason == "image_missing"


# ---- DICOM ----


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_uncompressed_dicom_keeps_every_value(syntax):
    radiograph = decode(dicom(syntax=syntax), "a")
    np.testing.assert_array_equal(radiograph.pixels, GREY16)
    assert (radiograph.file_format, radiograph.bits_stored) == ("DICOM", 16)


def test_monochrome1_is_turned_round():
    radiograph = decode(dicom(PhotometricInterpretation="MONOCHROME1"), "a")
    np.testing.assert_array_equal(radiograph.pixels, int(GREY16.max()) - GREY16.astype(np.float32))
    assert radiograph.photometric_interpretation == "MONOCHROME1"


def test_rescale_comes_before_the_window():
    radiograph = decode(dicom(RescaleSlope="2", RescaleIntercept="-100", WindowCenter="1000.5", WindowWidth="401"), "a")
    np.testing.assert_allclose(radiograph.pixels, 2.0 * GREY16 - 100)
    assert (radiograph.window_low, radiograph.window_high) == (800, 1200)


def test_monochrome1_is_turned_round_inside_its_window():
    tags = {"WindowCenter": "1000", "WindowWidth": "400", "VOILUTFunction": "LINEAR_EXACT"}
    radiograph = decode(dicom(PhotometricInterpretation="MONOCHROME1", **tags), "a")
    assert (radiograph.window_low, radiograph.window_high) == (800, 1200)
    np.testing.assert_allclose(radiograph.pixels, 2000 - GREY16.astype(np.float32))


def test_the_first_of_several_windows_is_used():
    radiograph = decode(dicom(WindowCenter=["100.5", "9"], WindowWidth=["101", "9"]), "a")
    assert (radiograph.window_low, radiograph.window_high) == (50, 150)


def test_a_voi_lut_is_applied():
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 8], list(range(255, -1, -1))
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "US"
    radiograph = decode(dicom(GREY8, VOILUTSequence=[item]), "a")
    np.testing.assert_allclose(radiograph.pixels, 255 - GREY8.astype(float))
    assert (radiograph.window_low, radiograph.window_high) == (0, 255)


def test_padding_is_black_whatever_its_value():
    pixels = GREY16.copy()
    pixels[:, :5] = 65000
    radiograph = decode(dicom(pixels, PixelPaddingValue=65000), "a")
    assert (radiograph.pixels[:, :5] == GREY16[:, 5:].min()).all()


@pytest.mark.parametrize(("tags", "view"), [
    ({"ViewPosition": "PA"}, "frontal"), ({"ViewPosition": "AP"}, "frontal"), ({"ViewPosition": "LL"}, "lateral"),
    ({"ViewPosition": "RL"}, "lateral"), ({"ViewPosition": "LATERAL"}, "lateral"), ({"ViewPosition": "LLO"}, "unknown"),
    ({}, "unknown"), ({"PatientOrientation": ["L", "F"]}, "frontal"), ({"PatientOrientation": ["P", "F"]}, "lateral"),
])  # fmt: skip
def test_the_view_comes_from_the_tags(tags, view):
    assert decode(dicom(**tags), "a").view_position == view


def test_spacing_is_in_millimetres_and_only_where_it_makes_sense():
    assert decode(dicom(ImagerPixelSpacing=["0.14", "0.15"]), "a").pixel_spacing_mm == (0.14, 0.15)
    assert decode(dicom(PixelSpacing=["0", "0.15"]), "a").pixel_spacing_mm is None


def test_jpeg_2000_in_dicom_is_lossless_and_jpeg_is_read():
    frame = saved(GREY16, "JPEG2000", irreversible=False, no_jp2=True)
    radiograph = decode(dicom(syntax=JPEG2000Lossless, PixelData=encapsulate([frame])), "a")
    np.testing.assert_array_equal(radiograph.pixels, GREY16)
    frame = saved(GREY8, "JPEG", quality=95)
    radiograph = decode(dicom(GREY8, syntax=JPEGBaseline8Bit, PixelData=encapsulate([frame])), "a")
    assert np.abs(radiograph.pixels.astype(int) - GREY8).max() <= 6


def test_nothing_of_the_patient_is_kept_or_said():
    radiograph = decode(dicom(), "a")
    assert "Secret" not in repr(radiograph)
    assert "4711" not in repr(radiograph)
    for data in (dicom(pixels=None), dicom(PatientName="Secret")[:-100], dicom(Rows=9999), dicom(BitsAllocated=13)):
        with pytest.raises(InputRefused) as caught:
            decode(data, "a")
        assert "Secret" not in str(caught.value)


def test_dicom_that_is_no_single_grey_picture_is_refused():
    assert reason(dicom(pixels=None)) == "dicom_no_pixels"
    assert reason(dicom(np.stack([GREY16, GREY16]), frames=2)) == "dicom_multiframe"
    assert reason(dicom(PhotometricInterpretation="RGB", SamplesPerPixel=3)) == "dicom_not_grey"
    assert reason(b"\0" * 128 + b"DICM" + b"\xff" * 100).startswith("dicom_")


def test_dicom_that_promises_other_pixels_than_it_holds_is_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(FileDataset, "pixel_array", property(lambda self: pytest.fail("decoded")))
    assert reason(dicom(Rows=4000, Columns=4000)) == "dicom_size_mismatch"
    assert reason(dicom(Rows=60000, Columns=60000)) == "image_too_large"
    frame = saved(np.zeros((2000, 2000), np.uint16), "JPEG2000", no_jp2=True)
    lying = dicom(syntax=JPEG2000Lossless, PixelData=encapsulate([frame]))
    assert reason(lying) == "dicom_size_mismatch"
    frame = saved(np.zeros((2000, 2000), np.uint8), "JPEG")
    assert reason(dicom(GREY8, syntax=JPEGBaseline8Bit, PixelData=encapsulate([frame]))) == "dicom_size_mismatch"


def test_a_deflated_data_set_is_refused_before_it_is_inflated(monkeypatch):
    data = dicom(syntax=DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr(zlib, "decompress", lambda *_: pytest.fail("inflated"))
    assert reason(data) == "dicom_syntax_unsupported"


def test_any_damage_ends_in_an_image_or_a_refusal():
    generator = np.random.default_rng(0)
    frame = saved(GREY16, "JPEG2000", no_jp2=True)
    seeds = [
        saved(GREY8),
        saved(GREY16),
        saved(GREY8, "JPEG"),
        saved(Image.fromarray(GREY8).convert("P")),
        dicom(WindowCenter="100", WindowWidth="50", ViewPosition="PA"),
        dicom(syntax=JPEG2000Lossless, PixelData=encapsulate([frame])),
    ]
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in seeds:
            for _ in range(80):
                broken = bytearray(data)
                for at in generator.integers(0, min(len(broken), 1500), 3):
                    broken[at] = generator.integers(256)
                if generator.random() < 0.3:
                    broken = broken[: generator.integers(1, len(broken))]
                try:
                    decode(bytes(broken), "a")
                except InputRefused:
                    refused += 1
    assert refused > 200


def test_a_blanked_window_and_rescale_are_read_as_absent():
    blank = dicom(WindowCenter=None, WindowWidth=None, RescaleSlope=None, RescaleIntercept=None)
    found = decode(blank, "x")
    assert (found.window_low, found.window_high) == (None, None)
    np.testing.assert_array_equal(found.pixels, GREY16)
