import numpy as np
import pytest
import torch
from torch import nn

from radsynth.evaluation.ct_uncertainty import (
    GAINS,
    MOVES,
    NOISE,
    area_under,
    maps_of_doubt,
    rank_correlation,
    risk_coverage,
    spread_of_atlas,
    spread_of_views,
    views,
)
from radsynth.networks.atlas import Atlas
from radsynth.training.cyclegan import MriToCt

WINDOW = (-1000.0, 1000.0)


class Constant(nn.Module):
    """A generator that says the same of every MR."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, image):
        return torch.zeros_like(image[:, :1])


def model_of(generator):
    return MriToCt(nn.ModuleDict({"mr_to_ct": generator}), WINDOW, False, nn.ModuleDict())


@pytest.fixture
def head():
    mr = np.random.default_rng(0).uniform(0.2, 0.8, (6, 12, 12)).astype(np.float32)
    depth = np.zeros(mr.shape, np.float32)
    depth[:, 2:10, 2:10] = 9
    return mr, depth


def test_an_error_known_in_advance_is_ordered_perfectly():
    error = np.random.default_rng(0).gamma(1, 50, 1000)
    assert rank_correlation(error, error) == pytest.approx(1)
    assert rank_correlation(error**3, error) == pytest.approx(1), "only the order counts"
    assert rank_correlation(-error, error) == pytest.approx(-1)
    assert np.isnan(rank_correlation(np.ones(1000), error)), "a constant doubt has no order"


def test_the_risk_at_full_coverage_is_the_mean_error_in_any_order():
    random = np.random.default_rng(0)
    error = random.gamma(1, 50, 1000)
    for doubt in (error, -error, random.random(1000)):
        assert risk_coverage(doubt, error)[-1] == pytest.approx(error.mean())


def test_the_risk_coverage_curve_of_four_voxels():
    error, doubt = np.array([4.0, 1, 3, 2]), np.array([0.4, 0.1, 0.2, 0.3])
    assert risk_coverage(doubt, error, 4).tolist() == [1, 2, 2, 2.5]
    assert risk_coverage(error, error, 4).tolist() == [1, 1.5, 2, 2.5]
    assert area_under(risk_coverage(error, error, 4)) == 1.75


def test_a_constant_doubt_is_worth_no_more_than_a_random_order():
    error = np.random.default_rng(0).gamma(1, 50, 1000)
    assert risk_coverage(np.ones(1000), error) == pytest.approx(np.full(100, error.mean()))


def test_the_order_of_the_voxels_does_not_matter():
    random = np.random.default_rng(0)
    error, doubt = random.gamma(1, 50, 500), random.integers(0, 5, 500).astype(float)
    shuffled = random.permutation(500)
    assert risk_coverage(doubt[shuffled], error[shuffled]) == pytest.approx(risk_coverage(doubt, error))


def test_oracle_is_below_good_doubt_is_below_random_is_below_inverted_doubt():
    random = np.random.default_rng(0)
    error = random.gamma(1, 50, 2000)
    orders = [error, error + random.normal(0, 30, 2000), random.random(2000), -error]
    areas = [area_under(risk_coverage(order, error)) for order in orders]
    assert areas == sorted(areas)
    assert areas[2] == pytest.approx(error.mean(), rel=0.1)


def test_views_change_grey_values_and_place_but_not_the_head(head):
    seen = list(views(*head, seed=0))
    assert len(seen) == 1 + len(GAINS) + len(MOVES)
    noisy, darker, brighter, *moved = seen
    assert (noisy[0] - head[0]).std() == pytest.approx(NOISE, rel=0.1)
    assert darker[0].mean() < head[0].mean() < brighter[0].mean()
    for image, depth, move in moved:
        assert np.array_equal(np.roll(image, [-m for m in move], (1, 2)), head[0])
        assert np.array_equal(np.roll(depth, [-m for m in move], (1, 2)), head[1])


def test_a_model_that_does_not_look_has_no_spread_and_one_that_copies_has_that_of_the_mr(head, copying_generator):
    mr, depth = head
    places = np.array([1, 4])
    blind = np.zeros((2, 12, 12), np.float32)
    assert spread_of_views(model_of(Constant()), mr, depth, places, blind, seed=0).max() < 1e-3
    plain = 2000 * mr[places] - 1000
    found = spread_of_views(model_of(copying_generator()), mr, depth, places, plain, seed=0)
    noise = np.random.default_rng((0, 31)).normal(0, NOISE, mr[places].shape)
    six = 2000 * np.stack([mr[places], mr[places] + noise, *(mr[places] * g for g in GAINS), mr[places], mr[places]])
    assert found == pytest.approx(six.std(0), abs=0.1), "moved and moved back, a copy is the same"


def test_the_atlas_doubts_as_much_as_its_posterior_is_wide(head, copying_generator):
    mr, depth = head
    atlas = Atlas(mr.shape)
    with torch.no_grad():
        for parameter in atlas.parameters():
            parameter.zero_()  # every level is as likely as any other
    model = MriToCt(nn.ModuleDict({"mr_to_ct": copying_generator()}), WINDOW, False, nn.ModuleDict({"ct": atlas}))
    found = spread_of_atlas(model, mr, depth, np.array([2]))
    inside = depth[2] > 0
    assert found[0][inside] == pytest.approx(2000 / 32 * np.sqrt((32**2 - 1) / 12), rel=1e-4), "a uniform distribution"
    assert (found[0][~inside] == 0).all()
    maps = maps_of_doubt(model, mr, depth, 2000 * mr - 1000, np.array([2]), seed=0)
    assert set(maps) == {"views", "atlas", "both", "edges"}
    assert maps["both"] == pytest.approx(np.hypot(maps["views"], maps["atlas"]))
