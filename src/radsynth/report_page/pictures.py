"""Pictures inside the page: reduced, compressed, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radsynth.errors import RadsynthError

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

LIMIT_BYTES = 17_000_000
"""All pictures of a page together; Base64 makes them a third larger, and a page is to stay below 25 MB."""
STEPS = ((1280, 80), (960, 70), (720, 60), (480, 50))
"""Greatest width in pixels and quality, from the best; the first under which all pictures fit is used."""


@dataclass(frozen=True)
class Embedded:
    """A picture as the page holds it, with its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Album:
    """Every picture of a page by its path, and how far they were reduced."""

    pictures: dict[Path, Embedded]
    width: int
    quality: int


def embed_all(paths: Iterable[Path], limit: int = LIMIT_BYTES) -> Album:
    """Compress every picture as WebP, so far that together they stay below `limit` bytes where that is possible.

    Raises
    ------
    RadsynthError
        Where a file is no picture.
    """
    paths = list(dict.fromkeys(paths))
    for width, quality in STEPS:
        found, size = {}, 0
        for path in paths:
            picture, data = _compress(path, width, quality)
            size += len(data)
            if size > limit and (width, quality) != STEPS[-1]:
                break
            found[path] = picture
        else:
            return Album(found, width, quality)
    raise AssertionError("the last step takes any size")


def first_rows(path: Path, rows: int, out: Path) -> Path:
    """Cut the first rows of a grid of pictures: down to the gap, white from side to side, after row number `rows`.

    Returns
    -------
    Path
        `out`, written as PNG; `path` itself where the picture has no such gap.
    """
    with _open(path) as image:
        flat = _on_white(image)
    ink = (np.asarray(flat.convert("L")) < 250).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ink, [False]]).astype(np.int8)))
    bands = [(start, end) for start, end in edges.reshape(-1, 2) if end - start >= flat.height / 40]
    if len(bands) <= rows:
        return path
    flat.crop((0, 0, flat.width, int(bands[rows - 1][1] + bands[rows][0]) // 2)).save(out, "PNG")
    return out


def reduced(path: Path, width: int) -> Image.Image:
    """A picture file as RGB on white, at most `width` pixels wide.

    Raises
    ------
    RadsynthError
        Where the file is no picture.
    """
    from PIL import Image

    with _open(path) as image:
        flat = _on_white(image)
    if flat.width <= width:
        return flat
    return flat.resize((width, max(1, round(flat.height * width / flat.width))), Image.Resampling.LANCZOS)


def _compress(path: Path, width: int, quality: int) -> tuple[Embedded, bytes]:
    flat = reduced(path, width)
    packed = io.BytesIO()
    flat.save(packed, "WEBP", quality=quality, method=2)
    data = packed.getvalue()
    uri = f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}"
    return Embedded(uri, flat.width, flat.height), data


def _open(path: Path) -> ImageFile:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path)
    except UnidentifiedImageError:
        raise RadsynthError("not a picture", where=path, next_step="run the stage that draws it again") from None


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode in ("RGBA", "LA", "P"):
        image = image.convert("RGBA")
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A"))
        return flat
    return image.convert("RGB")
