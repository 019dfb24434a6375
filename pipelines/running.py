"""Who is at work in a checkout: one retraining at a time, and no flow run that says RUNNING after its process died."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psutil
from filelock import FileLock, Timeout
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

STATE = Path(".prefect/radsynth")
"""Folder in the checkout with the lock, the records of flow runs at work, and what was judged last."""


@contextmanager
def only_one(root: Path, what: str) -> Iterator[bool]:
    """Yield whether this process is the one that may do `what` in the checkout.

    The lock is the operating system's: it goes with its process, however that ends.
    """
    folder = root / STATE
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{what}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def recorded(root: Path, flow_run_id: UUID | str) -> Iterator[None]:
    """Keep a record of this process while it works on a flow run, so that its death can be noticed."""
    path = root / STATE / "runs" / f"{flow_run_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(_identity(os.getpid())), encoding="utf-8")
    os.replace(temporary, path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def reconcile(root: Path, log: Callable[[str], object]) -> list[str]:
    """Mark the flow runs of dead processes as crashed, their tasks with them; returns the ids of the flow runs.

    Records of other machines that share the checkout are left to them, and everything where the server cannot be asked.
    """
    marked = []
    for path in sorted((root / STATE / "runs").glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue  # ended meanwhile
        if record["host"] != socket.gethostname() or _is_alive(record):
            continue
        with get_client(sync_client=True) as client:
            if _mark_crashed(client, UUID(path.stem), record["pid"]):
                marked.append(path.stem)
                log(f"flow run {path.stem}: its process {record['pid']} is gone; marked as Crashed")
        path.unlink(missing_ok=True)
    return marked


def _mark_crashed(client: SyncPrefectClient, flow_run_id: UUID, pid: int) -> bool:
    try:
        flow_run = client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return False
    if flow_run.state is None or not (flow_run.state.is_running() or flow_run.state.is_cancelling()):
        return False
    state = Crashed(message=f"Process {pid} ended without a word; found by a later run.")
    for task_run in client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))):
        if task_run.state is not None and not task_run.state.is_final():
            client.set_task_run_state(task_run.id, state, force=True)
    client.set_flow_run_state(flow_run_id, state, force=True)
    return True


def _identity(pid: int) -> dict[str, object]:
    """What tells a process from a later one with the same number."""
    return {"host": socket.gethostname(), "pid": pid, "started": psutil.Process(pid).create_time()}


def _is_alive(record: dict[str, object]) -> bool:
    try:
        process = psutil.Process(int(record["pid"]))
        return process.create_time() == record["started"] and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
