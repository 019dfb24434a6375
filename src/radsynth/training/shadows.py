"""Where a picture looks most like the shadow of a ball or of a plate: what some findings are, by definition.

Normalised cross-correlation of a picture with a shadow at each place, template matching, as for nodules on CT by Lee et
al. 2001. Names and lengths are those of the Fleischner Society's glossary (Hansell et al. 2008), in widths of a frontal
chest X-ray of 40 cm.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

NODULE_RADII = (0.016, 0.021, 0.027, 0.035)
"""Nodules of about 1 to 3 cm, the most that is called one."""

MASS_RADII = (0.035, 0.05, 0.065, 0.085)
"""What is larger is a mass. A stomach that has risen through the hiatus is as large."""

RIM = 0.012
"""By how much a ball's surroundings count."""

PLATE_LENGTHS, PLATE_SIGMAS, PLATE_TURNS = (0.15, 0.2), (0.014, 0.02), (-40, -20, 0, 20, 40)
"""Of collapsed plates of lung seen on edge: a standard deviation of 6 or 8 mm thick, mostly level (degrees)."""

PLATES_TOGETHER = 0.13
"""Side of the square in which plates are counted together: there are several."""

LEAST_PIXELS = 4
"""Radius at which a ball can still be told: pictures are halved as far as that allows."""

PLATE_PIXELS = 64
"""Side of the grid on which plates are looked for."""

FLAT = 0.1
"""Norm of the deviations within a window below which it is taken for that."""


@torch.inference_mode()
def ball_likeness(pictures: Tensor, radii: Sequence[float] = NODULE_RADII) -> Tensor:
    """How much a picture looks at each place like the shadow of a ball, the largest over the radii; -1..1.

    The shadow is as dense as the chord through the ball is long; window and template are circles, so that the same ball
    counts as much at any turn.

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
    pictures = pictures.float()
    while min(radii) * pictures.shape[-1] >= 2 * LEAST_PIXELS:
        pictures = F.avg_pool2d(pictures, 2)
    size = pictures.shape[-1]
    y, x = _grid(math.ceil((max(radii) + RIM) * size), pictures.device)
    distance, radius = (y**2 + x**2).sqrt(), torch.tensor(radii, device=pictures.device)[:, None, None] * size
    chord = (1 - (distance / radius) ** 2).clamp_min(0).sqrt()
    return _likeness(pictures, chord, distance <= (radius + RIM * size).ceil())


@torch.inference_mode()
def plate_likeness(pictures: Tensor) -> Tensor:
    """How much a picture looks around each place like plates on edge, lines brighter than both sides; -1..1.

    Parameters
    ----------
    pictures
        (B, 1, S, S), bright = dense.

    Returns
    -------
    torch.Tensor
        (B, S', S') float32, a mean over squares of `PLATES_TOGETHER`; S' is `PLATE_PIXELS`.
    """
    pictures, size = F.adaptive_avg_pool2d(pictures.float(), PLATE_PIXELS), PLATE_PIXELS
    y, x = _grid(math.ceil((max(PLATE_LENGTHS) / 2 + 3 * max(PLATE_SIGMAS)) * size), pictures.device)
    kinds = itertools.product(PLATE_LENGTHS, PLATE_SIGMAS, PLATE_TURNS)
    length, sigma, turn = torch.tensor(list(kinds), device=pictures.device).T[..., None, None]
    cos, sin = turn.deg2rad().cos() / size, turn.deg2rad().sin() / size
    along, across = cos * x + sin * y, cos * y - sin * x
    line = torch.exp(-(across**2) / (2 * sigma**2))
    likeness = _likeness(pictures, line, (along.abs() <= length / 2) & (across.abs() <= 3 * sigma))
    near = round(PLATES_TOGETHER * size / 2)
    return F.avg_pool2d(F.pad(likeness[:, None], (near,) * 4, mode="replicate"), 2 * near + 1, stride=1)[:, 0]


def _grid(reach: int, device: torch.device) -> tuple[Tensor, Tensor]:
    line = torch.arange(-reach, reach + 1, device=device, dtype=torch.float32)
    return torch.meshgrid(line, line, indexing="ij")


def _likeness(pictures: Tensor, shadows: Tensor, inside: Tensor) -> Tensor:
    """The largest normalised cross-correlation with one of `shadows` (K, k, k) within its window, bool (K, k, k)."""
    window, reach = inside.float(), inside.shape[-1] // 2
    shadows = (shadows - (shadows * window).sum((1, 2), keepdim=True) / window.sum((1, 2), keepdim=True)) * window
    shadows = shadows / shadows.flatten(1).norm(dim=1)[:, None, None]
    with torch.autocast(pictures.device.type, enabled=False):
        padded = F.pad(pictures, (reach,) * 4, mode="replicate")
        found, sums = F.conv2d(padded, torch.cat([shadows, window])[:, None]).chunk(2, 1)
        square = F.conv2d(padded.square(), window[:, None]) - sums.square() / window.sum((1, 2))[:, None, None]
    return (found / square.clamp_min(FLAT**2).sqrt()).amax(1)
