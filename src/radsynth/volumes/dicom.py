"""A folder that holds one DICOM series of a head.

Headers are read with pydicom and weighed against the file before any pixel is decoded. Only what the geometry and the
pixels need is looked at: no name, number or date of a patient is read out.

References
----------
DICOM PS3.3 C.7.6.2 (image plane: position, orientation, spacing) and C.11.1 (modality LUT: rescale to HU).
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radsynth.errors import InputQuarantined, InputRefused
from radsynth.volumes.geometry import Volume, lps_affine
from radsynth.volumes.payload import check_size, check_spacing

MAX_FILES = 4096
MAX_FILE_BYTES = 1 << 27
SPACING_TOLERANCE = 0.02
TILT_TOLERANCE_DEG = 0.5
_TAGS = [
    "SOPClassUID", "Modality", "SeriesInstanceUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation", "PixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "PixelData",
]  # fmt: skip

_FRAME_MARKERS = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)


@dataclass(frozen=True)
class _Slice:
    path: Path
    series: str
    modality: str
    compressed: bool
    shape: tuple[int, int]
    spacing: tuple[float, float]
    position: np.ndarray
    directions: np.ndarray


def series_files(folder: Path) -> list[Path]:
    """The DICOM files directly in `folder`, in name order; hidden files and links are passed over.

    Raises
    ------
    InputRefused
        ``dicom_empty`` where there is none, ``dicom_too_many_files``.
    """
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_symlink() or not path.is_file() or path.name.upper() == "DICOMDIR":
            continue
        with open(path, "rb") as file:
            head = file.read(132)
        if head[128:] == b"DICM":
            found.append(path)
        elif path.suffix.lower() in (".dcm", ".dicom", ".ima"):
            raise InputRefused("dicom_header", "not a DICOM file", where=path)
        if len(found) > MAX_FILES:
            raise InputRefused(
                "dicom_too_many_files",
                "more files than a head series has",
                where=folder,
                expected=f"at most {MAX_FILES}",
            )
    if not found:
        raise InputRefused("dicom_empty", "no DICOM files in the folder", where=folder)
    return found


def read_series(folder: Path) -> Volume:
    """Read the one series in `folder`, sorted by where its slices lie, in HU for CT.

    Raises
    ------
    InputRefused
        ``dicom_empty``, ``dicom_too_many_files``, ``dicom_header``, ``dicom_no_pixels``, ``dicom_size_mismatch`` (Rows
        and Columns against the bytes), ``dicom_data_type``, ``dicom_pixels_unreadable``, ``dicom_too_large``.
    InputQuarantined
        ``dicom_mixed_series``, ``dicom_mixed_geometry``, ``dicom_modality``, ``dicom_multiframe``,
        ``dicom_no_geometry``, ``dicom_duplicate_slices``, ``dicom_spacing_not_uniform``, ``dicom_gantry_tilt``.
    """
    with warnings.catch_warnings():
        # pydicom warns of every odd value; what matters here is judged below
        warnings.simplefilter("ignore")
        return _read_series(folder)


def _read_series(folder: Path) -> Volume:
    slices = [_slice(path) for path in series_files(folder)]
    first = slices[0]
    series = len({(s.series, s.modality) for s in slices})
    if series > 1:
        raise InputQuarantined(
            "dicom_mixed_series",
            f"slices of {series} series in one folder",
            where=folder,
            next_step="one folder a series",
        )
    modality = first.modality
    if modality not in ("MR", "CT"):
        raise InputQuarantined("dicom_modality", "neither MR nor CT", where=folder, got=modality[:16])
    if any(
        s.shape != first.shape
        or not np.allclose(s.spacing, first.spacing, rtol=1e-3)
        or not np.allclose(s.directions, first.directions, atol=1e-3)
        for s in slices
    ):
        raise InputQuarantined("dicom_mixed_geometry", "slices of different size, spacing or direction", where=folder)

    row_direction, column_direction = first.directions
    normal = np.cross(row_direction, column_direction)
    slices.sort(key=lambda s: (float(normal @ s.position), s.path.name))
    check_size((first.shape[1], first.shape[0], len(slices)), "dicom", folder)
    step = _step(slices, normal, folder)

    affine = np.eye(4)
    affine[:3, 0] = row_direction * first.spacing[1]
    affine[:3, 1] = column_direction * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = slices[0].position
    check_spacing(np.linalg.norm(affine[:3, :3], axis=0), folder)
    planes = [_pixels(s) for s in slices]
    whole = all(np.issubdtype(plane.dtype, np.integer) for plane in planes)
    voxels = np.stack([plane.T for plane in planes], axis=-1)
    return Volume(voxels if whole else voxels.astype(np.float32), lps_affine(affine), modality, str(folder))


def _slice(path: Path) -> _Slice:
    import pydicom

    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputRefused(
            "dicom_too_large", "a file larger than a slice is", where=path, expected=f"{MAX_FILE_BYTES} bytes"
        )
    try:
        # before the data set is touched: a deflated one is inflated whole, whatever its size
        syntax = pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
        if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
            raise InputRefused("dicom_transfer_syntax", "a deflated data set is not read", where=path)
        header = pydicom.dcmread(path, specific_tags=_TAGS, defer_size=4096)
        if "PixelData" not in header:
            raise InputRefused("dicom_no_pixels", "a DICOM file without an image", where=path)
        rows, columns = int(header.Rows), int(header.Columns)
        frames, samples = int(header.get("NumberOfFrames", 1) or 1), int(header.get("SamplesPerPixel", 1))
        bits = int(header.BitsAllocated)
        compressed = syntax.is_compressed
        length = header.get_item("PixelData", keep_deferred=True).length if not compressed else 0
        coded = _coded_shape(path, syntax) if compressed else (rows, columns)
        photometric = str(header.get("PhotometricInterpretation", ""))
        series, modality = str(header.get("SeriesInstanceUID", "")), str(header.get("Modality", ""))
    except InputRefused:
        raise
    except Exception as error:
        # pydicom and the values it converts late raise many kinds; for a file from outside all mean the same
        raise InputRefused("dicom_header", f"unreadable header ({type(error).__name__})", where=path) from None
    if bits not in (8, 16, 32) or samples != 1 or not photometric.startswith("MONOCHROME"):
        raise InputRefused("dicom_data_type", "not a grey-scale image of 8, 16 or 32 bits", where=path)
    if not (1 <= rows <= 4096 and 1 <= columns <= 4096):
        raise InputRefused("dicom_too_large", "rows or columns that no scan has", where=path, got=f"{rows} x {columns}")
    if frames != 1:
        raise InputQuarantined(
            "dicom_multiframe", "several frames in one file", where=path, got=frames, expected="one file a slice"
        )
    expected = rows * columns * bits // 8
    if not compressed and length not in (expected, expected + expected % 2):
        raise InputRefused(
            "dicom_size_mismatch",
            "rows and columns do not fit its pixels",
            where=path,
            got=f"{length} bytes",
            expected=f"{expected}",
        )
    if coded != (rows, columns) or (compressed and expected > 1000 * path.stat().st_size):
        raise InputRefused(
            "dicom_size_mismatch", "rows and columns do not fit its pixels", where=path, got=f"{rows} x {columns}"
        )
    try:
        position = np.array([float(v) for v in header.ImagePositionPatient])
        directions = np.array([float(v) for v in header.ImageOrientationPatient]).reshape(2, 3)
        spacing = (float(header.PixelSpacing[0]), float(header.PixelSpacing[1]))
    except Exception:
        raise InputQuarantined("dicom_no_geometry", "no position, orientation or spacing", where=path) from None
    if position.shape != (3,) or not (
        np.isfinite(position).all() and np.isfinite(directions).all() and np.isfinite(spacing).all()
    ):
        raise InputRefused("dicom_header", "its geometry holds NaN or infinity", where=path)
    if min(spacing) <= 0 or not np.allclose(directions @ directions.T, np.eye(2), atol=1e-2):
        raise InputRefused("dicom_header", "its spacing or directions are no geometry", where=path)
    return _Slice(path, series, modality, compressed, (rows, columns), spacing, position, directions)


def _coded_shape(path: Path, syntax: Any) -> tuple[int, int] | None:
    """Rows and columns that a JPEG or JPEG 2000 stream itself states: what its decoder will allocate.

    References
    ----------
    ITU-T T.81 B.2.2 (frame header), T.87 C.2.2 (JPEG-LS), T.800 A.5.1 (SIZ).
    """
    import pydicom

    if syntax == pydicom.uid.RLELossless:
        header = pydicom.dcmread(path, specific_tags=["Rows", "Columns"], stop_before_pixels=True)
        return int(header.Rows), int(header.Columns)
    data = bytes(pydicom.dcmread(path, specific_tags=["PixelData"]).PixelData)
    start = data.find(b"\xff\x4f\xff\x51")
    if start >= 0:
        right, bottom, left, top = struct.unpack(">4I", data[start + 8 : start + 24])
        return bottom - top, right - left
    at = data.find(b"\xff\xd8\xff") + 2
    while 2 <= at < len(data) - 9 and data[at] == 0xFF:
        if data[at + 1] in _FRAME_MARKERS:
            return struct.unpack(">2H", data[at + 5 : at + 9])
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


def _step(slices: list[_Slice], normal: np.ndarray, folder: Path) -> np.ndarray:
    """The vector from one slice to the next, LPS mm, where it is the same all the way and along the normal."""
    steps = np.diff([s.position for s in slices], axis=0)
    along = steps @ normal
    if along.min() < 1e-3:
        raise InputQuarantined("dicom_duplicate_slices", "several slices at one place", where=folder)
    mean = steps.mean(axis=0)
    if np.abs(along - along.mean()).max() > max(SPACING_TOLERANCE * along.mean(), 0.01):
        raise InputQuarantined(
            "dicom_spacing_not_uniform",
            "slices are not equally spaced",
            where=folder,
            got=f"{along.min():.2f} to {along.max():.2f} mm",
        )
    tilt = np.degrees(np.arccos(np.clip(mean @ normal / np.linalg.norm(mean), -1, 1)))
    if tilt > TILT_TOLERANCE_DEG:
        raise InputQuarantined(
            "dicom_gantry_tilt",
            "slices are sheared by a tilted gantry",
            where=folder,
            got=f"{tilt:.1f} degrees",
            next_step="correct the tilt first",
        )
    # the mean of positions a tenth of a voxel off the normal would tilt the grid by rounding alone
    return normal * along.mean()


def _pixels(image: _Slice) -> np.ndarray:
    """One slice (rows, columns), rescaled; int16 or int32 where the rescale is whole, else float32."""
    try:
        if image.compressed:
            stored = _decompressed(image.path)
        else:
            import pydicom

            dataset = pydicom.dcmread(image.path, specific_tags=_TAGS)
            stored = dataset.pixel_array
            slope = float(dataset.get("RescaleSlope", 1) or 1)
            intercept = float(dataset.get("RescaleIntercept", 0) or 0)
            if slope == int(slope) and intercept == int(intercept) and stored.dtype.itemsize < 4:
                stored = stored.astype(np.int32) * int(slope) + int(intercept)
            else:
                stored = (stored * slope + intercept).astype(np.float32)
    except Exception as error:
        raise InputRefused(
            "dicom_pixels_unreadable", f"its pixels cannot be decoded ({type(error).__name__})", where=image.path
        ) from None
    if stored.shape != image.shape:
        raise InputRefused(
            "dicom_size_mismatch",
            "rows and columns do not fit its pixels",
            where=image.path,
            got=stored.shape,
            expected=image.shape,
        )
    if np.issubdtype(stored.dtype, np.integer) and stored.min() >= -32768 and stored.max() <= 32767:
        return stored.astype(np.int16)
    return stored


def _decompressed(path: Path) -> np.ndarray:
    """Pixels of a compressed slice through GDCM, which rescales on its own."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return sitk.GetArrayFromImage(reader.Execute())[0]
