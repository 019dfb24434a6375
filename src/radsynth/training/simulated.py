"""An MR drawn for a CT: what a generator can learn the head's shapes from without a pair."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from radsynth.networks.atlas import Atlas
from radsynth.training.slices import Slices

GRAINS = (1, 4, 16)
"""Pixels over which a drawn grey value changes: noise, gyri, and whole regions."""
LEAST_STRENGTH = 0.5
"""Of the grain's standard deviation in an average picture, in the least changed one; 1 in the most."""
POINT_SPREAD = 0.6
"""Standard deviation of the MR's blur, pixels."""
GAMMA = 0.15
"""Standard deviation of the logarithm of the contrast's exponent."""
NOISE = 0.03
"""Standard deviation of the noise at most, as a share of the grey range."""


def simulated_mr(ct: Slices, atlas: Atlas) -> Tensor:
    """Draw an MR of the head that a CT shows, another one at each call: float32 (B, 1, Y, X), -1..1, -1 outside.

    At each pixel the MR atlas says how likely each grey value is at this place, this deep and with this HU in the CT.
    Which of them is drawn varies smoothly at the scales of `GRAINS`; then come a scanner's blur, contrast and noise,
    each of random strength. The pair (drawn MR, CT) is exact in shape and only likely in grey: a generator that
    learns from it must read shapes, as it does not know the grey.

    Uses PyTorch's global random numbers.

    References
    ----------
    Billot et al. 2023, "SynthSeg": contrasts drawn at random, for networks that read any.
    """
    with torch.no_grad():
        drawn = atlas.quantile(atlas.posterior(ct.mr_density, ct.image), uniform_field(ct.image))
        inside = drawn > -1
        grey = (gaussian_blur(drawn, [3, 3], [POINT_SPREAD]) + 1) / 2
        each = (len(grey), 1, 1, 1)
        gamma = torch.exp(GAMMA * torch.randn(each, device=grey.device))
        noise = NOISE * torch.rand(each, device=grey.device) * torch.randn_like(grey)
        grey = (grey.clamp_min(0) ** gamma + noise).clamp(0, 1)
        return torch.where(inside, 2 * grey - 1, -1.0)


def uniform_field(image: Tensor) -> Tensor:
    """Numbers 0..1 that vary smoothly over a picture, float32 of the shape and on the device of `image` (B, 1, Y, X).

    A sum of normal noise at the scales of `GRAINS`, each of random strength, through the normal distribution: uniform
    in 0..1 where the strength is 1, nearer to the middle where it is less.
    """
    batch, _, height, width = image.shape
    each = (batch, 1, 1, 1)
    field = torch.zeros_like(image, dtype=torch.float32)
    for grain in GRAINS:
        side = [batch, 1, -(-height // grain) + 1, -(-width // grain) + 1]
        coarse = torch.randn(side, device=image.device)
        smooth = F.interpolate(coarse, scale_factor=grain, mode="bicubic", align_corners=False)[..., :height, :width]
        strength = torch.rand(each, device=image.device)
        field += strength * smooth / smooth.std((2, 3), keepdim=True)
    strength = LEAST_STRENGTH + (1 - LEAST_STRENGTH) * torch.rand(each, device=image.device)
    return torch.special.ndtr(strength * field / field.std((2, 3), keepdim=True))
