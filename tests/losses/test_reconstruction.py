"""Reconstruction losses against closed forms."""

from __future__ import annotations

import pytest
import torch

from radsynth.losses.reconstruction import (
    kl_to_standard_normal,
    l1_loss,
    l2_loss,
    low_pass,
    perceptual_loss,
    texture_loss,
    weighted_l1,
)


def test_l1_and_l2_of_a_constant_shift() -> None:
    picture = torch.rand(2, 1, 4, 4)
    assert l1_loss(picture + 0.5, picture).item() == pytest.approx(0.5, 1e-5)
    assert l2_loss(picture + 0.5, picture).item() == pytest.approx(0.25, 1e-5)


def test_standard_normal_has_no_divergence_and_a_shift_costs_half_its_square() -> None:
    assert kl_to_standard_normal(torch.zeros(3, 5), torch.zeros(3, 5)).item() == 0
    assert kl_to_standard_normal(torch.full((3, 5), 2.0), torch.zeros(3, 5)).item() == pytest.approx(10.0)


def test_low_pass_keeps_the_mean_and_removes_a_checkerboard() -> None:
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)[None, None]
    assert low_pass(board, 2).abs().max() == 0
    assert torch.equal(low_pass(board + 3, 2), torch.full((1, 1, 4, 4), 3.0))


def test_perceptual_distance_is_relative_to_the_real_features() -> None:
    real = [torch.rand(1, 3, 4, 4) + 1, 100 * (torch.rand(1, 5, 2, 2) + 1)]
    fake = [1.1 * r for r in real]
    assert perceptual_loss(fake, real).item() == pytest.approx(0.1, 1e-3)
    assert perceptual_loss(real, real).item() == 0


def test_texture_does_not_ask_where_a_pattern_lies_but_how_strong_it_is() -> None:
    stripes = torch.sin(torch.arange(64.0) * torch.pi / 4).expand(1, 1, 64, 64)
    assert texture_loss([stripes], [stripes]).item() == 0
    moved = texture_loss([stripes.roll(4, 3)], [stripes]).item()
    weaker, none = texture_loss([0.5 * stripes], [stripes]).item(), texture_loss([0 * stripes], [stripes]).item()
    assert moved == pytest.approx(0, abs=1e-5)
    assert weaker == pytest.approx(0.5, abs=0.01)
    assert none == pytest.approx(1, abs=0.01)
    assert perceptual_loss([stripes.roll(4, 3)], [stripes]).item() == pytest.approx(2, abs=1e-5)


def test_texture_is_compared_place_by_place() -> None:
    grain = torch.randn(1, 3, 32, 32)
    left = grain * (torch.arange(32) < 16)
    assert texture_loss([left], [left.flip(3)]).item() > 1


def test_weighted_l1_is_a_mean_over_the_places_that_have_weight() -> None:
    fake, real = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    fake[0, 0, 1, 1], fake[1, 0, 3, 3] = 3.0, 100.0
    weight = torch.zeros(2, 1, 4, 4)
    weight[0, 0, 1, 1], weight[0, 0, 1, 2] = 1.0, 2.0
    assert weighted_l1(fake, real, weight).item() == pytest.approx(1.0)
    assert weighted_l1(fake, real, torch.ones_like(weight)).item() == pytest.approx(l1_loss(fake, real).item())
    assert weighted_l1(fake, real, torch.zeros_like(weight)).item() == 0
