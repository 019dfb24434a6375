"""Files are whole or absent, and named by what is in them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from radsynth.files import atomic_folder, atomic_path, read_json, sha256_of, write_json

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_file_appears_when_its_block_ends_well(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["a.txt"]


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_others_may_read_what_the_user_lets_them(tmp_path, umask, file, folder):
    code = (
        "from radsynth.files import atomic_folder, write_json\n"
        "write_json('a', 1)\n"
        "with atomic_folder('b') as b: (b / 'c').write_text('c')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, umask=umask, check=True)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "b", "b/c")] == [file, folder, file]


def test_after_an_exception_the_old_file_is_there_and_no_other(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write_half():
        with atomic_path(target) as temporary:
            temporary.write_text("ha")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_after_a_kill_the_old_file_is_there(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    program = (
        "import os, signal, sys; from radsynth.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(target)])
    assert killed.returncode == -signal.SIGKILL
    assert target.read_text() == "old"


def test_a_folder_replaces_the_old_one_whole(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")
    with atomic_folder(target) as temporary:
        (temporary / "new").write_text("new")
        assert os.listdir(target) == ["old"]
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["folder"]


def test_after_an_exception_the_old_folder_is_there_and_no_other(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")

    def write_half():
        with atomic_folder(target) as temporary:
            (temporary / "new").write_text("new")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["folder"]


def test_after_a_kill_while_the_old_folder_is_deleted_the_new_one_is_there_whole(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")
    program = (
        "import os, shutil, signal, sys; from radsynth.files import atomic_folder\n"
        "shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with atomic_folder(sys.argv[1]) as temporary:\n"
        "    (temporary / 'new').write_text('new')"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(target)])
    assert killed.returncode == -signal.SIGKILL
    assert os.listdir(target) == ["new"]
    assert all(path.name.startswith(".folder.") for path in tmp_path.iterdir() if path != target)


@pytest.mark.parametrize("broken", [1, 2])
def test_a_folder_that_cannot_be_replaced_is_what_it_was(tmp_path, monkeypatch, broken):
    target, renamings, replace = tmp_path / "folder", [], os.replace
    target.mkdir()
    (target / "old").write_text("old")

    def breaks(source, to):
        renamings.append(source)
        if len(renamings) == broken:
            raise OSError("busy")
        replace(source, to)

    monkeypatch.setattr(os, "replace", breaks)
    with pytest.raises(OSError, match="busy"), atomic_folder(target):
        pass
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["folder"]


def test_json_comes_back_as_it_was_with_its_keys_in_order(tmp_path):
    value = {"b": [1, 2.5, None, True], "a": {"\u00e4": "text"}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    write_json(tmp_path / "b.json", dict(reversed(value.items())))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_json_cannot_say(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": value})
    assert not (tmp_path / "a.json").exists()


def test_a_file_is_named_by_its_sha256(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_of(tmp_path / "empty") == EMPTY_SHA256


def test_a_folder_is_named_by_the_names_and_contents_of_its_files(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, ("a", "b")), (second, ("b", "a"))):
        (folder / "sub").mkdir(parents=True)
        for name in names:
            (folder / "sub" / name).write_text(name)
    same = sha256_of(first)
    assert sha256_of(second) == same
    (second / "sub" / "a").write_text("changed")
    changed = sha256_of(second)
    (second / "sub" / "a").write_text("a")
    (second / "sub" / "b").rename(second / "sub" / "c")
    assert len({same, changed, sha256_of(second)}) == 3
