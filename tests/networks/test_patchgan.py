import pytest
import torch
from torch import nn

from radsynth.networks.cyclegan import cyclegan_networks
from radsynth.networks.patchgan import PatchGan, patch_places, receptive_field


@pytest.mark.parametrize(("layers", "side"), [(1, 16), (2, 34), (3, 70)])
def test_one_logit_sees_a_patch_of_the_stated_side(layers, side):
    torch.manual_seed(0)
    picture = torch.randn(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    logits = PatchGan(1, 2, layers, norm=False).double()(picture)
    middle = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, middle, middle], picture)
    rows, columns = torch.nonzero(gradient[0, 0], as_tuple=True)
    assert receptive_field(layers) == side
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == side


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_patches_lie_where_they_are_said_to(layers):
    torch.manual_seed(0)
    picture = torch.randn(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    network = PatchGan(1, 2, layers, norm=False).double()
    logits = network(picture)
    place = logits.shape[-1] // 2
    (gradient,) = torch.autograd.grad(logits[0, 0, place, place + 1], picture)
    rows, columns = torch.nonzero(gradient[0, 0], as_tuple=True)
    first, step = patch_places(network.layers)
    assert (rows.min() + rows.max()).item() / 2 == first + place * step
    assert (columns.min() + columns.max()).item() / 2 == first + (place + 1) * step


def test_there_is_one_logit_for_every_patch():
    assert PatchGan(2, 4, 3)(torch.zeros(2, 2, 256, 256)).shape == (2, 1, 30, 30)
    assert PatchGan(2, 4, 2)(torch.zeros(2, 2, 128, 128)).shape == (2, 1, 30, 30)


def test_the_papers_discriminator_has_its_2_8_million_weights():
    assert sum(p.numel() for p in PatchGan(3).parameters()) == pytest.approx(2.76e6, rel=0.01)


def test_judging_a_batch_is_judging_its_pictures_one_by_one():
    torch.manual_seed(0)
    network = PatchGan(1, 4, 2).double()
    pictures = torch.randn(3, 1, 48, 48, dtype=torch.float64)
    alone = torch.cat([network(picture[None]) for picture in pictures])
    assert torch.allclose(network(pictures), alone, rtol=0, atol=1e-12)


def test_norm_is_on_all_but_the_first_and_the_last_convolution_or_on_none():
    def norms(network):
        return sum(isinstance(module, nn.InstanceNorm2d) for module in network.modules())

    assert norms(PatchGan(1, 4, 3)) == 3
    assert norms(PatchGan(1, 4, 3, norm=False)) == 0


def test_a_discriminator_without_norm_begins_with_features_of_the_size_of_its_input():
    torch.manual_seed(0)
    networks = cyclegan_networks(2, 2, width=8, blocks=1, discriminator_layers=3, seed=0, discriminator_norm=False)
    assert 0.3 < networks["discriminator_ct"].body(torch.randn(2, 2, 96, 96)).std() < 3


def test_the_four_networks_start_as_the_seed_says():
    arguments = {
        "generator_channels": 2,
        "discriminator_channels": 2,
        "width": 4,
        "blocks": 1,
        "discriminator_layers": 2,
        "discriminator_norm": True,
    }
    one, again, other = (cyclegan_networks(**arguments, seed=seed) for seed in (1, 1, 2))
    assert set(one) == {"mr_to_ct", "ct_to_mr", "discriminator_ct", "discriminator_mr"}
    first = [p for p in one.parameters() if p.ndim == 4]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first[0], next(p for p in other.parameters() if p.ndim == 4))
    assert torch.cat([p.detach().flatten() for p in first]).std() == pytest.approx(0.02, rel=0.05)
