"""The programs that flows start: ``dvc`` and ``radsynth``, and what it means when one of them fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.process import Finished, run

QUIET = {
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}
REFUSED = 4
"""Exit status of ``radsynth promote`` where the gate refuses the challenger."""


class StepFailed(RuntimeError):
    """A program ended with an error.

    Parameters
    ----------
    command, finished
        What was run and how it ended.

    Attributes
    ----------
    stage
        The DVC stage that failed, or None.
    status
        Exit status of that stage, else of the program; negative, or 128 + n, where a signal ended it.
    reason
        The line that says why.
    """

    def __init__(self, command: Sequence[str], finished: Finished) -> None:
        failed = _last(r"failed to reproduce '(?P<found>[^']+)'", finished.lines)
        self.stage = failed and failed.rpartition(":")[2]
        status = _last(r"exited with (?P<found>-?\d+)", finished.lines)
        self.status = int(status) if status else finished.returncode
        self.reason = (
            _last(r"^error: (?P<found>.*)", finished.lines)
            or _last(r"^(?P<found>[\w.]*(?:Error|Exception|Interrupt)\b.*)", finished.lines)
            or _last(r"^ERROR: (?P<found>.*)", finished.lines)
            or (finished.lines[-1] if finished.lines else f"exit status {finished.returncode}")
        )
        self.busy = any("Unable to acquire lock" in line or "is busy" in line for line in finished.lines)
        super().__init__(f"{self.stage or ' '.join(command)}: {self.reason}")

    @property
    def is_refused_data(self) -> bool:
        """Whether a validation said that the data must not be used."""
        return self.stage is not None and self.stage.startswith("validate_")

    @property
    def may_pass_later(self) -> bool:
        """Whether the same step could succeed unchanged.

        Yes where something outside ended it: another DVC held the checkout, a signal (out of memory, preemption), a
        download, or a crash of a training, which goes on from its checkpoint. No where the program itself explained
        what is wrong (exit status 2), where data are refused, or where a deterministic stage crashed.
        """
        if self.busy or 128 < self.status < 128 + signal.NSIG or self.status < 0:
            return True
        if self.stage is None:
            return False
        if self.stage.startswith("download_"):
            return True
        return self.stage.startswith("train_") and self.status != 2


@dataclass(frozen=True)
class Checkout:
    """A checkout of the project, the logger that hears what programs print there, and the time that each may take."""

    root: Path
    log: Callable[[str], object]
    timeout_seconds: float | None = None

    def dvc(self, *arguments: str) -> Finished:
        """Run ``dvc``; raises `StepFailed` unless it ends with 0."""
        return self._run(["dvc", *arguments])

    def radsynth(self, *arguments: str, may_end_with: Sequence[int] = ()) -> Finished:
        """Run ``radsynth``; raises `StepFailed` unless it ends with 0 or one of `may_end_with`."""
        return self._run(["radsynth", *arguments], may_end_with)

    def stale(self, *targets: str) -> dict[str, Any]:
        """Stages up to `targets` that DVC would run because of their own inputs or outputs, with what changed.

        A stage that is only downstream of them is not listed: DVC learns that it must run when the stages before it
        have run.
        """
        done = Checkout(self.root, lambda line: None, self.timeout_seconds).dvc(
            "status", "--json", "--with-deps", *targets
        )
        return json.loads("".join(done.stdout[-1:]) or "{}")

    def _run(self, command: list[str], may_end_with: Sequence[int] = ()) -> Finished:
        self.log(f"$ {' '.join(command)}")
        done = run(command, log=self.log, cwd=self.root, env=_environment(), timeout_seconds=self.timeout_seconds)
        if done.returncode and done.returncode not in may_end_with:
            raise StepFailed(command, done)
        return done


def _environment() -> dict[str, str]:
    """What the programs need; where ``dvc`` is not on the path, the folder of this Python goes first."""
    environment = dict(QUIET)
    if shutil.which("dvc") is None:
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return environment


def _last(pattern: str, lines: Sequence[str]) -> str | None:
    found = (match for line in reversed(lines) if (match := re.search(pattern, line)))
    match = next(found, None)
    return match["found"] if match else None
