"""A folder of one's own MR and CT volumes: ``mr/`` and ``ct/`` with files or DICOM series folders.

A name that is in both is a subject with both modalities, held out for evaluation. Names may be patients' names: ids
are digests of them, the path of a volume stays beside its id in the tables of data, in no model and no report, and no
DICOM patient tag is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from radsynth.errors import RadsynthError
from radsynth.schemas import QUARANTINE, RAW_VOLUMES
from radsynth.sources.ids import id_of, shown_name
from radsynth.volumes.io import SUFFIXES, stem

if TYPE_CHECKING:
    import pandas as pd


def list_brain_folder(folder: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """List the volumes in `folder`/mr and `folder`/ct; nothing is opened.

    Parameters
    ----------
    folder
        Holds ``mr`` and ``ct``. In them: .nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr files, and folders with one DICOM
        series each.

    Returns
    -------
    volumes
        RAW_VOLUMES, sorted by `volume_id`.
    refused
        QUARANTINE: files of other formats (``volume_format``), a second file of one name (``volume_name_twice``), a
        name that is not UTF-8 (``volume_name``).

    Raises
    ------
    RadsynthError
        Where a folder is missing or holds no volume.
    """
    import pandas as pd

    folder = Path(folder)
    found: dict[tuple[str, str], Path] = {}
    refused = []
    for modality in ("MR", "CT"):
        part = folder / modality.lower()
        if not part.is_dir():
            raise RadsynthError(
                f"no {modality.lower()}/ folder", where=folder, expected="mr/ and ct/ with volumes in them"
            )
        for path in sorted(part.iterdir()):
            if path.name.startswith(".") or path.suffix.lower() == ".raw":
                continue
            if shown := shown_name(path):
                refused.append(_refusal(shown, "volume_name", "its name is not UTF-8; rename it"))
            elif path.is_file() and not path.name.lower().endswith(SUFFIXES):
                refused.append(
                    _refusal(
                        path,
                        "volume_format",
                        f"not a volume format; expected {', '.join(SUFFIXES)} or a folder of DICOM",
                    )
                )
            elif (modality, stem(path)) in found:
                refused.append(_refusal(path, "volume_name_twice", "a second volume of the same name and modality"))
            else:
                found[modality, stem(path)] = path
        if not any(m == modality for m, _ in found):
            raise RadsynthError(
                f"no {modality} volumes", where=part, expected=f"{', '.join(SUFFIXES)} or folders of DICOM"
            )
    rows = []
    for (modality, name), path in found.items():
        subject = id_of(name)
        paired = ("MR", name) in found and ("CT", name) in found
        rows.append((f"{subject}-{modality.lower()}", subject, modality, str(path), "", paired))
    volumes = pd.DataFrame(rows, columns=list(RAW_VOLUMES.columns)).sort_values("volume_id", ignore_index=True)
    return volumes, pd.DataFrame(refused, columns=list(QUARANTINE.columns))


def _refusal(path: str | Path, reason: str, message: str) -> dict[str, str]:
    return {
        "path": str(path),
        "kind": "volume",
        "verdict": "refused",
        "reason": reason,
        "message": f"{path}: {message}",
    }
