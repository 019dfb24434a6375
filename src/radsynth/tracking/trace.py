"""Where a model comes from, step by step: alias, version, run, commit, settings, processed data, raw files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from radsynth.errors import RadsynthError
from radsynth.tracking.facts import lock_digests, raw_digests, settings_digest
from radsynth.tracking.lineage import git_state
from radsynth.tracking.registry import CHAMPION, REGISTERED, Version, find, known
from radsynth.tracking.store import open_store

NOW, OTHER, UNKNOWN = "as in the checkout", "differs from the checkout", "not in the checkout"


@dataclass(frozen=True)
class Step:
    """One link: what it is, its name or digest (None: missing), and how it stands to the checkout now."""

    what: str
    value: str | None
    note: str = ""


def trace(root: str | Path, name: str, reference: str = CHAMPION) -> list[Step]:
    """The chain from a reference to the raw files.

    Raises
    ------
    RadsynthError
        Where there is no such version.
    """
    root = Path(root)
    version = find(root, name, reference)
    tags = version.tags
    steps = [
        Step("alias", ", ".join(version.aliases) or "none", f"asked for as {reference}"),
        Step("version", str(version), f"gate: {tags.get('radsynth.gate', 'not judged')}"),
        _files_step(version),
        _run_step(root, version),
        _commit_step(root, tags),
        Step("fingerprint", tags.get("radsynth.fingerprint"), "settings, data and code that trained it"),
        _settings_step(root, version),
        Step("dvc.lock", tags.get("radsynth.dvc_lock_sha256"), "SHA-256, when the run was made"),
    ]
    now = lock_digests(root / "dvc.lock")
    data = json.loads(tags.get("radsynth.data", "{}"))
    steps += [Step(f"data {path}", digest, _against(digest, now.get(path))) for path, digest in data.items()]
    if not data:
        steps.append(Step("data", None, "dvc.lock held no entry of the training"))
    raw_now = raw_digests(root / "dvc.lock", list(data))
    raw = json.loads(tags.get("radsynth.raw", "{}"))
    steps += [Step(f"raw {path}", digest, _against(digest, raw_now.get(path))) for path, digest in raw.items()]
    if not raw:
        steps.append(Step("raw", None, "dvc.lock held no stage that made the data"))
    return steps


def parse(model: str) -> tuple[str, str]:
    """``report-to-xray@champion`` as name and reference; without ``@`` the champion.

    Raises
    ------
    RadsynthError
        Where there is no such model.
    """
    name, _, reference = model.partition("@")
    if name not in REGISTERED:
        raise RadsynthError("no such model", got=repr(model), expected=" or ".join(f"{n}@ALIAS" for n in REGISTERED))
    return name, reference or CHAMPION


def lines(steps: list[Step]) -> list[str]:
    """The chain as a person reads it; the last line says whether something is missing."""
    width = max(len(step.what) for step in steps)
    shown = [f"{s.what.ljust(width)}  {s.value or 'MISSING'}{f'  ({s.note})' if s.note else ''}" for s in steps]
    missing = [step.what for step in steps if step.value is None]
    return [*shown, f"missing: {', '.join(missing)}" if missing else "nothing is missing"]


def _files_step(version: Version) -> Step:
    recorded = json.loads(version.tags.get("radsynth.files", "{}"))
    there = version.source.is_dir()
    return Step("weights", version.tags.get("radsynth.model_sha256") if there else None, f"{len(recorded)} files")


def _run_step(root: Path, version: Version) -> Step:
    from mlflow.exceptions import MlflowException

    client, _ = open_store(root)
    try:
        run = client.get_run(version.run_id)
    except MlflowException:
        return Step("run", None, f"{version.run_id} is not in MLflow")
    note = run.info.run_name or ""
    return Step("run", version.run_id, note if run.info.lifecycle_stage == "active" else f"{note}, replaced since")


def _commit_step(root: Path, tags: dict[str, str]) -> Step:
    commit, now = tags.get("radsynth.git_commit"), git_state(root)
    if not commit:
        return Step("commit", None, "no git repository, or code and settings were others when it was published")
    notes = [NOW if now.get("commit") == commit else OTHER if now else UNKNOWN]
    if tags.get("radsynth.git_dirty") == "true":
        notes.append("with changes that no commit holds")
    return Step("commit", commit, ", ".join(notes))


def _settings_step(root: Path, version: Version) -> Step:
    from radsynth.settings import load

    digest = version.tags.get("radsynth.settings_sha256")
    try:
        settings = load(root / "params.yaml")
    except RadsynthError:
        return Step("settings", digest, UNKNOWN)
    section = getattr(settings, known(version.name)).model_dump(mode="json")
    now = settings_digest({"settings": section, "seed": settings.seed})
    return Step("settings", digest, NOW if digest == now else OTHER)


def _against(digest: str, now: str | None) -> str:
    return UNKNOWN if now is None else NOW if now.removesuffix(".dir") == digest.removesuffix(".dir") else OTHER
