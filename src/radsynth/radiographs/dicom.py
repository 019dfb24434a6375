"""Reading a radiograph from DICOM. Of the header only what describes the pixels is looked at; no patient tag is."""

from __future__ import annotations

import io
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from radsynth.errors import InputQuarantined, InputRefused
from radsynth.radiographs.radiograph import Radiograph, jpeg_size, require_size

if TYPE_CHECKING:
    from pydicom import Dataset

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_MAX_TILES = 4096
"""A JPEG 2000 decoder allocates for each tile before it reads one."""

_FRONTAL, _LATERAL = ("PA", "AP"), ("LL", "RL", "LATERAL", "LAT")

_TAGS = [
    "SOPClassUID", "TransferSyntaxUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence",
    "VOILUTFunction", "WindowCenter", "WindowWidth", "ViewPosition", "PatientOrientation", "PixelSpacing",
    "ImagerPixelSpacing", "PixelData", "FloatPixelData", "DoubleFloatPixelData",
]  # fmt: skip


def decode_dicom(data: bytes, name: str) -> Radiograph:
    """Decode a single-frame grey DICOM image.

    Stored values go through the modality LUT or rescale slope and intercept, then the first VOI LUT; a linear window
    is handed on as `window_low` and `window_high` and not applied. ``MONOCHROME1`` is turned round inside that window,
    so that bright is dense.

    Raises
    ------
    InputRefused
        ``dicom_unreadable``, ``dicom_syntax_unsupported``, ``dicom_no_pixels``, ``dicom_multiframe``,
        ``dicom_not_grey``, ``dicom_size_mismatch`` (the header promises other pixels than the file holds),
        ``image_too_large``.
    InputQuarantined
        ``image_too_small``, ``image_nonfinite``.

    References
    ----------
    DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (modality LUT), C.11.2 (VOI LUT), C.8.11.3.1.2 (MONOCHROME1).
    """
    try:
        return _decode(data, name)
    except InputRefused:
        raise
    except Exception as error:  # pydicom raises nine kinds of exception on bad files, and quotes tags in their text
        raise InputRefused(
            "dicom_unreadable", "the DICOM file cannot be decoded", where=name, got=type(error).__name__
        ) from None


def _decode(data: bytes, name: str) -> Radiograph:
    import pydicom

    syntax = _transfer_syntax(data, name)
    dataset = pydicom.dcmread(io.BytesIO(data), specific_tags=_TAGS)
    for keyword in ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"):
        if keyword in dataset and dataset[keyword].VM == 0:  # blanked, as some de-identification does: as if absent
            del dataset[keyword]
    _require_grey_frame(dataset, syntax, name)
    stored = dataset.pixel_array
    if stored.ndim != 2:
        raise InputRefused("dicom_not_grey", "not one grey picture", where=name, got=f"an array of {stored.shape}")
    pixels, low, high = _to_shown_values(dataset, stored, name)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        around = (low, high) if low is not None and high is not None else (float(pixels.min()), float(pixels.max()))
        pixels = (np.float32(around[0] + around[1]) - pixels).astype(np.float32)
    padding = _padding(dataset, stored)
    if padding is not None and not padding.all():
        pixels = np.where(padding, pixels[~padding].min(), pixels)
    return Radiograph(
        pixels=pixels,
        bits_stored=int(dataset.BitsStored),
        photometric_interpretation=str(dataset.PhotometricInterpretation),
        view_position=_view_position(dataset),
        file_format="DICOM",
        window_low=low,
        window_high=high,
        pixel_spacing_mm=_pixel_spacing_mm(dataset),
    )


