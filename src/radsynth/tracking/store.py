"""The MLflow store of a checkout: ``mlruns/mlflow.db`` and ``mlruns/artifacts``, made once, whatever starts at once."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from radsynth.errors import RadsynthError
from radsynth.files import atomic_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "radsynth"
DATABASE = Path("mlruns/mlflow.db")
ARTIFACTS = Path("mlruns/artifacts")

# Where MLflow keeps absolute paths of artifacts.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def quiet_mlflow() -> None:
    """Turn MLflow's telemetry, chatter and reading of pickles off; call before its first import."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)


def store_uri(root: str | Path = ".") -> str:
    """The tracking URI of the checkout `root`; relative where `root` is."""
    return f"sqlite:///{(Path(root) / DATABASE).as_posix()}"


def open_store(root: str | Path = ".") -> tuple[MlflowClient, str]:
    """Open the store of the checkout `root` and make it where there is none.

    A fresh store is made beside its place and renamed, under a lock: processes that open it at once would else run
    its migrations against each other, and one that was killed would leave half a database. A store that was moved
    with its checkout gets the paths of its artifacts corrected.

    Returns
    -------
    client, experiment_id
        Client of the store, and the id of the experiment `EXPERIMENT`.

    Raises
    ------
    RadsynthError
        Where the store is of another MLflow version, or no database.
    """
    quiet_mlflow()
    from filelock import FileLock
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    root = Path(root)
    database, artifacts = root / DATABASE, (root / ARTIFACTS).resolve()
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.parent / ".store.lock"):
        if not database.exists():
            _make(database, artifacts)
        try:
            # MLflow keeps the connection of an address: a relative one would go on meaning the folder of its first use
            uri = store_uri(root.resolve())
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            experiment = client.get_experiment_by_name(EXPERIMENT)
        except (MlflowException, SQLAlchemyError) as error:
            raise RadsynthError(
                f"cannot open the MLflow store ({str(error).splitlines()[0]})",
                where=database,
                next_step=f"run `mlflow db upgrade {store_uri(root)}`, or move the file away and publish again",
            ) from None
        if experiment is None:
            # the pages then show trainings, not conversations with language models
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return client, client.create_experiment(EXPERIMENT, artifact_location=str(artifacts), tags=kind)
        if experiment.artifact_location != str(artifacts):
            _relocate(database, experiment.artifact_location, str(artifacts))
        return client, experiment.experiment_id


def _make(database: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with atomic_path(database) as temporary:
        made = SqlAlchemyStore(f"sqlite:///{temporary.as_posix()}", str(artifacts))
        made.engine.dispose()


def _relocate(database: Path, before: str, now: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in _PLACES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (now, len(before) + 1, len(before), before),
            )
