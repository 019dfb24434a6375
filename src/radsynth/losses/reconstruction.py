"""Losses between a picture and the one it should reconstruct."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def l1_loss(fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference, in float32."""
    return (fake.float() - real.float()).abs().mean()


def l2_loss(fake: Tensor, real: Tensor) -> Tensor:
    """Mean squared difference, in float32."""
    return (fake.float() - real.float()).square().mean()


def low_pass(picture: Tensor, factor: int) -> Tensor:
    """Mean over blocks of factor x factor pixels: the layout without the texture."""
    return F.avg_pool2d(picture, factor) if factor > 1 else picture


def perceptual_loss(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """Mean over the layers of the L1 distance of features, each relative to the real features' mean magnitude.

    The division makes layers and networks of different scales comparable (after Johnson et al. 2016, eq. 2, with L1).
    """
    distances = [
        (f.float() - r.float()).abs().mean() / r.float().abs().mean().clamp_min(1e-6)
        for f, r in zip(fake, real, strict=True)
    ]
    return torch.stack(distances).mean()


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), summed over the last axis, mean over the batch.

    References
    ----------
    Kingma & Welling 2014, appendix B.
    """
    return (0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)).sum(-1).mean()
