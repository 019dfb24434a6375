"""The stage publish, run as DVC runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from radsynth.files import read_json, write_json
from radsynth.tracking.outputs import finished_trainings
from radsynth.tracking.store import open_store

ROOT = Path(__file__).resolve().parents[2]


def run_stage(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the stage in `folder`; an import of MLflow would be refused where it is poisoned."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder / "poison"), str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-m", "stages.publish"], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one small training."""
    (tmp_path / "models/classifier").mkdir(parents=True)
    (tmp_path / "models/classifier/weights.safetensors").write_bytes(b"x")
    write_json(tmp_path / "models/classifier/model.json", {"fingerprint": "a" * 16, "settings": {}, "seed": 7})
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return tmp_path


@pytest.mark.slow
def test_stage_publishes_and_then_needs_no_mlflow(checkout: Path) -> None:
    first = run_stage(checkout)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "train_classifier: run aaaaaaaaaaaaaaaa is in MLflow\n"
    marks = read_json(checkout / "mlruns/published.json")
    (training,) = finished_trainings(checkout)
    assert marks == {"train_classifier": {"content": training.content_digest(), "fingerprint": "a" * 16}}
    client, experiment = open_store(checkout)
    assert len(client.search_runs([experiment])) == 1

    (checkout / "mlruns/published.json").unlink()
    (checkout / "poison/mlflow").mkdir(parents=True)
    (checkout / "poison/mlflow/__init__.py").write_text("raise ImportError('MLflow was imported')")
    again = run_stage(checkout)
    assert again.returncode == 0, again.stderr
    assert read_json(checkout / "mlruns/published.json") == marks


def test_stage_without_a_model_ends_with_one_line(tmp_path: Path) -> None:
    done = run_stage(tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: models: no trained model to publish; run `dvc repro`\n"
