"""From radiographs of any size to one packed array: square, anti-aliased, normalised, 16 bits."""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from radsynth.errors import InputQuarantined, InputRefused
from radsynth.files import atomic_path
from radsynth.processes import fresh_processes
from radsynth.progress import track
from radsynth.radiographs.decode import decode
from radsynth.radiographs.radiograph import MAX_FILE_BYTES, Radiograph
from radsynth.radiographs.resample import resize
from radsynth.radiographs.view import estimate_view
from radsynth.schemas import QUARANTINE, XRAYS

if TYPE_CHECKING:
    import pandas as pd

PERCENTILES = (0.5, 99.5)
"""Of the resized picture: become black and white where the file names no window."""

MANY = 400
"""Images that are worth starting processes for: a second."""
TOGETHER, PART_BYTES = 8, 4 << 20
"""Images, and their bytes, that a process is sent at a time."""

Item, Result = TypeVar("Item"), TypeVar("Result")


class Geometry(NamedTuple):
    """Where a picture lies inside its square, pixels, and the stored values that became 0 and 65535."""

    content_top: int
    content_left: int
    content_rows: int
    content_columns: int
    window_low: float
    window_high: float


def prepare(radiograph: Radiograph, size: int, name: str = "image") -> tuple[np.ndarray, Geometry]:
    """Resize a radiograph into a square and normalise it.

    The longer side becomes `size`, the picture is centred, and the rest is 0. Intensity is linear between the window
    that the file names, else between the 0.5th and 99.5th percentiles of the resized picture, and clipped there. An
    8-bit picture that uses its whole range has these percentiles near 0 and 255 and hardly changes; one exported with
    little contrast is stretched like every other.

    Parameters
    ----------
    radiograph
        As `radsynth.radiographs.decode.decode` returns it.
    size
        Side of the square, pixels.
    name
        What to call it in messages.

    Returns
    -------
    tuple
        uint16 (size, size), 0..65535, bright is dense; and its `Geometry`.

    Raises
    ------
    InputQuarantined
        ``image_constant``, where nothing but single pixels differ from one value.
    """
    rows, columns = radiograph.pixels.shape
    scale = size / max(rows, columns)
    content_rows, content_columns = max(1, round(rows * scale)), max(1, round(columns * scale))
    content = resize(radiograph.pixels, content_rows, content_columns)
    low, high = _window(radiograph, content, name)
    top, left = (size - content_rows) // 2, (size - content_columns) // 2
    content -= np.float32(low)
    content *= np.float32(65535 / (high - low))
    np.clip(content, 0, 65535, out=content)
    content += np.float32(0.5)  # so that the cast, which cuts, rounds
    square = np.zeros((size, size), np.uint16)
    square[top : top + content_rows, left : left + content_columns] = content
    return square, Geometry(top, left, content_rows, content_columns, low, high)


