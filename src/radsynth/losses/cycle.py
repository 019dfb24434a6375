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


def anatomy_loss(made: Tensor, other: Tensor, shared: Tensor) -> Tensor:
    """E[|G(x) - y|] over the shared pixels, y another person's aligned image of the target modality.

    Its minimum is the median of the target modality given what G sees: a tissue where it usually is. It cannot say
    more than that of one person, so it belongs to the start of training alone.

    Parameters
    ----------
    made, other
        (B, 1, H, W), the second of other people at the same place of the body.
    shared
        bool (B, 1, H, W): pixels inside both heads; the sum over them is divided by all pixels.
    """
    zero = torch.zeros((), dtype=made.dtype, device=made.device)
    return _l1(torch.where(shared, made, zero), torch.where(shared, other.to(made.dtype), zero))
