"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) volumes.

Both are a text header and a block of voxels that the header may place in ANY file. A library that follows such a
pointer reads whatever it names, so the few keys are read here and the data must be inside, or beside, the header.

References
----------
ITK MetaIO documentation, https://itk.org/Wiki/ITK/MetaIO/Documentation ;
NRRD format, https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import BinaryIO

import numpy as np

from radsynth.errors import InputQuarantined, InputRefused
from radsynth.volumes.geometry import Volume, lps_affine, spacing_of
from radsynth.volumes.payload import beside, check_size, check_spacing, inflate_exactly, open_regular, read_exactly

MAX_HEADER_LINES = 4096
MAX_LINE_BYTES = 4096

_META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_NRRD_TYPES = {
    name: code
    for code, names in {
        "i1": "signed char, int8, int8_t",
        "u1": "uchar, unsigned char, uint8, uint8_t",
        "i2": "short, short int, signed short, signed short int, int16, int16_t",
        "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
        "i4": "int, signed int, int32, int32_t",
        "u4": "uint, unsigned int, uint32, uint32_t",
        "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
        "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
        "f4": "float",
        "f8": "double",
    }.items()
    for name in names.split(", ")
}
_NRRD_SPACES = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip


def read_metaimage(path: Path) -> Volume:
    """Read a MetaImage volume.

    Raises
    ------
    InputRefused
        Reasons ``metaimage_*``: header, dimensions, data_type, affine_singular, spacing, data_file_outside, truncated,
        size_mismatch, corrupt.
    """
    kind = "metaimage"
    with open_regular(path, kind) as file:
        keys = {}
        for line in _lines(file, kind, path):
            name, separator, value = line.partition("=")
            if not separator:
                raise InputRefused("metaimage_header", "not a MetaImage header", where=path, got=line[:40])
            keys[name.strip().lower()] = value.strip()
            if name.strip().lower() == "elementdatafile":
                break
        try:
            dims = int(keys["ndims"])
            size = tuple(int(n) for n in keys["dimsize"].split())
            dtype = _META_TYPES.get(keys["elementtype"].upper())
            channels = int(keys.get("elementnumberofchannels", "1"))
            spacing = _numbers(keys.get("elementspacing") or keys.get("elementsize", ""), 3)
            origin = _numbers(_first(keys, "offset", "position", "origin", default="0 0 0"), 3)
            direction = _numbers(
                _first(keys, "transformmatrix", "rotation", "orientation", default="1 0 0 0 1 0 0 0 1"), 9
            )
            header_size = int(keys.get("headersize", "0"))
            where = keys["elementdatafile"]
        except (KeyError, ValueError) as error:
            raise InputRefused("metaimage_header", f"unreadable header ({error})", where=path) from None
        if dims != len(size) or channels != 1:
            raise InputRefused(
                "metaimage_dimensions", "not one scalar 3-D volume", where=path, got=f"{size} x {channels} channels"
            )
        check_size(size, kind, path)
        if dtype is None:
            raise InputRefused("metaimage_data_type", "unusable data type", where=path, got=keys["elementtype"][:40])
        if header_size not in (0, -1) or not _yes(keys.get("binarydata", "True")):
            raise InputRefused("metaimage_header", "only plain binary data are read", where=path)
        big = _yes(_first(keys, "binarydatabyteordermsb", "elementbyteordermsb", default="False"))
        # MetaIO's matrix lists one axis after the other, the way numpy reads columns
        affine = _place(direction.reshape(3, 3).T, spacing, origin, kind, path)
        encoding = "zlib" if _yes(keys.get("compresseddata", "False")) else "raw"
        voxels = _data(
            file,
            path,
            where,
            where.upper() == "LOCAL",
            size,
            np.dtype(dtype).newbyteorder(">" if big else "<"),
            encoding,
            kind,
        )
    return Volume(voxels, lps_affine(affine), _modality(keys.get("modality", "")), str(path))


