"""Stage explain: draw what the networks look at, and score it where the truth is known."""

from __future__ import annotations

from pathlib import Path

from radsynth.errors import one_line_errors
from radsynth.explain.brain_study import study_brain
from radsynth.explain.chest_study import LOCAL, Chest, study_chest
from radsynth.explain.found import Found
from radsynth.explain.study import true_lesions
from radsynth.metrics import write_figures
from radsynth.schemas import VOLUMES
from radsynth.settings import Explain, load
from radsynth.training.chest_data import load_chest
from radsynth.training.cyclegan import load_mri_to_ct
from radsynth.training.device import cpu_device
from radsynth.training.drawing import Drawer
from radsynth.training.findings import load_findings
from radsynth.training.models import load_model
from radsynth.training.slices import read_heads
from radsynth.vocabulary import FINDINGS

RAW, ALIGNED = Path("data/raw/chest"), Path("data/brain/aligned")
PLOTS = Path("plots/explain")


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    found = explain_chest(settings.explain, settings.seed)
    found += explain_brain(settings.explain, settings.seed)
    write_figures("metrics/explain.json", found.figures, tables=found.tables, notes=found.notes, flat=found.facts)


def explain_chest(own: Explain, seed: int) -> Found:
    """The judge and the report GAN, on the test split where there is one."""
    drawer = Drawer("models/report_gan", cpu_device())
    sets = load_chest("data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", drawer.views)
    split = "test" if "test" in sets else "train"
    validation = sets.get("validation", sets["train"])
    chest = Chest(
        judge=load_findings("models/classifier"),
        thresholds=load_model("models/classifier")[1]["thresholds"],
        gan=drawer.gan,
        encoder=drawer.encoder,
        data=sets[split],
        lesions=true_lesions(sets[split], RAW, LOCAL),
        validation=validation,
        chosen_on=true_lesions(validation, RAW, LOCAL),
        training=true_lesions(sets["train"], RAW, FINDINGS),
        own=own,
        split=split,
        seed=seed,
    )
    return study_chest(chest, PLOTS)


def explain_brain(own: Explain, seed: int) -> Found:
    """The CT discriminator, on the test heads where there are any."""
    manifest = VOLUMES.read("data/brain/manifest.parquet")
    model, _ = load_mri_to_ct("models/mri_to_ct")
    mr, ct = (read_heads(ALIGNED, manifest, modality, "test") for modality in ("MR", "CT"))
    split = "test" if ct.rows else "all"
    mr, ct = (heads if heads.rows else read_heads(ALIGNED, manifest, heads.modality, None) for heads in (mr, ct))
    return study_brain(model, mr, ct, own, split, seed, PLOTS)


if __name__ == "__main__":
    main()
