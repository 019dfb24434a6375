"""Where a model comes from: the commit, DVC's lock, the data by content, the environment."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from radsynth.files import sha256_of

PACKAGES = ("torch", "torchvision", "transformers", "numpy", "pandas", "SimpleITK", "dvc", "mlflow")
"""Packages whose versions are worth reading at a glance; `requirements.lock` has them all."""


@dataclass(frozen=True)
class Data:
    """One input of a stage: `name` for people, path from the checkout, DVC's digest (MD5), size in bytes."""

    name: str
    path: str
    digest: str
    size: int


@dataclass(frozen=True)
class Lock:
    """What `dvc.lock` says of one stage; all empty where it says nothing.

    Parameters
    ----------
    digest
        SHA-256 of the file as it stands.
    stage_digest
        SHA-256 of the stage's own entry: command, dependencies, settings, outputs.
    data
        Its dependencies under ``data/``, in the order of the lock.
    outputs
        Path -> DVC's digest as the lock has it, with ``.dir`` for a folder.
    settings
        Stage -> sections of the settings, for the stage and those that made what it read. One that has run again since,
        with another result, is left out with all behind it.
    code
        Path and MD5 of the files in git that these stages read.
    """

    digest: str = ""
    stage_digest: str = ""
    data: tuple[Data, ...] = ()
    outputs: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    code: frozenset[tuple[str, str]] = frozenset()


def locked_stages(path: str | Path) -> dict[str, Any]:
    """The stages of a ``dvc.lock`` by name; {} where there is none."""
    import yaml

    path = Path(path)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of 2,000 lines, in a twentieth of the time
    return (yaml.load(path.read_bytes(), loader) or {}).get("stages") or {} if path.is_file() else {}


def read_lock(root: str | Path, stage: str) -> Lock:
    """Read the entry of `stage` in ``dvc.lock``."""
    path = Path(root) / "dvc.lock"
    if not path.is_file():
        return Lock()
    stages = locked_stages(path)
    entry = stages.get(stage)
    if entry is None:
        return Lock(sha256_of(path))
    canonical = json.dumps(entry, sort_keys=True).encode()
    data = tuple(
        Data(_data_name(dep["path"]), dep["path"], dep["md5"].removesuffix(".dir"), int(dep.get("size", 0)))
        for dep in entry.get("deps", [])
        if dep["path"].startswith("data/") and "md5" in dep
    )
    outputs = {out["path"]: str(out.get("md5")) for out in entry.get("outs", [])}
    settings, code = _behind(stages, stage)
    return Lock(sha256_of(path), hashlib.sha256(canonical).hexdigest(), data, outputs, settings, code)


def _behind(stages: dict[str, Any], stage: str) -> tuple[dict[str, dict[str, Any]], frozenset[tuple[str, str]]]:
    """`Lock.settings` and `Lock.code` of a stage, by walking from what it read to what made exactly that."""
    makers = {(out["path"], out.get("md5")): name for name, entry in stages.items() for out in entry.get("outs", [])}
    settings, code, waiting = {}, set(), [stage]
    while waiting:
        name = waiting.pop()
        if name in settings:
            continue
        settings[name] = (stages[name].get("params") or {}).get("params.yaml") or {}
        read = [(dep["path"], dep.get("md5")) for dep in stages[name].get("deps", [])]
        waiting += [makers[dep] for dep in read if dep in makers]
        code |= {dep for dep in read if dep[0].startswith(("src/", "stages/", "conf/"))}
    return settings, frozenset(code)


def git_state(root: str | Path) -> dict[str, str]:
    """Commit of the checkout and whether it was changed since, as ``commit`` and ``dirty``; {} without git.

    ``dvc.lock`` does not count as a change: running the pipeline writes it, and its digest is kept apart.
    """
    root = Path(root).resolve()
    top, commit = _git(root, "rev-parse", "--show-toplevel"), _git(root, "rev-parse", "HEAD")
    if top is None or commit is None or Path(top).resolve() != root:
        return {}
    changes = _git(root, "status", "--porcelain", "--", ".", ":(exclude)dvc.lock")
    return {"commit": commit, "dirty": str(bool(changes)).lower()}


def environment(root: str | Path) -> dict[str, Any]:
    """Python, platform, versions of the packages that matter, digest of ``requirements.lock`` (null without it)."""
    lock = Path(root) / "requirements.lock"
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": {name: found for name in PACKAGES if (found := installed(name))},
        "requirements_lock_sha256": sha256_of(lock) if lock.is_file() else None,
    }


def installed(package: str) -> str | None:
    """Version of an installed package, without the label of a local build (``2.11.0+cu128`` is 2.11.0)."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def _data_name(path: str) -> str:
    """``data/chest/manifest.parquet`` -> ``chest_manifest``."""
    return "_".join(Path(path).with_suffix("").parts[1:])


def _git(root: Path, *arguments: str) -> str | None:
    # without the lock that `git status` takes to refresh its index: DVC may be using git right now
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