def read_nrrd(path: Path) -> Volume:
    """Read an NRRD volume.

    Raises
    ------
    InputRefused
        Reasons ``nrrd_*``, as `read_metaimage`.
    InputQuarantined
        ``nrrd_orientation_unknown`` where it has no `space`.
    """
    kind = "nrrd"
    with open_regular(path, kind) as file:
        lines = _lines(file, kind, path)
        if not next(lines, "").startswith("NRRD000"):
            raise InputRefused("nrrd_header", "not an NRRD file", where=path)
        keys = {}
        for line in lines:
            if not line.strip():
                break
            if line.startswith("#") or ":=" in line:
                continue
            name, separator, value = line.partition(":")
            if not separator:
                raise InputRefused("nrrd_header", "not an NRRD header", where=path, got=line[:40])
            keys[name.strip().lower()] = value.strip()
        try:
            dims = int(keys["dimension"])
            size = tuple(int(n) for n in keys["sizes"].split())
            dtype = _NRRD_TYPES.get(keys["type"].lower())
            encoding = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}.get(keys["encoding"].lower())
            space = keys.get("space", "").lower()
            axes = np.array([_vector(v) for v in keys["space directions"].split()]).T if space else np.eye(3)
            origin = _vector(keys.get("space origin", "(0,0,0)"))
        except (KeyError, ValueError) as error:
            raise InputRefused("nrrd_header", f"unreadable header ({error})", where=path) from None
        if dims != len(size) or dims != 3:
            raise InputRefused("nrrd_dimensions", "not one scalar 3-D volume", where=path, got=size)
        check_size(size, kind, path)
        if dtype is None or encoding is None:
            raise InputRefused(
                "nrrd_data_type",
                "unusable type or encoding",
                where=path,
                got=f"{keys['type']}, {keys['encoding']}"[:80],
            )
        if any(
            _skip not in ("", "0")
            for _skip in (_first(keys, "byte skip", "byteskip"), _first(keys, "line skip", "lineskip"))
        ):
            raise InputRefused("nrrd_header", "skips in the data are not read", where=path)
        if space not in _NRRD_SPACES:
            raise InputQuarantined(
                "nrrd_orientation_unknown",
                "its space does not say which side is left",
                where=path,
                got=space[:40] or None,
            )
        if axes.shape != (3, 3):
            raise InputRefused("nrrd_header", "its space directions are not three vectors", where=path)
        spacing = np.linalg.norm(axes, axis=0)
        with np.errstate(all="ignore"):
            affine = _place(axes / spacing, spacing, origin, kind, path)
        data_file = _first(keys, "data file", "datafile")
        big = keys.get("endian", "little").lower() == "big"
        voxels = _data(
            file,
            path,
            data_file,
            not data_file,
            size,
            np.dtype(dtype).newbyteorder(">" if big else "<"),
            encoding,
            kind,
        )
    return Volume(voxels, np.diag([*_NRRD_SPACES[space], 1.0]) @ affine, "", str(path))


def data_file(path: Path) -> Path | None:
    """The file beside a header that holds its voxels; None where they follow the header in the same file.

    Raises
    ------
    InputRefused
        ``*_header`` where it is no text, ``*_data_file_outside``.
    """
    kind, separator = ("metaimage", "=") if path.name.lower().endswith((".mha", ".mhd")) else ("nrrd", ":")
    with open_regular(path, kind) as file:
        for line in itertools.takewhile(str.strip, _lines(file, kind, path)):
            name, _, value = line.partition(separator)
            if name.strip().lower() in ("elementdatafile", "data file", "datafile"):
                return None if value.strip().upper() in ("", "LOCAL") else beside(path, value.strip(), kind)
    return None


def _lines(file: BinaryIO, kind: str, path: Path):
    for _ in range(MAX_HEADER_LINES):
        line = file.readline(MAX_LINE_BYTES)
        if not line:
            return
        if not line.endswith(b"\n"):
            raise InputRefused(f"{kind}_header", "a header line without an end", where=path)
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise InputRefused(f"{kind}_header", "its header is not text", where=path) from None
    raise InputRefused(f"{kind}_header", "a header without an end", where=path)


def _data(
    file: BinaryIO, path: Path, name: str, local: bool, size: tuple[int, ...], dtype: np.dtype, encoding: str, kind: str
) -> np.ndarray:
    source = file if local else open_regular(beside(path, name, kind), kind)
    expected = int(np.prod(size, dtype=np.int64)) * dtype.itemsize
    try:
        if encoding == "zlib":
            data = inflate_exactly(source, expected, kind, path)
        elif encoding == "gzip":
            with gzip.GzipFile(fileobj=source) as unpacked:
                data = read_exactly(unpacked, expected, kind, path)  # type: ignore[arg-type]
        else:
            data = read_exactly(source, expected, kind, path)
    finally:
        if not local:
            source.close()
    return np.frombuffer(data, dtype=dtype).astype(dtype.newbyteorder("="), copy=False).reshape(size, order="F")


def _place(direction: np.ndarray, spacing: np.ndarray, origin: np.ndarray, kind: str, path: Path) -> np.ndarray:
    affine = np.eye(4)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise InputRefused(
            f"{kind}_spacing", "spacing that is no length", where=path, got=spacing.tolist(), expected="mm above 0"
        )
    affine[:3, :3], affine[:3, 3] = direction * spacing, origin
    if not np.isfinite(affine).all():
        raise InputRefused(f"{kind}_affine_nonfinite", "its geometry holds NaN or infinity", where=path)
    if abs(np.linalg.det(direction)) < 1e-3:
        raise InputRefused(f"{kind}_affine_singular", "its directions flatten space", where=path)
    check_spacing(spacing_of(affine), path)
    return affine


def _numbers(text: str, count: int) -> np.ndarray:
    numbers = np.array([float(word) for word in text.split()], dtype=np.float64)
    if numbers.size != count:
        raise ValueError(f"{numbers.size} numbers where {count} belong")
    return numbers


def _vector(text: str) -> np.ndarray:
    numbers = np.array([float(word) for word in text.strip("() ").split(",")], dtype=np.float64)
    if numbers.size != 3:
        raise ValueError(f"not a vector of three: {text[:40]}")
    return numbers


def _first(keys: dict[str, str], *names: str, default: str = "") -> str:
    return next((keys[name] for name in names if name in keys), default)


def _yes(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "yes", "t")


def _modality(text: str) -> str:
    return {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR"}.get(text.upper(), "")
