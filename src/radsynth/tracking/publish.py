"""Mirror finished trainings into MLflow: one run a training, one model a GAN, however often and wherever it is asked.

MLflow is a projection of what DVC made. A training restored from DVC's cache has its run as well, and whatever is
missing, half-written or out of date is put right. Three tags say what a run is:

- ``radsynth.stage`` and ``radsynth.fingerprint``: which training. There is at most one run of each.
- ``radsynth.trained``: digest of what the training wrote. Trained again with another result: the run is replaced.
- ``radsynth.content``: digest of all it shows, set last. Absent or different: the run is completed where it stands.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from radsynth.files import write_json
from radsynth.tracking.dvc_files import md5_of, md5_of_folder
from radsynth.tracking.lineage import Lock, environment, git_state, read_lock
from radsynth.tracking.outputs import (
    Training,
    finished_trainings,
    flat_numbers,
    flat_settings,
    interval_ends,
    read_curves,
)
from radsynth.tracking.served import is_served, log_model
from radsynth.tracking.store import ARTIFACTS, DATABASE, EXPERIMENT, open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

    from radsynth.settings import Settings

PUBLISHED = Path("mlruns/published.json")
"""What was published: stage -> fingerprint and content. The same for the same outputs, so that DVC can compare it."""


def publish(root: str | Path = ".") -> dict[str, dict[str, str]]:
    """Make MLflow show every finished training of the checkout `root`; quick where it already does.

    Returns
    -------
    dict
        Stage -> ``fingerprint`` and ``content``, as written to `PUBLISHED`.

    Raises
    ------
    RadsynthError
        Where there is nothing to publish, or the store cannot be opened.
    """
    root = Path(root)
    trainings = finished_trainings(root)
    published = {
        training.stage: {"fingerprint": training.description["fingerprint"], "content": training.content_digest()}
        for training in trainings
    }
    if not is_published(root, published):
        from filelock import FileLock

        from radsynth.progress import track
        from radsynth.settings import load

        settings = load(root / "params.yaml")
        (root / PUBLISHED).parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root / "mlruns" / ".publish.lock"):
            client, experiment = open_store(root)
            for training in track(trainings, "publishing to MLflow", unit="trainings"):
                content = published[training.stage]["content"]
                _publish_training(client, experiment, training, settings, content)
    write_json(root / PUBLISHED, published)
    return published


def is_published(root: Path, published: dict[str, dict[str, str]]) -> bool:
    """Whether every training of `published` has its complete run, read from the database without MLflow."""
    database = root / DATABASE
    if not database.is_file():
        return False
    query = """
        SELECT r.run_uuid, r.artifact_uri, t.key, t.value FROM runs r
        JOIN experiments e ON e.experiment_id = r.experiment_id JOIN tags t ON t.run_uuid = r.run_uuid
        WHERE e.name = ? AND e.artifact_location = ? AND r.lifecycle_stage = 'active' AND t.key LIKE 'radsynth.%'
    """
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute(query, (EXPERIMENT, str((root / ARTIFACTS).resolve()))).fetchall()
    except sqlite3.Error:
        return False
    runs: dict[str, dict[str, str]] = {}
    for run, artifacts, key, value in rows:
        runs.setdefault(run, {"artifacts": artifacts})[key] = value
    there = {
        (run.get("radsynth.stage"), run.get("radsynth.fingerprint"), run.get("radsynth.content"))
        for run in runs.values()
        if Path(run["artifacts"]).is_dir()
    }
    return all((stage, marks["fingerprint"], marks["content"]) in there for stage, marks in published.items())


def _publish_training(
    client: MlflowClient, experiment: str, training: Training, settings: Settings, content: str
) -> None:
    """Create, complete or replace the run of one training."""
    lock = read_lock(training.root, training.stage)
    run = _run_of(client, experiment, training)
    if run is None:
        run = _create_run(client, experiment, training, settings, lock)
    elif run.data.tags.get("radsynth.content") == content and _artifacts(run).is_dir():
        return
    _log_settings(client, run, training)
    last_seen = _log_curves(client, run, training)
    _log_inputs(client, run, lock)
    _log_pictures(client, run, training)
    _log_files(client, run, training)
    model_id, fresh = log_model(client, experiment, run, training) if is_served(training.stage) else (None, False)
    _log_results(client, run, training, lock, last_seen, model_id, fresh)
    client.set_terminated(run.info.run_id, "FINISHED", end_time=run.info.start_time + _milliseconds(training))
    client.set_tag(run.info.run_id, "radsynth.content", content)


def _run_of(client: MlflowClient, experiment: str, training: Training) -> Run | None:
    """The training's run; one that shows another result of the same training is deleted."""
    found = client.search_runs(
        [experiment],
        f"tags.`radsynth.stage` = '{training.stage}' AND "
        f"tags.`radsynth.fingerprint` = '{training.description['fingerprint']}'",
    )
    trained = training.trained_digest()
    for run in found:
        if run.data.tags.get("radsynth.trained") != trained:
            client.delete_run(run.info.run_id)
    return next((run for run in found if run.data.tags.get("radsynth.trained") == trained), None)


