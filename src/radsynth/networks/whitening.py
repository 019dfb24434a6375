"""The noise that a posterior encoder reads off pictures, in coordinates in which that of all together is N(0, I)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Whitening(nn.Module):
    """Posteriors' noise, whitened by its running mean and covariance over the training pictures.

    A KL term holds every posterior near N(0, I), axis by axis; together they may still lie along a few oblique
    directions, several times as far from the middle as N(0, I) reaches. What varies there, such as the size of a chest,
    would be rebuilt and never drawn. Where an autoencoder's noise is fitted after the training (ex-post density
    estimation, Ghosh et al. 2020), the discriminator has not seen what is then drawn; here the generator learns in
    whitened coordinates, and N(0, I) draws what the training pictures hold.

    Parameters
    ----------
    size
        Width of the noise.
    """

    PICTURES = 1000
    """That the running moments remember."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("covariance", torch.eye(size))

    @torch.no_grad()
    def follow(self, mean: Tensor, log_variance: Tensor) -> None:
        """Take up the posteriors (B, size) of a batch."""
        mean, variance = mean.to(self.centre), log_variance.to(self.centre).exp()
        share = min(len(mean) / self.PICTURES, 1.0)
        self.centre.lerp_(mean.mean(0), share)
        off = mean - self.centre
        with torch.autocast(mean.device.type, enabled=False):
            self.covariance.lerp_(off.T @ off / len(off) + variance.mean(0).diag(), share)

    def forward(self, noise: Tensor) -> Tensor:
        """Noise (B, size) float32 in the coordinates of the posteriors -> in those in which they are N(0, I)."""
        with torch.autocast(noise.device.type, enabled=False):
            root, _ = torch.linalg.cholesky_ex(self.covariance)
            return torch.linalg.solve_triangular(root, (noise.to(self.centre) - self.centre).T, upper=False).T
