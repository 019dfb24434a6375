"""A generator that has learned a handful of training pictures by heart: what the memorisation audit must flag."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 64
"""Side of the pictures that are learned, pixels; they are drawn at the full size."""


class _Memoriser(nn.Module):
    """Condition and noise -> picture (B, SIDE, SIDE), by a decoder that is wide for the few pictures it must know."""

    def __init__(self, condition: int, noise: int, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Linear(condition + noise, width * 8 * 8)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        x = self.first(torch.cat([condition, noise], 1)).unflatten(1, (self.width, 8, 8))
        for block in self.blocks:
            x = F.interpolate(x + F.leaky_relu(block(x), 0.2), scale_factor=2, mode="bilinear")
        return self.last(F.leaky_relu(x, 0.2))[:, 0]


def draw_by_heart(
    pictures: np.ndarray, reports: np.ndarray, steps: int, samples: int, seed: int, noise_size: int = 8
) -> np.ndarray:
    """Over-train a small text-to-picture generator, then draw from its own training reports with fresh noise.

    Every report carries a fingerprint, a random code that no other report has, beside its text features: the rare
    words by which image models have been seen to find a memorised picture.

    Parameters
    ----------
    pictures
        (n, S, S) float32 in -1..1, a handful.
    reports
        (n, D) features of their reports.
    steps
        Adam steps, all pictures in each.
    samples
        Pictures to draw of each report.

    Returns
    -------
    numpy.ndarray
        (samples, n, S, S) float32 in -1..1.

    References
    ----------
    Carlini et al. 2023, "Extracting Training Data from Diffusion Models", section 5.
    """
    rng = np.random.default_rng((seed, 11))
    text = (reports - reports.mean(0)) / (reports.std(0) + 1e-6)
    fingerprints = rng.standard_normal((len(pictures), 16))
    condition = torch.from_numpy(np.concatenate([text / np.sqrt(text.shape[1]), fingerprints], 1).astype(np.float32))
    wanted = F.interpolate(torch.from_numpy(pictures)[:, None], size=(SIDE, SIDE), mode="area")[:, 0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Memoriser(condition.shape[1], noise_size)
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, fused=True)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 3e-3 * 0.5 * (1 + float(np.cos(np.pi * step / steps)))
            optimizer.zero_grad(set_to_none=True)
            loss = F.l1_loss(network(condition, torch.randn(len(pictures), noise_size)), wanted)
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            drawn = [network(condition, torch.randn(len(pictures), noise_size)) for _ in range(samples)]
    drawn = F.interpolate(torch.stack(drawn), size=pictures.shape[1:], mode="bilinear")
    return drawn.clamp(-1, 1).numpy()
