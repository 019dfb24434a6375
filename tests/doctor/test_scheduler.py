"""A scheduler is believed when a run of its own making is seen; its server leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from radsynth.doctor import scheduler
from radsynth.doctor.result import guarded

# A server of the same addresses that answers as told: RUNS to every search, BUSY times 503 first.
FAKE = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
port, busy, runs = int(sys.argv[sys.argv.index("--port") + 1]), [BUSY], RUNS
class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, True)
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if busy[0]:
            busy[0] -= 1
            self.answer(503, {})
        elif self.path == "/api/flow_runs/filter":
            self.answer(200, runs if body["deployments"]["id"]["any_"] == ["of-deployments"] else [])
        else:
            assert "deployments" not in self.path or body["schedules"][0]["active"]
            self.answer(200, {"id": "of-" + self.path.split("/")[2]})
    def answer(self, status, value):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *arguments):
        pass
HTTPServer(("127.0.0.1", port), Answers).serve_forever()
"""


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path) -> Path:
    """The folder that temporary homes are made in; empty again after every test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.02)
    return tmp_path


def fake(busy: int, runs: list) -> str:
    return FAKE.replace("BUSY", str(busy)).replace("RUNS", repr(runs))


def test_without_deep_nothing_is_started_and_the_line_says_so(monkeypatch):
    monkeypatch.setattr(scheduler.subprocess, "Popen", None)
    (result,) = scheduler.scheduler(deep=False)
    assert (result.status, "not tried" in result.found) == ("ok", True)
    assert "radsynth doctor --deep" in result.advice


@pytest.mark.parametrize("busy", [0, 3])
def test_a_run_that_appears_is_ok_also_where_the_database_was_busy_at_first(monkeypatch, temporary, busy):
    monkeypatch.setattr(scheduler, "_SERVER", fake(busy, [{"id": "run"}]))
    (result,) = scheduler.scheduler(deep=True)
    assert result.status == "ok", result
    assert "a scheduled run appeared" in result.found
    assert list(temporary.iterdir()) == []


def test_a_scheduler_that_makes_no_run_is_a_problem(monkeypatch, temporary):
    monkeypatch.setattr(scheduler, "_SERVER", fake(0, []))
    monkeypatch.setattr(scheduler, "MAX_SCHEDULE_SECONDS", 0.1)
    (result,) = scheduler.scheduler(deep=True)
    assert (result.status, "no scheduled run" in result.found) == ("problem", True)
    assert "SQLAlchemy < 2.1" in result.advice
    assert list(temporary.iterdir()) == []


def test_a_server_that_dies_is_a_problem_with_its_last_error(monkeypatch, temporary):
    program = "print('TypeError: APIRouter got an unexpected keyword\\nAn exception occurred.'); raise SystemExit(1)"
    monkeypatch.setattr(scheduler, "_SERVER", program)
    (result,) = guarded("scheduler", lambda: scheduler.scheduler(deep=True))
    assert result.status == "problem"
    assert "APIRouter got an unexpected keyword" in result.found
    assert "fastapi < 0.151" in result.advice
    assert list(temporary.iterdir()) == []


def test_a_server_that_never_answers_is_ended_and_told(monkeypatch, temporary):
    monkeypatch.setattr(scheduler, "_SERVER", "import signal; signal.pause()")
    monkeypatch.setattr(scheduler, "MAX_START_SECONDS", 0.1)
    (result,) = guarded("scheduler", lambda: scheduler.scheduler(deep=True))
    assert (result.status, "no answer" in result.found) == ("problem", True)
    assert list(temporary.iterdir()) == []


def test_the_server_ends_with_a_doctor_that_was_killed(tmp_path):
    """Its end of the pipe closes; the stand-in for Prefect would else wait for ever."""
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect/__init__.py").touch()
    (tmp_path / "prefect/__main__.py").write_text("import signal\nprint('up', flush=True)\nsignal.pause()\n")
    server = subprocess.Popen(
        [sys.executable, "-c", scheduler._SERVER, "server", "start"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        start_new_session=True,
    )
    try:
        assert server.stdout.readline() == b"up\n"
        server.stdin.close()
        assert server.wait(timeout=60) == -9
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.slow
def test_the_installed_prefect_makes_a_run(monkeypatch, temporary):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")  # the user's own server is not asked
    (result,) = scheduler.scheduler(deep=True)
    assert result.status == "ok", result
    assert list(temporary.iterdir()) == []
