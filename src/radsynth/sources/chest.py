"""Chest data from whichever source the settings name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from radsynth.schemas import FINDING_TRUTH, QUARANTINE, RAW_IMAGES, RAW_REPORTS
from radsynth.settings import AcquireChest
from radsynth.sources.chest_folder import read_chest_folder
from radsynth.sources.nih import read_nih
from radsynth.sources.openi import read_openi
from radsynth.sources.raw_chest import RawChest


def acquire_chest(settings: AcquireChest, seed: int, folder: Path) -> RawChest:
    """Read the source that the settings name; the phantom is first made, in `folder`, as the archives of Open-i.

    Raises
    ------
    RadsynthError
        Where the source is not where `settings.path` says, or not what it should be.
    """
    if settings.source == "openi":
        return read_openi(settings.path)
    if settings.source == "nih":
        return read_nih(settings.path, seed=seed)
    if settings.source == "folder":
        return read_chest_folder(settings.path)
    from radsynth.sources.chest_phantom import make_chest_sample

    make_chest_sample(folder, studies=settings.studies, seed=seed, processes=min(2, os.cpu_count() or 1))
    truth = FINDING_TRUTH.read(folder / "truth.parquet")
    return read_openi(folder)._replace(truth=truth, masks=np.load(folder / "masks.npy"))


def write_raw_chest(raw: RawChest, folder: Path) -> None:
    """Write the tables and masks of raw chest data."""
    from radsynth.files import atomic_path

    RAW_REPORTS.write(raw.reports, folder / "reports.parquet")
    RAW_IMAGES.write(raw.images, folder / "images.parquet")
    FINDING_TRUTH.write(raw.truth, folder / "truth.parquet")
    QUARANTINE.write(raw.quarantine, folder / "quarantine.parquet")
    with atomic_path(folder / "masks.npy") as temporary, open(temporary, "wb") as file:
        np.save(file, raw.masks)
