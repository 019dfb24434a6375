"""What a result says of the model that made it."""

from __future__ import annotations

from typing import Any

from radsynth.files import sha256_of
from radsynth.synthetic_dicom import NOTICE
from radsynth.tracking.lineage import installed
from radsynth.tracking.registry import Resolved
from radsynth.use.outputs import MADE_BY

_TAGS = tuple(
    f"radsynth.{name}" for name in ("fingerprint", "git_commit", "git_dirty", "dvc_lock_sha256", "settings_sha256")
)


def about(verb: str, model: Resolved | None) -> dict[str, Any]:
    """The part that every sidecar begins with: who made it, with which model, and what it is not for."""
    known: dict[str, Any] = {"made_by": MADE_BY, "command": verb, "radsynth": installed("radsynth"), "notice": NOTICE}
    if model is not None:
        known["model"] = {
            "name": model.name,
            "version": model.version,
            "reference": model.reference,
            "sha256": model.digest,
            "files_sha256": {file.name: sha256_of(file) for file in sorted(model.folder.iterdir()) if file.is_file()},
            "tags": {key: value for key, value in sorted(model.tags.items()) if key in _TAGS},
        }
    return known


def title(model: Resolved) -> str:
    """The model and its version in a few characters, e.g. ``report-to-xray v3``; the digest where it has no version."""
    return f"{model.name} v{model.version}" if model.version is not None else f"{model.name} {model.digest[:12]}"
