"""One process that schedules and runs everything: ``python -m pipelines.serve``, or ``make schedule``.

Starts Prefect's server on 127.0.0.1 where no `PREFECT_API_URL` names another, registers the deployments of
prefect.yaml, and runs them until it is interrupted. The server ends with it, however it ends.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.process import kept

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

START_SECONDS = 240
"""Longest time that the server may take to answer; a cold start on a busy machine takes tens of seconds."""


def main() -> None:
    """Serve the deployments of the checkout in the current folder."""
    parser = argparse.ArgumentParser(description="Schedule and run the flows of prefect.yaml in this checkout.")
    parser.add_argument("--port", type=int, default=4200, help="port of the server on 127.0.0.1 (default 4200)")
    port = parser.parse_args().port
    if "PREFECT_API_URL" in os.environ:
        serve_deployments()
        return
    with server(port) as url:
        os.environ["PREFECT_API_URL"] = url
        print(f"Prefect at http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
        serve_deployments()


@contextmanager
def server(port: int) -> Iterator[str]:
    """Keep Prefect's server on 127.0.0.1 while the block runs; yields the address of its API."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            sys.exit(f"error: port {port} is taken; give another --port, or name its server in PREFECT_API_URL")
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    settings = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_LOGGING_LEVEL": "ERROR"}
    with kept(command, env=settings, stdout=subprocess.DEVNULL) as keeper:
        _wait_for(url, keeper)
        yield url


def _wait_for(url: str, keeper: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if keeper.poll() is not None:
            sys.exit(f"error: Prefect's server ended with status {keeper.returncode} before it answered")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    sys.exit(f"error: Prefect's server did not answer within {START_SECONDS} s")


def serve_deployments() -> None:
    """Register every deployment of prefect.yaml with the server and run what is due, until interrupted."""
    from prefect import serve

    serve(*deployments(Path("prefect.yaml")), print_starting_message=False)


def deployments(path: Path) -> list[RunnerDeployment]:
    """The deployments that prefect.yaml declares, without their work pools: this process runs them itself."""
    import yaml
    from prefect.flows import load_flow_from_entrypoint

    declared = yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]
    return [
        load_flow_from_entrypoint(entry["entrypoint"], use_placeholder_flow=False).to_deployment(
            entry["name"],
            schedules=[_schedule(schedule) for schedule in entry.get("schedules", [])],
            parameters=entry.get("parameters", {}),
            description=entry.get("description"),
        )
        for entry in declared
    ]


def _schedule(declared: dict[str, Any]) -> Any:
    from prefect.schedules import Cron, Interval

    if "cron" in declared:
        return Cron(declared["cron"], timezone=declared.get("timezone", "UTC"))
    return Interval(declared["interval"])


if __name__ == "__main__":
    main()
