"""Losses between a picture and the one it should reconstruct."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def l1_loss(fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference, in float32."""
    return (fake.float() - real.float()).abs().mean()


def weighted_l1(fake: Tensor, real: Tensor, weight: Tensor) -> Tensor:
    """Absolute difference in float32, a mean over places weighted by `weight` >= 0 (broadcast); 0 where it is 0."""
    weight = weight.expand_as(real)
    return ((fake.float() - real.float()).abs() * weight).sum() / weight.sum().clamp_min(1e-6)


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


def texture_loss(fake: list[Tensor], real: list[Tensor], windows: int = 8) -> Tensor:
    """Mean over the layers of the L1 distance of the features' local standard deviations, relative to the real ones.

    Each map is cut into `windows` x `windows` places. What repeats there - ribs, vessels, grain - must be as strong as
    on the real picture, wherever exactly it lies: a blurred picture pays here, a shifted one does not (after the
    patch-wise texture matching of EnhanceNet, Sajjadi et al. 2017, eq. 6, with the diagonal of the Gram matrices).
    """

    def spread(x: Tensor) -> Tensor:
        x = x.float()
        side = max(x.shape[-1] // windows, 2)
        mean = F.avg_pool2d(x, side)
        return (F.avg_pool2d(x.square(), side) - mean.square()).clamp_min(0).add(1e-6).sqrt()

    distances = []
    for f, r in zip(fake, real, strict=True):
        wanted = spread(r)
        distances.append((spread(f) - wanted).abs().mean() / wanted.mean().clamp_min(1e-6))
    return torch.stack(distances).mean()


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), summed over the last axis, mean over the batch.

    References
    ----------
    Kingma & Welling 2014, appendix B.
    """
    return (0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)).sum(-1).mean()
