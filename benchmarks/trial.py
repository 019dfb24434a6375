"""Train the report GAN once with some settings changed, and judge it on the validation split, by which they are chosen.

    python -m benchmarks.trial narrow width=24 discriminator_width=24

Run it where `dvc repro train_classifier train_perceptual` has been. What is drawn and measured lands in trials/<name>;
the test split is not read, and nothing that a stage made is touched.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml
from pydantic import ValidationError

from radsynth.errors import RadsynthError, one_line_errors
from radsynth.evaluation.report_gan import evaluate_report_gan
from radsynth.explain.study import true_lesions
from radsynth.files import read_json, write_json
from radsynth.reports.encode import load_encoder
from radsynth.settings import TrainReportGan, load
from radsynth.training.chest_data import load_chest
from radsynth.training.device import pick_device
from radsynth.training.findings import load_findings
from radsynth.training.perceptual import load_perceptual
from radsynth.training.report_gan import ReportGan, generate, train_report_gan
from radsynth.vocabulary import FINDINGS
from stages.evaluate_report_gan import draw_reports

NOISES = 4
BOOTSTRAP = 200
SHOWN = (
    "label_auroc_share", "kid", "spread_share", "power_ratio_second_octave", "power_ratio_finest_octave",
    "counterfactual_side_read", "counterfactual_side_share_following", "counterfactual_negated_logit_change",
    "counterfactual_size_share_following",
)  # fmt: skip


def try_out(own: TrainReportGan, seed: int, folder: Path) -> dict[str, float | None]:
    """Train, draw and judge; the figures by name."""
    device = pick_device(own.precision)
    sets = load_chest("data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", tuple(own.views))
    validation, vgg = sets["validation"], load_perceptual("models/perceptual")[0]
    six = np.unique(np.linspace(0, len(validation) - 1, 6).astype(int))

    def show(seen: int, gan: ReportGan) -> None:
        text = validation.text(six)
        drawn = [generate(gan, *text, seed=seed + k, device=device) for k in range(NOISES)]
        draw_reports(validation, six, drawn, folder / f"{seen:07d}.png")

    gan, _ = train_report_gan(sets, vgg, own, seed=seed, device=device, show=show)
    lesions = true_lesions(validation, "data/raw/chest", FINDINGS)
    masks = dict(zip(zip(lesions.rows, lesions.findings, strict=True), lesions.masks, strict=True))
    known = read_json("data/chest/embeddings/encoder.json")
    with TemporaryDirectory(prefix="radsynth-drawn-") as kept:
        found, drawn, _ = evaluate_report_gan(
            gan, load_findings("models/classifier").to(device.device), sets["train"], validation,
            pooled=np.load("data/chest/embeddings/pooled.npy", mmap_mode="r"),
            encoder=load_encoder(known["encoder"], max_tokens=known["max_tokens"]), masks=masks, samples=NOISES,
            counterfactuals=load().evaluate_report_gan.counterfactuals, bootstrap=BOOTSTRAP, seed=seed, device=device,
            folder=kept, split="validation",
        )  # fmt: skip
        for k, finding in enumerate(FINDINGS):
            if len(rows := np.flatnonzero(validation.labels[:, k] == 1)[:6]):
                draw_reports(validation, rows, [noise[rows] for noise in drawn.pictures], folder / f"{finding}.png")
    write_json(folder / "figures.json", {"settings": own.model_dump(), "seed": seed, **found})
    return {name: found["figures"][name]["value"] for name in SHOWN if name in found["figures"]}


@one_line_errors
def main() -> None:
    """Run the trial."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the folder under trials/")
    parser.add_argument("changes", nargs="*", metavar="setting=value", help="of train_report_gan")
    asked, settings = parser.parse_args(), load()
    changes = {name: yaml.safe_load(value) for name, _, value in (c.partition("=") for c in asked.changes)}
    try:
        own = TrainReportGan.model_validate(settings.train_report_gan.model_dump() | changes)
    except ValidationError as error:
        first = error.errors()[0]
        raise RadsynthError(f"setting {first['loc'][0]}: {first['msg']}", got=str(first["input"])) from None
    folder = Path("trials") / asked.name
    if folder.exists():
        raise RadsynthError("there is a trial of this name", where=folder, next_step="name another, or delete it")
    folder.mkdir(parents=True)
    for name, value in try_out(own, settings.seed, folder).items():
        print(f"{name}: {'-' if value is None else f'{value:.3g}'}")


if __name__ == "__main__":
    main()
