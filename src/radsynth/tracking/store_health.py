"""Whether the MLflow store of a checkout is whole and of the installed MLflow; looked at, never changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from radsynth.errors import RadsynthError
from radsynth.tracking.store import DATABASE, EXPERIMENT, quiet_mlflow, store_uri


def store_health(root: str | Path = ".") -> str:
    """Read the store's integrity and revision and say in one line what it holds.

    The database is opened read-only, without MLflow, which would migrate or create it.

    Raises
    ------
    RadsynthError
        Where it cannot be read, is damaged, was made only in part, or is of an older or newer MLflow.
    """
    database = Path(root) / DATABASE
    if not database.exists():
        return "no MLflow store yet; `dvc repro` makes it"
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            (whole,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if whole != "ok":
                raise sqlite3.DatabaseError(whole)
            revisions = [row[0] for row in connection.execute("SELECT version_num FROM alembic_version")]
            revision = _judge(revisions, database, root)
            query = "SELECT count(*) FROM runs JOIN experiments USING (experiment_id) WHERE experiments.name = ?"
            (runs,) = connection.execute(query, (EXPERIMENT,)).fetchone()
            (models,) = connection.execute("SELECT count(*) FROM registered_models").fetchone()
    except sqlite3.Error as error:
        raise RadsynthError(
            f"the MLflow store cannot be read ({' '.join(str(error).split())[:200]})",
            where=database,
            next_step=f"`mv {database} {database}.broken && radsynth publish` makes a new one of what DVC has",
        ) from None
    return f"{database} is whole, migrated once to {revision}; runs: {runs}, registered models: {models}"


def _judge(revisions: list[str], database: Path, root: str | Path) -> str:
    quiet_mlflow()
    import mlflow

    known = _revisions_of_mlflow()
    if len(revisions) != 1:
        raise RadsynthError(
            "the MLflow store was not migrated to its end",
            where=database,
            got=f"{len(revisions)} revisions",
            expected="one",
            next_step=f"`mv {database} {database}.broken && radsynth publish` makes a new one of what DVC has",
        )
    (revision,) = revisions
    if revision == known[0]:
        return f"revision {revision}, that of MLflow {mlflow.__version__}"
    if revision in known:
        raise RadsynthError(
            "the MLflow store is of an older MLflow",
            where=database,
            got=f"revision {revision}",
            expected=f"{known[0]} of MLflow {mlflow.__version__}",
            next_step=f"`cp {database} {database}.before && mlflow db upgrade {store_uri(root)}`",
        )
    raise RadsynthError(
        "the MLflow store is of a newer MLflow",
        where=database,
        got=f"revision {revision}",
        expected=f"{known[0]} of MLflow {mlflow.__version__}",
        next_step="install the MLflow that wrote it: `make setup` installs the locked one",
    )


def _revisions_of_mlflow() -> list[str]:
    """Every revision that the installed MLflow knows, the newest first."""
    import mlflow
    from alembic.script import ScriptDirectory

    migrations = Path(mlflow.__file__).parent / "store" / "db_migrations"
    return [script.revision for script in ScriptDirectory(str(migrations)).walk_revisions()]
