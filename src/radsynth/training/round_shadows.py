"""Where a picture looks most like the shadow of a ball: what a nodule or a mass is, by definition."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

NODULE_RADII = (0.016, 0.021, 0.027, 0.035)
"""In widths of a frontal chest X-ray: nodules of about 1 to 3 cm, the most that is called one (Hansell et al. 2008)."""

MASS_RADII = (0.035, 0.05, 0.065, 0.085)
"""What is larger is a mass. A stomach that has risen through the hiatus is as large."""

LEAST_PIXELS = 4
"""Radius at which a ball can still be told: pictures are searched at the coarsest grid, halved, that leaves as many."""

RIM = 0.012
"""By how much, in widths of the picture, a ball's surroundings count."""

FLAT = 0.1
"""Norm of the deviations within a window below which it is taken for that."""


@torch.inference_mode()
def ball_likeness(pictures: Tensor, radii: Sequence[float] = NODULE_RADII) -> Tensor:
    """Normalised cross-correlation with the shadow of a ball at each place, the largest over the radii; -1..1.

    Template matching, as for nodules on CT by Lee et al. 2001. The shadow is as dense as the chord through the ball is
    long; window and template are circles, so that the same ball counts as much at any turn.

    Parameters
    ----------
    pictures
        (B, 1, S, S), bright = dense.
    radii
        In widths of the picture.

    Returns
    -------
    torch.Tensor
        (B, S', S') float32, with S' = S, or halved while the smallest radius keeps `LEAST_PIXELS`.
    """
    with torch.autocast(pictures.device.type, enabled=False):
        pictures = pictures.float()
        while min(radii) * pictures.shape[-1] >= 2 * LEAST_PIXELS:
            pictures = F.avg_pool2d(pictures, 2)
        size = pictures.shape[-1]
        found = []
        for radius in radii:
            reach = math.ceil((radius + RIM) * size)
            line = torch.arange(-reach, reach + 1, device=pictures.device)
            distance = (line[:, None] ** 2 + line**2).sqrt()
            window = (distance <= reach).float()
            chord = (1 - (distance / (radius * size)) ** 2).clamp_min(0).sqrt()
            shadow = (chord - chord.sum() / window.sum()) * window
            padded = F.pad(pictures, (reach,) * 4, mode="replicate")
            sums = F.conv2d(padded, torch.stack([shadow / shadow.norm(), window])[:, None])
            square = F.conv2d(padded.square(), window[None, None])[:, 0] - sums[:, 1].square() / window.sum()
            found.append(sums[:, 0] / square.clamp_min(FLAT**2).sqrt())
        return torch.stack(found).amax(0)
