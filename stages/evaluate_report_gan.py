"""Judge the report GAN once on the test split, and draw reports, noises, findings and counterfactual pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from radsynth.errors import one_line_errors
from radsynth.evaluation.counterfactual import Pairs
from radsynth.evaluation.optional_spaces import optional_spaces
from radsynth.evaluation.report_gan import Drawn, evaluate_report_gan
from radsynth.explain.study import true_lesions
from radsynth.figures import counterfactual_pairs, picture_grid
from radsynth.metrics import write_metrics
from radsynth.settings import load
from radsynth.training.chest_data import ChestSet, load_chest
from radsynth.training.device import pick_device
from radsynth.training.drawing import Drawer
from radsynth.training.findings import load_findings
from radsynth.vocabulary import FINDINGS

RAW = Path("data/raw/chest")
PLOTS = Path("plots/evaluate_report_gan")


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    own, seed = settings.evaluate_report_gan, settings.seed
    device = pick_device()
    drawer = Drawer("models/report_gan", device)
    judge = load_findings("models/classifier")
    sets = load_chest("data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", drawer.views)
    split = "test" if "test" in sets else "train"
    test = sets[split]
    lesions = true_lesions(test, RAW, FINDINGS)
    masks = dict(zip(zip(lesions.rows, lesions.findings, strict=True), lesions.masks, strict=True))
    spaces, not_there = optional_spaces(own.feature_spaces, device)
    with TemporaryDirectory(prefix="radsynth-drawn-") as folder:
        figures, drawn, pairs = evaluate_report_gan(
            drawer.gan,
            judge.to(device.device),
            sets["train"],
            test,
            pooled=np.load("data/chest/embeddings/pooled.npy", mmap_mode="r"),
            encoder=drawer.encoder,
            masks=masks,
            samples=own.samples_per_report,
            counterfactuals=own.counterfactuals,
            bootstrap=own.bootstrap,
            seed=seed,
            device=device,
            folder=folder,
            split=split,
            spaces=spaces,
        )
        figures["notes"] += not_there
        write_metrics("metrics/evaluate_report_gan.json", figures)
        draw_pictures(test, drawn, pairs)


def draw_reports(data: ChestSet, rows: np.ndarray, drawn: Sequence[np.ndarray], path: Path) -> None:
    """Reports, each with the real picture and then one a noise; `drawn` has (len(rows), S, S) of every noise."""
    reals = data.pictures(rows)[:, 0].numpy()
    pictures = [[real, *(noise[i] for noise in drawn)] for i, real in enumerate(reals)]
    titles = ["real", *(f"noise {k + 1}" for k in range(len(drawn)))]
    picture_grid(pictures, path, row_titles=data.frame["prompt"].iloc[rows].tolist(), column_titles=titles)


def draw_pictures(test: ChestSet, drawn: Drawn, pairs: dict[str, Pairs]) -> None:
    """Six reports and four of every finding, each with its noises; and up to six edits of a kind."""
    for kind, found in pairs.items():
        chosen = np.unique(np.linspace(0, len(found.edits) - 1, min(6, len(found.edits))).astype(int))
        counterfactual_pairs(
            found.before[chosen],
            found.after[chosen],
            PLOTS / f"counterfactual_{kind}.png",
            texts=[(found.edits[i].prompt, found.edits[i].edited) for i in chosen],
            titles=[f"{found.edits[i].finding}: {kind}" for i in chosen],
        )
    shown = {"six_reports": np.unique(np.linspace(0, len(test) - 1, 6).astype(int))}
    shown |= {f"finding_{finding}": np.flatnonzero(test.labels[:, k] == 1)[:4] for k, finding in enumerate(FINDINGS)}
    for name, rows in shown.items():
        if len(rows):
            draw_reports(test, rows, [noise[rows] for noise in drawn.pictures], PLOTS / f"{name}.png")


if __name__ == "__main__":
    main()