def _create_run(client: MlflowClient, experiment: str, training: Training, settings: Settings, lock: Lock) -> Run:
    described = training.description
    tags = {
        "radsynth.stage": training.stage,
        "radsynth.fingerprint": described["fingerprint"],
        "radsynth.trained": training.trained_digest(),
        "radsynth.seed": str(described.get("seed", settings.seed)),
        "radsynth.dvc_lock_sha256": lock.digest,
        "radsynth.dvc_stage_sha256": lock.stage_digest,
        "mlflow.source.name": f"stages/{training.stage}.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": _note(training),
        **_provenance(training, settings, lock),
    }
    ended = int((training.model / "model.json").stat().st_mtime * 1000)
    return client.create_run(
        experiment,
        start_time=ended - _milliseconds(training),
        tags={name: value for name, value in tags.items() if value},
        run_name=f"{training.model.name} {described['fingerprint'][:8]}",
    )


def _provenance(training: Training, settings: Settings, lock: Lock) -> dict[str, str]:
    """Source, profile and commit of a training, as far as DVC's lock shows them for this very model.

    The checkout may have been configured or changed since: its profile counts where its settings are those that the
    training and its data were made with, its commit where its code is as well. Else the profile is ``unknown`` and
    there is no commit.
    """
    data = "brain" if training.stage == "train_cyclegan" else "chest"
    is_locked = lock.outputs.get(f"models/{training.model.name}") == f"{md5_of_folder(training.model)}.dir"
    made = lock.settings if is_locked else {}
    source = made.get(f"acquire_{data}", {}).get(f"acquire_{data}", {}).get("source")
    now = settings.model_dump(mode="json")
    as_now = bool(source) and all(now.get(name) == value for own in made.values() for name, value in own.items())
    paths = [(training.root / path, digest) for path, digest in lock.code]
    git = {}
    if as_now and all(path.is_file() and md5_of(path) == digest for path, digest in paths):
        git = git_state(training.root)
    return {
        f"radsynth.{data}_source": source or "unknown",
        "radsynth.profile": settings.profile if as_now else "unknown",
        "radsynth.git_commit": git.get("commit", ""),
        "radsynth.git_dirty": git.get("dirty", ""),
        "mlflow.source.git.commit": git.get("commit", ""),
    }


def _note(training: Training) -> str:
    described = training.description
    about = {"chosen by": described.get("chosen_by"), "used for": described.get("used_for")}
    lines = [f"{name}: {text}" for name, text in about.items() if text]
    return "\n\n".join([*lines, "Research, not clinical use."])


def _log_settings(client: MlflowClient, run: Run, training: Training) -> None:
    """The settings of the training, as `model.json` kept them, and what was built from them."""
    from mlflow.entities import Param

    described = training.description
    values = flat_settings(described.get("settings", {})) | flat_settings({"network": described.get("network", {})})
    values |= {name: described[name] for name in ("seed", "weights", "chosen_by") if name in described}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    params = [Param(name, text) for name, text in sorted(texts.items())]
    for start in range(0, len(params), 100):
        client.log_batch(run.info.run_id, params=params[start : start + 100])


def _log_curves(client: MlflowClient, run: Run, training: Training) -> int:
    """Every curve, and the machine's figures as ``system/...``, by images seen; returns the last images seen.

    Time stamps follow from the start of the run and the speed, so that logging again adds nothing.
    """
    from mlflow.entities import Metric

    clock, last_seen = _clock(training), 0
    points = []
    for prefix, path in (("", training.history), ("system/", training.system)):
        for seen, figures in read_curves(path):
            at = run.info.start_time + clock(seen)
            points += [Metric(prefix + name, value, at, seen) for name, value in figures.items()]
            last_seen = max(last_seen, seen)
    _log_metrics(client, run.info.run_id, points)
    return last_seen


