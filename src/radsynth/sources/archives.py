"""Reading .tar, .tgz and .zip archives as a stream: nothing is unpacked to disk, and hostile archives are refused."""

from __future__ import annotations

import gzip
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from radsynth.errors import InputRefused

MAX_MEMBER_BYTES = 64 * 2**20
MAX_TOTAL_BYTES = 64 * 2**30
MAX_MEMBERS = 200_000
MAX_RATIO = 200.0
RATIO_FREE_BYTES = 16 * 2**20
"""Below this size an archive may be as compressible as it likes: a few blank pages are no bomb."""
MAX_HEADER_BYTES = 2**20
"""Long names and extended headers of a tar member, which tarfile reads whole."""

_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_CORRUPT = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    RuntimeError,  # zipfile: encrypted, or a compression that it does not know
)


def iter_members(
    path: str | Path,
    *,
    suffixes: Iterable[str] = (),
    max_member_bytes: int = MAX_MEMBER_BYTES,
    max_total_bytes: int = MAX_TOTAL_BYTES,
    max_members: int = MAX_MEMBERS,
    max_ratio: float = MAX_RATIO,
) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of every regular file of an archive, in the archive's order.

    The kind of archive is known from its content (gzip-compressed or plain tar, zip), not from its name. Memory holds
    one member at a time. What was yielded may be used only when the iteration has ended well: the last block can
    still show that the archive is corrupt or hostile.

    Parameters
    ----------
    suffixes
        Lower-case ends of the names wanted, e.g. ``(".png",)``; without them every file is.
    max_member_bytes, max_total_bytes
        Caps on the unpacked size of one member and of all, bytes.
    max_members
        Cap on the number of members of any kind.
    max_ratio
        Cap on unpacked bytes by packed bytes, once 16 MiB are unpacked.

    Raises
    ------
    InputRefused
        ``archive_missing``, ``archive_unknown`` (no tar or zip), ``archive_corrupt``, ``archive_escape`` (a name that
        is absolute or climbs out), ``archive_link``, ``archive_special`` (device, pipe, sparse or encrypted member),
        ``archive_bomb`` (a cap was passed).
    """
    caps = max_member_bytes, max_total_bytes, max_members, max_ratio
    for name, _, content in _members(Path(path), tuple(suffixes), caps, read=True):
        yield name, content


def list_members(path: str | Path, *, suffixes: Iterable[str] = ()) -> Iterator[tuple[str, int]]:
    """Yield the name and the size (bytes) of every regular file, without its content; refuses as `iter_members`."""
    caps = MAX_MEMBER_BYTES, MAX_TOTAL_BYTES, MAX_MEMBERS, MAX_RATIO
    for name, size, _ in _members(Path(path), tuple(suffixes), caps, read=False):
        yield name, size


def check_archive(path: str | Path) -> int:
    """Read an archive to its end and return how many regular files it holds.

    Raises
    ------
    InputRefused
        As `iter_members` does.
    """
    return sum(1 for _ in list_members(path))


_Member = tuple[str, int, bytes]
_Caps = tuple[int, int, int, float]


def _members(path: Path, suffixes: tuple[str, ...], caps: _Caps, *, read: bool) -> Iterator[_Member]:
    if not path.is_file():
        raise InputRefused("archive_missing", "no such archive", where=path)
    try:
        with open(path, "rb") as packed:
            magic = packed.read(512)
            packed.seek(0)
            if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
                yield from _zip_members(packed, path, suffixes, caps, read)
            elif magic[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=packed, mode="rb") as unpacked:
                    yield from _tar_members(unpacked, packed, path, suffixes, caps, read)
            elif magic[257:262] == b"ustar" or (len(magic) == 512 and path.suffix.lower() == ".tar"):
                yield from _tar_members(packed, packed, path, suffixes, caps, read)
            else:
                raise InputRefused("archive_unknown", "not an archive", where=path, expected=".tgz, .tar or .zip")
    except _CORRUPT as error:
        text = str(error) or type(error).__name__
        raise InputRefused("archive_corrupt", f"the archive cannot be read to its end ({text})", where=path) from error


class _Measured:
    """A stream that counts what is unpacked and stops a bomb while it goes off."""

    def __init__(self, unpacked: BinaryIO, packed: BinaryIO, path: Path, caps: _Caps) -> None:
        self.unpacked, self.packed, self.path = unpacked, packed, path
        self.size, (_, self.max_total_bytes, _, self.max_ratio) = 0, caps

    def read(self, size: int) -> bytes:
        block = self.unpacked.read(size)
        self.size += len(block)
        _within(self.size, self.packed.tell(), self.max_total_bytes, self.max_ratio, self.path)
        return block


class _BoundedTarInfo(tarfile.TarInfo):
    """Refuses, before they are read, headers that say a size which tarfile would believe."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0 or (info.type in _EXTENDED and info.size > MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {info.size} bytes")
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file")
        return info


