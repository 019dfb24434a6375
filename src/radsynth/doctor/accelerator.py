"""torch and torchvision of one build, the GPU, and whether the settings' precision is the one that computes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radsynth.doctor.result import Result

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

    from radsynth.settings import Settings

_TOGETHER = (
    "install the two together, from one place: `python -m pip install --force-reinstall --no-deps torch torchvision`"
)


def torch_pair(facts: dict[str, Any]) -> Iterator[Result]:
    """Whether torch and torchvision are of one build and torchvision's own operators work."""
    names = f"torch {facts['torch']} ({_build(facts['torch_cuda'])})"
    if facts["torch"] is None or facts["torchvision"] is None or facts["error"] is not None:
        beside = f", torchvision {facts['torchvision'] or 'does not import'}" if facts["torch"] else ""
        yield Result("torch", "problem", f"{names}{beside}: {facts['error']}", _TOGETHER)
        return
    names += f", torchvision {facts['torchvision']} ({_build(facts['torchvision_cuda'])})"
    wanted = _torch_that_torchvision_wants()
    if wanted is not None and not wanted.contains(facts["torch"], prereleases=True):
        yield Result("torch", "problem", f"{names}: this torchvision was built for torch {wanted}", _TOGETHER)
    elif _major(facts["torch_cuda"]) != _major(facts["torchvision_cuda"]):
        yield Result("torch", "problem", f"{names} are of different builds", _TOGETHER)
    else:
        yield Result("torch", "ok", f"{names}; torchvision's operators work")


def precision(settings: Settings, facts: dict[str, Any]) -> Iterator[Result]:
    """Which device the trainings get, and whether their precision is computed by it or emulated."""
    mixed = _stages_in_bf16(settings)
    asked = f"bf16-mixed ({', '.join(mixed)})" if mixed else "32-true"
    if facts["product"] is None:
        yield Result("device", "problem", "torch cannot multiply here, see the line of torch", "put torch right first")
    elif facts["gpus"]:
        yield from _on_gpu(facts, mixed, asked)
    elif _driver_is_there():
        found = f"there is a GPU, but torch ({_build(facts['torch_cuda'])}) does not see it: trainings run on the CPU"
        advice = "install a torch built for CUDA, and check the driver with `nvidia-smi`"
        yield Result("device", "warning", found, advice)
    elif settings.profile == "full":
        found = "no GPU, and the profile full is made for one: its trainings take very long on a CPU"
        yield Result("device", "warning", found, "`radsynth configure` goes back to the quickstart")
    else:
        if not mixed:
            how = "as params.yaml asks"
        elif facts["cpu_bfloat16"]:
            how = f"computed natively (a product is {facts['product']})"
        else:
            how = "computed in float32, which is faster here"
        yield Result("device", "ok", f"no GPU, none needed for the profile {settings.profile}; {asked} is {how}")


def _on_gpu(facts: dict[str, Any], mixed: list[str], asked: str) -> Iterator[Result]:
    gpus = ", ".join(f"{gpu['name']} ({gpu['memory_gb']:.0f} GB)" for gpu in facts["gpus"])
    emulating = [gpu["name"] for gpu in facts["gpus"] if not gpu["bfloat16"]]
    if mixed and emulating:
        found = f"{gpus}; params.yaml asks for {asked}, which {', '.join(emulating)} can only emulate"
        overrides = " ".join(f"{stage}.precision=32-true" for stage in mixed)
        yield Result("device", "warning", found, f"`radsynth configure {overrides}` is faster there")
    else:
        how = f"computed natively (a product is {facts['product']})" if mixed else "as params.yaml asks"
        yield Result("device", "ok", f"{gpus}; {asked} is {how}")


def _stages_in_bf16(settings: Settings) -> list[str]:
    sections = ((name, getattr(settings, name)) for name in type(settings).model_fields)
    return [name for name, section in sections if getattr(section, "precision", None) == "bf16-mixed"]


def _torch_that_torchvision_wants() -> SpecifierSet | None:
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires("torchvision") or []]
    except PackageNotFoundError:
        return None
    return next((one.specifier for one in wanted if one.name == "torch"), None)


def _driver_is_there() -> bool:
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def _major(cuda: str | None) -> str | None:
    return cuda.partition(".")[0] if cuda else None


def _build(cuda: str | None) -> str:
    return f"CUDA {cuda}" if cuda else "CPU build"