def _log_results(
    client: MlflowClient,
    run: Run,
    training: Training,
    lock: Lock,
    step: int,
    model_id: str | None,
    fresh_model: bool,
) -> None:
    """The figures of the metrics files, on the run and on its model; those of a later evaluation follow the earlier.

    Names are those of the files; those that speak of several models are kept apart as ``explain/...``, ``audit/...``.
    The ends of an interval are ``<name>.low`` and ``<name>.high``. All name the data that was judged: the manifest
    whose held-out splits the figures are of.
    """
    from mlflow.entities import Metric

    values: dict[str, float] = {}
    for path in training.metrics():
        prefix = {"explain": "explain/"}.get(path.stem, "audit/" if path.stem.startswith("audit_") else "")
        content = json.loads(path.read_text("utf-8"))
        values |= {prefix + name: value for name, value in (flat_numbers(content) | interval_ends(content)).items()}
    judged = next((data for data in lock.data if data.name.endswith("_manifest")), next(iter(lock.data), None))
    known = client.get_run(run.info.run_id).data.metrics
    ended, now = run.info.start_time + _milliseconds(training), int(time.time() * 1000)
    points = [
        Metric(
            name,
            value,
            ended if known.get(name, value) == value else now,
            step,
            model_id=model_id,
            dataset_name=judged.name if judged else None,
            dataset_digest=judged.digest if judged else None,
            run_id=run.info.run_id,
        )
        for name, value in values.items()
        if fresh_model or known.get(name) != value
    ]
    _log_metrics(client, run.info.run_id, points)


def _log_metrics(client: MlflowClient, run_id: str, points: list[Metric]) -> None:
    for start in range(0, len(points), 1000):
        client.log_batch(run_id, metrics=points[start : start + 1000])


def _log_inputs(client: MlflowClient, run: Run, lock: Lock) -> None:
    """The data that the training read, by the digests of DVC's lock."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(
                name=data.name,
                digest=data.digest,
                source_type="local",
                source=json.dumps({"uri": data.path}),
                profile=json.dumps({"size_bytes": data.size, "digest": "MD5, as in dvc.lock"}),
            ),
            [InputTag("mlflow.data.context", "training")],
        )
        for data in lock.data
    ]
    if inputs:
        client.log_inputs(run.info.run_id, datasets=inputs)


def _log_pictures(client: MlflowClient, run: Run, training: Training) -> None:
    """The pictures drawn while training, as MLflow's images over time: the run page shows them with a slider."""
    from PIL import Image

    clock = _clock(training)
    shutil.rmtree(_artifacts(run) / "images", ignore_errors=True)
    for path in sorted(training.grids.glob("*.png")):
        digits = "".join(c if c.isdigit() else " " for c in path.stem).split()
        seen = int(digits[-1]) if digits else 0
        with Image.open(path) as picture:
            client.log_image(
                run.info.run_id,
                picture.convert("RGB"),
                key="samples",
                step=seen,
                timestamp=run.info.start_time + clock(seen),
            )


def _log_files(client: MlflowClient, run: Run, training: Training) -> None:
    """Description, curves, pictures, metrics, settings, lock and environment, as files of the run."""
    run_id = run.info.run_id
    for folder in ("plots", "metrics", "history", "lineage", "model"):
        shutil.rmtree(_artifacts(run) / folder, ignore_errors=True)
    for folder in [training.grids, *training.plots()]:
        if folder.is_dir():
            client.log_artifacts(run_id, str(folder), f"plots/{folder.name}")
    for path in training.metrics():
        client.log_artifact(run_id, str(path), "metrics")
    for path in (training.history, training.system):
        if path.is_file():
            client.log_artifact(run_id, str(path), "history")
    for path in (training.root / "params.yaml", training.root / "dvc.lock"):
        if path.is_file():
            client.log_artifact(run_id, str(path), "lineage")
    client.log_dict(run_id, environment(training.root), "lineage/environment.json")
    # the GANs' weights are in their logged models
    names = ("model.json",) if is_served(training.stage) else ("model.json", "weights.safetensors")
    for name in names:
        client.log_artifact(run_id, str(training.model / name), "model")


def _artifacts(run: Run) -> Path:
    return Path(run.info.artifact_uri)


def _clock(training: Training) -> Callable[[int], int]:
    """Images seen -> milliseconds of training, from the speeds that the history kept."""
    times, before, elapsed = [(0, 0.0)], 0, 0.0
    for seen, figures in read_curves(training.system):
        elapsed += (seen - before) / max(figures.get("images_per_second", 1.0), 1e-3)
        before = seen
        times.append((seen, elapsed))
    return lambda images: int(1000 * max((seconds for seen, seconds in times if seen <= images), default=0.0))


def _milliseconds(training: Training) -> int:
    return _clock(training)(2**62)