def prepare_all(
    items: Iterable[tuple[str, bytes]],
    image_ids: Sequence[str],
    pixels_path: str | Path,
    size: int,
    *,
    view_hints: Mapping[str, str] | None = None,
    workers: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decode and prepare a stream of image files into one ``.npy``, without ever holding more than a few of them.

    Parameters
    ----------
    items
        (image_id, file content), in any order; ids that are not in `image_ids` are passed over.
    image_ids
        Unique ids, in the order that the rows shall have.
    pixels_path
        Where the array goes: uint16 (N, size, size), a row for each image that was not refused.
    size
        Side of the square, pixels.
    view_hints
        ``frontal`` or ``lateral`` by image_id, where the source says so; a file's own View Position goes first, and
        `estimate_view` speaks last.
    workers
        Processes where there are `MANY` images or more, else threads; every core by default.

    Returns
    -------
    tuple of pd.DataFrame
        The XRAYS and the QUARANTINE table. Neither they nor the array depend on `workers` or on the order of `items`.
    """
    import pandas as pd

    position = {image_id: n for n, image_id in enumerate(image_ids)}
    hints = view_hints or {}
    rows: dict[int, dict[str, Any]] = {}
    refused: dict[int, dict[str, Any]] = {}
    wanted = ((image_id, data, hints.get(image_id, "unknown")) for image_id, data in items if image_id in position)
    work = functools.partial(_prepare_item, size=size)
    workers = workers or os.cpu_count() or 1
    with atomic_path(pixels_path) as temporary, _alone():
        pixels = _open_array(temporary, len(image_ids), size)
        done = _map_bounded(work, wanted, workers, apart=workers > 1 and len(image_ids) >= MANY)
        for image_id, square, row in track(done, "preparing X-rays", len(image_ids), "images"):
            n = position[image_id]
            if square is None:
                refused[n] = row
            else:
                pixels[n], rows[n] = square, row
        for image_id, n in position.items():
            if n not in rows and n not in refused:
                missing = InputRefused("image_missing", "the image is not where its source says", where=image_id)
                refused[n] = _refusal(image_id, missing)
        del pixels
        _keep_rows(temporary, sorted(rows), len(image_ids), size)
    frame = pd.DataFrame([{"row": row, **rows[n]} for row, n in enumerate(sorted(rows))], columns=list(XRAYS.columns))
    quarantine = pd.DataFrame([refused[n] for n in sorted(refused)], columns=list(QUARANTINE.columns))
    return frame, quarantine


def read_image(path: str | Path) -> bytes | None:
    """The content of an image file, None where it cannot be opened; of a huge file only enough to refuse it."""
    if not Path(path).is_file():  # a pipe would be waited for
        return None
    try:
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError:
        return None


def check_image(path: str | Path) -> None:
    """Read and prepare an image file as the pipeline would.

    Raises
    ------
    InputRefused
        ``image_missing`` where it cannot be opened, else as `decode` and `prepare` do.
    """
    data = read_image(path)
    if data is None:
        raise InputRefused("image_missing", "the file cannot be opened", where=path)
    with warnings.catch_warnings():  # what pydicom finds odd in a header is no news for the user
        warnings.simplefilter("ignore")
        prepare(decode(data, str(path)), 256, str(path))


def _prepare_item(item: tuple[str, bytes, str], size: int) -> tuple[str, np.ndarray | None, dict[str, Any]]:
    image_id, data, view_hint = item
    try:
        radiograph = decode(data, image_id)
        square, geometry = prepare(radiograph, size, image_id)
    except InputRefused as refusal:
        return image_id, None, _refusal(image_id, refusal)
    view = radiograph.view_position if radiograph.view_position != "unknown" else view_hint
    row = {
        "image_id": image_id,
        "view_position": view if view != "unknown" else estimate_view(square),
        "file_format": radiograph.file_format,
        "photometric_interpretation": radiograph.photometric_interpretation,
        "native_rows": radiograph.pixels.shape[0],
        "native_columns": radiograph.pixels.shape[1],
        "bits_stored": radiograph.bits_stored,
        "source_sha256": hashlib.sha256(data).hexdigest(),
    }
    return image_id, square, row | geometry._asdict()


def _refusal(image_id: str, refusal: InputRefused) -> dict[str, Any]:
    return {
        "path": image_id,
        "kind": "image",
        "verdict": refusal.verdict,
        "reason": refusal.reason,
        "message": str(refusal),
    }


def _window(radiograph: Radiograph, content: np.ndarray, name: str) -> tuple[float, float]:
    if radiograph.window_low is not None and radiograph.window_high is not None:
        return radiograph.window_low, radiograph.window_high
    ranks = [round(p / 100 * (content.size - 1)) for p in PERCENTILES]
    ordered = np.partition(content, ranks, axis=None)
    # the filter overshoots beside sharp edges; no stored value is there
    low = max(float(ordered[ranks[0]]), float(radiograph.pixels.min()))
    high = min(float(ordered[ranks[1]]), float(radiograph.pixels.max()))
    if not high > low:
        raise InputQuarantined("image_constant", f"nearly every pixel has the value {low:g}", where=name)
    return low, high


@contextmanager
def _alone() -> Iterator[None]:
    """The workers are the parallelism: a BLAS that starts threads for each small product only gets in their way."""
    with threadpool_limits(1, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom finds odd in a header is no news for the user
        yield


def _begin_alone() -> None:
    threadpool_limits(1, "blas")
    warnings.simplefilter("ignore")


def _map_bounded(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, *, apart: bool = False
) -> Iterator[Result]:
    """`map` over workers that reads only a few items ahead; results come in the order of `items`.

    Parameters
    ----------
    items
        The second entry of each is its bytes.
    apart
        Each worker in a process: the decoder of PNGs holds Python's lock, so that threads wait for each other.
    """
    waiting: deque[Future[list[Result]]] = deque()
    together, ahead = (TOGETHER, 2 * workers) if apart else (1, 4 * workers)
    with fresh_processes(workers, _begin_alone) if apart else ThreadPoolExecutor(workers) as pool:
        try:
            for part in _parts(items, together):
                waiting.append(pool.submit(_each, work, part))
                if len(waiting) >= ahead:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _each(work: Callable[[Item], Result], part: list[Item]) -> list[Result]:
    return [work(item) for item in part]


def _parts(items: Iterable[Item], most: int) -> Iterator[list[Item]]:
    """Items in lists of at most `most`, and of little more than `PART_BYTES`."""
    part: list[Item] = []
    for item in items:
        part.append(item)
        if len(part) == most or sum(len(one[1]) for one in part) >= PART_BYTES:
            yield part
            part = []
    if part:
        yield part


def _open_array(path: Path, rows: int, size: int) -> np.ndarray:
    if rows == 0:  # an empty array cannot be mapped
        with open(path, "wb") as file:
            np.save(file, np.zeros((0, size, size), np.uint16))
        return np.zeros((0, size, size), np.uint16)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint16, shape=(rows, size, size))


def _keep_rows(path: Path, kept: list[int], total: int, size: int) -> None:
    """Close the gaps that refused images left."""
    if len(kept) == total:
        return
    pixels = np.load(path, mmap_mode="r")
    packed_path = path.with_name(path.name + ".packed")
    try:
        packed = _open_array(packed_path, len(kept), size)
        for row, n in enumerate(kept):
            packed[row] = pixels[n]
        del packed, pixels
        os.replace(packed_path, path)
    finally:
        packed_path.unlink(missing_ok=True)
