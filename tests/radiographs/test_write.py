"""A synthetic X-ray is written with all its grey values, says that it is synthetic, and reads back as it was."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from PIL import Image

from radsynth.radiographs.decode import decode
from radsynth.radiographs.prepare import prepare
from radsynth.radiographs.write import png_bytes, stored_values, write_xray_dicom

PICTURE = np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64)


def test_stored_values_use_the_whole_range():
    stored = stored_values(np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))
    assert stored.dtype == np.uint16
    assert stored.tolist() == [0, 0, 32768, 65535, 65535]


def test_a_png_has_16_bits_and_its_texts(tmp_path):
    data = png_bytes(stored_values(PICTURE), {"Description": "synthetic", "Software": "report-to-xray v3"})
    assert Image.open(io.BytesIO(data)).text == {"Description": "synthetic", "Software": "report-to-xray v3"}
    np.testing.assert_array_equal(decode(data, "x").pixels, stored_values(PICTURE))


def test_a_drawn_png_reads_back_with_its_grey_values():
    dark = stored_values(PICTURE / 4 - 0.5)
    own, other = (png_bytes(dark, {"Software": f"{name} v3"}) for name in ("radsynth report-to-xray", "scanner"))
    np.testing.assert_allclose(prepare(decode(own, "x"), 64)[0], dark, atol=1)
    assert np.ptp(prepare(decode(other, "x"), 64)[0]) == 65535


@pytest.fixture
def dicom(tmp_path):
    path = tmp_path / "x.dcm"
    write_xray_dicom(stored_values(PICTURE), path, view="frontal", software="report-to-xray v3", source="s", key="k")
    return path


def test_a_dicom_reads_back_as_the_pipeline_reads_it(dicom):
    radiograph = decode(dicom.read_bytes(), "x")
    np.testing.assert_array_equal(radiograph.pixels, stored_values(PICTURE))
    assert (radiograph.view_position, radiograph.bits_stored) == ("frontal", 16)
    np.testing.assert_allclose(prepare(radiograph, 64)[0], stored_values(PICTURE), atol=1)


def test_a_dicom_says_that_it_is_synthetic(dicom):
    file = pydicom.dcmread(dicom)
    assert list(file.ImageType) == ["DERIVED", "SECONDARY"]
    assert (file.SyntheticData, file.ConversionType) == ("YES", "SYN")
    assert "research only" in file.ImageComments


def test_simpleitk_reads_the_same_grey_values(dicom):
    import SimpleITK as sitk

    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(dicom)))[0], stored_values(PICTURE))


def test_a_lateral_view_states_no_direction(tmp_path):
    write_xray_dicom(stored_values(PICTURE), tmp_path / "x", view="lateral", software="m", source="s", key="k")
    assert decode((tmp_path / "x").read_bytes(), "x").view_position == "unknown"


def test_dciodvfy_finds_no_error(dicom, dicom_errors):
    assert dicom_errors(dicom) == []
