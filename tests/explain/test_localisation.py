"""Maps whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from radsynth.explain.cams import DeadLayer, activation_map, enlarged, first_component, placed
from radsynth.explain.chest import over_cells
from radsynth.explain.localisation import (
    centre_map,
    edge_maps,
    energy_inside,
    overlap_at_equal_area,
    pointing_hits,
    random_maps,
)
from radsynth.networks.classifier import FindingsClassifier


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
    with pytest.raises(DeadLayer, match="gradcam is dead at this layer"):
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


def test_the_judges_cells_lie_where_they_look() -> None:
    judge = FindingsClassifier(3, 2).eval()
    for name, weight in judge.named_parameters():
        if weight.ndim == 4:
            torch.nn.init.constant_(weight, 0.0 if "skip" in name else 0.1)
    dot = torch.zeros(1, 1, 256, 256)
    dot[..., 80, 120] = 1
    with torch.no_grad():
        seen = judge.blocks[:2](judge.stem(dot)).abs().mean(1)
    found = over_cells(seen.numpy(), 256)[0]
    middle = [(found.sum(1 - axis) * np.arange(256)).sum() / found.sum() for axis in (0, 1)]
    assert middle == pytest.approx([80, 120], abs=0.5)


class Mute(Bright):
    """Nothing reaches its output."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return 0 * super().forward(pictures)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "hirescam", "layercam"])
def test_a_layer_without_gradient_is_refused(method: str) -> None:
    model = Mute()
    with pytest.raises(DeadLayer, match="its gradient is zero"):
        activation_map(model, model.eye, torch.randn(2, 1, 8, 8), lambda row: row[0], method)


def test_a_layer_that_is_the_same_everywhere_is_refused() -> None:
    model = Bright()
    with pytest.raises(DeadLayer, match="same at all places"):
        activation_map(model, model.eye, torch.ones(2, 1, 8, 8), lambda row: row[0], "eigencam")


def test_the_first_component_is_that_of_pytorch_grad_cam_but_for_the_sign() -> None:
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    activations = np.random.default_rng(0).standard_normal((3, 5, 6, 6))
    ours, theirs = first_component(activations), get_2d_projection(activations)
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-5)


def test_maps_do_not_depend_on_the_batch_or_the_order_of_the_pictures() -> None:
    model, pictures = Bright(), torch.randn(5, 1, 8, 8)
    for method in ("hirescam", "gradcam++", "scorecam", "eigencam"):
        whole = activation_map(model, model.eye, pictures, lambda row: row[0], method)
        backwards = activation_map(model, model.eye, pictures.flip(0), lambda row: row[0], method)
        alone = activation_map(model, model.eye, pictures[2:3], lambda row: row[0], method)
        assert np.allclose(whole[::-1], backwards, atol=1e-5)
        assert np.allclose(whole[2:3], alone, atol=1e-5)


def test_patches_are_placed_at_their_centres() -> None:
    coarse = np.array([[[0.0, 1.0], [2.0, 3.0]]], np.float32)
    fine = placed(coarse, start=2, step=4, size=9)[0]
    assert fine[2, 2] == 0
    assert fine[2, 6] == 1
    assert fine[6, 2] == 2
    assert fine[4, 4] == pytest.approx(1.5)
    assert fine[0, 0] == 0


def test_overlap_at_equal_area_is_one_on_the_lesion_and_zero_off_it() -> None:
    mask = np.zeros((1, 16, 16), bool)
    mask[0, 2:5, 10:14] = True
    on = mask.astype(float)
    assert overlap_at_equal_area(on, mask)[0] == 1
    assert overlap_at_equal_area(-on, mask)[0] == 0
    half = on.copy()
    half[0, 2:5, 12:14] = 0
    half[0, 10:13, 2:4] = 1
    assert overlap_at_equal_area(half, mask)[0] == pytest.approx(6 / 18)


def test_the_centre_map_and_the_edge_map_peak_where_they_should() -> None:
    assert np.unravel_index(centre_map(33).argmax(), (33, 33)) == (16, 16)
    picture = np.zeros((1, 64, 64), np.float32)
    picture[:, :, 40:] = 1
    assert abs(np.unravel_index(edge_maps(picture)[0].argmax(), (64, 64))[1] - 39.5) <= 1
