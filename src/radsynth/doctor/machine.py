"""What the work needs of the machine: git, room on the disk, folders that may be written."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from radsynth.doctor.result import Result
from radsynth.tracking.dvc_files import cache_folder, outputs
from radsynth.tracking.lineage import locked_stages

if TYPE_CHECKING:
    from radsynth.settings import Settings

DISK_PER_OUTPUT = 2.5
"""Bytes on the disk for each byte of outputs: in the workspace, in DVC's cache, in checkpoints and in MLflow's copies.
A run of the quickstart into an empty checkout took 2.1 GB for 0.87 GB of outputs."""
WRITTEN = ("data", "mlruns", "models", "checkpoints", ".dvc/tmp")
"""Folders that the pipeline writes into, beside the cache."""


def git() -> Iterator[Result]:
    """Whether there is git at all."""
    program = shutil.which("git")
    if program is None:
        found = "git is not on PATH: models could not say from which commit they are, and `dvc exp` does not work"
        yield Result("git", "problem", found, "install it: `apt install git` or `brew install git`")
        return
    told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    if told.returncode:
        first = (told.stderr.strip().splitlines() or ["no message"])[0]
        yield Result("git", "problem", f"{program} does not run ({first[:200]})", "install git anew")
    else:
        yield Result("git", "ok", told.stdout.strip())


def repository(root: Path) -> Iterator[Result]:
    """Whether the checkout is a git repository of its own; silent without git."""
    if shutil.which("git") is None:
        return
    command = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if told.returncode:
        first = (told.stderr.strip().splitlines() or ["no message"])[0]
        place = shlex.quote(str(root.resolve()))
        advice = "use a clone; for an ownership that git finds dubious: "
        advice += f"`git config --global --add safe.directory {place}`"
        found = f"no commit to name as a model's origin ({first[:200]})"
        yield Result("repository", "warning", found, advice)
        return
    top, commit = told.stdout.splitlines()[:2]
    if Path(top).resolve() != root.resolve():
        found = f"this folder lies inside the repository {top}: models are published without a commit"
        yield Result("repository", "warning", found, "use a clone of its own")
    else:
        yield Result("repository", "ok", f"commit {commit[:12]}")


def disk_space(root: Path, settings: Settings) -> Iterator[Result]:
    """Whether a repro fits on the disk, by the sizes in ``dvc.lock``, less what is in the workspace already."""
    cache = _nearest(cache_folder(root))
    free = shutil.disk_usage(root).free
    locked = outputs(root)
    size = sum(output.size for output in locked)
    there = sum(output.size for output in locked if (root / output.path).exists())
    if root.stat().st_dev == cache.stat().st_dev:
        needs = [(root, free, DISK_PER_OUTPUT * size - there)]
    else:
        needs = [(root, free, (DISK_PER_OUTPUT - 1) * size - there), (cache, shutil.disk_usage(cache).free, size)]
    for place, room, need in needs:
        where = f"on the disk of {place.resolve()}"
        if room < need:
            found = f"{room / 1e9:.1f} GB free {where}, a repro needs about {need / 1e9:.1f} GB"
            advice = "free some: `dvc gc -w` removes what no output of the workspace needs, `make clean` the outputs"
            yield Result("disk", "problem", found, advice)
        elif not locked or not _lock_is_of(settings, locked_stages(root / "dvc.lock")):
            found = f"{room / 1e9:.1f} GB free {where}; what a repro with these settings needs is known after the first"
            yield Result("disk", "ok", found)
        else:
            found = f"{room / 1e9:.1f} GB free {where}, a repro needs about {need / 1e9:.1f} GB"
            yield Result("disk", "ok", found)


def write_access(root: Path) -> Iterator[Result]:
    """Whether the checkout and the folders that the pipeline writes into, or makes, may be written."""
    places = [*(root / name for name in WRITTEN), cache_folder(root)]
    refusals = {place: _refusal(place) or _refusal_below(place) for place in places} | {root: _refusal(root)}
    refused = {place: why for place, why in refusals.items() if why is not None}
    for place, why in refused.items():
        quoted = shlex.quote(str(place))
        advice = f"see `ls -ld {quoted}`; for files of another user: `sudo chown -R $(id -u) {quoted}`"
        yield Result("write", "problem", f"{place} may not be written ({why})", advice)
    if not refused:
        yield Result("write", "ok", f"{', '.join(WRITTEN)} and the DVC cache may be written")


def _refusal(place: Path) -> str | None:
    """Why nothing can be written in the folder `place`, or where it would be made; None where it can."""
    try:
        with tempfile.TemporaryFile(dir=place if place.is_symlink() else _nearest(place)):
            return None
    except OSError as error:
        return str(error.strerror)


def _refusal_below(place: Path) -> str | None:
    folders = (folder for folder, _, _ in os.walk(place))
    return next((f"not its folder {one}" for one in folders if not os.access(one, os.W_OK | os.X_OK)), None)


def _nearest(place: Path) -> Path:
    """`place`, or the nearest folder above it that exists."""
    return next(folder for folder in (place, *place.absolute().parents) if folder.exists())


def _lock_is_of(settings: Settings, stages: dict) -> bool:
    """Whether the lock is of the same profile and sources as the settings."""
    told: dict = {}
    for entry in stages.values():
        told |= (entry.get("params") or {}).get("params.yaml") or {}
    wanted = settings.model_dump(mode="json", include={"profile", "acquire_chest", "acquire_brain"})
    return all(told.get(name) == value for name, value in wanted.items() if name in told)
