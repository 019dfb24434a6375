"""Both ways to run the deployments of prefect.yaml: one process, and a server with a worker."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from pipelines.process import kept
from pipelines.serve import server

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(fake, monkeypatch):
    """A checkout with the flows, where the nightly retraining is due every ten seconds and nothing is stale."""
    shutil.copytree(ROOT / "pipelines", fake.root / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "prefect.toml", fake.root)
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    nightly = next(entry for entry in declared["deployments"] if entry["name"] == "nightly")
    nightly["schedules"] = [{"cron": "* * * * * */10", "timezone": "UTC"}]
    (fake.root / "prefect.yaml").write_text(yaml.safe_dump(declared))
    (fake.root / "mlruns").mkdir()
    (fake.root / "mlruns/published.json").write_text("{}")
    for name in ("PREFECT_API_URL", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_RUNNER_POLL_FREQUENCY", "2")
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "2")
    monkeypatch.setenv("RADSYNTH_ROOT", str(fake.root))
    monkeypatch.chdir(fake.root)
    return fake


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen]:
    """A program that is asked to end when the block ends, or this test's process does; its output is shown then."""
    log = Path("program.log")
    with (
        open(log, "wb") as out,
        kept([sys.executable, "-m", *command], stdout=out, stderr=out, grace_seconds=60) as program,
    ):
        try:
            yield program
        except BaseException:
            print(log.read_text())
            raise


def first_completed(port: int, program: subprocess.Popen, **wanted: object) -> dict:
    """The first completed flow run with these properties; waits at most four minutes.

    One that left because another was at work does not count: where a run takes longer than the cron's minute, the next
    one ends before it.
    """
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/flow_runs/filter",
        data=json.dumps({"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}).encode(),
        headers={"Content-Type": "application/json"},
    )
    pause = threading.Event()
    for _ in range(240):
        assert program.poll() is None, "the program ended"
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                runs = json.load(answer)
        except OSError:
            runs = []
        for run in runs:
            at_work = run["state"]["name"] != "AlreadyRunning"
            if at_work and all(run[key] == value for key, value in wanted.items()):
                return run
        pause.wait(1)
    pytest.fail("no flow run in four minutes")


def test_one_process_makes_runs_by_itself_and_takes_its_server_along(checkout):
    checkout.tell(stale={"prepare_xrays": ["explain"]})
    port = free_port()
    with started("pipelines.serve", "--port", str(port)) as program:
        run = first_completed(port, program, auto_scheduled=True)
        family = psutil.Process(program.pid).children(recursive=True)
    assert run["state"]["name"] == "Promoted", run["state"]
    assert "radsynth promote mri-to-ct" in checkout.asked
    assert (checkout.root / ".prefect/prefect.db").is_file()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []


def test_a_worker_runs_what_a_server_hands_out(checkout, monkeypatch):
    checkout.tell(stale={"prepare_xrays": ["explain"]})
    declared = yaml.safe_load(Path("prefect.yaml").read_text())
    for entry in declared["deployments"]:
        entry["schedules"] = []
    Path("prefect.yaml").write_text(yaml.safe_dump(declared))
    port = free_port()
    with server(port) as url:
        monkeypatch.setenv("PREFECT_API_URL", url)

        def prefect(*arguments: str) -> None:
            command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=240)
            assert done.returncode == 0, done.stdout + done.stderr

        prefect("work-pool", "create", "gpu", "--type", "process")
        prefect("work-pool", "create", "cpu", "--type", "process")
        prefect("deploy", "--all")
        prefect("deployment", "run", "retrain/on-demand", "--param", 'models=["mri-to-ct"]')
        with started("prefect", "worker", "start", "--pool", "gpu") as program:
            run = first_completed(port, program, work_pool_name="gpu", auto_scheduled=False)
    assert run["state"]["name"] == "Promoted", run["state"]
    assert checkout.asked[-1] == "radsynth promote mri-to-ct"
    assert "radsynth promote report-to-xray" not in checkout.asked
