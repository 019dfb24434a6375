"""Whether Prefect's scheduler really makes runs: it can start, accept a deployment, and still make none."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from radsynth.doctor.result import Result
from radsynth.errors import RadsynthError

MAX_START_SECONDS = 300.0
"""A server that makes its database anew starts in 14 s on two busy cores."""
MAX_SCHEDULE_SECONDS = 120.0
"""The scheduler looks for new deployments every five seconds."""
POLL_SECONDS = 0.3

# The server's own process group ends with it, and also where the doctor was killed and so its end of the pipe closed.
_SERVER = """
import os, runpy, signal, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os.killpg(0, signal.SIGKILL)), daemon=True).start()
sys.argv = ["prefect", *sys.argv[1:]]
runpy.run_module("prefect", run_name="__main__")
"""
_ERROR = re.compile(r"[\w.]*(Error|Exception)\b: ")
_Answer = TypeVar("_Answer")


def scheduler(deep: bool) -> Iterator[Result]:
    """See a scheduled run appear on a server of its own, or say that this was not tried.

    Parameters
    ----------
    deep
        Try it: a Prefect server on 127.0.0.1 in a temporary folder, with a deployment that is due every hour.
    """
    found = f"Prefect {version('prefect')}"
    if not deep:
        advice = "`radsynth doctor --deep` starts a server of its own and sees (about 20 s)"
        yield Result("scheduler", "ok", f"{found}; whether its scheduler makes runs was not tried", advice)
        return
    start = time.monotonic()
    with _server() as ask:
        flow = ask("flows/", {"name": "doctor"})
        hourly = {"active": True, "schedule": {"interval": 3600}}
        deployment = ask("deployments/", {"name": "doctor", "flow_id": flow["id"], "schedules": [hourly]})
        wanted = {"deployments": {"id": {"any_": [deployment["id"]]}}, "limit": 1}
        runs = _wait(lambda: ask("flow_runs/filter", wanted), MAX_SCHEDULE_SECONDS)
    if runs:
        seconds = time.monotonic() - start
        yield Result(
            "scheduler", "ok", f"{found}: a scheduled run appeared, {seconds:.0f} s after its server was started"
        )
    else:
        told = f"a deployment due every hour had no scheduled run after {MAX_SCHEDULE_SECONDS:.0f} s"
        advice = "put the lines of `packages` right (above all SQLAlchemy < 2.1), then try again"
        yield Result("scheduler", "problem", f"{found}: {told}", advice)


@contextmanager
def _server() -> Iterator[Callable[[str, Any], Any]]:
    """A Prefect server in a temporary home; yields a function that asks its API, and leaves nothing behind."""
    home = Path(tempfile.mkdtemp(prefix="radsynth-doctor-"))
    port = _free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    own |= {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    try:
        with open(home / "log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=own,
                cwd=home,  # a prefect.toml of the checkout is not read
                start_new_session=True,
            )
        try:
            if not _wait(lambda: _is_up(process, port, home / "log"), MAX_START_SECONDS):
                raise _not_started(f"no answer after {MAX_START_SECONDS:.0f} s", home / "log")
            yield lambda path, body: _answer(port, path, body)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdin.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _is_up(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    if process.poll() is not None:
        raise _not_started(f"it ended with status {process.returncode}", log)
    try:
        return bool(_ask(port, "health"))
    except (OSError, ValueError):
        return False


def _not_started(how: str, log: Path) -> RadsynthError:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    last = (errors or lines or ["it printed nothing"])[-1][:200]
    advice = "put the lines of `packages` right (above all fastapi < 0.151), then try again"
    return RadsynthError(f"Prefect's server does not start: {how} ({last})", next_step=advice)


def _answer(port: int, path: str, body: Any) -> Any:
    """The server's answer, asked again while it says that its database is busy, as it does just after its start."""

    def once() -> list[Any]:
        try:
            return [_ask(port, path, body)]
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return []

    if answers := _wait(once, MAX_SCHEDULE_SECONDS):
        return answers[0]
    raise RadsynthError(
        f"Prefect's server is not ready after {MAX_SCHEDULE_SECONDS:.0f} s ({path} answers 503)",
        next_step="try again when the machine is less busy",
    )


def _ask(port: int, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{path}", data=data, headers={"Content-Type": "application/json"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=30) as answer:
        return json.load(answer)


def _wait(until: Callable[[], _Answer], seconds: float) -> _Answer:
    """Ask until the answer is true or the time is over; the last answer."""
    end = time.monotonic() + seconds
    while not (answer := until()) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return answer


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
