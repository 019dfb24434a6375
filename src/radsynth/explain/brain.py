"""Where the patch discriminators see that a slice is real or synthetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from radsynth.explain.cams import activation_map, enlarged, placed
from radsynth.explain.planted import stripes
from radsynth.explain.study import Planted, planted_figures
from radsynth.networks.patchgan import patch_places
from radsynth.training.cyclegan import MriToCt, read_by, slices_of
from radsynth.training.device import cpu_device
from radsynth.training.slices import Heads, Slices


class MeanPatchLogit(nn.Module):
    """A batch of slices -> mean over the patches of the discriminator's logits, (B, 1)."""

    def __init__(self, discriminator: nn.Module, geometry: Tensor, head_channels: bool) -> None:
        super().__init__()
        self.discriminator, self.geometry, self.head_channels = discriminator, geometry, head_channels

    def forward(self, image: Tensor) -> Tensor:
        return read_by(self.discriminator, image, self.geometry, self.head_channels).mean((2, 3))


def realism_maps(model: MriToCt, slices: Slices, modality: str, method: str) -> np.ndarray:
    """Evidence (B, Y, X) for (positive) and against (negative) each slice being a real `modality`, in patch logits.

    Their mean over the places is the CAM's share of the mean patch logit; both signs are kept. The layer is the last
    activation, behind the last InstanceNorm: the only one where plain
    Grad-CAM means something.
    """
    discriminator = model.networks[f"discriminator_{modality.lower()}"]
    judged = MeanPatchLogit(discriminator, slices.geometry, model.head_channels)
    with torch.enable_grad():
        raw = activation_map(judged, discriminator.body[-1], slices.image, lambda row: row[0], method)
    return enlarged(raw, slices.image.shape[-1])


def patch_maps(model: MriToCt, slices: Slices, modality: str) -> np.ndarray:
    """The discriminator's logit of every patch, at the patch's centre (B, Y, X): large where it looks real."""
    discriminator = model.networks[f"discriminator_{modality.lower()}"]
    with torch.no_grad():
        logits = read_by(discriminator, slices.image, slices.geometry, model.head_channels)[:, 0].float().numpy()
    return placed(logits, *patch_places(discriminator.layers), slices.image.shape[-1])


def plant_stripes(
    model: MriToCt, heads: Heads, count: int, split: str, seed: int, repetitions: int
) -> tuple[dict[str, Any], Planted]:
    """A stripe in `count` slices of each true CT, looked for by the CT discriminator's patch logits."""
    clean, changed, masks, maps, before, patients = ([] for _ in range(6))
    for place, subject in enumerate(heads.subjects):
        volume, depth = heads.volume(place)
        chosen = (np.linspace(0.35, 0.75, count) * len(volume)).astype(int)
        slices = slices_of(volume[chosen], depth[chosen], chosen, "CT", model, cpu_device().device)
        pictures = slices.image[:, 0].numpy()
        striped, where = stripes(pictures, seed + place, width=3)
        planted = slices._replace(image=torch.from_numpy(striped)[:, None])
        clean.append(pictures)
        changed.append(striped)
        masks.append(where)
        before.append(-patch_maps(model, slices, "CT"))
        maps.append(-patch_maps(model, planted, "CT"))
        patients += [subject] * len(chosen)
    found = Planted(*(np.concatenate(part) for part in (clean, changed, masks)), {"patches": np.concatenate(maps)})
    figures = planted_figures(
        "planted_ct_stripe", "a stripe in a true CT, the CT discriminator's patch logits", found.maps["patches"],
        np.concatenate(before), found.pictures, found.masks, np.array(patients), split, seed, repetitions,
    )  # fmt: skip
    return figures, found
