"""The relativistic pairing loss and its zero-centred gradient penalties (Huang et al. 2024, R3GAN, eqs. 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def relativistic_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Mean softplus of ``worse - better``: small when `better` is rated above `worse`, pair by pair.

    The discriminator's loss is ``relativistic_loss(real, fake)``, the generator's ``relativistic_loss(fake, real)``.

    Parameters
    ----------
    better, worse
        Logits of one shape.
    """
    return F.softplus(worse.float() - better.float()).mean()


def gradient_penalty(logits_of: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    """Half the mean squared norm of the gradient of the logits at `pictures`: R1 on real ones, R2 on fakes.

    Parameters
    ----------
    logits_of
        Pictures (B, 1, H, W) -> logits (B,).

    References
    ----------
    Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?", eq. 9.
    """
    pictures = pictures.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(logits_of(pictures).sum(), pictures, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean() / 2
