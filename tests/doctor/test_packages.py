"""Versions that break each other are named with what they break."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from radsynth.doctor import packages
from radsynth.doctor.result import guarded

GOOD = {"fastapi": "0.150.0", "sqlalchemy": "2.0.58", "torch": "2.14.1+cu130"}


@pytest.fixture
def installed(monkeypatch) -> dict[str, str]:
    """Versions that seem to be installed, all in order until a test changes them."""
    versions = dict(GOOD)

    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    wanted = ["fastapi<0.151", "sqlalchemy<2.1", "torch>=2.11,<2.15", "pytest>=99; extra == 'test'"]
    monkeypatch.setattr(packages, "version", version)
    monkeypatch.setattr(packages, "requires", lambda name: wanted)
    return versions


def test_packages_within_their_ranges_are_one_ok(installed):
    (result,) = packages.package_ranges()
    assert result.status == "ok"
    assert "all 3 packages" in result.found


@pytest.mark.parametrize(
    ("package", "version", "reason"),
    [
        ("fastapi", "0.151.0", "Prefect's server does not start"),
        ("sqlalchemy", "2.1.0b1", "scheduler fails silently"),
        ("torch", "2.10.0", "expected <2.15,>=2.11"),
    ],
)
def test_a_package_out_of_its_range_is_a_problem_with_the_reason_and_the_command(installed, package, version, reason):
    installed[package] = version
    (result,) = packages.package_ranges()
    assert result.status == "problem"
    assert f"{package} {version}" in result.found
    assert reason in result.found
    assert f"pip install '{package}" in result.advice


def test_every_broken_package_has_its_own_line(installed):
    installed |= {"fastapi": "1.0", "sqlalchemy": "3.0"}
    del installed["torch"]
    results = list(packages.package_ranges())
    assert [result.found.split()[0] for result in results] == ["fastapi", "sqlalchemy", "torch"]
    assert "torch is not installed" in results[2].found


def test_the_known_breakers_are_really_bounded_by_the_project():
    """Advice that pyproject.toml does not back would leave the user where he was."""
    ranges = {one.name.lower(): one.specifier for one in packages._requirements()}
    assert not ranges["fastapi"].contains("0.151.0")
    assert not ranges["sqlalchemy"].contains("2.1.0")


@pytest.mark.parametrize(("python", "status"), [("3.10.14", "problem"), ("3.11.7", "ok"), ("3.15.0rc1", "ok")])
def test_python_is_judged_by_what_the_distribution_requires(monkeypatch, python, status):
    monkeypatch.setattr(packages.platform, "python_version", lambda: python)
    monkeypatch.setattr(packages, "metadata", lambda name: {"Requires-Python": ">=3.11"})
    (result,) = packages.python_version()
    assert (result.status, python in result.found) == (status, True)


def test_an_environment_without_radsynth_is_a_problem(monkeypatch):
    def metadata(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "metadata", metadata)
    (result,) = guarded("packages", packages.package_ranges)
    assert (result.status, result.found) == ("problem", "radsynth is not installed")
    assert "make setup" in result.advice
