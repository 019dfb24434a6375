"""Where the patch discriminators see that a slice is real or synthetic."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from radsynth.explain.cams import activation_map, enlarged
from radsynth.training.cyclegan import MriToCt, read_by
from radsynth.training.slices import Slices


class MeanPatchLogit(nn.Module):
    """A batch of slices -> mean over the patches of the discriminator's logits, (B, 1)."""

    def __init__(self, discriminator: nn.Module, geometry: Tensor, head_channels: bool) -> None:
        super().__init__()
        self.discriminator, self.geometry, self.head_channels = discriminator, geometry, head_channels

    def forward(self, image: Tensor) -> Tensor:
        return read_by(self.discriminator, image, self.geometry, self.head_channels).mean((2, 3))


def realism_maps(model: MriToCt, slices: Slices, modality: str, method: str) -> np.ndarray:
    """Evidence (B, Y, X) for (positive) and against (negative) each slice being a real `modality`, in patch logits.

    The layer is the last activation, behind the last InstanceNorm: the only one where plain Grad-CAM means something.
    """
    discriminator = model.networks[f"discriminator_{modality.lower()}"]
    judged = MeanPatchLogit(discriminator, slices.geometry, model.head_channels)
    with torch.enable_grad():
        raw = activation_map(judged, discriminator.body[-1], slices.image, lambda row: row[0], method)
    return enlarged(raw, slices.image.shape[-1])
