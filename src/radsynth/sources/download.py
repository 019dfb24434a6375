"""Downloading large files so that a broken connection costs nothing: resumed, measured, named by checksum."""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from radsynth.errors import RadsynthError
from radsynth.files import sha256_of
from radsynth.progress import track

OPENI_URLS = {
    "NLMCXR_reports.tgz": "https://openi.nlm.nih.gov/imgs/collections/NLMCXR_reports.tgz",
    "NLMCXR_png.tgz": "https://openi.nlm.nih.gov/imgs/collections/NLMCXR_png.tgz",
}
"""The two archives of the NLM's Open-i collection page: 1 MB of reports, 14 GB of images."""

_BLOCK = 2**20


class Downloaded(NamedTuple):
    """A file that lies whole where it should: `size` in bytes, `sha256` as 64 hex digits."""

    path: Path
    size: int
    sha256: str


def openi_download(
    folder: str | Path,
    *,
    urls: Mapping[str, str] = OPENI_URLS,
    attempts: int = 10,
    wait_seconds: float = 3.0,
    timeout_seconds: float = 60.0,
) -> list[Downloaded]:
    """Download the Open-i archives that `folder` lacks, and print size and SHA-256 of each.

    A download is written to ``NAME.part`` and goes on from there, in this call after a broken connection or in the next
    one, where the server still has the same file (``ETag`` or ``Last-Modified``); else it starts anew.

    Parameters
    ----------
    urls
        File name to address.
    attempts
        Connections tried without a byte of progress before giving up.
    wait_seconds
        Pause after a broken connection, times the number of failures in a row.
    timeout_seconds
        Longest silence of a connection.

    Raises
    ------
    RadsynthError
        Where `folder` cannot be made, a server cannot be reached or answers with an error, or the disk is too small.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RadsynthError(f"the folder cannot be made ({error.strerror})", where=folder) from None
    found = []
    for name, url in urls.items():
        target = folder / name
        if not target.is_file():
            download(url, target, attempts=attempts, wait_seconds=wait_seconds, timeout_seconds=timeout_seconds)
        one = Downloaded(target, target.stat().st_size, sha256_of(target))
        print(f"{name}: {one.size} bytes, sha256 {one.sha256}", file=sys.stderr)
        found.append(one)
    return found


def download(
    url: str, target: Path, *, attempts: int = 10, wait_seconds: float = 3.0, timeout_seconds: float = 60.0
) -> None:
    """Download one file; see `openi_download`."""
    part, mark = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.version")
    failures, reason = 0, ""
    while failures < attempts:
        before = part.stat().st_size if part.exists() else 0
        try:
            whole = _go_on(url, part, mark, timeout_seconds)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # what is here is not a beginning of what is there
                part.unlink(missing_ok=True)
            elif error.code < 500:
                raise RadsynthError(f"the server refuses ({error.code} {error.reason})", where=url) from None
            whole, reason = False, str(error)
        except (OSError, http.client.HTTPException) as error:
            whole, reason = False, str(error) or type(error).__name__
        if whole:
            os.replace(part, target)
            mark.unlink(missing_ok=True)
            return
        after = part.stat().st_size if part.exists() else 0
        failures = 0 if after > before else failures + 1
        time.sleep(wait_seconds * max(failures, 1))
    raise RadsynthError(
        f"the download does not go on ({reason or 'the connection ends early'})",
        where=url,
        got=f"{part.stat().st_size if part.exists() else 0} bytes in {part}",
        next_step="run the same again to go on from there",
    )


def _go_on(url: str, part: Path, mark: Path, timeout_seconds: float) -> bool:
    """Append to `part` what one connection gives; True where the file is whole."""
    size = part.stat().st_size if part.exists() and mark.exists() else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "radsynth"}
    if size:
        headers |= {"Range": f"bytes={size}-", "If-Range": mark.read_text(encoding="utf-8")}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout_seconds) as answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {size}-")
        if answer.status == 206 and not resumed:
            raise http.client.HTTPException("the server sends another part than the one asked for")
        if not resumed:
            size = 0
        length = answer.headers.get("Content-Length")
        total = size + int(length) if length else None
        if total is not None and total - size > shutil.disk_usage(part.parent).free:
            free = f"{shutil.disk_usage(part.parent).free} bytes"
            raise RadsynthError("the disk is too small", where=part.parent, got=free, expected=f"{total - size} bytes")
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        if version and not version.startswith("W/"):  # a weak ETag cannot be resumed on
            mark.write_text(version, encoding="utf-8")
        elif not resumed:
            mark.unlink(missing_ok=True)
        with open(part, "ab" if resumed else "wb") as file:
            blocks = None if total is None else -(-(total - size) // _BLOCK)
            for block in track(_blocks(answer), f"downloading {part.stem}", total=blocks, unit="MiB"):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    return total is None or part.stat().st_size == total


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while block := answer.read(_BLOCK):
        yield block
