"""Where results go: whole or not at all, and never over something that radsynth did not make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radsynth.errors import RadsynthError
from radsynth.files import atomic_folder, read_json

ABOUT = "about.json"
"""Says of an output folder who made it."""

MADE_BY = "radsynth"


def check_file(out: str | Path, force: bool) -> Path:
    """The target as a path, where a file may be written.

    Raises
    ------
    RadsynthError
        Where it is there already and not `force`, or is a folder.
    """
    out = Path(out)
    if out.is_dir():
        raise RadsynthError("a folder", where=out, expected="the name of a file to write")
    if out.exists() and not force:
        raise RadsynthError("is there already", where=out, next_step="choose another name, or overwrite with --force")
    return out


def check_folder(out: str | Path, force: bool) -> Path:
    """The target as a path, where a folder may be written.

    A folder is replaced as a whole. Where it is not empty, that takes `force`, and that radsynth made it: nobody loses
    a home by ``-o . --force``.

    Raises
    ------
    RadsynthError
        Where it must not be written.
    """
    out = Path(out)
    if not out.exists():
        return out
    if not out.is_dir():
        raise RadsynthError("a file", where=out, expected="the name of a folder to write")
    if not any(out.iterdir()):
        return out
    if not force:
        raise RadsynthError("is there already", where=out, next_step="choose another name, or overwrite with --force")
    try:
        about = read_json(out / ABOUT)
        ours = isinstance(about, dict) and about.get("made_by") == MADE_BY
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise RadsynthError(
            "holds files that radsynth did not make; it is not replaced", where=out, next_step="choose another name"
        )
    return out


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `out` when the block ends well."""
    with writing(out), atomic_folder(out) as temporary:
        yield temporary


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn what the system says against writing `out` into one line for the user."""
    try:
        yield
    except OSError as error:
        raise RadsynthError(f"cannot be written ({error.strerror or error})", where=out) from None
