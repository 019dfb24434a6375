"""DVC's files, read as files: where the cache lies, what the lock lists, which object holds what."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from radsynth.tracking.lineage import locked_stages

BLOCK = 1 << 20
"""Bytes read at a time."""


@dataclass(frozen=True)
class Output:
    """One output of ``dvc.lock``: its stage, path, MD5 (of its listing where `is_folder`) and size in bytes."""

    stage: str
    path: str
    digest: str
    is_folder: bool
    size: int


def outputs(root: Path) -> list[Output]:
    """All outputs of ``dvc.lock`` that have an MD5, in its order."""
    return [
        Output(stage, out["path"], digest.removesuffix(".dir"), digest.endswith(".dir"), int(out.get("size", 0)))
        for stage, entry in locked_stages(root / "dvc.lock").items()
        for out in entry.get("outs", [])
        if (digest := out.get("md5"))
    ]


def uncached(root: Path) -> set[str]:
    """Paths of the outputs that ``dvc.yaml`` keeps out of the cache."""
    import yaml

    path = root / "dvc.yaml"
    stages = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("stages") or {} if path.is_file() else {}
    bodies = [stage.get("do", stage) for stage in stages.values()]
    listed = [out for body in bodies for kind in ("outs", "metrics", "plots") for out in body.get(kind) or []]
    return {
        name
        for out in listed
        if isinstance(out, dict)
        for name, options in out.items()
        if isinstance(options, dict) and options.get("cache") is False
    }


def cache_folder(root: Path) -> Path:
    """The folder of the cache: as DVC's configuration says, else ``.dvc/cache``.

    Read from the checkout's ``.dvc/config.local`` and ``.dvc/config``, then the user's and the system's; the first
    that names one counts. A relative path is relative to the file that names it.
    """
    user = os.environ.get("DVC_GLOBAL_CONFIG_DIR") or Path("~/.config/dvc").expanduser()
    system = os.environ.get("DVC_SYSTEM_CONFIG_DIR") or "/etc/xdg/dvc"
    files = [root / ".dvc/config.local", root / ".dvc/config", Path(user) / "config", Path(system) / "config"]
    for file in files:
        parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
        if file.is_file():
            parser.read_string(file.read_text(encoding="utf-8"), str(file))
        named = parser.get("cache", "dir", fallback=None)
        if named:
            return file.parent / Path(named.strip("\"'")).expanduser()
    return root / ".dvc/cache"


def object_path(cache: Path, digest: str, is_folder: bool = False) -> Path:
    """Where the cache keeps the object of an MD5."""
    return cache / "files/md5" / digest[:2] / f"{digest[2:]}{'.dir' if is_folder else ''}"


def listing(path: Path) -> list[tuple[str, str]]:
    """The files of a folder's object: (MD5, path inside the folder)."""
    return [(entry["md5"], entry["relpath"]) for entry in json.loads(path.read_bytes())]


def blocks_of(path: Path) -> Iterator[bytes]:
    """The file's bytes, `BLOCK` at a time."""
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            yield block


def md5_of(path: Path) -> str:
    """MD5 of a file, 32 hex digits."""
    digest = hashlib.md5(usedforsecurity=False)
    for block in blocks_of(path):
        digest.update(block)
    return digest.hexdigest()


def md5_of_folder(folder: Path) -> str:
    """MD5 of the listing that DVC would write for `folder`, 32 hex digits."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    entries = [{"md5": md5_of(path), "relpath": name} for name, path in files]
    return hashlib.md5(json.dumps(entries).encode(), usedforsecurity=False).hexdigest()
