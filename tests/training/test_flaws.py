"""A flaw is where it is said to be, and a discriminator that learned from flaws finds one of another kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from radsynth.explain.cams import placed
from radsynth.explain.localisation import pointing_hits
from radsynth.explain.planted import stripes
from radsynth.networks.patchgan import PatchGan, patch_places
from radsynth.training.flaws import LENGTHENED, SIDES, flaws_loss, with_flaws

LAYERS = 2


def slices(count, seed, size=64):
    """Smooth shades."""
    torch.manual_seed(seed)
    return F.interpolate(torch.rand(count, 1, 4, 4) - 0.5, size=(size, size), mode="bicubic")


@pytest.fixture
def inside():
    mask = torch.zeros(4, 1, 64, 64, dtype=torch.bool)
    mask[:, :, 20:40, 10:30] = True
    return mask


@pytest.mark.parametrize("seed", range(20))
def test_slices_are_changed_inside_the_flaw_alone(inside, seed):
    image = slices(4, seed)
    flawed, where = with_flaws(image, inside, seed)
    assert torch.equal(torch.where(where, 0, flawed), torch.where(where, 0, image))
    assert flawed.abs().max() <= 1
    assert (where & inside).flatten(1).any(1).all()
    assert where.flatten(1).sum(1).max() <= (SIDES[1] * 64 + 1) ** 2 * LENGTHENED


def test_where_a_flaw_is_said_to_be_the_grey_is_another():
    inside = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    inside[:, :, 20:40, 10:30] = True
    for seed in range(20):
        image = slices(1, seed) - 0.4
        flawed, where = with_flaws(image, inside, seed)
        assert where.any()
        assert torch.equal(where, flawed != image)


def test_the_seed_decides(inside):
    image = slices(4, 0)
    first, again, other = (with_flaws(image, inside, seed) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[1], other[1])


def test_a_slice_without_a_head_is_no_error(inside):
    image = slices(4, 0)
    assert with_flaws(image, torch.zeros_like(inside), 0)[0].shape == image.shape


def test_the_loss_is_zero_for_the_right_answer_and_one_for_the_opposite():
    where = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    first, step = patch_places(LAYERS)
    y, x = round(first + 3 * step), round(first + 5 * step)
    where[..., y, x] = True
    right = torch.ones(1, 1, 14, 14)
    right[..., 3, 5] = 0
    assert flaws_loss(right, where, LAYERS) == 0
    assert flaws_loss(1 - right, where, LAYERS) == 1
    assert flaws_loss(torch.ones_like(right), where, LAYERS) == 0.5  # the one flawed patch counts as much as all others


def test_a_stripe_is_found_by_what_learned_from_pieces():
    torch.manual_seed(0)
    judge = PatchGan(1, 8, LAYERS, norm=False)
    optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
    everywhere = torch.ones(8, 1, 64, 64, dtype=torch.bool)

    def hits():
        clean = slices(16, 1000)[:, 0].numpy()
        striped, masks = stripes(clean, seed=5, width=3)
        with torch.no_grad():
            logits = judge(torch.from_numpy(striped)[:, None])[:, 0].numpy()
        return pointing_hits(-placed(logits, *patch_places(LAYERS), 64), masks, 2).mean()

    before = hits()
    for step in range(150):
        flawed, where = with_flaws(slices(8, step), everywhere, step)
        optimizer.zero_grad()
        flaws_loss(judge(flawed), where, LAYERS).backward()
        optimizer.step()
    assert hits() > max(before, np.float64(0.3)) + 0.3
