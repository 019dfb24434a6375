"""Is one person's head taken to be of one size in MR and in CT (docs/adr/0021)?

    python -m benchmarks.head_size

Run it where `dvc repro acquire_brain` has been. Everybody who has both scans is registered twice, each time as if the
other scan were not there; the two sizes against the reference should be equal.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from radsynth.errors import one_line_errors
from radsynth.schemas import RAW_VOLUMES
from radsynth.settings import load
from radsynth.volumes.align import align_volume, make_reference
from radsynth.volumes.geometry import head_size

RAW = Path("data/raw/brain/volumes.parquet")


def measured(numbers: np.ndarray) -> str:
    """Three numbers along x, y and z."""
    return " ".join(f"{number:6.3f}" for number in numbers)


@one_line_errors
def main() -> None:
    """Print both sizes of everybody, and how the MR's differs on average."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    ours, frame = load().align_volumes, RAW_VOLUMES.read(RAW)
    reference = make_reference(frame)
    differences = []
    for subject, scans in frame[frame["paired"]].groupby("subject_id"):
        sizes = {}
        for raw in scans.to_dict("records"):
            found = align_volume(raw, reference, grid_size=ours.grid_size, spacing_mm=ours.spacing_mm, n4=ours.n4)
            sizes[raw["modality"]] = head_size(found.row)
        differences.append(sizes["MR"] - sizes["CT"])
        print(f"{subject}  CT {measured(sizes['CT'])}   MR {measured(sizes['MR'])}", flush=True)
    print(f"MR less CT, mean of {len(differences)}: {measured(np.mean(differences, 0))}")
    print(f"            largest:   {measured(np.abs(differences).max(0))}")


if __name__ == "__main__":
    main()