def _tar_members(
    unpacked: BinaryIO, packed: BinaryIO, path: Path, suffixes: tuple[str, ...], caps: _Caps, read: bool
) -> Iterator[_Member]:
    max_member_bytes, _, max_members, _ = caps
    stream = _Measured(unpacked, packed, path, caps)
    with tarfile.open(fileobj=stream, mode="r|", bufsize=2**17, tarinfo=_BoundedTarInfo) as archive:  # type: ignore[call-overload]
        count = 0
        while (info := archive.next()) is not None:
            archive.members = []  # tarfile would keep every header
            count += 1
            _counted(count, max_members, path)
            name = _safe_name(info.name, path)
            if info.isdir():
                continue
            if info.issym() or info.islnk():
                raise InputRefused("archive_link", f"the member {name!r} is a link", where=path)
            if not info.isreg() or info.issparse():
                raise InputRefused("archive_special", f"the member {name!r} is not a regular file", where=path)
            _sized(info.size, max_member_bytes, name, path)
            if not _wanted(name, suffixes):
                continue
            yield name, info.size, _whole(archive.extractfile(info), info.size, name) if read else b""
    while stream.read(2**17):  # to the end, so that gzip compares its checksum
        pass


def _zip_members(packed: BinaryIO, path: Path, suffixes: tuple[str, ...], caps: _Caps, read: bool) -> Iterator[_Member]:
    max_member_bytes, max_total_bytes, max_members, max_ratio = caps
    packed_size, total = path.stat().st_size, 0
    with zipfile.ZipFile(packed) as archive:
        infos = archive.infolist()
        _counted(len(infos), max_members, path)
        for info in infos:
            name = _safe_name(info.filename, path)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind == stat.S_IFLNK:
                raise InputRefused("archive_link", f"the member {name!r} is a link", where=path)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or info.flag_bits & 0x1:
                raise InputRefused("archive_special", f"the member {name!r} is special or encrypted", where=path)
            if info.is_dir():
                continue
            _sized(info.file_size, max_member_bytes, name, path)
            total += info.file_size
            _within(total, packed_size, max_total_bytes, max_ratio, path)
            if _wanted(name, suffixes):
                with archive.open(info) as file:  # zipfile stops at file_size and compares the checksum there
                    content = _whole(file, info.file_size, name)
                yield name, info.file_size, content if read else b""


def _whole(file: BinaryIO | None, size: int, name: str) -> bytes:
    content = file.read(size + 1) if file is not None else b""
    if len(content) != size:
        raise EOFError(f"{name!r} has {len(content)} of {size} bytes")
    return content


def _wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    # "._x.png" and __MACOSX/ hold resource forks that some tar and zip programs add beside every file.
    if PurePosixPath(name).name.startswith("._") or name.startswith("__MACOSX/"):
        return False
    return not suffixes or name.lower().endswith(suffixes)


def _safe_name(name: str, path: Path) -> str:
    parts = name.replace("\\", "/").split("/")
    drive = len(parts[0]) == 2 and parts[0].endswith(":")
    if not name or "\0" in name or parts[0] == "" or drive or ".." in parts:
        raise InputRefused("archive_escape", f"the member {name[:80]!r} points out of the archive", where=path)
    return str(PurePosixPath(*parts))


def _counted(count: int, cap: int, path: Path) -> None:
    if count > cap:
        raise InputRefused("archive_bomb", "too many members", where=path, got=f"more than {cap}")


def _sized(size: int, cap: int, name: str, path: Path) -> None:
    if size > cap:
        raise InputRefused("archive_bomb", f"the member {name!r} is too large", where=path, got=f"{size} bytes")


def _within(unpacked: int, packed: int, max_total_bytes: int, max_ratio: float, path: Path) -> None:
    if unpacked > max_total_bytes:
        raise InputRefused("archive_bomb", "unpacks to too much", where=path, got=f"more than {max_total_bytes} bytes")
    if unpacked > RATIO_FREE_BYTES and unpacked > max_ratio * max(packed, 1):
        got = f"{unpacked} bytes from {packed}"
        raise InputRefused("archive_bomb", "unpacks to far more than it holds", where=path, got=got)
