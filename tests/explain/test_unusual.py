"""A patch is unusual where its logit is not what other pictures have at that place."""

from __future__ import annotations

import torch

from radsynth.explain.chest import unusual_patches
from radsynth.networks.report_gan import ReportDiscriminator


def test_a_planted_flaw_is_the_most_unusual_place() -> None:
    torch.manual_seed(0)
    judge = ReportDiscriminator(64, width=4, subpixel=1, condition_width=16)
    layout = torch.linspace(-1, 1, 64).expand(1, 1, 64, 64)
    usual = layout + 0.1 * torch.randn(40, 1, 64, 64)
    picture = layout + 0.1 * torch.randn(1, 1, 64, 64)
    flawed = picture.clone()
    flawed[..., 40:44, 12:16] += 2
    before, after = (unusual_patches(judge, x, usual)[0] for x in (picture, flawed))
    y, x = divmod(after.argmax(), 64)
    assert (abs(y - 42), abs(x - 14)) <= (4, 4)
    assert after.max() > 3 * before.max()
    assert after.shape == (64, 64)
