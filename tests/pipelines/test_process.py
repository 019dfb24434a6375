"""Programs run by flows: what they say arrives, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from pipelines.process import TimedOut, run

ROOT = Path(__file__).resolve().parents[2]
FAMILY = """
import pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
grandchild = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
grandchild.stdout.readline()
(folder / "grandchild.tmp").write_text(str(grandchild.pid))
(folder / "grandchild.tmp").rename(folder / "grandchild")
print("ready", flush=True)
time.sleep(600)
"""
"""A program whose child does not hear TERM."""


def wait_for(what, seconds: float = 30.0):
    """Poll until `what` is true and return it; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def is_gone(pid: int) -> bool:
    """Whether no process of this id runs any more; a dead one that waits for its parent is gone."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def grandchild(folder: Path) -> int:
    wait_for((folder / "grandchild").exists)
    return int((folder / "grandchild").read_text())


def test_lines_of_both_streams_arrive_and_the_exit_status_is_the_programs():
    heard = []
    program = "import sys; print('one\\rtwo', flush=True); print('three', file=sys.stderr); sys.exit(4)"
    done = run([sys.executable, "-c", program], log=heard.append)
    assert done.returncode == 4
    assert done.stdout == ("one", "two")
    assert sorted(heard) == sorted(done.lines) == ["one", "three", "two"]


def test_a_program_that_a_signal_ended_reports_128_and_its_number():
    done = run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], log=lambda line: None)
    assert done.returncode == 128 + signal.SIGKILL


def test_a_program_that_is_not_there_is_told_in_one_line():
    done = run(["no-such-program"], log=lambda line: None)
    assert done.returncode == 127
    assert done.lines == ("error: cannot run no-such-program: No such file or directory",)


def test_what_a_program_leaves_behind_ends_with_it(tmp_path):
    program = FAMILY.rsplit("time.sleep(600)", 1)[0]
    done = run([sys.executable, "-c", program, str(tmp_path)], log=lambda line: None, grace_seconds=0.2)
    assert done.returncode == 0
    assert is_gone(grandchild(tmp_path))


@pytest.mark.slow
def test_out_of_time_ends_the_grandchild(tmp_path):
    with pytest.raises(TimedOut, match="time limit"):
        # long enough for two Pythons to start on a busy machine
        run(
            [sys.executable, "-c", FAMILY, str(tmp_path)],
            log=lambda line: None,
            timeout_seconds=12.0,
            grace_seconds=0.2,
        )
    assert is_gone(grandchild(tmp_path))


def test_an_exception_while_it_runs_ends_the_grandchild(tmp_path):
    def interrupted(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([sys.executable, "-c", FAMILY, str(tmp_path)], log=interrupted, grace_seconds=0.2)
    assert is_gone(grandchild(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_killing_whoever_asked_ends_the_grandchild(tmp_path, number):
    asking = (
        "import sys; from pipelines.process import run\n"
        f"run([sys.executable, '-c', {FAMILY!r}, {str(tmp_path)!r}], log=print, grace_seconds=0.2)"
    )
    asker = subprocess.Popen([sys.executable, "-c", asking], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        pid = grandchild(tmp_path)
        assert not is_gone(pid)
    finally:
        os.kill(asker.pid, number)
        asker.wait()
    wait_for(lambda: is_gone(pid))


def test_it_can_run_beside_the_main_thread(tmp_path):
    ends = []
    thread = threading.Thread(
        target=lambda: ends.append(run([sys.executable, "-c", "print('x')"], log=lambda line: None))
    )
    thread.start()
    thread.join()
    assert ends[0].stdout == ("x",)
