"""One store a checkout, however many processes open it first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from radsynth.errors import RadsynthError
from radsynth.tracking.store import open_store, store_uri

# MLflow is imported once, so that the four start at the same moment.
OPEN_FOUR_TIMES = """
import os, sys, mlflow
from radsynth.tracking.store import open_store
children = []
for _ in range(4):
    child = os.fork()
    if not child:
        os._exit(0 if open_store(sys.argv[1])[1] == "1" else 1)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.mark.slow
def test_four_processes_may_make_the_store_at_once(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", OPEN_FOUR_TIMES, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_artifacts_lie_beside_the_database(published: Path) -> None:
    client, experiment = open_store(published)
    places = [run.info.artifact_uri for run in client.search_runs([experiment])]
    places += [model.artifact_location for model in client.search_logged_models([experiment])]
    assert len(places) == 6
    assert all(Path(place).is_relative_to(published / "mlruns/artifacts") and Path(place).is_dir() for place in places)


def test_copied_store_leaves_the_original_alone(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path / "copy")
    open_store(tmp_path / "copy")
    client, experiment = open_store(published)
    assert client.get_experiment(experiment).artifact_location == str((published / "mlruns/artifacts").resolve())


def test_file_that_is_no_store_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns/mlflow.db").write_text("not a database" * 100)
    with pytest.raises(RadsynthError, match="cannot open the MLflow store"):
        open_store(tmp_path)


def test_telemetry_and_pickles_are_off(published: Path) -> None:
    open_store(published)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_uri_is_relative_to_the_checkout() -> None:
    assert store_uri() == "sqlite:///mlruns/mlflow.db"


def test_a_process_that_goes_to_another_checkout_sees_that_ones_store(tmp_path, monkeypatch):
    runs = {}
    for name in ("one", "other", "one"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        client, experiment = open_store(".")
        assert client.get_experiment(experiment).artifact_location == str(tmp_path / name / "mlruns/artifacts")
        assert [run.info.run_id for run in client.search_runs([experiment])] == runs.get(name, [])
        if name not in runs:
            runs[name] = [client.create_run(experiment).info.run_id]
