"""A store is looked at without being changed, and judged by the revision of the installed MLflow."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from radsynth.errors import RadsynthError
from radsynth.tracking.store import DATABASE, open_store
from radsynth.tracking.store_health import _revisions_of_mlflow, store_health


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a store in which nothing is published, only to be copied."""
    root = tmp_path_factory.mktemp("fresh")
    client, experiment = open_store(root)
    client.create_run(experiment)
    client.create_registered_model("report-to-xray")
    return root


@pytest.fixture
def root(fresh: Path, tmp_path: Path) -> Path:
    shutil.copytree(fresh, tmp_path, dirs_exist_ok=True)
    return tmp_path


def change(root: Path, statement: str) -> None:
    with closing(sqlite3.connect(root / DATABASE)) as connection, connection:
        connection.execute(statement)


def test_a_store_of_this_mlflow_is_whole_and_stays_as_it_is(root: Path) -> None:
    before = {path: hashlib.md5(path.read_bytes()).digest() for path in root.rglob("*") if path.is_file()}
    told = store_health(root)
    assert "migrated once" in told
    assert "runs: 1, registered models: 1" in told
    assert {path: hashlib.md5(path.read_bytes()).digest() for path in root.rglob("*") if path.is_file()} == before


def test_before_the_first_run_there_is_no_store_and_none_is_made(tmp_path: Path) -> None:
    assert "no MLflow store yet" in store_health(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_older_revision_is_told_with_the_upgrade(root: Path) -> None:
    older = _revisions_of_mlflow()[1]
    change(root, f"UPDATE alembic_version SET version_num = '{older}'")
    with pytest.raises(RadsynthError, match=f"of an older MLflow; got revision {older}") as caught:
        store_health(root)
    assert "mlflow db upgrade sqlite:///" in caught.value.next_step


def test_a_revision_that_this_mlflow_does_not_know_is_newer(root: Path) -> None:
    change(root, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    with pytest.raises(RadsynthError, match="of a newer MLflow"):
        store_health(root)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM alembic_version", "INSERT INTO alembic_version VALUES ('ffffffffffff')"]
)
def test_a_store_that_was_not_migrated_once_is_told(root: Path, statement: str) -> None:
    change(root, statement)
    with pytest.raises(RadsynthError, match="not migrated to its end"):
        store_health(root)


@pytest.mark.parametrize("statement", ["DROP TABLE alembic_version", "DROP TABLE runs"])
def test_a_store_that_lacks_a_table_is_told(root: Path, statement: str) -> None:
    change(root, statement)
    with pytest.raises(RadsynthError, match=r"cannot be read \(no such table"):
        store_health(root)


def test_a_damaged_page_is_found(root: Path) -> None:
    content = bytearray((root / DATABASE).read_bytes())
    content[8192:16384] = bytes(8192)
    (root / DATABASE).write_bytes(content)
    with pytest.raises(RadsynthError, match="cannot be read") as caught:
        store_health(root)
    assert "radsynth publish" in caught.value.next_step


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / DATABASE).parent.mkdir()
    (tmp_path / DATABASE).write_text("not a database" * 100)
    with pytest.raises(RadsynthError, match="not a database"):
        store_health(tmp_path)
