"""SynthRAD2023 task 1 (brain MR to CT): a folder a patient with ``mr``, ``ct`` and ``mask``.

Every patient has both modalities, registered. A CycleGAN is to learn from unpaired ones: of most patients only one
modality is used, and a share of patients is kept as pairs for evaluation.

References
----------
Thummerer et al. 2023, SynthRAD2023 Grand Challenge dataset: generating synthetic CT for radiotherapy, Medical
Physics 50(7).
https://zenodo.org/records/7260705
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from radsynth.errors import RadsynthError
from radsynth.schemas import RAW_VOLUMES
from radsynth.sources.ids import id_of

if TYPE_CHECKING:
    import pandas as pd

PAIRED_SHARE = 0.25
ENDINGS = (".nii.gz", ".mha")
DEPTHS = ("*", "*/*", "*/*/*")
OTHER_REGIONS = {"pelvis", "ab", "abdomen", "th", "thorax", "hn"}
"""Folders, in small letters, of what is no brain in SynthRAD2023 and 2025 (HN: head and neck)."""


def list_synthrad(folder: str | Path, *, seed: int, paired_share: float = PAIRED_SHARE) -> pd.DataFrame:
    """List the patients of a SynthRAD folder and say what each contributes.

    Parameters
    ----------
    folder
        Holds the patients' folders, directly or as ``Task1/brain/<patient>``; what is below a folder of
        `OTHER_REGIONS` in it is passed over.
    seed
        Decides who contributes what; the same patients and seed give the same answer.
    paired_share
        Share of patients kept as pairs, at least two of them.

    Returns
    -------
    RAW_VOLUMES, sorted by `volume_id`. Paired patients have two rows; of the others one half has MR alone, one
    half CT alone.

    Raises
    ------
    RadsynthError
        Where fewer than four patients with both modalities are there.
    """
    import pandas as pd

    folder = Path(folder)
    patients = sorted(
        {
            path.parent
            for depth in DEPTHS
            for path in folder.glob(f"{depth}/mr.*")
            if _volume(path.parent, "ct")
            and OTHER_REGIONS.isdisjoint(part.lower() for part in path.relative_to(folder).parts)
        }
    )
    patients = [patient for patient in patients if _volume(patient, "mr")]
    if len(patients) < 4:
        raise RadsynthError(
            "too few SynthRAD patients",
            where=folder,
            got=len(patients),
            expected="4 or more folders with mr.nii.gz and ct.nii.gz",
        )
    shuffled = sorted(patients, key=lambda p: hashlib.sha256(f"{seed} {p.name}".encode()).hexdigest())
    held_out = max(round(paired_share * len(patients)), 2)
    rows = []
    for index, patient in enumerate(shuffled):
        paired = index < held_out
        modalities = ("MR", "CT") if paired else (("MR", "CT")[(index - held_out) % 2],)
        for modality in modalities:
            subject = id_of(patient.name)
            path, mask = _volume(patient, modality.lower()), _volume(patient, "mask")
            rows.append((f"{subject}-{modality.lower()}", subject, modality, str(path), str(mask or ""), paired))
    return pd.DataFrame(rows, columns=list(RAW_VOLUMES.columns)).sort_values("volume_id", ignore_index=True)


def _volume(patient: Path, name: str) -> Path | None:
    return next((patient / (name + ending) for ending in ENDINGS if (patient / (name + ending)).is_file()), None)
