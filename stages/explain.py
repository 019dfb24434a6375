"""Draw what the judge and the discriminators look at, and count how often they point at the true lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radsynth.errors import one_line_errors
from radsynth.explain.brain import realism_maps
from radsynth.explain.chest import agreement_maps, finding_maps, known_lesions, lesion_masks, pointing_figures
from radsynth.figures import explanation_overlays
from radsynth.files import write_json
from radsynth.schemas import VOLUMES
from radsynth.settings import load
from radsynth.training.chest_data import load_chest
from radsynth.training.cyclegan import load_mri_to_ct, slices_of, translate_volume
from radsynth.training.device import cpu_device
from radsynth.training.findings import load_findings
from radsynth.training.report_gan import as_batch, generate, load_report_gan, other_reports
from radsynth.training.slices import read_heads
from radsynth.vocabulary import FINDINGS

RAW = Path("data/raw/chest")
PLOTS = Path("plots/explain")
LOCAL = ("atelectasis", "consolidation", "effusion", "hernia", "mass", "nodule", "pneumothorax")
"""Findings that have a place; the others fill the lungs or the heart."""


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    figures = explain_chest(settings.explain.images, settings.explain.method, settings.seed)
    explain_brain(settings.explain.images, settings.explain.method)
    write_json("metrics/explain.json", figures)


def explain_chest(count: int, method: str, seed: int) -> dict[str, object]:
    """Overlays on real and drawn X-rays, and the pointing game on all lesions of the test split."""
    judge = load_findings("models/classifier")
    gan, description = load_report_gan("models/report_gan")
    sets = load_chest(
        "data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", tuple(description["views"])
    )
    data = sets.get("test", sets["train"])
    lesions = known_lesions(data, RAW, LOCAL)
    named = [(i, f) for i in range(len(data)) for k, f in enumerate(FINDINGS) if f in LOCAL and data.labels[i, k] == 1]
    rows, findings = (
        (lesions["index"].to_numpy(), lesions["finding"].tolist())
        if len(lesions)
        else (np.array([i for i, _ in named]), [f for _, f in named])
    )
    text = data.text(rows)
    condition = gan.conditioner(*text)
    other = gan.conditioner(*data.text(other_reports(data, rows, seed)))
    drawn = as_batch(generate(gan, *text, seed=seed, device=cpu_device()))
    masks = lesion_masks(RAW, lesions["mask_row"].to_numpy(), data.size) if len(lesions) else None
    shown = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))
    figures: dict[str, object] = {}
    for kind, pictures in (("real", data.pictures(rows)), ("drawn", drawn)):
        found = {
            "classifier": finding_maps(judge, pictures, findings, method),
            "discriminator": agreement_maps(gan.discriminator, pictures, condition, other, method),
        }
        for name, maps in found.items():
            outlines = masks if kind == "real" else None
            explanation_overlays(
                pictures[shown, 0].numpy(),
                maps[shown],
                PLOTS / f"{name}_{kind}.png",
                titles=[f"{findings[i]} ({kind})" for i in shown],
                masks=None if outlines is None else outlines[shown],
                unit="logit of the finding" if name == "classifier" else "logit, own report minus another",
            )
            if outlines is not None:
                scores = pointing_figures(maps, outlines, findings, seed, tolerance=data.size // 32)
                figures |= {f"{name}_{key}": value for key, value in scores.items()}
    return figures | {"method": method, "lesions": len(lesions)}


def explain_brain(count: int, method: str) -> None:
    """Overlays of the CT discriminator on true and synthetic CT slices of the test heads."""
    manifest = VOLUMES.read("data/brain/manifest.parquet")
    model, _ = load_mri_to_ct("models/mri_to_ct")
    heads = {m: read_heads("data/brain/aligned", manifest, m, "test") for m in ("MR", "CT")}
    heads = {m: h if h.rows else read_heads("data/brain/aligned", manifest, m, None) for m, h in heads.items()}
    volume, depth = heads["CT"].volume(0)
    mr, mr_depth = heads["MR"].volume(0)
    half = max(count // 4, 1)
    places = np.linspace(0.35, 0.75, half)
    cases = (("real", volume, depth, "CT"), ("synthetic", translate_volume(model, mr, mr_depth), mr_depth, "MR"))
    for kind, hu, inside, depth_of in cases:
        chosen = (places * len(hu)).astype(int)
        slices = slices_of(hu[chosen], inside[chosen], chosen, "CT", model, cpu_device().device, depth_of)
        maps = realism_maps(model, slices, "CT", method)
        explanation_overlays(
            np.flip(slices.image[:, 0].numpy(), 1),
            np.flip(maps, 1),
            PLOTS / f"ct_discriminator_{kind}.png",
            titles=[f"{kind} CT, slice {z}" for z in chosen],
            unit="patch logit, real (+) or synthetic (-)",
        )


if __name__ == "__main__":
    main()
