"""All checks, in the order in which what they need comes to be known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from radsynth.doctor import accelerator, machine, packages, scheduler, torch_facts, weights
from radsynth.doctor.cache import cache_intact
from radsynth.doctor.result import Result, guarded
from radsynth.settings import Settings, load


def examine(root: str | Path = ".", deep: bool = False) -> Iterator[Result]:
    """Check this machine and the checkout `root`, one result after the other; nothing raises.

    Parameters
    ----------
    root
        The checkout, the folder of ``dvc.yaml``.
    deep
        Also try what takes longer than ten seconds: a scheduler of its own.
    """
    root = Path(root)
    facts = cache(torch_facts.torch_facts)
    yield from guarded("python", packages.python_version)
    yield from guarded("packages", packages.package_ranges)
    torch_results = list(guarded("torch", lambda: accelerator.torch_pair(facts())))
    yield from torch_results
    yield from guarded("git", machine.git)
    yield from guarded("scheduler", lambda: scheduler.scheduler(deep))
    if not (root / "dvc.yaml").is_file():
        found = f"{root.resolve()} has no dvc.yaml: settings, store, cache and disk were not looked at"
        yield Result("checkout", "warning", found, "run it in the folder of dvc.yaml")
        return
    yield from guarded("repository", lambda: machine.repository(root))
    settings: list[Settings] = []
    yield from guarded("settings", lambda: _settings(root, settings))
    for one in settings:
        if torch_results[-1].status == "ok":
            yield from guarded("device", lambda one=one: accelerator.precision(one, facts()))
        yield from guarded("encoder", lambda one=one: weights.text_encoder(one, root))
        yield from guarded("vgg", lambda one=one: weights.perceptual_network(one))
        yield from guarded("disk", lambda one=one: machine.disk_space(root, one))
    yield from guarded("write", lambda: machine.write_access(root))
    yield from guarded("store", lambda: _store(root))
    yield from guarded("cache", lambda: cache_intact(root))


def exit_code(results: Iterable[Result]) -> int:
    """2 where there is a problem, 0 where all is ok or there are warnings alone."""
    return 2 if any(result.status == "problem" for result in results) else 0


def _settings(root: Path, read: list[Settings]) -> Iterator[Result]:
    read.append(load(root / "params.yaml"))
    sources = f"chest {read[0].acquire_chest.source}, brain {read[0].acquire_brain.source}"
    yield Result("settings", "ok", f"params.yaml holds the profile {read[0].profile} ({sources})")


def _store(root: Path) -> Iterator[Result]:
    from radsynth.tracking.store_health import store_health

    yield Result("store", "ok", store_health(root))
