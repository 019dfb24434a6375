"""Fixtures of the evaluation's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


class _Copy(nn.Module):
    """A generator that hands its picture through: HU = 2000 MR - 1000 for a window of -1000 to 1000 HU."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        return image[:, :1]


@pytest.fixture
def copying_generator() -> Callable[[], nn.Module]:
    """Makes a generator that changes nothing."""
    return _Copy
