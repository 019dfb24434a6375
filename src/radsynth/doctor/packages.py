"""Python and the packages, against what the installed radsynth asks for."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import TYPE_CHECKING

from radsynth.doctor.result import Result
from radsynth.errors import RadsynthError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

BREAKS = {
    "fastapi": "Prefect's server does not start above that",
    "sqlalchemy": "above that Prefect's scheduler fails silently: deploying works, no run ever appears",
}
"""What goes wrong above the range. Prefect's own ranges allow it, so that `pip check` sees neither."""


def python_version() -> Iterator[Result]:
    """Whether this Python is one that radsynth runs on."""
    from packaging.specifiers import SpecifierSet

    found, wanted = platform.python_version(), _distribution()["Requires-Python"] or ""
    if SpecifierSet(wanted).contains(found, prereleases=True):
        yield Result("python", "ok", f"Python {found}")
    else:
        advice = "make the environment anew with one that fits: `rm -rf .venv && make setup PYTHON=python3.11`"
        yield Result("python", "problem", f"Python {found}, expected {wanted}", advice)


def package_ranges() -> Iterator[Result]:
    """One problem a package that is missing or out of its range; one line where there is none."""
    _distribution()
    wanted = [requirement for requirement in _requirements() if requirement.marker is None or _applies(requirement)]
    broken = [result for requirement in wanted if (result := _judge(requirement)) is not None]
    yield from broken or [Result("packages", "ok", f"all {len(wanted)} packages are installed, each within its range")]


def _judge(wanted: Requirement) -> Result | None:
    from packaging.utils import canonicalize_name

    install = f"`python -m pip install {shlex.quote(f'{wanted.name}{wanted.specifier}')}`"
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return Result("packages", "problem", f"{wanted.name} is not installed, expected {wanted.specifier}", install)
    if wanted.specifier.contains(found, prereleases=True):
        return None
    why = BREAKS.get(canonicalize_name(wanted.name))
    reason = f" ({why})" if why else ""
    return Result("packages", "problem", f"{wanted.name} {found}, expected {wanted.specifier}{reason}", install)


def _requirements() -> list[Requirement]:
    from packaging.requirements import Requirement

    return [Requirement(line) for line in requires("radsynth") or []]


def _applies(requirement: Requirement) -> bool:
    return requirement.marker.evaluate({"extra": ""})


def _distribution() -> dict[str, str]:
    try:
        return metadata("radsynth")
    except PackageNotFoundError:
        raise RadsynthError("radsynth is not installed", next_step="run `make setup`") from None
