"""The whole examination: whatever is broken, it goes on to its end, and its exit status says how bad it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from radsynth.cli import cli
from radsynth.doctor import accelerator, examination, machine, packages, scheduler, torch_facts, weights
from radsynth.doctor.result import Result, guarded
from radsynth.errors import RadsynthError

ROOT = Path(__file__).resolve().parents[2]
FACTS = {
    "torch": "2.14.1",
    "torch_cuda": None,
    "torchvision": "0.29.1",
    "torchvision_cuda": None,
    "error": None,
    "gpus": [],
    "cpu_bfloat16": True,
    "device": "cpu",
    "precision": "bf16-mixed",
    "product": "bfloat16",
}


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout before its first run, with a torch that answers at once; the working folder."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(torch_facts, "torch_facts", lambda: FACTS)
    monkeypatch.setattr(accelerator, "_torch_that_torchvision_wants", lambda: None)
    monkeypatch.setattr(accelerator, "_driver_is_there", lambda: False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_checkout_in_order_has_one_line_a_check_and_no_problem(checkout):
    results = list(examination.examine(checkout))
    checks = "python packages torch git scheduler repository settings device encoder disk write store cache"
    assert [result.check for result in results] == checks.split()
    assert {result.check for result in results if result.status != "ok"} == {"repository"}  # no clone
    assert examination.exit_code(results) == 0


def test_nothing_is_written(checkout):
    before = sorted(checkout.rglob("*"))
    list(examination.examine(checkout))
    assert sorted(checkout.rglob("*")) == before


CHECKS = [
    (packages, "python_version", "python"),
    (packages, "package_ranges", "packages"),
    (torch_facts, "torch_facts", "torch"),
    (machine, "git", "git"),
    (scheduler, "scheduler", "scheduler"),
    (machine, "repository", "repository"),
    (accelerator, "precision", "device"),
    (weights, "text_encoder", "encoder"),
    (weights, "perceptual_network", "vgg"),
    (machine, "disk_space", "disk"),
    (machine, "write_access", "write"),
    (examination, "_store", "store"),
    (examination, "cache_intact", "cache"),
]


@pytest.mark.parametrize("error", [ValueError("two\nlines"), SystemExit(1), RecursionError(), AssertionError()])
@pytest.mark.parametrize(("module", "function", "check"), CHECKS, ids=[check for *_, check in CHECKS])
def test_a_check_that_raises_is_a_problem_in_one_line_and_the_others_go_on(
    checkout, monkeypatch, module, function, check, error
):
    def raising(*arguments):
        raise error

    if check != "cache":
        monkeypatch.setattr(examination, "cache_intact", lambda root: [Result("cache", "ok", "last")])
    monkeypatch.setattr(module, function, raising)
    results = list(examination.examine(checkout))
    (broken,) = [result for result in results if result.check == check]
    assert broken.status == "problem"
    assert type(error).__name__ in broken.found
    assert "\n" not in broken.found
    assert results[-1].check == "cache"
    assert examination.exit_code(results) == 2


def test_results_that_came_before_an_error_are_kept():
    def check():
        yield Result("x", "ok", "first")
        raise OSError(28, "No space left on device")

    assert [result.status for result in guarded("x", check)] == ["ok", "problem"]


def test_an_error_that_says_what_to_do_gives_the_advice():
    def check():
        raise RadsynthError("bad", where="f", got=1, expected=2, next_step="do this")

    assert list(guarded("x", check)) == [Result("x", "problem", "f: bad; got 1; expected 2", "do this")]


def test_the_user_may_interrupt():
    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(guarded("x", check))


@pytest.mark.parametrize("content", ["seed: [", "profile: quickstart\n", None])
def test_settings_that_cannot_be_read_are_told_once(checkout, content):
    (checkout / "params.yaml").unlink()
    if content is not None:
        (checkout / "params.yaml").write_text(content)
    problems = [result for result in examination.examine(checkout) if result.status == "problem"]
    assert [result.check for result in problems] == ["settings"]


def test_a_lock_that_is_no_yaml_does_not_stop_it(checkout):
    (checkout / "dvc.lock").write_text("stages: [")
    problems = [result.check for result in examination.examine(checkout) if result.status == "problem"]
    assert "disk" in problems


def test_outside_a_checkout_the_machine_is_still_examined(checkout):
    (checkout / "dvc.yaml").unlink()
    results = list(examination.examine(checkout))
    assert [result.check for result in results] == ["python", "packages", "torch", "git", "scheduler", "checkout"]
    assert (results[-1].status, examination.exit_code(results)) == ("warning", 0)


@pytest.mark.parametrize(
    ("statuses", "code"), [(["ok", "ok"], 0), (["ok", "warning"], 0), (["problem", "warning", "ok"], 2), ([], 0)]
)
def test_the_exit_status_is_2_where_there_is_a_problem(monkeypatch, statuses, code):
    results = [Result("x", status, "found", "do") for status in statuses]
    monkeypatch.setattr(examination, "examine", lambda deep: iter(results))
    said = CliRunner().invoke(cli, ["doctor"])
    assert said.exit_code == code
    assert [line.split()[0] for line in said.stdout.splitlines()] == statuses
    said = CliRunner().invoke(cli, ["doctor", "--json"])
    assert said.exit_code == code
    assert [set(one) for one in json.loads(said.stdout)] == [{"check", "status", "found", "advice"}] * len(statuses)


def test_a_name_that_moves_the_cursor_is_shown_as_escapes(monkeypatch):
    monkeypatch.setattr(examination, "examine", lambda deep: [Result("x", "ok", "a\x1b[2J\nb")])
    assert CliRunner().invoke(cli, ["doctor"]).stdout == "ok       x          a\\x1b[2J\\nb\n"


def test_deep_reaches_the_scheduler(checkout, monkeypatch):
    asked = []
    monkeypatch.setattr(scheduler, "scheduler", lambda deep: asked.append(deep) or [])
    CliRunner().invoke(cli, ["doctor"])
    CliRunner().invoke(cli, ["doctor", "--deep"])
    assert asked == [False, True]
