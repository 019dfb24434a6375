"""Turning the bytes of a PNG, JPEG or DICOM file into a radiograph, or refusing them with a reason."""

from __future__ import annotations

import io
import zlib

import numpy as np

from radsynth.errors import InputQuarantined, InputRefused
from radsynth.radiographs.radiograph import DRAWN_BY, MAX_FILE_BYTES, Radiograph, jpeg_size, require_size

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_MAX_SCANS = 100
"""A progressive JPEG decodes its whole picture once a scan; thousands of scans are an attack."""

_OWN_TEXT = b"tEXtSoftware\0" + DRAWN_BY.encode()
_TEXTS_END = 4096
"""Text chunks are looked for in as many first bytes."""

_PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"IEND", b"gAMA", b"pHYs", b"tEXt", b"tIME", b"sBIT", b"bKGD", b"cHRM", b"sRGB"}


def decode(data: bytes, name: str) -> Radiograph:
    """Decode one radiograph. The kind of file is known from its content, never from its name.

    Parameters
    ----------
    data
        The whole file.
    name
        What to call it in messages.

    Returns
    -------
    Radiograph
        PNG of 8 or 16 bits (1-bit, palette and colour become grey), JPEG, or single-frame grey DICOM.

    Raises
    ------
    InputRefused
        ``image_empty``, ``image_unknown_format``, ``image_too_large``, ``image_truncated``, ``image_unreadable``, or
        one of `radsynth.radiographs.dicom.decode_dicom`.
    InputQuarantined
        ``image_too_small``, ``image_constant``, ``image_nonfinite``.
    """
    if not data:
        raise InputRefused("image_empty", "the file is empty", where=name)
    if len(data) > MAX_FILE_BYTES:
        raise InputRefused("image_too_large", "the file is too large", where=name, got=f"{len(data)} bytes")
    if data.startswith(_PNG):
        radiograph = _decode_png(data, name)
    elif data.startswith(_JPEG):
        radiograph = _decode_jpeg(data, name)
    elif data[128:132] == b"DICM":
        from radsynth.radiographs.dicom import decode_dicom

        radiograph = decode_dicom(data, name)
    else:
        raise InputRefused(
            "image_unknown_format", "not an image that is read here", where=name, expected="PNG, JPEG or DICOM"
        )
    low, high = float(radiograph.pixels.min()), float(radiograph.pixels.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise InputQuarantined("image_nonfinite", "pixels that are not finite numbers", where=name)
    if low == high:
        raise InputQuarantined("image_constant", f"every pixel has the value {low:g}", where=name)
    return radiograph


def _decode_png(data: bytes, name: str) -> Radiograph:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise InputRefused("image_truncated", "the PNG ends in its header", where=name, got=f"{len(data)} bytes")
    columns, rows = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    require_size(rows, columns, name)
    pixels = _decode_grey_png(data)
    if pixels is None:
        return _decode_with_pillow(data, name, "PNG")
    bits = 8 * pixels.itemsize
    window = (0.0, 65535.0) if bits == 16 and _OWN_TEXT in data[:_TEXTS_END] else (None, None)
    return Radiograph(pixels, bits, "MONOCHROME2", "unknown", "PNG", *window)


def _decode_grey_png(data: bytes) -> np.ndarray | None:
    """Pixels of an ordinary grey PNG of 8 or 16 bits, in half of Pillow's time; None where Pillow must judge it.

    The chunks are walked first: what is cut short, damaged or unusual is named by Pillow.
    """
    if data[24] not in (8, 16) or data[25] != 0:
        return None
    at, kind = 8, b""
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        kind = data[at + 4 : at + 8]
        checksum = zlib.crc32(memoryview(data)[at + 4 : end])
        if kind not in _PLAIN_CHUNKS or checksum.to_bytes(4) != data[end : end + 4]:
            return None
        at = end + 4
    if kind != b"IEND" or at != len(data):
        return None
    from kornia_rs import io as images

    shape = (int.from_bytes(data[20:24]), int.from_bytes(data[16:20]))
    read = images.decode_image_png_u8 if data[24] == 8 else images.decode_image_png_u16
    try:
        return read(data, shape, "mono")[..., 0]
    except Exception:  # it raises nothing more special
        return None


def _decode_jpeg(data: bytes, name: str) -> Radiograph:
    size = jpeg_size(data)
    if size is None:
        raise InputRefused("image_truncated", "the JPEG has no frame header", where=name, got=f"{len(data)} bytes")
    require_size(*size, name)
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise InputRefused("image_too_large", "the JPEG has too many scans", where=name, expected=f"<= {_MAX_SCANS}")
    return _decode_with_pillow(data, name, "JPEG")


def _decode_with_pillow(data: bytes, name: str, file_format: str) -> Radiograph:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=[file_format]) as image:
            columns, rows = image.size
            require_size(rows, columns, name)
            image.load()
            if image.mode.startswith("I"):
                pixels, bits = np.asarray(image).astype(np.uint16), 16
            else:
                pixels, bits = np.asarray(image.convert("L")), 1 if image.mode == "1" else 8
            mode = image.mode
    except InputRefused:
        raise
    except Exception as error:  # Pillow raises SyntaxError, IndexError, ValueError, OSError and more on a bad file
        truncated = "truncated" in str(error).lower()
        raise InputRefused(
            "image_truncated" if truncated else "image_unreadable",
            f"the {file_format} {'is cut short' if truncated else 'cannot be decoded'}",
            where=name,
            got=type(error).__name__,
        ) from None
    interpretation = {"P": "PALETTE COLOR", "PA": "PALETTE COLOR"}.get(mode, "MONOCHROME2")
    if mode in ("RGB", "RGBA", "CMYK", "YCbCr"):
        interpretation = "RGB"
    return Radiograph(pixels, bits, interpretation, "unknown", file_format)
