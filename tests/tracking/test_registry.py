"""Versions are made once, can be checked and found, and aliases move whole or not at all, whenever the power fails."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from radsynth.errors import RadsynthError
from radsynth.files import read_json, sha256_of
from radsynth.tracking import gate, registry
from radsynth.tracking.registry import promote, register, resolve, rollback, verify, versions
from radsynth.tracking.store import open_store

NAME = "mri-to-ct"
TrainAgain = Callable[..., None]


class Killed(BaseException):
    """In place of a signal."""


def aliases(root: Path, name: str = NAME) -> dict[str, int]:
    """Alias -> version."""
    return {alias: version.version for version in versions(root, name) for alias in version.aliases}


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def registered_once(judged_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one challenger and no champion, only to be read."""
    root = tmp_path_factory.mktemp("registered") / "checkout"
    shutil.copytree(judged_once, root)
    register(root, NAME)
    return root


# ---- versions ----


@pytest.mark.parametrize("name", registry.REGISTERED)
def test_the_same_result_is_registered_once(name: str, judged: Path) -> None:
    first = register(judged, name)
    assert register(judged, name) == first
    assert [(v.version, v.aliases) for v in versions(judged, name)] == [(1, ("challenger",))]
    assert first.tags["radsynth.validation"] == first.tags["radsynth.memorisation"] == "passed"


def test_another_result_is_another_version_and_takes_the_alias(judged: Path, train_again: TrainAgain) -> None:
    register(judged, NAME)
    train_again(judged, NAME, 0.05, "a" * 16)
    assert register(judged, NAME).version == 2
    assert aliases(judged) == {"challenger": 2}


def test_version_says_where_it_comes_from(judged: Path) -> None:
    version = register(judged, "report-to-xray")
    data = {"data/chest/embeddings": "0" * 32, "data/chest/manifest.parquet": "f" * 32}
    assert json.loads(version.tags["radsynth.data"]) == data
    assert version.tags["radsynth.dvc_lock_sha256"] == sha256_of(judged / "dvc.lock")
    assert version.tags["radsynth.model_sha256"] == sha256_of(judged / "models/report_gan")


def test_a_version_with_a_damaged_file_is_not_handed_out_again(judged: Path) -> None:
    damaged = register(judged, NAME)
    flip_a_byte(damaged.folder / "weights.safetensors")
    again = register(judged, NAME)
    assert (again.version, again.aliases) == (2, ("challenger",))
    assert verify(judged, NAME, 2).tags["radsynth.model_sha256"] == damaged.tags["radsynth.model_sha256"]
    assert register(judged, NAME) == again


@pytest.mark.parametrize("step", ["create_registered_model", "create_model_version", "set_registered_model_alias"])
def test_registration_killed_after_a_step_is_completed(
    step: str, judged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    original = getattr(MlflowClient, step)

    def killed(self: MlflowClient, *given: Any, **named: Any) -> None:
        original(self, *given, **named)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, step, killed)
        with pytest.raises(Killed):
            register(judged, NAME)
    register(judged, NAME)
    assert [(v.version, v.aliases) for v in versions(judged, NAME)] == [(1, ("challenger",))]
    verify(judged, NAME, 1)


# ---- finding and checking ----


def test_alias_number_and_path_name_the_same_model(registered_once: Path) -> None:
    judged, version = registered_once, registry.find(registered_once, NAME, 1)
    by_alias, by_number = resolve(judged, NAME, "challenger"), resolve(judged, NAME, "v1")
    by_path = resolve(judged, NAME, str(judged / "models/mri_to_ct"))
    assert by_alias.folder == by_number.folder == version.folder
    assert by_alias.digest == by_number.digest == by_path.digest
    assert (by_alias.version, resolve(judged, NAME, "1").version, by_path.version) == (1, 1, None)


