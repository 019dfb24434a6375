"""Maps whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from radsynth.explain.cams import DeadLayer, activation_map, enlarged
from radsynth.explain.localisation import energy_inside, pointing_hits, random_maps


class Bright(nn.Module):
    """Its one logit is the sum of the picture's upper left quarter, seen through an identity convolution."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.eye = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.eye.weight)
        self.norm = nn.InstanceNorm2d(1) if norm else nn.Identity()

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.norm(self.eye(pictures))[..., :4, :4].sum((2, 3))


def test_hirescam_of_a_sum_is_the_picture_where_it_is_summed() -> None:
    model, pictures = Bright(), torch.randn(3, 1, 8, 8)
    maps = activation_map(model, model.eye, pictures, lambda row: row[0])
    wanted = pictures[:, 0].clone()
    wanted[:, 4:], wanted[:, :, 4:] = 0, 0
    assert np.allclose(maps, wanted.numpy(), atol=1e-6)


def test_explaining_leaves_the_model_as_it_was() -> None:
    model = Bright().train()
    activation_map(model, model.eye, torch.randn(1, 1, 8, 8), lambda row: row[0])
    assert model.training


def test_gradcam_before_an_instance_norm_is_refused_with_the_reason() -> None:
    model = Bright(norm=True)
    with pytest.raises(DeadLayer, match="dead at this layer"):
        activation_map(model, model.eye, torch.randn(1, 1, 8, 8), lambda row: row[0], "gradcam")
    activation_map(model, model.eye, torch.randn(1, 1, 8, 8), lambda row: row[0], "hirescam")


def test_a_map_on_the_lesion_hits_and_its_mirror_misses() -> None:
    mask = np.zeros((1, 16, 16), bool)
    mask[0, 2:5, 10:14] = True
    on = mask.astype(float)
    assert pointing_hits(on, mask).all()
    assert not pointing_hits(on[..., ::-1], mask).any()
    assert energy_inside(on, mask)[0] == 1
    assert energy_inside(-on, mask)[0] == 0


def test_tolerance_is_a_distance_to_the_mask() -> None:
    mask, evidence = np.zeros((1, 16, 16), bool), np.zeros((1, 16, 16))
    mask[0, 8, 8], evidence[0, 8, 11] = True, 1
    assert not pointing_hits(evidence, mask, tolerance=2)[0]
    assert pointing_hits(evidence, mask, tolerance=3)[0]


def test_random_maps_hit_about_as_often_as_the_mask_is_large() -> None:
    masks = np.zeros((600, 32, 32), bool)
    masks[:, :16, :16] = True
    rate = pointing_hits(random_maps(600, 32, 8, seed=1), masks).mean()
    assert rate == pytest.approx(0.25, abs=0.06)


def test_enlarged_maps_keep_their_place() -> None:
    coarse = np.zeros((1, 4, 4), np.float32)
    coarse[0, 0, 3] = 1
    fine = enlarged(coarse, 32)
    assert np.unravel_index(fine[0].argmax(), (32, 32))[0] < 8
    assert np.unravel_index(fine[0].argmax(), (32, 32))[1] >= 24
