"""What is recorded of a model version when it is registered: where it comes from and what its files are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radsynth.files import read_json, sha256_of
from radsynth.tracking.dvc_files import md5_of_folder
from radsynth.tracking.lineage import locked_stages

if TYPE_CHECKING:
    from mlflow.entities import Run

    from radsynth.tracking.outputs import Training

VALIDATION = {"train_report_gan": "validate_chest", "train_cyclegan": "validate_brain"}
"""Training stage -> the stage that validated its data."""
MEMORISATION = {
    "train_report_gan": ("audit_report_gan", "report_to_xray_passed"),
    "train_cyclegan": ("audit_mri_to_ct", "mri_to_ct_passed"),
}
"""Training stage -> the stage that audited it for copies, and the entry in that stage's metrics."""

_FROM_RUN = (
    "radsynth.stage",
    "radsynth.fingerprint",
    "radsynth.trained",
    "radsynth.git_commit",
    "radsynth.git_dirty",
    "radsynth.dvc_lock_sha256",
    "radsynth.dvc_stage_sha256",
    "radsynth.profile",
    "radsynth.chest_source",
    "radsynth.brain_source",
    "radsynth.seed",
)

PASSED, FAILED, MISSING = "passed", "failed", "missing"


def lasting_facts(training: Training, run: Run, files: dict[str, str]) -> dict[str, str]:
    """Tags of a new version that are never changed: training, code, data, settings, files.

    Source, profile, commit and lock are what the training's run recorded; raw data those of the lock that it kept.

    Parameters
    ----------
    files
        Name -> SHA-256 of every file of the logged model.
    """
    described, told = training.description, run.data.tags
    data = {
        json.loads(given.dataset.source)["uri"]: given.dataset.digest
        for given in (run.inputs.dataset_inputs if run.inputs else [])
    }
    return {name: told[name] for name in _FROM_RUN if name in told} | {
        "radsynth.settings_sha256": settings_digest(described),
        "radsynth.model_sha256": sha256_of(training.model),
        "radsynth.data": json.dumps(data, sort_keys=True),
        "radsynth.raw": json.dumps(raw_digests(Path(run.info.artifact_uri) / "lineage" / "dvc.lock", list(data))),
        "radsynth.files": json.dumps(files, sort_keys=True),
    }


def verdict_facts(training: Training) -> dict[str, str]:
    """Tags that later stages may still change: `passed`, `failed` or `missing` for validation and memorisation.

    A figure that ``dvc.lock`` shows to be of other data or of another model is missing. Both are missing as long as the
    model on disk is not the one in ``dvc.lock``: what the lock says is of the model before.
    """
    stages, metrics = locked_stages(training.root / "dvc.lock"), training.root / "metrics"
    model = f"models/{training.model.name}"
    locked = _digest_in(stages, training.stage, "outs", model)
    if locked != f"{md5_of_folder(training.model)}.dir":
        return {"radsynth.validation": MISSING, "radsynth.memorisation": MISSING}
    name = VALIDATION[training.stage]
    validation = _read(metrics / f"{name}.json").get("success")
    read = _digest_in(stages, training.stage, "deps", f"metrics/{name}.json")
    if read and read != _digest_in(stages, name, "outs", f"metrics/{name}.json"):
        validation = None
    audit, entry = MEMORISATION[training.stage]
    memorisation = _read(metrics / f"{audit}.json").get(entry)
    audited = _digest_in(stages, audit, "deps", model)
    if audited and audited != locked:
        memorisation = None
    return {"radsynth.validation": _word(validation), "radsynth.memorisation": _word(memorisation)}


def settings_digest(description: dict[str, Any]) -> str:
    """SHA-256 of the settings and the seed that shaped a training, as its `model.json` keeps them."""
    kept = {"settings": description.get("settings", {}), "seed": description.get("seed")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of every file below `folder`; compiled Python, which loading a model may leave, is none."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def raw_digests(lock: Path, data: list[str]) -> dict[str, str]:
    """The raw data that `data` were made of, by walking the lock back: path -> DVC's digest (MD5).

    Everything on the way that no stage makes and that is not code counts as raw (an archive, a folder outside), as do
    the outputs below ``data/raw``.
    """
    stages = locked_stages(lock)
    makers = {out["path"]: stage for stage in stages.values() for out in stage.get("outs", [])}
    found: dict[str, str] = {}
    waiting, seen = list(data), set(data)
    while waiting:
        stage = makers.get(waiting.pop())
        for entry in (*stage["outs"], *stage.get("deps", [])) if stage else ():
            path = entry["path"]
            if path.startswith("data/raw/") or (path not in makers and not path.startswith(("src/", "stages/"))):
                found[path] = str(entry.get("md5", entry.get("etag", "")))
            if path not in seen:
                seen.add(path)
                waiting.append(path)
    return dict(sorted(found.items()))


def lock_digests(lock: Path) -> dict[str, str]:
    """Every output in a ``dvc.lock``: path -> DVC's digest (MD5)."""
    return {
        out["path"]: str(out.get("md5", out.get("etag", "")))
        for stage in locked_stages(lock).values()
        for out in stage.get("outs", [])
    }


def _word(passed: Any) -> str:
    return {True: PASSED, False: FAILED}.get(passed, MISSING) if isinstance(passed, bool) else MISSING


def _read(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _digest_in(stages: dict[str, Any], stage: str, kind: str, path: str) -> str | None:
    entries = (stages.get(stage) or {}).get(kind) or []
    return next((str(entry.get("md5")) for entry in entries if entry["path"] == path), None)
