"""Stage audit_report_gan: are drawn pictures copies of people in the training split?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radsynth.errors import one_line_errors
from radsynth.evaluation.memorisation import AuditPictures, Copy, audit_report_gan
from radsynth.figures import alarm_rates, picture_grid, similarity_histogram
from radsynth.files import atomic_folder
from radsynth.metrics import write_metrics
from radsynth.settings import load
from radsynth.training.chest_data import ChestSet, load_chest
from radsynth.training.device import pick_device
from radsynth.training.report_gan import load_report_gan


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings, device = load(), pick_device()
    gan, description = load_report_gan("models/report_gan")
    sets = load_chest(
        "data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", tuple(description["views"])
    )
    found, pictures = audit_report_gan(
        gan.to(device.device), sets, settings.audit_memorisation, seed=settings.seed, device=device
    )
    with atomic_folder("plots/audit_report_gan") as plots:
        if pictures is not None:
            draw(pictures, sets["train"], plots)
    write_metrics("metrics/audit_report_gan.json", found)


def draw(found: AuditPictures, train: ChestSet, plots: Path) -> None:
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


if __name__ == "__main__":
    main()
