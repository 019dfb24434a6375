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
from prefect.concurrency.context import ConcurrencyContext
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

STATE = Path(".prefect/radsynth")
"""Folder in the checkout with the lock, the records of flow runs at work, and what was judged last."""
LEASE_SECONDS = 120
"""How long a slot stays taken that nobody renews. Prefect renews after three quarters of it: the rest is what a server
too busy to answer may take before a training is stopped, lest two share a GPU."""


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
    _write(path, _identity(os.getpid()))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def slot(root: Path, flow_run_id: UUID | str, limit: str) -> Iterator[None]:
    """Hold a slot of a global concurrency limit while the block runs, and note its lease in the record of the flow run.

    A lease that is not renewed lapses after `LEASE_SECONDS`. Where the process dies, the next run in this checkout
    finds the note and gives the slot back at once; Prefect's in-process server would never do so.
    """
    path = root / STATE / "runs" / f"{flow_run_id}.json"
    with concurrency(limit, strict=True, lease_duration=LEASE_SECONDS):
        record, held = json.loads(path.read_text(encoding="utf-8")), ConcurrencyContext.get()
        _write(path, record | {"leases": [str(lease) for lease in held.cleanup_lease_ids] if held else []})
        try:
            yield
        finally:
            _write(path, record)


def reconcile(root: Path, log: Callable[[str], object]) -> list[str]:
    """Mark the flow runs of dead processes as crashed, their tasks with them; returns the ids of the flow runs.

    The slots of concurrency limits that they held are free again. Records of other machines that share the checkout are
    left to them, and everything where the server cannot be asked.
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
            for lease in record.get("leases", []):
                client.release_concurrency_slots_with_lease(UUID(lease))
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


def _write(path: Path, record: dict[str, object]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record), encoding="utf-8")
    os.replace(temporary, path)


def _identity(pid: int) -> dict[str, object]:
    """What tells a process from a later one with the same number."""
    return {"host": socket.gethostname(), "pid": pid, "started": psutil.Process(pid).create_time()}


def _is_alive(record: dict[str, object]) -> bool:
    try:
        process = psutil.Process(int(record["pid"]))
        return process.create_time() == record["started"] and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
