"""MLflow's own pages on the store of a checkout, for this machine alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from radsynth.errors import RadsynthError
from radsynth.tracking.store import DATABASE, open_store, store_uri


def ui_command(port: int) -> list[str]:
    """The command that serves the pages of the store in the current folder on 127.0.0.1."""
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store_uri()]
    return [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def serve_ui(port: int) -> NoReturn:
    """Become MLflow's server; returns never.

    Raises
    ------
    RadsynthError
        Where nothing was published yet.
    """
    if not Path(DATABASE).is_file():
        raise RadsynthError("nothing was published yet", where=DATABASE, next_step="run `dvc repro`")
    open_store()
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    print(f"MLflow at http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    os.execv(sys.executable, ui_command(port))
