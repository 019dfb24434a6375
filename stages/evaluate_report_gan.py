"""Judge the report GAN once on the test split, and draw reports, noises and findings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radsynth.errors import one_line_errors
from radsynth.evaluation.report_gan import evaluate_report_gan
from radsynth.figures import picture_grid
from radsynth.files import write_json
from radsynth.settings import load
from radsynth.training.chest_data import load_chest
from radsynth.training.device import pick_device
from radsynth.training.findings import load_findings
from radsynth.training.report_gan import load_report_gan
from radsynth.vocabulary import FINDINGS

PLOTS = Path("plots/evaluate_report_gan")


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    own, seed = settings.evaluate_report_gan, settings.seed
    device = pick_device()
    gan, description = load_report_gan("models/report_gan")
    judge = load_findings("models/classifier")
    sets = load_chest(
        "data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", tuple(description["views"])
    )
    test = sets.get("test", sets["train"])
    figures, drawn = evaluate_report_gan(
        gan.to(device.device),
        judge.to(device.device),
        sets["train"],
        test,
        samples=own.samples_per_report,
        bootstrap=own.bootstrap,
        seed=seed,
        device=device,
    )
    write_json("metrics/evaluate_report_gan.json", figures)
    reals = test.pictures(np.arange(len(test)))[:, 0].numpy()
    titles = ["real", *(f"noise {k + 1}" for k in range(len(drawn.pictures)))]

    def grid(rows: list[int], name: str) -> None:
        pictures = [[reals[i], *drawn.pictures[:, i]] for i in rows]
        picture_grid(pictures, PLOTS / name, row_titles=test.frame["prompt"].iloc[rows].tolist(), column_titles=titles)

    grid(np.unique(np.linspace(0, len(test) - 1, 6).astype(int)).tolist(), "six_reports.png")
    for k, finding in enumerate(FINDINGS):
        rows = np.flatnonzero(test.labels[:, k] == 1)[:4].tolist()
        if rows:
            grid(rows, f"finding_{finding}.png")


if __name__ == "__main__":
    main()
