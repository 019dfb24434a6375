"""Whom a registered version learned from, by the table of patients that its training recorded.

Splits are dealt over the whole collection: with new data, a test patient of today may have been learned from before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from radsynth.errors import RadsynthError

if TYPE_CHECKING:
    import pandas as pd

    from radsynth.tracking.registry import Version

MANIFESTS = {"report-to-xray": "data/chest/manifest.parquet", "mri-to-ct": "data/brain/manifest.parquet"}
SOURCES = {"report-to-xray": "radsynth.chest_source", "mri-to-ct": "radsynth.brain_source"}
"""The tag that says where a version's data come from."""


def learned_from(root: Path, version: Version, manifest: pd.DataFrame) -> set[str] | None:
    """The subjects of `manifest` whom `version` learned from or was chosen by, whatever their split is in `manifest`.

    A subject is known by its id and by the content of its files; a phantom by content alone, because its id is a number
    that comes again with every seed.

    Parameters
    ----------
    manifest
        The CHEST or VOLUMES table of today.

    Returns
    -------
    set or None
        None where the version has no record of its table, or the table is no longer in DVC's cache.
    """
    from radsynth.schemas import CHEST, VOLUMES
    from radsynth.tracking.drift import kept_file

    table = CHEST if version.name == "report-to-xray" else VOLUMES
    try:
        then = table.read(kept_file(root, json.loads(version.tags.get("radsynth.data", "{}")), MANIFESTS[version.name]))
    except RadsynthError:
        return None
    learned = then[then["split"] != "test"]
    known = manifest["source_sha256"].isin(set(learned["source_sha256"]) - {""})
    if version.tags.get(SOURCES[version.name]) != "phantom":
        known |= manifest["subject_id"].isin(set(learned["subject_id"]))
    return set(manifest.loc[known, "subject_id"])
