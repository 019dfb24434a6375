"""What a person sees of a flow run in Prefect: progress, decision, pictures, the way to MLflow."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

MAX_PICTURE_BYTES = 4 * 2**20
"""Larger pictures are named, not shown: artifacts live in Prefect's database."""
MLFLOW = "http://127.0.0.1:5000"
"""Where `radsynth ui` serves."""


class Progress:
    """How many of the steps are done, as one progress artifact of the flow run."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done = steps, 0
        self.artifact: UUID = create_progress_artifact(0.0, key="progress", description="Steps done")

    def advance(self, what: str) -> None:
        """Count one step more; `what` was it."""
        self.done += 1
        share = min(100.0, 100.0 * self.done / self.steps)
        update_progress_artifact(self.artifact, share, description=f"{self.done} of {self.steps}: {what}")


def show_stale(stale: dict[str, object]) -> None:
    """The stages that DVC found out of date, with what changed."""
    rows = [{"stage": stage, "changed": _words(changes)} for stage, changes in stale.items()]
    create_table_artifact(rows, key="stale-stages", description="Stages that DVC found out of date")


def show_refused_data(stage: str, reason: str, root: Path) -> None:
    """Why a validation stopped the run, with the expectations that failed."""
    lines = [f"## {stage}: the data must not be used", "", reason, ""]
    metrics = root / "metrics" / f"{stage}.json"
    if metrics.is_file():
        for outcome in json.loads(metrics.read_text(encoding="utf-8")).get("expectations", []):
            if outcome.get("severity") == "critical" and outcome.get("success") is False:
                lines.append(f"- {outcome['name']}: {outcome['observed']}, expected {outcome['expected']}")
    lines += ["", f"Page: `reports/{stage}.html`".replace("validate_", "validation_")]
    create_markdown_artifact("\n".join(lines), key="refused-data", description=f"{stage} stopped the run")


def show_decision(name: str, said: tuple[str, ...]) -> None:
    """The gate's table for one model, as `radsynth promote` prints it."""
    text = "\n".join(said)
    create_markdown_artifact(
        f"## {name}: {said[-1] if said else 'no decision'}\n\n```\n{text}\n```\n",
        key=f"gate-{name}",
        description=f"Decision of the promotion gate on {name}",
    )


def show_picture(name: str, pattern: str, root: Path) -> None:
    """The first picture that matches, inside the artifact itself: no file server is needed to look at it."""
    for picture in sorted(root.glob(pattern))[:1]:
        where = picture.relative_to(root).as_posix()
        if picture.stat().st_size > MAX_PICTURE_BYTES:
            create_markdown_artifact(f"Too large to show here: `{where}`", key=f"picture-{name}")
            return
        data = base64.b64encode(picture.read_bytes()).decode("ascii")
        create_image_artifact(f"data:image/png;base64,{data}", key=f"picture-{name}", description=where)


def link_run(name: str, training: str, root: Path) -> None:
    """The way to the model's versions and its training in MLflow, where `radsynth ui` runs."""
    fingerprint = published(root).get(training, {}).get("fingerprint", "")
    create_link_artifact(
        f"{MLFLOW}/#/models/{quote(name)}",
        link_text=f"{name} in MLflow",
        key=f"mlflow-{name}",
        description=f"Training {fingerprint}; `radsynth ui` serves it",
    )


def published(root: Path) -> dict[str, dict[str, str]]:
    """What the last publishing wrote: training stage -> fingerprint and content."""
    path = root / "mlruns" / "published.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _words(changes: object) -> str:
    """DVC's nested description of what changed, as ``deleted dvc.lock, modified params.yaml: seed``."""
    if isinstance(changes, dict):
        return ", ".join(f"{key}: {_words(value)}" for key, value in changes.items())
    if isinstance(changes, list):
        return "; ".join(_words(value) for value in changes)
    return str(changes)
