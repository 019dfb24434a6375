"""The shadow of a ball among ribs and grain, and of plates on a slope."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from radsynth.training.shadows import MASS_RADII, NODULE_RADII, PLATE_PIXELS, ball_likeness, plate_likeness

SIZE = 128


def chest(radius: float, strength: float, y: int, x: int) -> Tensor:
    """Bands as bright as the ball, a slope, grain, and a ball of `radius` pixels at (y, x)."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    bands = 0.3 * ((rows + 0.3 * columns) % 20 < 6)
    ball = strength * np.sqrt(np.clip(1 - ((rows - y) ** 2 + (columns - x) ** 2) / radius**2, 0, None))
    picture = -0.5 + 0.004 * columns + bands + 0.02 * rng.standard_normal((SIZE, SIZE)) + ball
    return torch.from_numpy(picture.astype(np.float32))[None, None]


@pytest.mark.parametrize("radius", [2.1, 3.0, 4.5])
def test_a_ball_is_found_between_bands_as_bright_as_it(radius: float) -> None:
    found = ball_likeness(chest(radius, 0.3, 70, 41))
    y, x = divmod(int(found.argmax()), SIZE)
    assert abs(y - 70) <= 1
    assert abs(x - 41) <= 1
    assert found.max() <= 1 + 1e-4
    assert found.max() > ball_likeness(chest(radius, 0.0, 70, 41)).max() + 0.1


@pytest.mark.parametrize("radius", [5.1, 7.7, 10.2])
def test_a_large_ball_is_found_on_a_coarser_grid(radius: float) -> None:
    found = ball_likeness(chest(radius, 0.4, 70, 41), MASS_RADII)
    assert found.shape == (1, SIZE, SIZE), "4.5 pixels are not enough to halve"
    larger = chest(radius, 0.4, 70, 41).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(ball_likeness(larger, MASS_RADII), found, atol=1e-3)
    y, x = divmod(int(found.argmax()), SIZE)
    assert abs(y - 70) <= 1
    assert abs(x - 41) <= 1


def test_the_likeness_is_exact_where_networks_are_not() -> None:
    picture = chest(3.0, 0.4, 60, 60)
    with torch.autocast("cpu", torch.bfloat16):
        within = ball_likeness(picture)
    assert torch.equal(within, ball_likeness(picture))


def test_the_likeness_does_not_depend_on_brightness_and_contrast() -> None:
    picture = chest(3.0, 0.4, 60, 60)
    inside = (slice(None), slice(8, -8), slice(8, -8))
    assert torch.allclose(ball_likeness(picture)[inside], ball_likeness(2 * picture + 0.2)[inside], atol=2e-3)


def test_an_even_picture_is_like_no_ball() -> None:
    found = ball_likeness(torch.full((2, 1, SIZE, SIZE), -0.9))
    assert found.shape == (2, SIZE, SIZE)
    assert found.abs().max() < 0.05


def test_the_smallest_pictures_have_a_likeness_too() -> None:
    found = ball_likeness(torch.randn(1, 1, 16, 16), NODULE_RADII)
    assert found.isfinite().all()


@pytest.mark.parametrize("turn", [-30.0, 0.0, 15.0])
def test_plates_are_found_at_any_turn_that_is_nearly_level(turn: float) -> None:
    rng = np.random.default_rng(0)
    rows, columns = (np.mgrid[:SIZE, :SIZE].astype(np.float32) + 0.5) / SIZE

    def plate(y: float, x: float, degrees: float) -> np.ndarray:
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        along, across = cos * (columns - x) + sin * (rows - y), cos * (rows - y) - sin * (columns - x)
        return 0.4 * np.exp(-(across**2) / (2 * 0.017**2)) * (np.abs(along) < 0.09)

    grain = -0.5 + 0.3 * columns + 0.03 * rng.standard_normal((SIZE, SIZE))
    picture = grain + plate(0.67, 0.3, turn) + plate(0.75, 0.3, turn) + plate(0.3, 0.7, 90)
    found = plate_likeness(torch.from_numpy(picture.astype(np.float32))[None, None])
    assert found.shape == (1, PLATE_PIXELS, PLATE_PIXELS)
    y, x = divmod(int(found.argmax()), PLATE_PIXELS)
    assert abs(y + 0.5 - 0.71 * PLATE_PIXELS) <= 3
    assert abs(x + 0.5 - 0.3 * PLATE_PIXELS) <= 3
    upright = found[0, int(0.3 * PLATE_PIXELS), int(0.7 * PLATE_PIXELS)]
    assert upright < 0.5 * found.max()
