"""One retraining at a time, and the truth about flow runs whose process was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from pipelines.retrain import GPU_LIMIT, retrain
from pipelines.running import STATE, only_one, reconcile, recorded
from pipelines.serve import server

ROOT = Path(__file__).resolve().parents[2]


def wait_for(what, process: subprocess.Popen) -> None:
    """Wait until `what` is true, at most two minutes, while `process` lives."""
    waited = threading.Event()
    for _ in range(1200):
        if what():
            return
        assert process.poll() is None, "the flow's process ended"
        waited.wait(0.1)
    pytest.fail("waited in vain")


def test_only_one_may_and_the_lock_is_free_again_afterwards(tmp_path):
    with only_one(tmp_path, "retrain") as first, only_one(tmp_path, "retrain") as second:
        assert (first, second) == (True, False)
    with only_one(tmp_path, "retrain") as third:
        assert third


def test_a_record_lasts_as_long_as_the_work(tmp_path):
    with recorded(tmp_path, "one"):
        record = json.loads((tmp_path / STATE / "runs/one.json").read_text())
        assert (record["pid"], record["host"]) == (os.getpid(), socket.gethostname())
        assert record["started"] == psutil.Process().create_time()
    assert list((tmp_path / STATE / "runs").iterdir()) == []


def test_records_of_living_processes_and_of_other_machines_stay(tmp_path):
    with recorded(tmp_path, str(uuid4())):
        other = tmp_path / STATE / "runs" / f"{uuid4()}.json"
        other.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 0.0}))
        assert reconcile(tmp_path, print) == []
        assert len(list(other.parent.iterdir())) == 2


def retraining_at_work(fake, step: str = "dvc repro acquire_chest") -> subprocess.Popen[bytes]:
    """A retraining in a process of its own, one step of which touches `begun` and then takes ten minutes."""
    from prefect.settings import PREFECT_API_URL

    fake.tell(
        stale={"prepare_xrays": ["explain"]},
        do=[{"when": step, "touch": "begun", "sleeps": 600}],
    )
    environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value(), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", f"from pipelines.retrain import retrain; retrain(root={str(fake.root)!r})"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_a_flow_killed_in_its_training_blocks_nobody_and_is_marked_as_crashed(prefect, fake):
    from prefect.client.orchestration import get_client

    begun = fake.root / "begun"
    flow = retraining_at_work(fake, step="dvc repro evaluate_report_gan")
    try:
        wait_for(begun.exists, flow)
        programs = [child for child in psutil.Process(flow.pid).children(recursive=True) if child.is_running()]
        assert programs
        assert retrain(root=str(fake.root), return_state=True).name == "AlreadyRunning"
    finally:
        os.kill(flow.pid, signal.SIGKILL)
        flow.wait()
    _, alive = psutil.wait_procs(programs, timeout=30)
    assert alive == []
    (record,) = (fake.root / STATE / "runs").glob("*.json")
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(record.stem).state.name == "Running"
        assert client.read_global_concurrency_limit_by_name(GPU_LIMIT).active_slots == 1
        assert retrain(root=str(fake.root), return_state=True).name == "Promoted"
        killed = client.read_flow_run(record.stem)
        assert (killed.state.type.value, killed.state.name) == ("CRASHED", "Crashed")
        assert str(flow.pid) in killed.state.message
        assert client.read_global_concurrency_limit_by_name(GPU_LIMIT).active_slots == 0
    assert list(record.parent.iterdir()) == []


def take_a_slot(url: str, limit: str) -> str:
    """Take one slot of a limit, made where it is not there, without ever renewing; its lease."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(limit, 1)
        return client.increment_concurrency_slots_with_lease([limit], 1, "concurrency", 60).json()["lease_id"]


@pytest.mark.slow
def test_the_slot_of_a_killed_run_is_given_back_also_where_its_server_died_with_it(tmp_path, monkeypatch):
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    shutil.copy(ROOT / "prefect.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT_API_URL", "PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    with server(free_port()) as url:
        lease = take_a_slot(url, GPU_LIMIT)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    record = tmp_path / STATE / "runs" / f"{uuid4()}.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"host": socket.gethostname(), "pid": gone.pid, "started": 0.0, "leases": [lease]}))
    with server(free_port()) as url, temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name(GPU_LIMIT).active_slots == 1
        reconcile(tmp_path, print)
        assert client.read_global_concurrency_limit_by_name(GPU_LIMIT).active_slots == 0
    assert not record.exists()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_a_cancelled_flow_takes_its_programs_with_it(prefect, fake):

    flow = retraining_at_work(fake)
    try:
        wait_for((fake.root / "begun").exists, flow)
        programs = psutil.Process(flow.pid).children(recursive=True)
    finally:
        flow.terminate()
        flow.wait()
    assert programs
    _, alive = psutil.wait_procs(programs, timeout=30)
    assert alive == []
