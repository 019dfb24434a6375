"""Stage audit_memorisation: are drawn pictures, or synthetic CTs, copies of people in the training split?"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from radsynth.errors import one_line_errors
from radsynth.evaluation.memorisation import AuditPictures, Copy, audit_report_gan
from radsynth.evaluation.memorisation_ct import CtMatch, audit_mri_to_ct
from radsynth.figures import alarm_rates, picture_grid, similarity_histogram
from radsynth.files import atomic_folder, write_json
from radsynth.schemas import VOLUMES
from radsynth.settings import AuditMemorisation, load
from radsynth.training.chest_data import ChestSet, load_chest
from radsynth.training.cyclegan import load_mri_to_ct, translate_volume
from radsynth.training.device import pick_device
from radsynth.training.report_gan import load_report_gan
from radsynth.training.slices import read_heads


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    own, seed = settings.audit_memorisation, settings.seed
    with atomic_folder("plots/audit_memorisation") as plots:
        chest = audit_chest(own, seed, plots)
        brain = audit_brain(own, seed, plots)
    figures = chest.pop("figures", {}) | brain.pop("figures", {})
    write_json("metrics/audit_memorisation.json", chest | brain | {"figures": figures})


def audit_chest(own: AuditMemorisation, seed: int, plots: Path) -> dict[str, object]:
    """Audit the report GAN and draw what was found."""
    device = pick_device()
    gan, description = load_report_gan("models/report_gan")
    sets = load_chest(
        "data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", tuple(description["views"])
    )
    found, pictures = audit_report_gan(gan.to(device.device), sets, own, seed=seed, device=device)
    if pictures is not None:
        draw_chest(pictures, sets["train"], plots)
    return found


def draw_chest(found: AuditPictures, train: ChestSet, plots: Path) -> None:
    """Similarities, alarm rates, and suspects side by side with their neighbours."""
    similarity_histogram(found.similarity, found.limit, plots / "similarity.png")
    alarm_rates(found.roc, plots / "detector_roc.png")

    def side_by_side(copies: list[Copy], name: str) -> None:
        neighbours = train.pictures(np.array([copy.neighbour for copy in copies]))[:, 0].numpy()
        picture_grid(
            [[copy.picture, neighbour] for copy, neighbour in zip(copies, neighbours, strict=True)],
            plots / name,
            row_titles=[
                f"{copy.origin}; training study {train.frame['study_id'].iloc[copy.neighbour]}; "
                f"similarity {copy.similarity:.3f}, limit {found.limit:.3f}"
                for copy in copies
            ],
            column_titles=["audited", "nearest training picture"],
        )

    side_by_side(found.nearest, "nearest.png")
    for copies, name in ((found.copies[:24], "copies.png"), (one_of_each(found.planted), "planted.png")):
        if copies:
            side_by_side(copies, name)


def one_of_each(copies: list[Copy]) -> list[Copy]:
    """The first of each origin."""
    return list({copy.origin: copy for copy in reversed(copies)}.values())[::-1]


def audit_brain(own: AuditMemorisation, seed: int, plots: Path) -> dict[str, object]:
    """Audit the MRI to CT model and draw every synthetic CT beside the training CT most like it."""
    manifest = VOLUMES.read("data/brain/manifest.parquet")
    model, _ = load_mri_to_ct("models/mri_to_ct")
    mr, ct = (
        [read_heads("data/brain/aligned", manifest, modality, split) for split in ("validation", "test")]
        for modality in ("MR", "CT")
    )
    train_ct = read_heads("data/brain/aligned", manifest, "CT", "train")
    found, matches = audit_mri_to_ct(
        partial(translate_volume, model), mr, ct, train_ct, own.ct_margin, repetitions=own.bootstrap, seed=seed
    )
    if matches:
        draw_brain(matches[:6], plots / "nearest_ct.png")
    return found


def draw_brain(matches: list[CtMatch], path: Path) -> None:
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
