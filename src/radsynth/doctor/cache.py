"""Whether every object of the DVC cache still holds the bytes that its name says.

DVC trusts what it once wrote: `dvc status` does not see a byte that changed on the disk, and `dvc checkout` copies it
into the workspace. Reading every object again is the only way to know.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from radsynth.doctor.result import Result
from radsynth.tracking.dvc_files import (
    Output,
    blocks_of,
    cache_folder,
    listing,
    md5_of,
    md5_of_folder,
    object_path,
    outputs,
    uncached,
)

NAMED = 5
"""Outputs named in one line."""
_PREFIX, _REST = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{30}(\.dir)?")


@dataclass(frozen=True)
class Damage:
    """An object that cannot be trusted: its path, the MD5 in its name, whether it lists a folder, what is wrong."""

    path: Path
    digest: str
    is_folder: bool
    what: str


@dataclass(frozen=True)
class Use:
    """A file or folder of the workspace that an object holds: the output that it belongs to, and its path."""

    output: Output
    path: Path
    is_folder: bool


def cache_intact(root: Path) -> Iterator[Result]:
    """Read all objects again: one problem a damaged one, with what it belongs to and what repairs it.

    Memory stays bounded, whatever the sizes: objects are read block by block, and only the damaged are kept.
    """
    cache = cache_folder(root)
    found = list(objects(cache))
    if not found:
        yield Result("cache", "ok", f"no object in {cache} yet; `dvc repro` fills it")
        return
    total = sum(_size(path) for path, _, _ in found)
    damages = list(_damages(found, total))
    locked = outputs(root)
    for damage in damages:
        yield _told(damage, _uses(damage, locked, cache), root)
    lost = list(_incomplete(locked, cache, {damage.path for damage in damages}, root))
    yield from lost
    if not damages and not lost:
        yield Result("cache", "ok", f"all {len(found)} objects of {cache} ({total / 1e6:.0f} MB) hold what they should")


def objects(cache: Path) -> Iterator[tuple[Path, str, bool]]:
    """Every object of the cache: path, the MD5 in its name, whether it lists a folder. Half-written ones are not."""
    store = cache / "files/md5"
    for prefix in sorted(store.iterdir()) if store.is_dir() else ():
        if _PREFIX.fullmatch(prefix.name) and prefix.is_dir():
            for path in sorted(prefix.iterdir()):
                if _REST.fullmatch(path.name) and not path.is_dir():
                    yield path, prefix.name + path.name[:30], path.suffix == ".dir"


def _damages(found: list[tuple[Path, str, bool]], total: int) -> Iterator[Damage]:
    from radsynth.progress import Meter

    done = 0
    with Meter("re-hashing the DVC cache", round(total / 1e6), unit="MB") as meter:
        for path, digest, is_folder in found:
            running = hashlib.md5(usedforsecurity=False)
            try:
                for block in blocks_of(path):
                    running.update(block)
                    done += len(block)
                    meter.advance(done // 1_000_000 - meter.done)
            except FileNotFoundError:  # removed since it was listed, by `dvc gc` for instance
                continue
            except OSError as error:
                yield Damage(path, digest, is_folder, f"cannot be read ({error.strerror})")
                continue
            if running.hexdigest() != digest:
                yield Damage(path, digest, is_folder, f"holds other bytes than it should (MD5 {running.hexdigest()})")


def _uses(damage: Damage, locked: list[Output], cache: Path) -> list[Use]:
    uses = []
    for output in locked:
        if (output.digest, output.is_folder) == (damage.digest, damage.is_folder):
            uses.append(Use(output, Path(output.path), output.is_folder))
        elif output.is_folder and not damage.is_folder:
            uses += [
                Use(output, Path(output.path) / name, False)
                for digest, name in _listing(cache, output)
                if digest == damage.digest
            ]
    return uses


def _told(damage: Damage, uses: list[Use], root: Path) -> Result:
    remove = f"rm -f {shlex.quote(str(damage.path))}"
    found = f"{damage.path} {damage.what}"
    if not uses:
        found += "; it belongs to no output of dvc.lock, but to an older state or another branch"
        return Result("cache", "problem", found, f"`{remove}`; what needs it is then made anew")
    named = ", ".join(f"{use.path}{' (the list of its files)' if use.is_folder else ''}" for use in uses)
    stages = ", ".join(dict.fromkeys(use.output.stage for use in uses))
    found += f"; it is {named}, made by {stages}"
    whole = next((use for use in uses if _is_whole(root / use.path, damage.digest, use.is_folder)), None)
    if whole is None:
        advice = f"make it anew: `{remove} && dvc repro {uses[0].output.stage}`"
    elif whole.is_folder:
        stage = whole.output.stage
        advice = f"the folder in the workspace is whole: `{remove} && dvc status {stage}`; where that says nothing but "
        advice += f"`not in cache`, `dvc commit -f {stage}` lists it again, else `dvc repro {stage}`"
    else:
        copy = f"install -m 444 {shlex.quote(str(root / whole.path))} {shlex.quote(str(damage.path))}"
        advice = (
            f"the file in the workspace is whole, copy it: `{copy}`; or `{remove} && dvc repro {whole.output.stage}`"
        )
    return Result("cache", "problem", found, advice)


def _incomplete(locked: list[Output], cache: Path, damaged: set[Path], root: Path) -> Iterator[Result]:
    """One line that names the outputs of which something is not in the cache, though it should be."""
    outside = uncached(root)
    missing = []
    for output in locked:
        own = object_path(cache, output.digest, output.is_folder)
        if output.path in outside or own in damaged:
            continue
        files = [object_path(cache, digest) for digest, _ in _listing(cache, output)] if output.is_folder else []
        if not all(path.exists() for path in [own, *files]):
            missing.append(output)
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        names = ", ".join(output.path for output in missing[:NAMED]) + more
        found = f"outputs of dvc.lock that are not, or not wholly, in the cache: {names}"
        advice = f"`dvc repro {missing[0].stage}` makes the first, `dvc pull` fetches them where there is a remote"
        yield Result("cache", "warning", found, advice)


def _listing(cache: Path, output: Output) -> list[tuple[str, str]]:
    try:
        return listing(object_path(cache, output.digest, True))
    except (OSError, ValueError, KeyError, TypeError):  # not there, or itself damaged: that has its own line
        return []


def _is_whole(path: Path, digest: str, is_folder: bool) -> bool:
    try:
        return (md5_of_folder(path) if is_folder else md5_of(path)) == digest
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
