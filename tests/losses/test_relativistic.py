"""The relativistic loss and its gradient penalty against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from radsynth.losses.relativistic import gradient_penalty, relativistic_loss


def test_equal_logits_cost_log_two() -> None:
    assert relativistic_loss(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(math.log(2))


def test_the_loss_falls_as_real_is_rated_above_fake() -> None:
    losses = [relativistic_loss(torch.tensor([d]), torch.tensor([0.0])).item() for d in (-2.0, 0.0, 2.0)]
    assert losses == sorted(losses, reverse=True)


def test_only_the_difference_counts() -> None:
    better, worse = torch.randn(5), torch.randn(5)
    assert relativistic_loss(better + 3, worse + 3).item() == pytest.approx(
        relativistic_loss(better, worse).item(), 1e-5
    )


def test_penalty_of_a_linear_judge_is_half_its_squared_weights() -> None:
    weight = torch.randn(1, 4, 4, dtype=torch.float64)
    penalty = gradient_penalty(lambda x: (x * weight).sum((1, 2, 3)), torch.randn(3, 1, 4, 4, dtype=torch.float64))
    assert penalty.item() == pytest.approx(weight.square().sum().item() / 2, 1e-6)


def test_penalty_passes_its_gradient_to_the_judge() -> None:
    judge = torch.nn.Linear(4, 1)
    gradient_penalty(lambda x: judge(x.flatten(1)).square().squeeze(1), torch.randn(2, 1, 2, 2)).backward()
    assert judge.weight.grad.abs().sum() > 0
