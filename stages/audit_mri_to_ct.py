"""Stage audit_mri_to_ct: are synthetic CTs those of people in the training split?"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from radsynth.errors import one_line_errors
from radsynth.evaluation.memorisation_ct import CtMatch, audit_mri_to_ct
from radsynth.figures import picture_grid
from radsynth.files import atomic_folder
from radsynth.metrics import write_metrics
from radsynth.schemas import VOLUMES
from radsynth.settings import load
from radsynth.training.cyclegan import load_mri_to_ct, translate_volume
from radsynth.training.device import pick_device
from radsynth.training.slices import read_heads


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    own = settings.audit_memorisation
    manifest = VOLUMES.read("data/brain/manifest.parquet")
    model, description = load_mri_to_ct("models/mri_to_ct")
    model.networks.to(pick_device().device)
    model.atlases.to(pick_device().device)
    mr, ct = (
        [read_heads("data/brain/aligned", manifest, modality, split) for split in ("validation", "test")]
        for modality in ("MR", "CT")
    )
    fine_tuned = manifest["subject_id"].isin(description.get("few_pairs", {}).get("subjects", []))
    learned = manifest.assign(split=manifest["split"].mask(fine_tuned, "train"))
    train_ct = read_heads("data/brain/aligned", learned, "CT", "train")
    found, matches = audit_mri_to_ct(
        partial(translate_volume, model),
        mr,
        ct,
        train_ct,
        own.ct_margin,
        spacing_mm=settings.align_volumes.spacing_mm,
        repetitions=own.bootstrap,
        seed=settings.seed,
    )
    with atomic_folder("plots/audit_mri_to_ct") as plots:
        if matches:
            draw(matches[:6], plots / "nearest_ct.png")
    write_metrics("metrics/audit_mri_to_ct.json", found)


def draw(matches: list[CtMatch], path: Path) -> None:
    """Middle slices, 40/400 HU, the front up and the patient's right on the left."""

    def cut(ct: np.ndarray) -> np.ndarray:
        return np.clip((ct[len(ct) // 2, ::-1, ::-1] - 40) / 200, -1, 1)

    picture_grid(
        [[cut(match.ct), cut(match.neighbour_ct)] for match in matches],
        path,
        row_titles=[
            f"synthetic CT of {match.name}; training CT {match.neighbour}; correlation {match.correlation:.3f}, "
            f"{match.mae_hu:.0f} HU"
            for match in matches
        ],
        column_titles=["synthetic CT", "training CT most like it"],
    )


if __name__ == "__main__":
    main()
