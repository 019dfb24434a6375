"""Checkpoints that survive a kill: whole or absent, newest found by number, in a folder named by what is trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

import torch

from radsynth.files import atomic_path


class Stateful(Protocol):
    """Anything that can say and restore its state: networks, optimisers, averages, image pools."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


def _random_state() -> dict[str, Any]:
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _restore_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def _numbered(folder: Path) -> list[Path]:
    found = [p for p in folder.glob("images-*.pt") if re.fullmatch(r"images-\d+\.pt", p.name)]
    return sorted(found, key=lambda p: int(p.stem.split("-")[1]), reverse=True)


def save_checkpoint(folder: Path, images_seen: int, things: dict[str, Stateful], progress: dict[str, Any]) -> Path:
    """Write the state of `things`, every random generator and `progress`, then drop all but the two newest files.

    Parameters
    ----------
    folder
        ``checkpoints/<stage>/<fingerprint>``: another fingerprint never finds these files.
    progress
        Plain numbers, strings, lists and tensors: history so far, best score, images seen.
    """
    path = folder / f"images-{images_seen}.pt"
    state = {name: thing.state_dict() for name, thing in things.items()}
    with atomic_path(path) as temporary:
        torch.save({"things": state, "random": _random_state(), "progress": progress}, temporary)
    for old in _numbered(folder)[2:]:
        old.unlink()
    return path


def load_checkpoint(folder: Path, things: dict[str, Stateful]) -> dict[str, Any] | None:
    """Restore the newest readable checkpoint of `folder` into `things`; return its progress, or None without one."""
    for path in _numbered(folder):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, ValueError, OSError):
            continue
        for name, thing in things.items():
            thing.load_state_dict(state["things"][name])
        _restore_random_state(state["random"])
        return state["progress"]
    return None
