"""A decoded radiograph, and the bounds that every file must keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radsynth.errors import InputQuarantined, InputRefused

DRAWN_BY = "radsynth "
"""How the ``Software`` of a PNG begins that radsynth drew: its grey values are absolute, 0..65535 is -1..1."""

MAX_PIXELS = 40_000_000
"""Largest picture that is decoded; the largest chest detectors have 20 million pixels."""

MIN_SIDE = 32
"""Shortest side in pixels below which a picture cannot be a radiograph."""

MAX_FILE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Radiograph:
    """One projection image as it was stored, without anything that tells whose it is.

    Attributes
    ----------
    pixels
        uint8, uint16 or float32 (rows, columns); bright is dense, whatever the photometric interpretation was.
    bits_stored
        Bits of a stored value that carry data.
    photometric_interpretation
        As the file has it: ``MONOCHROME1``, ``MONOCHROME2``, ``PALETTE COLOR`` or ``RGB``.
    view_position
        ``frontal``, ``lateral``, or ``unknown`` where the file does not say.
    file_format
        ``PNG``, ``JPEG`` or ``DICOM``.
    window_low, window_high
        The range of `pixels` that the file wants shown, in the units of `pixels`; None where it does not say.
    pixel_spacing_mm
        (row, column) spacing, mm; None where unknown.
    """

    pixels: np.ndarray
    bits_stored: int
    photometric_interpretation: str
    view_position: str
    file_format: str
    window_low: float | None = None
    window_high: float | None = None
    pixel_spacing_mm: tuple[float, float] | None = None


def require_size(rows: int, columns: int, name: str) -> None:
    """Refuse a picture that is too large to decode or too small to show a chest, before a pixel is read.

    Raises
    ------
    InputRefused
        ``image_too_large``.
    InputQuarantined
        ``image_too_small``.
    """
    if rows * columns > MAX_PIXELS:
        raise InputRefused(
            "image_too_large",
            "too many pixels",
            where=name,
            got=f"{rows} x {columns}",
            expected=f"at most {MAX_PIXELS}",
        )
    if min(rows, columns) < MIN_SIDE:
        raise InputQuarantined(
            "image_too_small", "too few pixels", where=name, got=f"{rows} x {columns}", expected=f"sides >= {MIN_SIDE}"
        )


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Rows and columns of the first frame header of a JPEG stream (ITU-T T.81, B.2.2); None without one."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if at + 9 > len(data):
                return None
            return int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
        if marker in (0xD9, 0xDA):
            return None
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
