"""The bytes behind a volume's header: read to their end, checked against what the header promises, never more."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from radsynth.errors import InputQuarantined, InputRefused

MAX_AXIS = 4096
MAX_VOXELS = 2**27
"""512 x 512 x 512: finer than any head scan in use, and about 1.5 GB while it is aligned."""
MIN_AXIS = 4
SPACING_RANGE_MM = (0.05, 20.0)
CHUNK = 1 << 20


def check_size(size: tuple[int, ...], kind: str, path: Path) -> None:
    """Refuse dimensions that no head volume has, before anything is allocated.

    Raises
    ------
    InputRefused
        ``<kind>_dimensions``, ``<kind>_too_large``.
    InputQuarantined
        ``volume_too_small``.
    """
    if len(size) != 3 or min(size) < 1:
        raise InputRefused(f"{kind}_dimensions", "not a 3-D volume", where=path, got=f"dimensions {size}")
    voxels = int(size[0]) * int(size[1]) * int(size[2])
    if max(size) > MAX_AXIS or voxels > MAX_VOXELS:
        raise InputRefused(
            f"{kind}_too_large",
            "more voxels than a head volume has",
            where=path,
            got=size,
            expected=f"at most {MAX_VOXELS} voxels",
        )
    if min(size) < MIN_AXIS:
        raise InputQuarantined(
            "volume_too_small", "too few slices", where=path, got=size, expected=f"{MIN_AXIS} or more"
        )


def check_spacing(spacing_mm: np.ndarray, path: Path) -> None:
    """Quarantine a spacing that is no millimetres of a head scan (``volume_spacing_implausible``)."""
    low, high = SPACING_RANGE_MM
    if np.min(spacing_mm) < low or np.max(spacing_mm) > high:
        raise InputQuarantined(
            "volume_spacing_implausible",
            "spacing that no head scan has",
            where=path,
            got=f"{np.round(spacing_mm, 4).tolist()} mm",
            expected=f"{low} to {high} mm",
        )


def check_voxels(voxels: np.ndarray, path: Path) -> None:
    """Quarantine voxels that nothing can be learned from.

    Raises
    ------
    InputQuarantined
        ``volume_nonfinite`` (NaN or infinite voxels), ``volume_constant`` (one value everywhere).
    """
    if np.issubdtype(voxels.dtype, np.floating):
        # slab by slab: isfinite of a whole volume would take a quarter of its memory again
        bad = sum(int(np.count_nonzero(~np.isfinite(slab))) for slab in voxels)
        if bad:
            raise InputQuarantined(
                "volume_nonfinite", "NaN or infinite voxels", where=path, got=f"{bad} of {voxels.size}"
            )
    if voxels.min() == voxels.max():
        raise InputQuarantined("volume_constant", "every voxel has the same value", where=path, got=voxels.flat[0])


def open_regular(path: Path, kind: str) -> BinaryIO:
    """Open a regular file; pipes, devices and the like would never end.

    Raises
    ------
    InputRefused
        ``<kind>_not_a_file``, ``<kind>_unreadable``.
    """
    if not path.is_file():
        raise InputRefused(f"{kind}_not_a_file", "no such file", where=path)
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputRefused(f"{kind}_unreadable", f"cannot be opened ({error.strerror})", where=path) from None


def read_exactly(file: BinaryIO, size: int, kind: str, path: Path, *, to_end: bool = True) -> bytearray:
    """Read `size` bytes, growing with what is really there.

    Parameters
    ----------
    file
        Raw, or decompressing.
    to_end
        The file must end there; for gzip this is also what makes its CRC be checked.

    Raises
    ------
    InputRefused
        ``<kind>_truncated``, ``<kind>_size_mismatch`` (more bytes than the header says), ``<kind>_corrupt`` (the
        compressed stream is damaged or its checksum is wrong).
    """
    data = bytearray()
    try:
        while len(data) < size:
            chunk = file.read(min(CHUNK, size - len(data)))
            if not chunk:
                raise InputRefused(
                    f"{kind}_truncated",
                    "fewer bytes than its header says",
                    where=path,
                    got=len(data),
                    expected=f"{size} bytes",
                )
            data += chunk
        if to_end and file.read(1):
            raise InputRefused(
                f"{kind}_size_mismatch", "more bytes than its header says", where=path, expected=f"{size} bytes"
            )
    except EOFError:
        raise InputRefused(f"{kind}_truncated", "the compressed stream ends early", where=path) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputRefused(f"{kind}_corrupt", f"damaged compressed stream ({error})", where=path) from None
    except OSError as error:
        raise InputRefused(f"{kind}_unreadable", f"cannot be read ({error.strerror})", where=path) from None
    return data


def inflate_exactly(file: BinaryIO, size: int, kind: str, path: Path) -> bytearray:
    """Like `read_exactly` for a zlib stream."""
    inflater, data = zlib.decompressobj(), bytearray()
    try:
        while not inflater.eof and len(data) <= size:
            chunk = inflater.unconsumed_tail or file.read(CHUNK)
            if not chunk:
                raise InputRefused(f"{kind}_truncated", "the compressed stream ends early", where=path)
            data += inflater.decompress(chunk, CHUNK)
    except zlib.error as error:
        raise InputRefused(f"{kind}_corrupt", f"damaged compressed stream ({error})", where=path) from None
    if len(data) < size:
        raise InputRefused(
            f"{kind}_truncated", "fewer bytes than its header says", where=path, got=len(data), expected=f"{size} bytes"
        )
    if len(data) > size:
        raise InputRefused(
            f"{kind}_size_mismatch", "more bytes than its header says", where=path, expected=f"{size} bytes"
        )
    return data


def beside(path: Path, name: str, kind: str) -> Path:
    """The file `name` in the folder of `path`; anything that leads elsewhere is refused.

    Raises
    ------
    InputRefused
        ``<kind>_data_file_outside``.
    """
    target = path.parent / name
    plain = name == os.path.basename(name) and name not in ("", ".", "..") and "\\" not in name and "\0" not in name
    if not plain or target.is_symlink():
        raise InputRefused(
            f"{kind}_data_file_outside",
            "its data lie outside its folder",
            where=path,
            got=name[:80],
            expected="a plain file name",
        )
    return target
