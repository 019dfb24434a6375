"""Stage evaluate_mri_to_ct: synthetic CT against true CT, and against the baselines, on held-out people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radsynth import schemas, settings
from radsynth.errors import one_line_errors
from radsynth.evaluation.features import imagenet_space
from radsynth.evaluation.mri_to_ct import Case, best_median_worst, evaluate_mri_to_ct
from radsynth.evaluation.textbook_cyclegan import train_textbook
from radsynth.figures import ct_comparison, ct_error_and_doubt, risk_coverage_plot, slice_strip
from radsynth.metrics import write_metrics
from radsynth.training.cyclegan import load_mri_to_ct
from radsynth.training.device import pick_device
from radsynth.training.slices import read_heads
from radsynth.volumes.geometry import head_size

ALIGNED = Path("data/brain/aligned")
PLOTS = Path("plots/evaluate_mri_to_ct")
EVERY = 3
"""Every how many slices of the median head are written for the slider."""


@one_line_errors
def main() -> None:
    """Measure the model once on the test split (the training split where it has no MR), and draw the heads."""
    params = settings.load()
    own, spacing_mm = params.evaluate_mri_to_ct, params.align_volumes.spacing_mm
    manifest = schemas.VOLUMES.read("data/brain/manifest.parquet")
    heads = {
        f"{split}_{modality.lower()}": read_heads(ALIGNED, manifest, modality, split)
        for split in ("train", "validation", "test")
        for modality in ("MR", "CT")
    }
    model, _ = load_mri_to_ct("models/mri_to_ct")
    device = pick_device()
    model.networks.to(device.device)
    model.atlases.to(device.device)
    textbook = None
    if own.textbook_pairs:
        trained_on = pick_device(params.train_cyclegan.precision)
        textbook = train_textbook(heads, params.train_cyclegan, own.textbook_pairs, params.seed, trained_on)
    split = "test" if heads["test_mr"].rows else "train"
    found = evaluate_mri_to_ct(
        model,
        heads[f"{split}_mr"],
        heads["test_ct"],
        heads["train_ct"],
        own.bootstrap,
        params.seed,
        split,
        ct_split="test",
        spacing_mm=spacing_mm,
        sizes={row["subject_id"]: head_size(row) for row in manifest.to_dict("records")},
        space=imagenet_space(device),
        device=device,
        textbook=textbook,
        textbook_pairs=own.textbook_pairs,
    )
    write_metrics("metrics/evaluate_mri_to_ct.json", found.metrics)
    draw(found.cases, found.curves, split, spacing_mm)


def draw(cases: list[Case], curves: dict[str, np.ndarray], split: str, spacing_mm: tuple[float, float, float]) -> None:
    """Every head; the best, the median and the worst with error and doubt; and the median one's slices."""
    PLOTS.mkdir(parents=True, exist_ok=True)
    for case in cases:
        title = f"{case.subject} ({split} split); synthetic CT, research, not clinical use"
        ct_comparison(case.mr, case.synthetic, case.true, spacing_mm, title, PLOTS / f"{case.subject}.png")
    chosen = best_median_worst(cases)
    for name, case in chosen.items():
        title = (
            f"{name} of {len(cases)} heads: {case.subject}, mean |error| {case.mae_hu:.1f} HU ({split} split); "
            "synthetic CT, research, not clinical use"
        )
        seen = (case.mr, case.synthetic, case.true, case.mask, case.known, case.places, case.doubt)
        ct_error_and_doubt(*seen, spacing_mm, title, PLOTS / f"{name}.png")
    if curves:
        risk_coverage_plot(curves, PLOTS / "risk_coverage.png")
    if "median" in chosen:
        case, aspect = chosen["median"], spacing_mm[1] / spacing_mm[0]
        for z in np.flatnonzero(case.mask.any(axis=(1, 2)))[::EVERY]:
            seen = (case.mr[z], case.synthetic[z], case.true[z], case.mask[z])
            slice_strip(*seen, aspect, PLOTS / "slices" / f"{case.subject}_{z:03d}.png")


if __name__ == "__main__":
    main()
