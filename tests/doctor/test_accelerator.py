"""torch and torchvision of one build, and a precision that the device computes itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from radsynth.doctor import accelerator, torch_facts
from radsynth.doctor.result import guarded
from radsynth.settings import Settings, load

ROOT = Path(__file__).resolve().parents[2]
H100 = {"name": "H100", "memory_gb": 80.0, "bfloat16": True}
T4 = {"name": "T4", "memory_gb": 16.0, "bfloat16": False}
FACTS = {
    "torch": "2.14.1+cu130",
    "torch_cuda": "13.0",
    "torchvision": "0.29.1",
    "torchvision_cuda": "13.2",
    "error": None,
    "gpus": [],
    "cpu_bfloat16": True,
    "device": "cpu",
    "precision": "bf16-mixed",
    "product": "bfloat16",
}


@pytest.fixture
def settings() -> Settings:
    return load(ROOT / "params.yaml")


def with_precision(settings: Settings, precision: str) -> Settings:
    names = [name for name in type(settings).model_fields if hasattr(getattr(settings, name), "precision")]
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update={"precision": precision}) for name in names}
    )


@pytest.fixture(autouse=True)
def no_driver(monkeypatch) -> None:
    monkeypatch.setattr(accelerator, "_driver_is_there", lambda: False)
    monkeypatch.setattr(accelerator, "_torch_that_torchvision_wants", lambda: SpecifierSet("==2.14.1"))


def test_one_build_is_ok():
    (result,) = accelerator.torch_pair(FACTS)
    assert result.status == "ok"


NMS = "RuntimeError: operator torchvision::nms does not exist"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"torchvision_cuda": None}, "different builds"),
        ({"torch_cuda": None}, "different builds"),
        ({"torchvision_cuda": "12.8"}, "different builds"),
        ({"torch": "2.13.0"}, "built for torch ==2.14.1"),
        ({"torchvision": None, "torchvision_cuda": None, "error": NMS}, "operator torchvision::nms does not exist"),
        ({"torch": None, "error": "ModuleNotFoundError: No module named 'torch'"}, "No module named 'torch'"),
    ],
)
def test_builds_that_do_not_fit_are_a_problem(broken, told):
    (result,) = accelerator.torch_pair(FACTS | broken)
    assert result.status == "problem"
    assert told in result.found
    assert "pip install" in result.advice


@pytest.mark.parametrize(
    ("facts", "status", "told"),
    [
        ({}, "ok", "computed natively"),
        ({"gpus": [H100]}, "ok", "H100 (80 GB)"),
        ({"gpus": [T4]}, "warning", "T4 can only emulate"),
        ({"gpus": [H100, T4]}, "warning", "T4 can only emulate"),
        ({"cpu_bfloat16": False, "precision": "32-true", "product": "float32"}, "ok", "in float32, which is faster"),
        ({"product": None}, "problem", "cannot multiply"),
    ],
)
def test_bf16_is_ok_where_the_device_computes_it_and_a_warning_where_it_does_not(settings, facts, status, told):
    (result,) = accelerator.precision(with_precision(settings, "bf16-mixed"), FACTS | facts)
    assert result.status == status
    assert told in result.found


def test_the_advice_for_an_emulating_gpu_names_settings_that_exist(settings):
    (result,) = accelerator.precision(with_precision(settings, "bf16-mixed"), FACTS | {"gpus": [T4]})
    assert "train_report_gan.precision=32-true" in result.advice
    assert "train_cyclegan.precision=32-true" in result.advice


@pytest.mark.parametrize("facts", [{"gpus": [T4]}, {"cpu_bfloat16": False}])
def test_float32_needs_nothing_of_the_device(settings, facts):
    (result,) = accelerator.precision(with_precision(settings, "32-true"), FACTS | facts)
    assert result.status == "ok"


def test_a_gpu_that_torch_does_not_see_is_a_warning(settings, monkeypatch):
    monkeypatch.setattr(accelerator, "_driver_is_there", lambda: True)
    (result,) = accelerator.precision(settings, FACTS | {"torch_cuda": None})
    assert (result.status, "does not see it" in result.found) == ("warning", True)


def test_the_full_profile_without_a_gpu_is_a_warning(settings):
    (result,) = accelerator.precision(settings.model_copy(update={"profile": "full"}), FACTS)
    assert (result.status, "made for one" in result.found) == ("warning", True)


@pytest.mark.slow
def test_the_installed_torch_answers_for_itself(monkeypatch, settings):
    monkeypatch.undo()
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "4")  # as under torchrun: the child must not wait for peers
    facts = torch_facts.torch_facts()
    assert set(facts) == set(FACTS)
    assert facts["product"] == ("bfloat16" if facts["precision"] == "bf16-mixed" else "float32")
    assert [result.status for result in accelerator.torch_pair(facts)] == ["ok"]


def test_a_torch_that_kills_its_process_is_a_problem_with_the_signal(monkeypatch):
    monkeypatch.setattr(torch_facts, "_CHILD", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    (result,) = guarded("torch", lambda: accelerator.torch_pair(torch_facts.torch_facts()))
    assert (result.status, "SIGILL" in result.found) == ("problem", True)


def test_a_torch_that_does_not_import_is_told_in_the_facts(monkeypatch):
    program = "import sys; sys.modules['torch'] = None; "
    monkeypatch.setattr(torch_facts, "_CHILD", program + torch_facts._CHILD)
    facts = torch_facts.torch_facts()
    assert facts["torch"] is None
    assert facts["error"].startswith("ModuleNotFoundError")
