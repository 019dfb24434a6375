"""Run a program so that nothing of it outlives whoever asked for it.

Between the flow and the program stands a keeper: this file, run as a program of its own. The keeper holds one end of
a pipe whose other end only the flow has. When the flow closes it - done, cancelled, out of time, or killed with
``kill -9``, where the system closes it - the keeper ends the program's whole process group: TERM first, KILL after a
grace. Signalling the program alone would not do: DVC that is killed leaves the training behind, which keeps writing.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

KEPT_LINES = 2000


@dataclass(frozen=True)
class Finished:
    """A program that ended by itself: its exit status (128 + n where signal n ended it), and what it said.

    `stdout` and `lines` (both streams, as they came) hold the last `KEPT_LINES` lines, blank ones left out.
    """

    returncode: int
    stdout: tuple[str, ...]
    lines: tuple[str, ...]


class TimedOut(RuntimeError):
    """A program took longer than it may; it and all that it started have been ended."""


def run(
    command: Sequence[str],
    *,
    log: Callable[[str], object],
    cwd: str | Path = ".",
    env: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
    grace_seconds: float = 10.0,
) -> Finished:
    """Run `command` to its end and hand each line of its output to `log` as it comes.

    However the call ends, nothing of the command's process group is left.

    Parameters
    ----------
    env
        Variables to add to this process's own.
    timeout_seconds
        Longest time that it may take; None is no limit.
    grace_seconds
        Time between TERM and KILL.

    Raises
    ------
    TimedOut
        Where it took too long.
    """
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    said: deque[str] = deque(maxlen=KEPT_LINES)
    said_on_stdout: deque[str] = deque(maxlen=KEPT_LINES)
    pipe = subprocess.PIPE
    with kept(command, cwd=cwd, env=env, grace_seconds=grace_seconds, stdout=pipe, stderr=pipe) as keeper:
        for stream, line in _lines(keeper, deadline):
            log(line)
            said.append(line)
            if stream is keeper.stdout:
                said_on_stdout.append(line)
        keeper.wait()
    code = keeper.returncode
    return Finished(128 - code if code < 0 else code, tuple(said_on_stdout), tuple(said))


@contextmanager
def kept(
    command: Sequence[str],
    *,
    cwd: str | Path = ".",
    env: Mapping[str, str] | None = None,
    grace_seconds: float = 10.0,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Keep `command` while the block runs; yields its keeper, whose exit status is the command's."""
    keeper = subprocess.Popen(
        [sys.executable, "-IS", os.path.abspath(__file__), str(grace_seconds), *command],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=os.environ | (env or {}),
        start_new_session=True,
    )
    try:
        yield keeper
    finally:
        keeper.stdin.close()
        try:
            keeper.wait(grace_seconds + 5)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
        for stream in (keeper.stdout, keeper.stderr):
            if stream is not None:
                stream.close()


def _lines(keeper: subprocess.Popen[bytes], deadline: float | None) -> Iterator[tuple[IO[bytes], str]]:
    """Lines of both streams until both end; a progress bar's carriage returns end lines as well."""
    rest: dict[IO[bytes], bytes] = {keeper.stdout: b"", keeper.stderr: b""}
    with selectors.DefaultSelector() as selector:
        for stream in rest:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            if deadline is not None and time.monotonic() > deadline:
                raise TimedOut(f"stopped after its time limit: {' '.join(keeper.args[4:])}")
            # short waits: an exception that another thread raises in this one arrives between them
            for key, _ in selector.select(timeout=0.5):
                stream = key.fileobj
                block = os.read(stream.fileno(), 65536)
                *whole, rest[stream] = (rest[stream] + block).replace(b"\r", b"\n").split(b"\n")
                if not block:
                    selector.unregister(stream)
                    whole.append(rest[stream])
                for line in whole:
                    if text := line.decode("utf-8", "replace").rstrip():
                        yield stream, text


# ---- the keeper ----


def keep(grace_seconds: float, command: Sequence[str]) -> int:
    """Run `command` in a process group of its own until it ends, standard input ends, or a signal comes.

    Returns
    -------
    int
        The exit status of the command, 128 + n where signal n ended it.
    """
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    os.set_blocking(woken, False)
    stops = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, _: stops.append(got))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    except OSError as error:
        print(f"error: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while child.poll() is None and not stops:
            ready = {key.fd for key, _ in selector.select()}
            if woken in ready:
                with suppress(BlockingIOError):
                    os.read(woken, 512)
            if 0 in ready and not os.read(0, 512):
                break
    _end_group(child, grace_seconds)
    code = child.wait()
    return 128 - code if code < 0 else code


def _end_group(child: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """End what is left of the child's process group: TERM, and KILL after the grace."""
    for number, wait_seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 2.0)):
        deadline = time.monotonic() + wait_seconds
        try:
            os.killpg(child.pid, number)
            while time.monotonic() < deadline:
                child.poll()  # a process that nobody has waited for still counts
                os.killpg(child.pid, 0)
                time.sleep(0.02)
        except (ProcessLookupError, PermissionError):
            return


if __name__ == "__main__":
    sys.exit(keep(float(sys.argv[1]), sys.argv[2:]))
