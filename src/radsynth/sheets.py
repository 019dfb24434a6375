"""Sheets of pictures and words laid out in pixels: nothing has to be measured or moved to find its place.

A plotting library takes half a second for two dozen pictures, nearly all of it for axes that are then hidden.
"""

from __future__ import annotations

import functools
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from radsynth.files import atomic_path

CELL = 256
"""Longer side of every picture on a sheet, pixels."""
GAP = 8
"""Between two pictures, pixels."""
LESION = (0, 255, 0)
"""Colour of an outline."""


class Sheet:
    """A white page, its origin at the top left.

    Parameters
    ----------
    width, height
        Pixels.
    font
        A TrueType file.
    """

    def __init__(self, width: int, height: int, font: str | Path) -> None:
        self.page = Image.new("RGB", (width, height), "white")
        self.pen = ImageDraw.Draw(self.page)
        self.font = str(font)

    def picture(self, left: int, top: int, colours: np.ndarray) -> None:
        """Put colours (h, w, 3) uint8 at a place."""
        self.page.paste(Image.fromarray(np.ascontiguousarray(colours)), (left, top))

    def words(self, left: float, top: float, text: str, size: int = 13, anchor: str = "la") -> None:
        """Write text of one or several lines; `anchor` as Pillow has it, of the whole block."""
        across, down = anchor
        align = {"l": "left", "m": "center", "r": "right"}[across]
        lines = text.split("\n")
        height = round(1.25 * size)
        first = top - {"a": 0, "m": height * len(lines) / 2, "d": height * len(lines)}[down]
        for k, line in enumerate(lines):
            place = (left, first + k * height)
            self.pen.text(place, line, fill="black", font=_font(self.font, size), anchor=f"{across}a", align=align)

    def save(self, path: str | Path) -> None:
        """Write a PNG; equal sheets are equal bytes."""
        with atomic_path(path) as temporary:
            # Level 1 takes a third of the time of the usual level 6, for files a fifth larger.
            self.page.save(temporary, format="PNG", compress_level=1)


@functools.cache
def _font(path: str, size: int) -> Any:
    return ImageFont.truetype(path, size)


def wrapped(text: str, characters: int, most: int) -> str:
    """The text in lines of so many characters, cut after `most`."""
    return textwrap.fill(textwrap.shorten(text, most, placeholder=" ..."), characters)


def sized(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Values (h, w) or (h, w, 3) uint8 at another size: enlarged as squares, reduced as means."""
    rows, columns = max(rows, 1), max(columns, 1)
    if values.shape[:2] == (rows, columns):
        return values
    reduced = rows * columns < values.shape[0] * values.shape[1]
    how = Image.Resampling.BOX if reduced else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.ascontiguousarray(values)).resize((columns, rows), how))


def fitted(values: np.ndarray, cell: int = CELL) -> np.ndarray:
    """`sized` so that the longer side is `cell` pixels, the shape kept."""
    scale = cell / max(values.shape[:2])
    return sized(values, round(values.shape[0] * scale), round(values.shape[1] * scale))


def grey(picture: np.ndarray) -> np.ndarray:
    """(h, w) in -1..1 -> uint8 (h, w, 3)."""
    shade = np.round(127.5 * (np.clip(picture, -1, 1) + 1)).astype(np.uint8)
    return np.repeat(shade[..., None], 3, -1)


def outlined(colours: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Colours (h, w, 3) uint8 with the inner edge of a mask (h, w) bool drawn in `LESION`."""
    if mask is None or not mask.any():
        return colours
    from scipy.ndimage import binary_erosion

    drawn = colours.copy()
    drawn[mask & ~binary_erosion(mask, np.ones((3, 3), bool))] = LESION
    return drawn
