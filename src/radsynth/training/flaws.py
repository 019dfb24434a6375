"""Flaws put into real slices, for a discriminator to learn where they are.

A discriminator that has met only slices of its generator need not know what else is wrong: a fault that no generator
makes can look more real to it than anything. So it is shown real slices with a piece that does not belong there.

References
----------
Tan et al. 2020, "Detecting Outliers with Foreign Patch Interpolation". Li et al. 2021, "CutPaste: Self-Supervised
Learning for Anomaly Detection and Localization".
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from radsynth.networks.patchgan import patch_places

SIDES = (1 / 64, 1 / 4)
"""Of a flaw, in widths of the picture: least and largest."""
LENGTHENED = 2.0
"""A flaw is at most so many times as long as it is wide."""
SHIFTS = (0.2, 1.0)
"""Least and largest by which a piece is made brighter or darker, of -1..1."""
FOREIGN = (0.5, 1.0)
"""Least and largest share of the other slice in a piece that is taken of one."""


def with_flaws(image: Tensor, inside: Tensor, seed: int | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Put one flaw into each slice: a turned rectangle inside the head, where the grey is another.

    Half of them are mixed with the same place of the batch's next slice, mirrored left to right where there is no
    other, half are brighter or darker all over.

    Parameters
    ----------
    image
        (B, 1, H, W) in -1..1.
    inside
        Bool (B, 1, H, W): where a flaw may have its middle; a slice without any such place has its middle there.

    Returns
    -------
    tuple
        Slices (B, 1, H, W) in -1..1, and where their grey was changed, bool (B, 1, H, W).
    """
    random = np.random.default_rng(seed)
    height, width = image.shape[-2:]
    where = []
    for mask in inside[:, 0].cpu().numpy():
        places = np.argwhere(mask)
        middle = random.choice(places) if len(places) else np.array([height, width]) / 2
        side = np.exp(random.uniform(*np.log(SIDES))) * width
        where.append(turned_rectangle((height, width), middle, side, random.uniform(1, LENGTHENED) * side, random))
    flawed = torch.from_numpy(np.stack(where))[:, None].to(image.device)

    def each(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values)[:, None, None, None].to(image)

    count = len(image)
    shift = each(random.uniform(*SHIFTS, count) * random.choice([-1.0, 1.0], count))
    share = each(random.uniform(*FOREIGN, count) * (random.random(count) < 0.5))
    foreign = image.roll(1, 0) if count > 1 else image.flip(-1)
    other = torch.where(share > 0, torch.lerp(image, foreign, share), image + shift)
    made = torch.where(flawed, other, image).clamp(-1, 1)
    return made, made != image


def turned_rectangle(
    shape: tuple[int, int], middle: np.ndarray, side: float, length: float, random: np.random.Generator
) -> np.ndarray:
    """Bool (H, W): a rectangle of `side` x `length` pixels round `middle` (y, x), turned by any angle."""
    angle = random.uniform(0, np.pi)
    y, x = np.ogrid[: shape[0], : shape[1]]
    y, x = y - middle[0], x - middle[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (np.abs(along) <= length / 2) & (np.abs(across) <= side / 2)


def flaws_loss(logits: Tensor, flawed: Tensor, layers: int) -> Tensor:
    """Least squares for 0 on the patches in whose middle a flaw lies, and 1 on all others; each kind counts half.

    Parameters
    ----------
    logits
        (B, 1, h, w) of a `PatchGan` with `layers`.
    flawed
        Bool (B, 1, H, W).
    """
    first, step = patch_places(layers)
    low = round(first - (step - 1) / 2)
    seen = flawed[..., low : low + step * logits.shape[-2], low : low + step * logits.shape[-1]]
    bad = F.max_pool2d(seen.float(), step)
    squares = (logits.float() - (1 - bad)).square()
    kinds = ((squares * kind).sum() / kind.sum().clamp(min=1) for kind in (bad, 1 - bad))
    return sum(kinds) / 2
