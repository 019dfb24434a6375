"""A finished model on disk: `weights.safetensors` and `model.json` in one folder, never a pickle."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
from torch import Tensor

from radsynth.errors import RadsynthError
from radsynth.files import atomic_folder, read_json, sha256_of
from radsynth.training.loop import Outcome

_CODE = Path(__file__).resolve().parent.parent
_TRAINS = ("networks/*.py", "losses/*.py", "reports/*.py", "training/*.py", "vocabulary.py")
"""The code that decides what a training gives; targets come from the vocabulary, texts and tokens from reports."""


def fingerprint(settings: dict[str, Any], data: list[Path]) -> str:
    """Name a training by its settings, the content of its data and the code that trains: 16 hex digits.

    Equal fingerprints mean that training would give the same model; checkpoints and tracked runs carry it.

    Parameters
    ----------
    settings
        All that shapes the training, the seed included; plain JSON values.
    data
        Files and folders that it reads.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in data:
        digest.update(sha256_of(path).encode())
    for pattern in _TRAINS:
        for file in sorted(_CODE.glob(pattern)):
            digest.update(file.name.encode() + sha256_of(file).encode())
    return digest.hexdigest()[:16]


def save_model(
    folder: str | Path, weights: dict[str, Tensor], description: dict[str, Any], files: Iterable[Path] = ()
) -> None:
    """Write a model folder whole or not at all.

    Parameters
    ----------
    weights
        State dict; of several networks, with names prefixed (``mr_to_ct.``).
    description
        What `model.json` says: constructor arguments under ``"network"``, ranges of input and output, settings,
        fingerprint, how it was chosen.
    files
        What else the model needs to be used, copied under its own name.
    """
    with atomic_folder(folder) as temporary:
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        safetensors.torch.save_file(contiguous, temporary / "weights.safetensors")
        text = json.dumps(description, indent=2, sort_keys=True, allow_nan=False)
        (temporary / "model.json").write_text(text + "\n", encoding="utf-8")
        for file in files:
            shutil.copyfile(file, temporary / file.name)


def load_model(folder: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_model` wrote: (weights on the CPU, description).

    Raises
    ------
    RadsynthError
        Where the folder holds no model.
    """
    folder = Path(folder)
    if not (folder / "weights.safetensors").is_file() or not (folder / "model.json").is_file():
        raise RadsynthError("no model here", where=folder, expected="weights.safetensors and model.json")
    return safetensors.torch.load_file(folder / "weights.safetensors"), read_json(folder / "model.json")


def part_of(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names begin with ``prefix.``, without it."""
    return {name[len(prefix) + 1 :]: value for name, value in weights.items() if name.startswith(prefix + ".")}


@contextmanager
def of_this_version(what: str, folder: str | Path) -> Iterator[None]:
    """While the networks of `what` are made from a folder's description and weights: one plain line if they do not fit.

    Raises
    ------
    RadsynthError
        Where an argument or a weight is unknown, missing or of another shape.
    """
    try:
        yield
    except (KeyError, TypeError, RuntimeError):
        expected = "one of this version: train it again, `dvc repro`"
        raise RadsynthError(f"the {what} is of another version", where=folder, expected=expected) from None


def write_history(outcome: Outcome | None, folder: str | Path) -> None:
    """Write ``curves.csv`` and, of the machine's speed and memory, ``system.csv``; without training both are empty."""
    curves, system = (outcome.history, outcome.system) if outcome else ([], [])
    with atomic_folder(folder) as temporary:
        for name, rows in (("curves.csv", curves), ("system.csv", system)):
            frame = pd.DataFrame(rows) if rows else pd.DataFrame({"images_seen": []})
            frame.to_csv(temporary / name, index=False, float_format="%.6g", lineterminator="\n")