def _transfer_syntax(data: bytes, name: str) -> str:
    """The transfer syntax from the file's own header, read before anything else: a deflated data set can be a bomb."""
    from pydicom.filereader import read_dataset

    header = io.BytesIO(data)
    header.seek(132)
    meta = read_dataset(header, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if syntax not in (*_NATIVE, *_JPEG, *_JPEG_2000):
        raise InputRefused(
            "dicom_syntax_unsupported",
            "a transfer syntax that is not read here",
            where=name,
            got=syntax or "none",
            expected="uncompressed, JPEG or JPEG 2000",
            next_step="write it uncompressed first",
        )
    return syntax


def _require_grey_frame(dataset: Dataset, syntax: str, name: str) -> None:
    if "PixelData" not in dataset or not dataset.PixelData or not dataset.get("Rows") or not dataset.get("Columns"):
        raise InputRefused("dicom_no_pixels", "the DICOM object holds no picture", where=name)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise InputRefused("dicom_multiframe", "more than one frame", where=name, got=frames, expected=1)
    interpretation = str(dataset.get("PhotometricInterpretation", ""))
    if int(dataset.get("SamplesPerPixel", 1)) != 1 or interpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputRefused(
            "dicom_not_grey", "not a grey picture", where=name, got=interpretation or "no interpretation"
        )
    rows, columns, bits = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    require_size(rows, columns, name)
    held = len(dataset.PixelData)
    if syntax in _NATIVE:
        promised = math.ceil(rows * columns * bits / 8)
        if held < promised:
            raise InputRefused(
                "dicom_size_mismatch", "fewer pixels than promised", where=name, got=held, expected=f"{promised} bytes"
            )
        return
    size = _codestream_size(dataset.PixelData, syntax)
    if size != (rows, columns):
        raise InputRefused(
            "dicom_size_mismatch", "the compressed picture has another size than the header says", where=name,
            got=f"{size[0]} x {size[1]}", expected=f"{rows} x {columns}",
        )  # fmt: skip


def _codestream_size(encapsulated: bytes, syntax: str) -> tuple[int, int]:
    """Rows and columns that the compressed stream itself will make a decoder allocate."""
    from pydicom.encaps import get_frame

    stream = get_frame(encapsulated, 0, number_of_frames=1)
    if syntax in _JPEG:
        size = jpeg_size(stream)
        if size is None:
            raise ValueError("no JPEG frame header")
        return size
    at = stream.find(b"\xff\x4f\xff\x51")  # SOC, SIZ: ISO/IEC 15444-1 A.5.1
    if at < 0 or len(stream) < at + 42:
        raise ValueError("no JPEG 2000 size")
    right, lower, left, upper, width, height, tiles_left, tiles_upper = struct.unpack_from(">8I", stream, at + 8)
    tiles = math.ceil((right - tiles_left) / width) * math.ceil((lower - tiles_upper) / height)
    if not 0 < tiles <= _MAX_TILES or struct.unpack_from(">H", stream, at + 40) != (1,):
        raise ValueError("too many JPEG 2000 tiles or components")
    return lower - upper, right - left


def _to_shown_values(dataset: Dataset, stored: np.ndarray, name: str) -> tuple[np.ndarray, float | None, float | None]:
    """Pixels after the modality and VOI transformations, and the window where there is one."""
    from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing

    pixels = apply_modality_lut(stored, dataset)
    low = high = None
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        pixels, low, high = apply_voi(pixels, dataset, index=0), 0.0, float(2**bits - 1)
    elif "WindowCenter" in dataset and "WindowWidth" in dataset:
        center, width = _first(dataset.WindowCenter), _first(dataset.WindowWidth)
        function = str(dataset.get("VOILUTFunction", "LINEAR")) or "LINEAR"
        if function == "SIGMOID" and width > 0:
            pixels = apply_windowing(pixels, dataset, index=0)
        elif function == "LINEAR_EXACT" and width > 0:
            low, high = center - width / 2, center + width / 2
        elif width > 1:
            low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    if pixels.dtype not in (np.uint8, np.uint16):
        pixels = pixels.astype(np.float32)
    if low is not None and high is not None and not (high > low and math.isfinite(high - low)):
        raise InputQuarantined("image_nonfinite", "the display window is not a range", where=name)
    return pixels, low, high


def _padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Where the picture was filled up outside the exposed field (PS3.3 C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (stored >= low) & (stored <= high)


def _view_position(dataset: Dataset) -> str:
    """The projection, from View Position or else from the anatomical direction of the rows."""
    view = str(dataset.get("ViewPosition") or "").strip().upper()
    if view in _FRONTAL:
        return "frontal"
    if view in _LATERAL:
        return "lateral"
    along_rows = str(_first(dataset.get("PatientOrientation") or "")).strip().upper()
    if not view and along_rows[:1] in ("L", "R"):
        return "frontal"
    if not view and along_rows[:1] in ("A", "P"):
        return "lateral"
    return "unknown"


def _pixel_spacing_mm(dataset: Dataset) -> tuple[float, float] | None:
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    if not spacing or len(spacing) != 2 or not all(0 < float(s) < 10 for s in spacing):
        return None
    return float(spacing[0]), float(spacing[1])


def _first(value: Any) -> Any:
    """The first of a multi-valued element, or the value itself."""
    from pydicom.multival import MultiValue

    return value[0] if isinstance(value, MultiValue) and len(value) else value
