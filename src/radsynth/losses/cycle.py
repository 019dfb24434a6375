"""Cycle-consistency and identity losses of CycleGAN, and its anatomical prior."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _l1(image: Tensor, target: Tensor) -> Tensor:
    wide = torch.promote_types(torch.promote_types(image.dtype, target.dtype), torch.float32)
    return F.l1_loss(image.to(wide), target.to(wide))


def cycle_loss(reconstructed: Tensor, real: Tensor) -> Tensor:
    """E[|F(G(x)) - x|]: what went to the other modality and back must be what it was.

    References
    ----------
    Zhu et al. 2017, equation 2 (one of its two terms).
    """
    return _l1(reconstructed, real)


def identity_loss(same: Tensor, real: Tensor) -> Tensor:
    """E[|G(y) - y|]: an image that is of the target modality already must be left as it is.

    References
    ----------
    Zhu et al. 2017, section 5.2, L_identity (one of its two terms).
    """
    return _l1(same, real)


def anatomy_loss(made: Tensor, expected: Tensor, inside: Tensor) -> Tensor:
    """E[|G(x) - A|] over what is drawn, A what an atlas expects at each place of it.

    Parameters
    ----------
    made, expected
        (B, 1, H, W).
    inside
        bool (B, 1, H, W): where; the sum over it is divided by all pixels.
    """
    zero = torch.zeros((), dtype=made.dtype, device=made.device)
    return _l1(torch.where(inside, made, zero), torch.where(inside, expected.to(made.dtype), zero))
