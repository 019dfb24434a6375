"""Train the report GAN; the validation split chooses the model, grids over time show it learning."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from radsynth.errors import one_line_errors
from radsynth.figures import picture_grid
from radsynth.files import atomic_folder, read_json
from radsynth.settings import load
from radsynth.training.chest_data import load_chest
from radsynth.training.device import pick_device
from radsynth.training.loop import forget_checkpoints
from radsynth.training.models import fingerprint, save_model, write_history
from radsynth.training.perceptual import load_perceptual
from radsynth.training.report_gan import generate, train_report_gan

DATA = [
    Path("data/chest/manifest.parquet"),
    Path("data/chest/xrays/pixels.npy"),
    Path("data/chest/embeddings"),
    Path("models/perceptual"),
]


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    own, seed = settings.train_report_gan, settings.seed
    device = pick_device(own.precision)
    sets = load_chest(DATA[0], "data/chest/xrays", "data/chest/embeddings", tuple(own.views))
    vgg, vgg_weights = load_perceptual("models/perceptual")
    mark = fingerprint(own.model_dump() | {"seed": seed}, DATA)
    checkpoints = Path("checkpoints/train_report_gan") / mark
    shown = sets.get("validation", sets["train"])
    rows = np.unique(np.linspace(0, len(shown) - 1, 6).astype(int))
    texts = shown.text(rows)
    prompts = shown.frame["prompt"].iloc[rows].tolist()
    reals = shown.pictures(rows)[:, 0].numpy()

    grids = checkpoints / "grids"

    def show(seen: int, gan: object) -> None:
        drawn = [generate(gan, *texts, seed=seed + k, device=device) for k in range(4)]
        pictures = [[real, *(d[i] for d in drawn)] for i, real in enumerate(reals)]
        titles = ["real", *(f"noise {k + 1}" for k in range(4))]
        picture_grid(pictures, grids / f"{seen:07d}.png", row_titles=prompts, column_titles=titles)

    gan, outcome = train_report_gan(sets, vgg, own, seed=seed, device=device, checkpoint_folder=checkpoints, show=show)
    described = {
        "network": gan.arguments,
        "encoder": read_json("data/chest/embeddings/encoder.json"),
        "perceptual_weights": vgg_weights,
        "views": list(own.views),
        "output": {"shape": [-1, gan.arguments["size"], gan.arguments["size"]], "range": [-1, 1], "dtype": "float32"},
        "settings": own.model_dump(),
        "seed": seed,
        "fingerprint": mark,
        "images_seen": outcome.best_images_seen,
        "chosen_by": "kernel distance of joint picture and report features on the validation split",
    }
    save_model("models/report_gan", gan.state_dict(), described)
    write_history(outcome, "history/train_report_gan")
    with atomic_folder("plots/train_report_gan") as plots:
        for grid in grids.glob("*.png"):
            shutil.copyfile(grid, plots / grid.name)
    forget_checkpoints(checkpoints)


if __name__ == "__main__":
    main()
