"""Adversarial losses on a discriminator's logits, always in float32 (or wider)."""

from __future__ import annotations

import torch
from torch import Tensor


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def least_squares_generator(fake_logits: Tensor) -> Tensor:
    """E[(D(G(x)) - 1)^2]: zero where the discriminator takes every patch for real.

    References
    ----------
    Mao et al. 2017, "Least Squares Generative Adversarial Networks", equation 9 with b = 0, c = 1, as used by
    Zhu et al. 2017, section 4 (without the factor one half).
    """
    return (_wide(fake_logits) - 1).square().mean()


def least_squares_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """(E[(D(y) - 1)^2] + E[D(G(x))^2]) / 2: zero for 1 on real patches and 0 on made ones.

    The half slows the discriminator down against the generator, as Zhu et al. 2017 do (section 4). Made images must
    come detached from their generator.
    """
    return ((_wide(real_logits) - 1).square().mean() + _wide(fake_logits).square().mean()) / 2
