"""MLflow shows what the trainings left, once, whatever happened before."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from radsynth.errors import RadsynthError
from radsynth.files import read_json, write_json
from radsynth.settings import load
from radsynth.tracking import publish as publish_module
from radsynth.tracking.dvc_files import md5_of
from radsynth.tracking.lineage import read_lock
from radsynth.tracking.outputs import finished_trainings, flat_numbers
from radsynth.tracking.publish import PUBLISHED, is_published, publish
from radsynth.tracking.store import open_store


def runs(root: Path) -> dict[str, Any]:
    """Active runs by stage; two of one training would be an error."""
    client, experiment = open_store(root)
    found = client.search_runs([experiment])
    assert len({(r.data.tags["radsynth.stage"], r.data.tags["radsynth.fingerprint"]) for r in found}) == len(found)
    return {run.data.tags["radsynth.stage"]: run for run in found}


def contents(root: Path) -> dict[str, Any]:
    """All that the runs show, without what differs from store to store: ids and times."""
    client, experiment = open_store(root)
    shown: dict[str, Any] = {}
    for stage, run in runs(root).items():
        folder = Path(run.info.artifact_uri)
        files = [p for p in folder.rglob("*") if p.is_file()]
        models = client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'")
        curves = {
            name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
            for name in run.data.metrics
        }
        shown[stage] = {
            "params": run.data.params,
            "tags": run.data.tags,
            "curves": curves,
            "files": sorted(p.relative_to(folder).as_posix().split("+timestamp")[0] for p in files),
            "inputs": sorted((d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs),
            "status": run.info.status,
            "models": [(m.name, m.status.name, {x.key: x.value for x in m.metrics or []}) for m in models],
            "outputs": len(run.outputs.model_outputs) if run.outputs else 0,
        }
    return shown


@pytest.fixture(scope="session")
def expected(published_once: Path) -> dict[str, Any]:
    """What a publication without any trouble shows."""
    return contents(published_once)


def test_every_training_has_its_run(published: Path) -> None:
    found = runs(published)
    assert set(found) == {"train_classifier", "train_perceptual", "train_report_gan", "train_cyclegan"}
    assert all(run.info.status == "FINISHED" for run in found.values())
    assert found["train_report_gan"].data.tags["radsynth.fingerprint"] == "1111111111111111"


def test_publishing_again_changes_nothing(published: Path, expected: dict[str, Any]) -> None:
    before = {stage: run.info.run_id for stage, run in runs(published).items()}
    publish(published)
    assert {stage: run.info.run_id for stage, run in runs(published).items()} == before
    assert contents(published) == expected


def test_curves_are_those_of_the_history(published: Path) -> None:
    client, _ = open_store(published)
    run = runs(published)["train_report_gan"]
    history = pd.read_csv(published / "history/train_report_gan/curves.csv").set_index("images_seen")
    for name in history.columns:
        curve = {m.step: m.value for m in client.get_metric_history(run.info.run_id, name)}
        assert curve == history[name].dropna().to_dict()
    speed = client.get_metric_history(run.info.run_id, "system/images_per_second")
    assert [(m.step, m.value) for m in speed] == [(100, 50.0), (200, 25.0)]
    assert [m.timestamp - run.info.start_time for m in speed] == [2000, 6000]
    assert run.info.end_time - run.info.start_time == 6000


def test_run_shows_settings_final_figures_and_lineage(published: Path) -> None:
    run = runs(published)["train_report_gan"]
    assert run.data.params["weight_l1"] == "10.0"
    assert run.data.params["network.size"] == "32"
    assert run.data.params["views"] == '["frontal"]'
    metrics = run.data.metrics
    assert (metrics["label_auroc_share"], metrics["n"], metrics["explain/pointing_game"]) == (0.75, 40.0, 0.4)
    tags = run.data.tags
    assert len(tags["radsynth.dvc_lock_sha256"]) == len(tags["radsynth.dvc_stage_sha256"]) == 64
    assert (tags["radsynth.profile"], tags["radsynth.chest_source"]) == ("quickstart", "phantom")
    assert "radsynth.git_commit" not in tags
    data = {d.dataset.name: d.dataset.digest for d in run.inputs.dataset_inputs}
    assert data == {"chest_embeddings": "0" * 32, "chest_manifest": "f" * 32}
    environment = read_json(Path(run.info.artifact_uri) / "lineage/environment.json")
    assert environment["packages"]["torch"].startswith("2.")
    assert len(environment["requirements_lock_sha256"]) == 64


@pytest.fixture
def trained(outputs: Path, tmp_path: Path) -> Path:
    """A checkout in git after all trainings, as they left it: only the lock has changed since the commit."""
    root = tmp_path / "trained"
    shutil.copytree(outputs, root)
    (root / "src/radsynth").mkdir(parents=True)
    (root / "src/radsynth/errors.py").write_text("code")
    change_lock(root, "e" * 32, md5_of(root / "src/radsynth/errors.py"))
    (root / ".gitignore").write_text("*\n!/params.yaml\n!/dvc.lock\n!/src\n!/src/**\n")
    run_git(root, "init")
    run_git(root, "add", ".")
    run_git(root, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-m", "first")
    change_lock(root, "schema: '2.0'", "schema: '2.0' # after the training")
    return root


def run_git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def change_lock(root: Path, before: str, after: str) -> None:
    text = (root / "dvc.lock").read_text()
    assert before in text
    (root / "dvc.lock").write_text(text.replace(before, after))


def provenance(root: Path, stage: str = "train_cyclegan") -> dict[str, str]:
    """The tags, without those that say nothing."""
    (training,) = (training for training in finished_trainings(root) if training.stage == stage)
    tags = publish_module._provenance(training, load(root / "params.yaml"), read_lock(root, stage))
    return {name.removeprefix("radsynth."): value for name, value in tags.items() if value}


def test_source_profile_and_commit_are_those_of_the_training(trained: Path) -> None:
    commit = run_git(trained, "rev-parse", "HEAD")
    git = {"git_commit": commit, "git_dirty": "false", "mlflow.source.git.commit": commit}
    assert provenance(trained) == {"brain_source": "phantom", "profile": "quickstart"} | git
    assert provenance(trained, "train_report_gan") == {"chest_source": "phantom", "profile": "quickstart"} | git
    (trained / "src/radsynth/other.py").write_text("new")
    assert provenance(trained)["git_dirty"] == "true"


def test_a_checkout_configured_back_to_phantoms_leaves_the_source_of_the_training(trained: Path) -> None:
    lock = yaml.safe_load((trained / "dvc.lock").read_text())
    lock["stages"]["acquire_brain"]["params"]["params.yaml"]["acquire_brain"]["source"] = "folder"
    (trained / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert provenance(trained) == {"brain_source": "folder", "profile": "unknown"}


def test_the_commit_of_other_code_is_not_claimed(trained: Path) -> None:
    (trained / "src/radsynth/errors.py").write_text("code that did not train the model")
    assert provenance(trained, "train_report_gan") == {"chest_source": "phantom", "profile": "quickstart"}


@pytest.mark.parametrize("changed", ["model", "data"])
def test_what_the_lock_does_not_know_is_unknown(changed: str, trained: Path) -> None:
    if changed == "model":
        (trained / "models/mri_to_ct/weights.safetensors").write_bytes(b"trained without DVC")
    else:
        lock = yaml.safe_load((trained / "dvc.lock").read_text())
        lock["stages"]["acquire_brain"]["outs"][0]["md5"] = "0" * 32
        (trained / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert provenance(trained) == {"brain_source": "unknown", "profile": "unknown"}


def test_pictures_over_time_and_of_the_evaluation_are_artifacts(published: Path) -> None:
    folder = Path(runs(published)["train_report_gan"].info.artifact_uri)
    drawn = published / "plots/train_report_gan/images-0000100.png"
    assert (folder / "plots/train_report_gan/images-0000100.png").read_bytes() == drawn.read_bytes()
    assert (folder / "plots/evaluate_report_gan/six_reports.png").is_file()
    steps = {path.name.split("+")[2] for path in (folder / "images").glob("*.png")}
    assert steps == {"100", "200"}


def test_models_have_the_final_figures(expected: dict[str, Any]) -> None:
    ((name, status, figures),) = expected["train_cyclegan"]["models"]
    assert (name, status) == ("mri-to-ct", "READY")
    assert figures["mae_hu"] == 150.5


def test_no_pickle_is_among_the_artifacts(published: Path) -> None:
    # what Python compiles where a model was loaded in its place is nothing that was published
    there = (published / "mlruns/artifacts").rglob("*")
    files = [p for p in there if p.is_file() and "__pycache__" not in p.parts]
    suffixes = {p.suffix for p in files}
    code = {".py", ".typed", ".html", ".css", ".js"}
    assert suffixes <= {".png", ".webp", ".json", ".csv", ".yaml", ".lock", ".txt", ".safetensors", ""} | code
    assert {p.name for p in files if not p.suffix} <= {"MLmodel", "NOTICE", "LICENSE"}
    assert not any(p.read_bytes()[:2] in (b"\x80\x02", b"\x80\x04", b"\x80\x05") for p in files)


STEPS = (
    "_create_run",
    "_log_settings",
    "_log_curves",
    "_log_inputs",
    "_log_pictures",
    "_log_files",
    "log_model",
    "_log_results",
)


class Killed(BaseException):
    """In place of a signal."""


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_publication_killed_after_a_step_is_completed(
    step: str, published: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _forget_gan(published)
    original = getattr(publish_module, step)

    def killed(*arguments: Any) -> None:
        original(*arguments)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(publish_module, step, killed)
        with pytest.raises(Killed):
            publish(published)
    assert not (published / PUBLISHED).exists()
    publish(published)
    assert contents(published) == expected


def test_half_written_model_is_replaced(
    published: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    _forget_gan(published)

    def killed(self: MlflowClient, model_id: str, *arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "finalize_logged_model", killed)
        with pytest.raises(Killed):
            publish(published)
    publish(published)
    assert contents(published) == expected
    assert len(list((published / "mlruns/artifacts/models").glob("*/artifacts/MLmodel"))) == 2


def test_a_new_evaluation_goes_to_the_same_run(published: Path) -> None:
    before = runs(published)["train_cyclegan"].info.run_id
    write_json(published / "metrics/evaluate_mri_to_ct.json", {"mae_hu": 99.5})
    publish(published)
    client, experiment = open_store(published)
    run = runs(published)["train_cyclegan"]
    assert run.info.run_id == before
    assert run.data.metrics["mae_hu"] == 99.5
    assert len(client.search_logged_models([experiment], f"source_run_id = '{before}'")) == 1


def test_figures_come_with_their_intervals_and_name_the_data_and_the_model(published: Path) -> None:
    figure = {"value": 99.5, "low": 90.0, "high": 110.0, "n": 4, "floor": 0.0, "worst_case": None}
    content = {"kid": 99.5, "figures": {"kid": figure, "psnr": figure | {"low": None, "high": None}}}
    write_json(published / "metrics/evaluate_report_gan.json", content)
    publish(published)
    client, experiment = open_store(published)
    run = runs(published)["train_report_gan"]
    found = {name: run.data.metrics.get(name) for name in ("kid", "kid.low", "kid.high", "psnr.low")}
    assert found == {"kid": 99.5, "kid.low": 90.0, "kid.high": 110.0, "psnr.low": None}
    (model,) = client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'")
    told = {m.key: (m.dataset_name, m.dataset_digest) for m in model.metrics}
    given = {entry.dataset.name: entry.dataset.digest for entry in run.inputs.dataset_inputs}
    name, digest = told["kid.high"]
    assert given[name] == digest


def test_another_result_of_the_same_training_replaces_its_run(published: Path) -> None:
    before = runs(published)["train_classifier"].info.run_id
    (published / "history/train_classifier/curves.csv").write_text("images_seen,loss\n100,9\n")
    publish(published)
    client, _ = open_store(published)
    run = runs(published)["train_classifier"]
    assert run.info.run_id != before
    assert [m.value for m in client.get_metric_history(run.info.run_id, "loss")] == [9.0]


def test_another_fingerprint_gets_a_run_of_its_own(published: Path) -> None:
    path = published / "models/classifier/model.json"
    write_json(path, read_json(path) | {"fingerprint": "5" * 16})
    publish(published)
    client, experiment = open_store(published)
    assert len(client.search_runs([experiment], "tags.`radsynth.stage` = 'train_classifier'")) == 2


@pytest.mark.slow
def test_removed_store_is_published_again_and_listed_the_same(published_once: Path, published: Path) -> None:
    shutil.rmtree(published / "mlruns")
    marks = read_json(published_once / PUBLISHED)
    assert marks["train_report_gan"]["fingerprint"] == "1111111111111111"
    assert is_published(published_once, marks)
    assert not is_published(published, marks)
    publish(published)
    assert (published / PUBLISHED).read_bytes() == (published_once / PUBLISHED).read_bytes()
    assert contents(published) == contents(published_once)


def test_nothing_trained_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RadsynthError, match="no trained model"):
        publish(tmp_path)


def test_only_numbers_are_figures() -> None:
    nested = {"table": {"low": 1, "unknown": None}, "mixed": {"value": 1, "split": "test"}, "on": True, "text": "x"}
    assert flat_numbers(nested | {"mae": 2, "many": [1, 2]}) == {"table.low": 1.0, "mae": 2.0}


def _forget_gan(root: Path) -> None:
    """Take the report GAN's run and model out of the store, as if they had never been published."""
    (root / PUBLISHED).unlink()
    run = runs(root)["train_report_gan"].info.run_id
    with sqlite3.connect(root / "mlruns/mlflow.db") as connection:
        (model,) = connection.execute("SELECT model_id FROM logged_models WHERE source_run_id = ?", (run,)).fetchone()
        for table in ("logged_model_tags", "logged_model_metrics", "logged_model_params", "logged_models"):
            connection.execute(f"DELETE FROM {table} WHERE model_id = ?", (model,))
        connection.execute("DELETE FROM inputs WHERE source_id = ? OR destination_id = ?", (run, run))
        for table in ("tags", "params", "metrics", "latest_metrics", "runs"):
            connection.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run,))
    connection.close()
    shutil.rmtree(root / "mlruns/artifacts" / run)
    shutil.rmtree(root / "mlruns/artifacts/models" / model)
