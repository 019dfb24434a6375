import numpy as np
import pytest
import torch

from radsynth.networks.atlas import LEVELS, SEEN_LEVELS, Atlas
from radsynth.training.simulated import simulated_mr, uniform_field
from radsynth.training.slices import Slices


@pytest.fixture
def ct():
    """Two discs of soft tissue (0 HU of -1024..2000) within bone, and an MR density that knows nothing."""
    y, x = np.mgrid[:64, :64]
    radius = torch.from_numpy(np.hypot(y - 31.5, x - 31.5)).float()
    image = torch.where(radius < 20, -0.32, torch.where(radius < 28, 0.4, -1.0)).expand(4, 1, -1, -1)
    density = torch.where(radius < 28, 1 / LEVELS, 0.0).expand(4, LEVELS, -1, -1)
    return Slices(image, torch.zeros(4, 3, 64, 64), torch.empty(4, 0, 64, 64), density)


@pytest.fixture
def atlas():
    """An MR atlas in which bone is dark and soft tissue bright."""
    atlas = Atlas((1, 64, 64))
    dark, bone = torch.arange(LEVELS)[:, None] < LEVELS // 4, torch.arange(SEEN_LEVELS)[None] > SEEN_LEVELS // 2
    atlas.likelihood.copy_(torch.where(dark == bone, 1.0, 0.01))
    return atlas


def test_a_field_is_between_zero_and_one_and_smooth():
    torch.manual_seed(0)
    field = uniform_field(torch.zeros(64, 1, 48, 40))
    assert field.shape == (64, 1, 48, 40)
    assert field.min() >= 0
    assert field.max() <= 1
    assert float(field.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(field.std()) == pytest.approx(12**-0.5, abs=0.05), "nearly uniform"
    neighbours = (field[..., 1:] - field[..., :-1]).abs().mean()
    strangers = (field[..., 20:] - field[..., :-20]).abs().mean()
    assert neighbours < 0.8 * strangers


def test_a_drawn_mr_has_the_shapes_of_the_ct_and_the_greys_of_the_atlas(ct, atlas):
    torch.manual_seed(0)
    drawn = simulated_mr(ct, atlas)
    soft, bone = ct.image == ct.image[0, 0, 32, 32], ct.image == ct.image.max()
    assert drawn.shape == ct.image.shape
    assert (drawn[~(soft | bone)] == -1).all()
    assert drawn[soft].mean() > drawn[bone].mean() + 0.5
    assert drawn.min() >= -1
    assert drawn.max() <= 1


def test_every_call_draws_another_mr_and_a_seed_the_same(ct, atlas):
    def drawn(seed):
        torch.manual_seed(seed)
        return simulated_mr(ct, atlas)

    assert torch.equal(drawn(1), drawn(1))
    inside = ct.mr_density[:, :1] > 0
    assert (drawn(1) - drawn(2)).abs()[inside].mean() > 0.1
    assert (drawn(1)[0] - drawn(1)[1]).abs()[inside[0]].mean() > 0.1


def test_the_quantiles_of_a_uniform_field_are_the_density():
    atlas = Atlas((1, 1, 1))
    density = torch.zeros(1, LEVELS, 1, 20_001)
    density[0, 4], density[0, 20] = 0.25, 0.75
    values = atlas.quantile(density, torch.linspace(0, 1, 20_001)[None, None, None])
    assert float((values < atlas.edges[5]).float().mean()) == pytest.approx(0.25, abs=0.001)
    assert float(values[values > 0].min()) >= float(atlas.edges[20])
