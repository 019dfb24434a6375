"""Noise in coordinates in which that of all pictures together is standard normal."""

from __future__ import annotations

import torch

from radsynth.networks.report_gan import PosteriorEncoder
from radsynth.networks.whitening import Whitening


def test_oblique_posteriors_become_standard_normal_together() -> None:
    torch.manual_seed(0)
    size, whitening = 8, Whitening(8)
    oblique = torch.linalg.qr(torch.randn(size, size)).Q[:2]

    def posteriors(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        mean = 1.5 + (torch.randn(count, 2) * torch.tensor([3.0, 2.0])) @ oblique
        return mean, torch.full((count, size), 0.6).log()

    for _ in range(600):
        whitening.follow(*posteriors(16))
    mean, log_variance = posteriors(4000)
    noise = mean + torch.randn_like(mean) * (log_variance / 2).exp()
    before, after = torch.cov(noise.T), torch.cov(whitening(noise).T)
    assert torch.linalg.eigvalsh(before)[-1] > 7
    assert torch.linalg.eigvalsh(after)[-1] < 1.35
    assert torch.linalg.eigvalsh(after)[0] > 0.75
    assert whitening(noise).mean(0).abs().max() < 0.2


def test_an_encoder_follows_its_posteriors_only_while_it_is_trained() -> None:
    torch.manual_seed(0)
    encoder = PosteriorEncoder(32, 4, 2, 6, whiten=True)
    posterior = torch.randn(2, 6), torch.zeros(2, 6)
    encoder.eval().draw(*posterior)
    assert encoder.whitening.centre.eq(0).all()
    encoder.train().draw(*posterior)
    assert encoder.whitening.centre.ne(0).any()
    assert torch.linalg.eigvalsh(encoder.whitening.covariance)[0] > 0


def test_a_fresh_whitening_changes_nothing_and_passes_gradients() -> None:
    noise = torch.randn(3, 5, requires_grad=True)
    white = Whitening(5)(noise)
    assert torch.allclose(white, noise)
    white.sum().backward()
    assert noise.grad.eq(1).all()


def test_what_is_followed_is_exact_in_lower_precision_too() -> None:
    mean, log_variance = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), torch.full((64, 8), -6.0)
    exact, lower = Whitening(8), Whitening(8)
    exact.follow(mean, log_variance)
    with torch.autocast("cpu", torch.bfloat16):
        lower.follow(mean, log_variance)
    assert torch.equal(exact.covariance, lower.covariance)
