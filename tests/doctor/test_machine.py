"""git, room on the disk, and folders that may be written."""

from __future__ import annotations

import os
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from radsynth.doctor import machine
from radsynth.settings import Settings, load

ROOT = Path(__file__).resolve().parents[2]
SIZE = 4_000_000_000
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def settings() -> Settings:
    return load(ROOT / "params.yaml")


@pytest.fixture
def checkout(tmp_path, settings) -> Path:
    """A checkout whose lock says that its outputs take 4 GB, none of them in the workspace."""
    out = {"path": "data/big", "md5": "a" * 32, "size": SIZE}
    params = settings.model_dump(mode="json", include={"profile", "acquire_chest", "acquire_brain"})
    stage = {"cmd": "make", "params": {"params.yaml": params}, "outs": [out]}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"make": stage}}))
    return tmp_path


@pytest.fixture
def free(monkeypatch):
    """Sets the bytes that seem to be free."""

    def pretend(count: float) -> None:
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: Usage(10**13, 0, int(count)))

    return pretend


def commit(folder: Path) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), *identity, "commit", "-qm", "x", "--allow-empty"], check=True)


# ---- git ----


def test_git_on_the_path_is_ok():
    (result,) = machine.git()
    assert (result.status, "git version" in result.found) == ("ok", True)


def test_git_missing_on_the_path_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (result,) = machine.git()
    assert (result.status, "not on PATH" in result.found) == ("problem", True)
    assert "apt install git" in result.advice
    assert list(machine.repository(tmp_path)) == []


def test_git_that_does_not_run_is_a_problem(monkeypatch, tmp_path):
    (tmp_path / "git").write_text("#!/bin/sh\necho 'git: no libpcre' >&2\nexit 127\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (result,) = machine.git()
    assert (result.status, "no libpcre" in result.found) == ("problem", True)


def test_a_clone_is_ok_and_a_folder_without_a_commit_of_its_own_a_warning(tmp_path):
    (before,) = machine.repository(tmp_path)
    commit(tmp_path)
    (clone,) = machine.repository(tmp_path)
    (tmp_path / "inside").mkdir()
    (inside,) = machine.repository(tmp_path / "inside")
    assert [one.status for one in (before, clone, inside)] == ["warning", "ok", "warning"]


# ---- disk ----


@pytest.mark.parametrize(("share", "status"), [(0.9, "problem"), (1.1, "ok")])
def test_the_disk_must_hold_what_the_lock_says_a_repro_makes(checkout, settings, free, share, status):
    free(share * machine.DISK_PER_OUTPUT * SIZE)
    (result,) = machine.disk_space(checkout, settings)
    assert result.status == status
    assert "10.0 GB" in result.found


def test_outputs_that_are_there_need_no_room_again(checkout, settings, free):
    (checkout / "data/big").mkdir(parents=True)
    free(0.9 * machine.DISK_PER_OUTPUT * SIZE)
    (result,) = machine.disk_space(checkout, settings)
    assert (result.status, "6.0 GB" in result.found) == ("ok", True)


def test_what_other_settings_need_is_not_claimed(checkout, settings, free):
    free(1e12)
    (result,) = machine.disk_space(checkout, settings.model_copy(update={"profile": "full"}))
    assert (result.status, "known after the first" in result.found) == ("ok", True)


def test_a_checkout_without_a_lock_is_no_problem(tmp_path, settings, free):
    free(1e12)
    (result,) = machine.disk_space(tmp_path, settings)
    assert (result.status, "known after the first" in result.found) == ("ok", True)


# ---- write access ----


def test_folders_that_may_be_written_are_ok_and_nothing_is_left_in_them(tmp_path):
    (tmp_path / "data").mkdir()
    (result,) = machine.write_access(tmp_path)
    assert result.status == "ok"
    assert [path.name for path in tmp_path.rglob("*")] == ["data"]


@pytest.mark.parametrize("name", ["data", "mlruns", "models", ".dvc"])
def test_a_file_in_the_place_of_a_folder_is_a_problem(tmp_path, name):
    (tmp_path / name).touch()
    results = list(machine.write_access(tmp_path))
    assert {result.status for result in results} == {"problem"}
    assert all(f"{tmp_path / name}" in result.found for result in results)


def test_a_link_to_nothing_is_a_problem(tmp_path):
    (tmp_path / "data").symlink_to(tmp_path / "unmounted")
    (result,) = machine.write_access(tmp_path)
    assert (result.status, "data may not be written" in result.found) == ("problem", True)


def test_a_read_only_folder_is_a_problem_with_the_command_that_helps(tmp_path, monkeypatch):
    """The rights are those of a stand-in: root, who runs many containers, may write anywhere."""
    real = machine.tempfile.TemporaryFile

    def refusing(dir: Path):
        if Path(dir).name == "mlruns":
            raise PermissionError(13, "Permission denied")
        return real(dir=dir)

    (tmp_path / "mlruns").mkdir()
    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refusing)
    (result,) = machine.write_access(tmp_path)
    assert (result.status, "Permission denied" in result.found) == ("problem", True)
    assert f"chown -R $(id -u) {tmp_path / 'mlruns'}" in result.advice


def test_a_folder_of_another_user_further_down_is_found(tmp_path, monkeypatch):
    (tmp_path / "data/raw/chest").mkdir(parents=True)
    real = machine.os.access
    monkeypatch.setattr(machine.os, "access", lambda path, mode: Path(path).name != "chest" and real(path, mode))
    (result,) = machine.write_access(tmp_path)
    assert (result.status, f"{tmp_path / 'data/raw/chest'}" in result.found) == ("problem", True)
