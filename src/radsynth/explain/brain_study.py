"""What the CT discriminator looks at, on true and synthetic slices, and whether it finds a planted stripe."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radsynth.explain import overlays
from radsynth.explain.brain import patch_maps, plant_stripes, realism_maps
from radsynth.explain.found import Found
from radsynth.figures import explanation_overlays
from radsynth.settings import Explain
from radsynth.training.cyclegan import MriToCt, slices_of, translate_volume
from radsynth.training.device import cpu_device
from radsynth.training.slices import Heads

FROM, TO = 0.35, 0.75
"""Share of the grid's height between which slices are looked at."""


def study_brain(model: MriToCt, mr: Heads, ct: Heads, own: Explain, split: str, seed: int, plots: Path) -> Found:
    """Overlays of slices of the first head of each modality, and a stripe planted in every true CT.

    Parameters
    ----------
    mr, ct
        Heads of `split`, at least one of each.
    """
    count = max(own.images // 4, 1)
    volume, depth = ct.volume(0)
    image, image_depth = mr.volume(0)
    synthetic = translate_volume(model, image, image_depth)
    for kind, hu, inside, depth_of in (("real", volume, depth, "CT"), ("synthetic", synthetic, image_depth, "MR")):
        chosen = (np.linspace(FROM, TO, count) * len(hu)).astype(int)
        slices = slices_of(hu[chosen], inside[chosen], chosen, "CT", model, cpu_device().device, depth_of)
        for name, maps in (
            ("", realism_maps(model, slices, "CT", own.method)),
            ("_patches", patch_maps(model, slices, "CT")),
        ):
            explanation_overlays(
                np.flip(slices.image[:, 0].numpy(), 1),
                np.flip(maps, 1),
                plots / f"ct_discriminator{name}_{kind}.png",
                titles=[f"{kind} CT, slice {z}" for z in chosen],
                unit="patch logit, real (+) or synthetic (-)",
            )
    figures, striped = plant_stripes(model, ct, count, split, seed, own.bootstrap)
    overlays.draw_planted_ct(striped, plots / "planted_ct.png")
    found = Found(figures)
    found.note_if_no_better(
        "planted_ct_stripe_hit_rate_gain",
        "The CT discriminator's patches do not find a planted stripe more often than they point there anyway.",
    )
    return found
