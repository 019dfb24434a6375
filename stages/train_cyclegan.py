"""Stage train_cyclegan: learn MRI -> CT and CT -> MRI from unpaired heads, and then from a few pairs if asked."""

from __future__ import annotations

import shutil
from pathlib import Path

from radsynth import schemas, settings
from radsynth.errors import one_line_errors
from radsynth.evaluation.middle_slices import middle_slices
from radsynth.figures import picture_grid
from radsynth.files import atomic_folder
from radsynth.training.cyclegan import MriToCt, describe, train_cyclegan
from radsynth.training.device import pick_device
from radsynth.training.few_pairs import fine_tune, registered_pairs
from radsynth.training.loop import forget_checkpoints
from radsynth.training.models import fingerprint, save_model, write_history
from radsynth.training.slices import read_heads
from radsynth.vocabulary import FEW_PAIRS

ALIGNED = Path("data/brain/aligned")
MANIFEST = Path("data/brain/manifest.parquet")
COMMON_GRID = "common_grid.safetensors"
"""Kept with the model, so that a new MR can be brought on the grid it was trained on."""


@one_line_errors
def main() -> None:
    """Train on the training split, fine-tune on `few_pairs`, choose by the validation split."""
    params = settings.load()
    own = params.train_cyclegan
    manifest = schemas.VOLUMES.read(MANIFEST)
    heads = {
        f"{split}_{modality.lower()}": read_heads(ALIGNED, manifest, modality, split)
        for split in ("train", "validation", FEW_PAIRS)
        for modality in ("MR", "CT")
    }
    pairs = registered_pairs(heads[f"{FEW_PAIRS}_mr"], heads[f"{FEW_PAIRS}_ct"], own.few_pairs)
    mark = fingerprint({**own.model_dump(mode="json"), "seed": params.seed}, [ALIGNED, MANIFEST])
    checkpoints = Path("checkpoints/train_cyclegan") / mark
    grids = checkpoints / "grids"
    shown = (heads["validation_mr"] if heads["validation_mr"].rows else heads["train_mr"], heads["validation_ct"])

    def draw(model: MriToCt, images_seen: int) -> None:
        titles, rows = middle_slices(model, *shown)
        picture_grid(rows, grids / f"images-{images_seen:07d}.png", column_titles=titles)

    device = pick_device(own.precision)
    outcome, selection = train_cyclegan(heads, own, params.seed, device, checkpoints, draw)
    description = describe(outcome, selection, own, params.seed, mark)
    if own.few_pairs:
        outcome, description = fine_tune(
            outcome, selection, description, pairs, heads, own, params.seed, device, checkpoints / FEW_PAIRS, draw
        )
    save_model("models/mri_to_ct", outcome.best, description, [ALIGNED / COMMON_GRID])
    write_history(outcome, "history/train_cyclegan")
    with atomic_folder("plots/train_cyclegan") as plots:
        for grid in grids.glob("*.png"):
            shutil.copyfile(grid, plots / grid.name)
    forget_checkpoints(checkpoints)


if __name__ == "__main__":
    main()
