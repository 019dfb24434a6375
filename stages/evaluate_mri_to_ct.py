"""Stage evaluate_mri_to_ct: synthetic CT against true CT, and against the baselines, on held-out people."""

from __future__ import annotations

from pathlib import Path

from radsynth import schemas, settings
from radsynth.errors import one_line_errors
from radsynth.evaluation.mri_to_ct import evaluate_mri_to_ct, examples
from radsynth.figures import ct_comparison
from radsynth.files import write_json
from radsynth.training.cyclegan import load_mri_to_ct
from radsynth.training.slices import read_heads

ALIGNED = Path("data/brain/aligned")
PLOTS = Path("plots/evaluate_mri_to_ct")


@one_line_errors
def main() -> None:
    """Measure the model once on the test split, and draw every test head."""
    params = settings.load()
    manifest = schemas.VOLUMES.read("data/brain/manifest.parquet")
    mr, ct, train_ct, train_mr = (
        read_heads(ALIGNED, manifest, modality, split)
        for modality, split in (("MR", "test"), ("CT", "test"), ("CT", "train"), ("MR", "train"))
    )
    model, _ = load_mri_to_ct("models/mri_to_ct")
    repetitions = params.evaluate_mri_to_ct.bootstrap
    write_json("metrics/evaluate_mri_to_ct.json", evaluate_mri_to_ct(model, mr, ct, train_ct, repetitions, params.seed))
    for subject, image, synthetic, true in examples(model, mr if mr.rows else train_mr, ct):
        split = "test" if mr.rows else "training"
        ct_comparison(
            image,
            synthetic,
            true,
            params.align_volumes.spacing_mm,
            f"{subject} ({split} split); synthetic CT, research, not clinical use",
            PLOTS / f"{subject}.png",
        )


if __name__ == "__main__":
    main()
