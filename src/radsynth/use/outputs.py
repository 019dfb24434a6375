"""Where results go: whole or not at all, and never over something that radsynth did not make."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from radsynth.errors import RadsynthError
from radsynth.files import atomic_folder, read_json

ABOUT = "about.json"
"""Says of an output folder who made it."""

MADE_BY = "radsynth"


def check_file(out: str | Path, sidecar: Path, force: bool, given: str | Path) -> Path:
    """The target as a path, where a file and its sidecar may be written.

    Where one of them is there, that takes `force`, and a sidecar that says that radsynth made this very file.

    Parameters
    ----------
    given
        The input, which is never replaced.

    Raises
    ------
    RadsynthError
        Where they must not be written.
    """
    out = Path(out)
    if out.is_dir():
        raise RadsynthError("a folder", where=out, expected="the name of a file to write")
    _spare(given, out)
    there = [path for path in (sidecar, out) if os.path.lexists(path)]
    if there and not force:
        next_step = "choose another name, or overwrite with --force"
        raise RadsynthError("is there already", where=there[0], next_step=next_step)
    about = _made_here(sidecar)
    if there and (about is None or about.get("file") != out.name):
        raise RadsynthError(
            f"is not replaced: {sidecar.name} does not say that radsynth made {out.name}",
            where=there[0],
            next_step="choose another name",
        )
    return out


def check_folder(out: str | Path, force: bool, given: str | Path | None = None) -> Path:
    """The target as a path, where a folder may be written.

    A folder is replaced as a whole. Where it is not empty, that takes `force`, and that radsynth made it: nobody loses
    a home by ``-o ~ --force``. A link, a mounted folder, and the folder that one works in cannot be replaced.

    Parameters
    ----------
    given
        The input, a file or folder, which is never replaced.

    Raises
    ------
    RadsynthError
        Where it must not be written.
    """
    out = Path(out)
    if given is not None:
        _spare(given, out)
    if out.is_symlink():
        raise RadsynthError("a link", where=out, expected="the name of a folder to write")
    if out.name == ".." or out.is_mount() or Path.cwd().is_relative_to(out.resolve()):
        raise RadsynthError(
            "a folder that cannot be replaced as a whole", where=out, next_step="choose the name of a new folder"
        )
    if not out.exists():
        return out
    if not out.is_dir():
        raise RadsynthError("a file", where=out, expected="the name of a folder to write")
    if not any(out.iterdir()):
        return out
    if not force:
        raise RadsynthError("is there already", where=out, next_step="choose another name, or overwrite with --force")
    if _made_here(out / ABOUT) is None:
        raise RadsynthError(
            "holds files that radsynth did not make; it is not replaced", where=out, next_step="choose another name"
        )
    return out


def _spare(given: str | Path, out: Path) -> None:
    """Refuse an output that is the input, or a folder that holds it."""
    if Path(given).resolve().is_relative_to(out.resolve()):
        raise RadsynthError(f"the input {given} would be overwritten", where=out, next_step="choose another name")


def _made_here(about: Path) -> dict[str, Any] | None:
    """What a sidecar says, where it says that radsynth made it."""
    try:
        said = read_json(about)
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) and said.get("made_by") == MADE_BY else None


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `out` when the block ends well."""
    with writing(out), atomic_folder(out) as temporary:
        yield temporary


def try_to_write(out: Path) -> None:
    """See before long work that `out` can be made; nothing is left of the trial.

    Raises
    ------
    RadsynthError
        Where no folder can be made in the folder of `out`, or in the nearest one above it that is there.
    """
    there = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
    with writing(out), TemporaryDirectory(dir=there, prefix=f".{out.name}.", suffix=".tmp"):
        pass


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn what the system says against writing `out` into one line for the user."""
    try:
        yield
    except OSError as error:
        raise RadsynthError(f"cannot be written ({error.strerror or error})", where=out) from None
