"""Where a model comes from is read from git, from DVC's lock and from the environment."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import yaml

from radsynth.tracking import lineage
from radsynth.tracking.lineage import Lock, environment, git_state, installed, read_lock


def git(root: Path, *arguments: str) -> str:
    """Run git without anybody's own configuration."""
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    (tmp_path / "file").write_text("a")
    (tmp_path / "dvc.lock").write_text("stages: {}")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_commit_of_a_clean_checkout(repository: Path) -> None:
    assert git_state(repository) == {"commit": git(repository, "rev-parse", "HEAD"), "dirty": "false"}


def test_change_is_dirty_but_the_lock_is_not(repository: Path) -> None:
    (repository / "dvc.lock").write_text("stages: {a: {}}")
    assert git_state(repository)["dirty"] == "false"
    (repository / "file").write_text("b")
    assert git_state(repository)["dirty"] == "true"


def test_folder_inside_a_foreign_repository_has_no_commit(repository: Path) -> None:
    (repository / "unpacked").mkdir()
    assert git_state(repository / "unpacked") == {}


def test_absent_git_is_no_error(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(repository) == {}


def test_lock_entry_changes_its_digest_alone(outputs: Path, tmp_path: Path) -> None:
    text = (outputs / "dvc.lock").read_text()
    (tmp_path / "dvc.lock").write_text(text)
    before = read_lock(tmp_path, "train_report_gan")
    assert before.digest == hashlib.sha256(text.encode()).hexdigest()
    assert [data.name for data in before.data] == ["chest_manifest", "chest_embeddings"]
    (tmp_path / "dvc.lock").write_text(text + "  another: {cmd: x}\n")
    after = read_lock(tmp_path, "train_report_gan")
    assert after.stage_digest == before.stage_digest
    assert after.digest != before.digest
    (tmp_path / "dvc.lock").write_text(text.replace("f" * 32, "d" * 32))
    assert read_lock(tmp_path, "train_report_gan").stage_digest != before.stage_digest


def test_stage_that_never_ran_has_no_entry(outputs: Path, tmp_path: Path) -> None:
    assert read_lock(tmp_path, "train_report_gan") == Lock()
    found = read_lock(outputs, "train_perceptual")
    assert found.digest
    assert (found.stage_digest, found.data) == ("", ())


def test_settings_and_code_behind_a_stage_are_those_of_the_stages_that_made_what_it_read(tmp_path: Path) -> None:
    def entry(settings: dict, deps: dict[str, str], outs: dict[str, str]) -> dict:
        listed = {"deps": deps, "outs": outs}
        files = {kind: [{"path": p, "md5": md5} for p, md5 in paths.items()] for kind, paths in listed.items()}
        return {"params": {"params.yaml": settings}, **files}

    stages = {
        "acquire": entry({"acquire": {"source": "folder"}}, {"/heads": "1", "src/a.py": "2"}, {"data/raw": "3"}),
        "align": entry({"seed": 1}, {"data/raw": "3", "src/b.py": "4"}, {"data/aligned": "5"}),
        "train": entry({"seed": 2}, {"data/aligned": "5", "stages/train.py": "6"}, {"models/m": "7.dir"}),
    }
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    found = read_lock(tmp_path, "train")
    assert found.outputs == {"models/m": "7.dir"}
    assert found.settings == {"train": {"seed": 2}, "align": {"seed": 1}, "acquire": {"acquire": {"source": "folder"}}}
    assert found.code == {("src/a.py", "2"), ("src/b.py", "4"), ("stages/train.py", "6")}
    stages["align"]["deps"][0]["md5"] = "of another time"
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    found = read_lock(tmp_path, "train")
    assert set(found.settings) == {"train", "align"}
    assert found.code == {("src/b.py", "4"), ("stages/train.py", "6")}


def test_environment_without_a_lock_says_so(tmp_path: Path) -> None:
    assert environment(tmp_path)["requirements_lock_sha256"] is None


def test_version_has_no_label_of_a_local_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "version", lambda name: "2.11.0+cu128")
    assert installed("torch") == "2.11.0"
