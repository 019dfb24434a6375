"""What a training left behind: its files, and digests that say whether they are the published ones.

Standard library alone: a publish step that finds nothing to do must not cost an import of MLflow.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radsynth.errors import RadsynthError
from radsynth.files import read_json, sha256_of

TRAININGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train_classifier": ("classifier", ("explain",)),
    "train_perceptual": ("perceptual", ()),
    "train_report_gan": ("report_gan", ("evaluate_report_gan", "evaluate_utility", "explain", "audit_report_gan")),
    "train_cyclegan": ("mri_to_ct", ("evaluate_mri_to_ct", "explain", "audit_mri_to_ct")),
}
"""Training stage -> its folder under models/, and the later stages whose figures and pictures belong to its run."""

_CODE = Path(__file__).resolve().parent
_PUBLISHING = (
    "dvc_files",
    "lineage",
    "mri_to_ct_model",
    "outputs",
    "publish",
    "report_to_xray_model",
    "served",
    "store",
)
"""The modules of this package that shape what a run shows; registering and promoting do not."""


@dataclass(frozen=True)
class Training:
    """One finished training, as files.

    Parameters
    ----------
    root
        The checkout.
    stage
        Name of the stage that trained, e.g. ``train_report_gan``.
    model
        Folder with ``weights.safetensors`` and ``model.json``.
    judged_by
        Stages that evaluated or explained it.
    """

    root: Path
    stage: str
    model: Path
    judged_by: tuple[str, ...]

    @property
    def description(self) -> dict[str, Any]:
        """What `model.json` says."""
        return read_json(self.model / "model.json")

    @property
    def history(self) -> Path:
        """The curves; without rows where nothing was trained (cached ImageNet weights)."""
        return self.root / "history" / self.stage / "curves.csv"

    @property
    def system(self) -> Path:
        """The machine's figures beside the curves."""
        return self.history.with_name("system.csv")

    @property
    def grids(self) -> Path:
        """Folder of the pictures drawn while training."""
        return self.root / "plots" / self.stage

    def metrics(self) -> list[Path]:
        """The metrics files of the training and of those who judged it, as far as they are there."""
        paths = (self.root / "metrics" / f"{name}.json" for name in (self.stage, *self.judged_by))
        return [path for path in paths if path.is_file()]

    def plots(self) -> list[Path]:
        """The folders of pictures of those who judged it, as far as they are there."""
        folders = (self.root / "plots" / name for name in self.judged_by)
        return [folder for folder in folders if folder.is_dir()]

    def trained_digest(self) -> str:
        """Digest of what the training itself wrote: model, curves, pictures; 16 hex digits."""
        return _digest([self.model, self.history, self.system, self.grids])

    def content_digest(self) -> str:
        """Digest of all that its run should show, and of the code that shows it; 16 hex digits."""
        return _digest([self.model, self.history, self.system, self.grids, *self.metrics(), *self.plots(), _CODE])


def finished_trainings(root: str | Path = ".") -> list[Training]:
    """Every training whose model is there, in the order of `TRAININGS`.

    Raises
    ------
    RadsynthError
        Where there is none, or a `model.json` has no fingerprint.
    """
    root = Path(root)
    found = [Training(root, stage, root / "models" / name, judges) for stage, (name, judges) in TRAININGS.items()]
    found = [training for training in found if (training.model / "model.json").is_file()]
    if not found:
        raise RadsynthError("no trained model to publish", where=root / "models", next_step="run `dvc repro`")
    for training in found:
        if not training.description.get("fingerprint"):
            raise RadsynthError(
                "the model does not say which training it is from",
                where=training.model / "model.json",
                expected="a fingerprint",
                next_step=f"run `dvc repro {training.stage}`",
            )
    return found


def read_curves(path: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Images seen and the finite figures of every row of a history; blank cells are left out."""
    if not path.is_file():
        return
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            seen = int(float(row.pop("images_seen")))
            figures = {name: float(cell) for name, cell in row.items() if cell}
            yield seen, {name: value for name, value in figures.items() if math.isfinite(value)}


def flat_numbers(value: Any) -> dict[str, float]:
    """The numbers of a metrics file: its own, and those of tables that hold nothing else, as ``table.name``.

    Texts, lists, unknown values (null) and tables of mixed content (intervals with their definitions) stay in the
    file, which is an artifact of the run.
    """
    found: dict[str, float] = {}
    for name, entry in value.items():
        if isinstance(entry, dict) and all(_is_number(cell) or cell is None for cell in entry.values()):
            found |= {f"{name}.{key}": float(cell) for key, cell in entry.items() if cell is not None}
        elif _is_number(entry):
            found[name] = float(entry)
    return found


def interval_ends(content: Any) -> dict[str, float]:
    """The ends of the 95 % intervals of a metrics file's figures, as ``name.low`` and ``name.high``."""
    return {
        f"{name}.{end}": float(figure[end])
        for name, figure in (content.get("figures") or {}).items()
        for end in ("low", "high")
        if isinstance(figure, dict) and _is_number(figure.get(end))
    }


def flat_settings(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names; lists are leaves."""
    found: dict[str, Any] = {}
    for name, entry in value.items():
        if isinstance(entry, dict):
            found |= flat_settings(entry, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = entry
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        if path == _CODE:
            content = "".join(sha256_of(_CODE / f"{name}.py") for name in _PUBLISHING)
        else:
            content = sha256_of(path) if path.exists() else ""
        digest.update(f"{path.name}\0{content}\n".encode())
    return digest.hexdigest()[:16]
