"""A flipped byte in the DVC cache is found, named, and repaired by the command that is advised."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from radsynth.doctor.cache import cache_intact
from radsynth.tracking.dvc_files import BLOCK, cache_folder, md5_of_folder

WEIGHTS = bytes(range(256)) * (BLOCK // 256 * 2) + b"tail"
FILES = {"models/gan/weights.safetensors": WEIGHTS, "models/gan/model.json": b"{}", "metrics/gan.json": b'{"kid": 0.1}'}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def store(cache: Path, content: bytes, end: str = "") -> str:
    """Put an object into a cache; its digest."""
    digest = md5(content)
    path = cache / "files/md5" / digest[:2] / (digest[2:] + end)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o444)
    return digest + end


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout after a run of two stages: one made a folder of two files, one a file."""
    cache = tmp_path / ".dvc/cache"
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        store(cache, content)
    folder = [
        {"md5": md5(FILES[f"models/gan/{name}"]), "relpath": name} for name in ("model.json", "weights.safetensors")
    ]
    outs = {
        "train_gan": {"path": "models/gan", "md5": store(cache, json.dumps(folder).encode(), ".dir")},
        "evaluate_gan": {"path": "metrics/gan.json", "md5": md5(FILES["metrics/gan.json"])},
        "publish": {"path": "mlruns/published.json", "md5": "0" * 32},
    }
    lock = {"schema": "2.0", "stages": {stage: {"cmd": stage, "outs": [out]} for stage, out in outs.items()}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    stages = {stage: {"cmd": stage, "outs": [out["path"]]} for stage, out in outs.items()}
    stages["publish"]["outs"] = [{"mlruns/published.json": {"cache": False}}]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return tmp_path


def object_of(checkout: Path, content: bytes, end: str = "") -> Path:
    digest = md5(content)
    return checkout / ".dvc/cache/files/md5" / digest[:2] / (digest[2:] + end)


def listing_of(checkout: Path) -> Path:
    (path,) = checkout.glob(".dvc/cache/files/md5/*/*.dir")
    return path


def flip(path: Path, at: int) -> None:
    """Change one bit, and neither size nor rights."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def test_a_whole_cache_is_one_ok(checkout):
    (result,) = cache_intact(checkout)
    assert result.status == "ok"
    assert "all 4 objects" in result.found


@pytest.mark.parametrize("at", [0, BLOCK, len(WEIGHTS) - 1])
def test_a_flipped_byte_is_found_wherever_it_is_and_named(checkout, at):
    flip(object_of(checkout, WEIGHTS), at)
    (result,) = cache_intact(checkout)
    assert result.status == "problem"
    assert str(object_of(checkout, WEIGHTS)) in result.found
    assert "models/gan/weights.safetensors, made by train_gan" in result.found


def test_the_copy_that_is_advised_repairs_it(checkout):
    flip(object_of(checkout, WEIGHTS), 7)
    (result,) = cache_intact(checkout)
    command = result.advice.split("`")[1]
    assert command.startswith("install ")
    subprocess.run(command, shell=True, check=True)
    assert [one.status for one in cache_intact(checkout)] == ["ok"]
    assert object_of(checkout, WEIGHTS).stat().st_mode & 0o777 == 0o444


def test_where_the_workspace_is_damaged_too_the_stage_that_makes_it_is_run(checkout):
    broken = object_of(checkout, FILES["metrics/gan.json"])
    flip(broken, 3)
    flip(checkout / "metrics/gan.json", 3)
    (result,) = cache_intact(checkout)
    assert f"`rm -f {broken} && dvc repro evaluate_gan`" in result.advice
    assert "install" not in result.advice


def test_an_object_of_two_outputs_names_both(checkout):
    lock = yaml.safe_load((checkout / "dvc.lock").read_text())
    lock["stages"]["copy_weights"] = {"cmd": "cp", "outs": [{"path": "models/copy.safetensors", "md5": md5(WEIGHTS)}]}
    (checkout / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    flip(object_of(checkout, WEIGHTS), 0)
    (result,) = cache_intact(checkout)
    assert "models/gan/weights.safetensors, models/copy.safetensors, made by train_gan, copy_weights" in result.found


def test_a_damaged_list_of_files_names_the_folder(checkout):
    broken = listing_of(checkout)
    flip(broken, 0)
    (result,) = cache_intact(checkout)
    assert result.status == "problem"
    assert "models/gan (the list of its files), made by train_gan" in result.found
    assert f"rm -f {broken} && dvc status train_gan" in result.advice


def test_an_object_of_no_output_is_named_as_such(checkout):
    store(checkout / ".dvc/cache", b"of another branch")
    flip(object_of(checkout, b"of another branch"), 0)
    (result,) = cache_intact(checkout)
    assert result.status == "problem"
    assert "no output of dvc.lock" in result.found
    assert "dvc repro" not in result.advice


def test_an_object_that_cannot_be_read_is_a_problem(checkout, monkeypatch):
    from radsynth.doctor import cache

    def failing(path: Path):
        if path == object_of(checkout, WEIGHTS):
            raise OSError(5, "Input/output error")
        return iter([path.read_bytes()])

    monkeypatch.setattr(cache, "blocks_of", failing)
    (result,) = cache_intact(checkout)
    assert (result.status, "Input/output error" in result.found) == ("problem", True)


@pytest.mark.parametrize("content", [WEIGHTS, FILES["metrics/gan.json"]])
def test_an_output_that_the_cache_lacks_is_a_warning(checkout, content):
    object_of(checkout, content).unlink()
    (result,) = cache_intact(checkout)
    assert result.status == "warning"
    assert ("models/gan" if content == WEIGHTS else "metrics/gan.json") in result.found
    assert "published.json" not in result.found


def test_half_written_objects_of_a_running_dvc_are_passed_over(checkout):
    folder = object_of(checkout, WEIGHTS).parent
    (folder / ".4kQz.tmp").write_bytes(b"half")
    (folder.parent / ".4kQz.tmp").write_bytes(b"half")
    assert [one.status for one in cache_intact(checkout)] == ["ok"]


def test_a_fresh_clone_has_no_cache_and_no_problem(tmp_path):
    (result,) = cache_intact(tmp_path)
    assert (result.status, "yet" in result.found) == ("ok", True)


def test_memory_stays_below_three_blocks_whatever_the_size(checkout):
    import tracemalloc

    store(checkout / ".dvc/cache", bytes(8 * BLOCK))
    list(cache_intact(checkout))  # imports
    tracemalloc.start()
    try:
        list(cache_intact(checkout))
        assert tracemalloc.get_traced_memory()[1] < 3 * BLOCK
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ".dvc/cache"),
        ({".dvc/config": "[core]\n    autostage = true\n[cache]\n    dir = ../shared cache\n"}, ".dvc/../shared cache"),
        ({".dvc/config": "['remote \"x\"']\n    url = y\n[cache]\n    dir = /big/cache\n"}, "/big/cache"),
        ({".dvc/config": "[cache]\ndir = a\n", ".dvc/config.local": "[cache]\ndir = '/b'\n"}, "/b"),
        ({"home/config": "[cache]\ndir = /of/the/user\n"}, "/of/the/user"),
    ],
)
def test_the_cache_lies_where_the_configuration_says(tmp_path, monkeypatch, files, expected):
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "nowhere"))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert cache_folder(tmp_path) == tmp_path / expected


def test_the_digest_of_a_folder_is_the_one_that_dvc_writes(checkout):
    assert (
        md5_of_folder(checkout / "models/gan") + ".dir" == listing_of(checkout).parent.name + listing_of(checkout).name
    )