@pytest.mark.parametrize(
    ("name", "reference", "says"),
    [
        (NAME, "champion", "run `radsynth promote mri-to-ct`"),
        (NAME, "v7", "no 'v7'; got v1"),
        (NAME, "best", "give champion, challenger, previous or a version"),
        (NAME, "no/such/folder", "no such folder"),
        ("text-to-ct", "champion", "expected report-to-xray or mri-to-ct"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_what_to_do(
    name: str, reference: str, says: str, registered_once: Path
) -> None:
    with pytest.raises(RadsynthError) as error:
        resolve(registered_once, name, reference)
    assert says in str(error.value)


def test_nothing_registered_says_promote(tmp_path: Path) -> None:
    with pytest.raises(RadsynthError, match="run `radsynth promote mri-to-ct`"):
        resolve(tmp_path, NAME)
    assert not (tmp_path / "mlruns").exists()


def test_a_flipped_byte_in_the_weights_is_found_and_named(judged: Path) -> None:
    version = register(judged, NAME)
    flip_a_byte(version.folder / "weights.safetensors")
    for check in (lambda: verify(judged, NAME, 1), lambda: resolve(judged, NAME, "challenger")):
        with pytest.raises(RadsynthError, match=r"weights\.safetensors is not the file that was registered"):
            check()


def test_a_missing_and_an_added_file_are_found_but_compiled_python_is_not(judged: Path) -> None:
    source = register(judged, NAME).source
    (source / "code/__pycache__").mkdir()
    (source / "code/__pycache__/x.pyc").write_bytes(b"x")
    verify(judged, NAME, 1)
    (source / "code/extra.py").write_text("")
    with pytest.raises(RadsynthError, match=r"code/extra\.py was added"):
        verify(judged, NAME, 1)
    (source / "code/extra.py").unlink()
    (source / "MLmodel").rename(source.parent / "MLmodel")
    with pytest.raises(RadsynthError, match="MLmodel is missing"):
        verify(judged, NAME, 1)


# ---- aliases ----


def test_promotion_moves_champion_and_previous_and_writes_decision_and_card(two: Path) -> None:
    assert promote(two, NAME).outcome == "promoted"
    assert aliases(two) == {"champion": 2, "previous": 1}
    assert read_json(two / "mlruns/decisions/mri-to-ct-v2.json")["champion"] == 1
    client, _ = open_store(two)
    card = (two / "mlruns/cards/mri-to-ct-v2.md").read_text()
    assert client.get_model_version(NAME, "2").description == card[:5000]


def test_mlflow_loads_the_champion_by_its_alias(two: Path) -> None:
    client, _ = open_store(two)
    assert Path(client.get_model_version_download_uri(NAME, "1")) == resolve(two, NAME).folder.parents[1]
    assert client.get_model_version_by_alias(NAME, "champion").version == 1


def test_lost_decisions_and_cards_are_written_again(two: Path) -> None:
    before = (two / "mlruns/cards/mri-to-ct-v1.md").read_bytes()
    shutil.rmtree(two / "mlruns/cards")
    shutil.rmtree(two / "mlruns/decisions")
    promote(two, NAME)
    assert (two / "mlruns/cards/mri-to-ct-v1.md").read_bytes() == before
    assert (two / "mlruns/decisions/mri-to-ct-v1.json").is_file()


def test_rollback_swaps_and_twice_is_as_before(two: Path) -> None:
    promote(two, NAME)
    assert rollback(two, NAME).version == 1
    assert aliases(two) == {"champion": 1, "previous": 2}
    assert rollback(two, NAME).version == 2
    assert aliases(two) == {"champion": 2, "previous": 1}
    assert [v.tags.get("radsynth.rolled_back") for v in versions(two, NAME)] == ["true", None]


def test_rollback_needs_a_previous_version_with_its_own_files(two: Path) -> None:
    with pytest.raises(RadsynthError, match="no 'previous'"):
        rollback(two, NAME)
    promote(two, NAME)
    flip_a_byte(registry.find(two, NAME, 1).folder / "weights.safetensors")
    with pytest.raises(RadsynthError, match="is not the file that was registered"):
        rollback(two, NAME)
    assert aliases(two) == {"champion": 2, "previous": 1}


def test_rollback_does_not_undo_a_promotion_that_it_waited_for(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = registry.locked

    @contextmanager
    def waited(root: Path) -> Iterator[None]:
        monkeypatch.setattr(registry, "locked", locked)
        assert promote(root, NAME, mode="disabled").outcome == "promoted"
        with locked(root):
            yield

    monkeypatch.setattr(registry, "locked", waited)
    with pytest.raises(RadsynthError, match=r"nothing was moved; got champion v2; expected v1"):
        rollback(two, NAME)
    assert aliases(two) == {"champion": 2, "previous": 1}
    assert "radsynth.rolled_back" not in registry.find(two, NAME, 2).tags


@pytest.mark.parametrize(
    ("step", "late"),
    [("decide", False), ("_settle", False), ("move", False), ("move", True), ("_write_files", False)],
)
def test_promotion_killed_at_a_step_leaves_the_old_or_the_new_state(
    step: str, late: bool, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = gate if step == "decide" else registry
    original = getattr(module, step)

    def killed(*given: Any, **named: Any) -> None:
        if late:
            original(*given, **named)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module, step, killed)
        with pytest.raises(Killed):
            promote(two, NAME)
    moved = late or step == "_write_files"
    assert aliases(two) == ({"champion": 2, "previous": 1} if moved else {"champion": 1, "challenger": 2})
    assert (registry.find(two, NAME, 2).tags.get("radsynth.gate") == "promoted") == moved
    assert promote(two, NAME).outcome == ("unchanged" if moved else "promoted")
    assert aliases(two) == {"champion": 2, "previous": 1}
    assert (two / "mlruns/cards/mri-to-ct-v2.md").is_file()


# After `champion` and `previous` were written to the database, before the transaction ends.
KILL_INSIDE_THE_TRANSACTION = """
import os, signal, sys
from sqlalchemy.orm import Session
from radsynth.tracking import registry
merge, calls, real_move = Session.merge, [], registry.move
def merge_and_die(self, row):
    merge(self, row)
    self.flush()
    calls.append(row)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
def move(*given, **named):
    Session.merge = merge_and_die
    real_move(*given, **named)
registry.move = move
registry.promote(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_sigkill_inside_the_transaction_leaves_the_old_state(two: Path) -> None:
    register(two, NAME)
    done = subprocess.run([sys.executable, "-c", KILL_INSIDE_THE_TRANSACTION, str(two), NAME])
    assert done.returncode == -signal.SIGKILL
    assert aliases(two) == {"champion": 1, "challenger": 2}
    assert resolve(two, NAME).version == 1
    assert promote(two, NAME).outcome == "promoted"
    assert aliases(two) == {"champion": 2, "previous": 1}
