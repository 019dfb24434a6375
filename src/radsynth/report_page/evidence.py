"""What the stages left behind in a checkout, read once: figures, curves, pictures, models, data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radsynth.errors import RadsynthError
from radsynth.files import read_json
from radsynth.schemas import CHEST, VOLUMES
from radsynth.tracking.lineage import git_state
from radsynth.tracking.outputs import read_curves
from radsynth.vocabulary import FINDINGS

if TYPE_CHECKING:
    import pandas as pd

    from radsynth.settings import Settings

SPLITS = ("train", "validation", "test")
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Evidence:
    """All that the page is made of; a part that no stage has made is empty.

    Parameters
    ----------
    settings
        Section -> settings, as params.yaml has them.
    commit
        The commit of the checkout, with a word where it was changed since; '' without git.
    metrics
        Stage -> content of its metrics file.
    curves
        Training stage -> rows of images seen and figures.
    pictures
        Folder below ``plots/`` (with ``/`` for deeper ones) -> its PNG files in the order of their names.
    models
        Name -> what `model.json` says, with the sizes of its networks as ``parameters``.
    data
        Name -> rows of a table about the data.
    pages
        File names of the validation pages beside this one.
    """

    settings: dict[str, Any]
    commit: str
    metrics: dict[str, dict[str, Any]]
    curves: dict[str, list[tuple[int, dict[str, float]]]]
    pictures: dict[str, list[Path]]
    models: dict[str, dict[str, Any]]
    data: dict[str, Rows]
    pages: list[str]


def collect(settings: Settings, root: str | Path = ".") -> Evidence:
    """Read everything that is there.

    Raises
    ------
    RadsynthError
        Where a file is there but is not what its name says.
    """
    root = Path(root)
    told = settings.model_dump(mode="json", exclude={"gate", "monitor"})
    return Evidence(
        settings=told,
        commit=_commit(root),
        metrics={path.stem: _metrics(path) for path in sorted((root / "metrics").glob("*.json"))},
        curves={path.parent.name: list(read_curves(path)) for path in sorted(root.glob("history/*/curves.csv"))},
        pictures=_pictures(root / "plots"),
        models={path.parent.name: _model(path) for path in sorted((root / "models").glob("*/model.json"))},
        data=_chest(root / "data/chest/manifest.parquet") | _brain(root / "data/brain/manifest.parquet"),
        pages=[path.name for path in sorted((root / "reports").glob("validation_*.html"))],
    )


def _commit(root: Path) -> str:
    state = git_state(root)
    return state.get("commit", "") + (" with changes" if state.get("dirty") == "true" else "")


def _metrics(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except ValueError as error:
        raise RadsynthError(f"not JSON ({error})", where=path) from None
    if not isinstance(content, dict):
        raise RadsynthError("not a metrics file", where=path, got=type(content).__name__, expected="an object")
    return content


def _pictures(plots: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(plots.rglob("*.png")):
        found.setdefault(path.parent.relative_to(plots).as_posix(), []).append(path)
    return found


def _model(path: Path) -> dict[str, Any]:
    weights = path.with_name("weights.safetensors")
    return read_json(path) | {"parameters": _parameters(weights) if weights.is_file() else {}}


def _parameters(weights: Path) -> dict[str, int]:
    """Numbers in each network of a model, by the first part of their names; read from the file's head alone."""
    from math import prod

    from safetensors import safe_open

    sizes: dict[str, int] = {}
    with safe_open(weights, "numpy") as file:
        for key in file.keys():  # noqa: SIM118 - not a dict
            network = key.split(".")[0] if "." in key else ""
            sizes[network] = sizes.get(network, 0) + prod(file.get_slice(key).get_shape())
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _chest(path: Path) -> dict[str, Rows]:
    if not path.is_file():
        return {}
    frame = CHEST.read(path)
    splits = _present(frame)
    counts = [
        {
            "split": split,
            "patients": part["subject_id"].nunique(),
            "studies": part["study_id"].nunique(),
            "pictures": len(part),
            **{f"{view} view": int((part["view_position"] == view).sum()) for view in frame["view_position"].unique()},
        }
        for split, part in frame.groupby("split")
    ]
    counts.sort(key=lambda row: splits.index(row["split"]))
    studies = frame.drop_duplicates("study_id")
    findings: Rows = []
    for finding in FINDINGS:
        positive = studies[studies[f"label_{finding}"] == 1]
        findings.append({"finding": finding} | {split: int((positive["split"] == split).sum()) for split in splits})
    return {"X-rays by split": counts, "Studies with each finding, by split": findings}


def _brain(path: Path) -> dict[str, Rows]:
    if not path.is_file():
        return {}
    frame = VOLUMES.read(path)
    rows: Rows = []
    for modality, part in frame.groupby("modality"):
        by_split = {split: int((part["split"] == split).sum()) for split in _present(frame)}
        rows.append({"modality": modality, **by_split, "of people with both": int(part["paired"].sum())})
    return {"Head volumes by split": rows}


def _present(frame: pd.DataFrame) -> list[str]:
    there = set(frame["split"])
    return [split for split in SPLITS if split in there] + sorted(there - set(SPLITS))
