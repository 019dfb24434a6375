import pytest
import torch
import torch.nn.functional as F
from torch import nn

from radsynth.networks.resnet_generator import FewChannelConv2d, ResnetGenerator


@pytest.fixture(params=[False, True], ids=["plain", "skips"])
def generator(request):
    torch.manual_seed(0)
    return ResnetGenerator(in_channels=2, out_channels=1, width=4, blocks=2, skips=request.param)


def test_a_picture_keeps_its_size_and_lies_between_minus_one_and_one(generator):
    made = generator(10 * torch.randn(2, 2, 24, 32))
    assert made.shape == (2, 1, 24, 32)
    assert made.abs().max() <= 1


def test_the_last_layer_is_computed_in_float32_under_autocast_and_the_rest_is_not(generator):
    seen = {}
    generator.decoder[-1].register_forward_hook(lambda *args: seen.update(features=args[2]))
    with torch.autocast("cpu", torch.bfloat16):
        made = generator(torch.randn(1, 2, 16, 16))
    assert seen["features"].dtype == torch.bfloat16
    assert made.dtype == torch.float32
    assert torch.equal(made, torch.tanh(generator.last(seen["features"].float())))


def test_a_batch_gives_exactly_what_its_pictures_give_one_by_one(generator):
    generator = generator.double()
    pictures = torch.randn(3, 2, 16, 16, dtype=torch.float64)
    together = generator(pictures)
    alone = torch.cat([generator(picture[None]) for picture in pictures])
    assert torch.allclose(together, alone, rtol=0, atol=1e-12)


def test_training_and_evaluation_mode_are_the_same_function(generator):
    pictures = torch.randn(2, 2, 16, 16)
    assert torch.equal(generator.train()(pictures), generator.eval()(pictures))


def test_width_and_blocks_decide_the_size():
    def weights(**arguments):
        return sum(p.numel() for p in ResnetGenerator(**arguments).parameters())

    assert weights(width=8, blocks=3) - weights(width=8, blocks=2) == 2 * 9 * 32 * 32
    assert weights(in_channels=3, width=8, blocks=1) - weights(in_channels=1, width=8, blocks=1) == 2 * 49 * 8


def test_the_papers_generator_has_its_eleven_million_weights():
    assert sum(p.numel() for p in ResnetGenerator(3, 3).parameters()) == pytest.approx(11.4e6, rel=0.01)


def test_the_last_convolution_is_the_same_linear_map_as_an_ordinary_one():
    torch.manual_seed(0)
    ours = FewChannelConv2d(5, 2, 7).double()
    features = torch.randn(2, 5, 13, 17, dtype=torch.float64, requires_grad=True)
    results = []
    for convolve in (ours, lambda x: nn.Conv2d.forward(ours, x)):
        made = convolve(features)
        gradients = torch.autograd.grad(made.square().sum(), [features, ours.weight, ours.bias])
        results.append([made, *gradients])
    for mine, theirs in zip(*results, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-10)


def test_doubling_an_even_picture_leaves_no_checkerboard():
    torch.manual_seed(0)
    made = torch.ones(1, 16, 8, 8)
    for layer in ResnetGenerator(2, 1, width=4, blocks=1).decoder:
        pad, convolve = layer[:2]
        assert isinstance(convolve, nn.Conv2d)
        made = convolve(pad(F.interpolate(made, scale_factor=2, mode="nearest")))
    assert made.shape[-1] == 32
    assert made.std(dim=(2, 3)).max() < 1e-5


def test_skips_carry_a_fine_edge_past_the_bottleneck():
    """Without its residual way, a generator with skips still sees single pixels of its input."""
    torch.manual_seed(0)
    with_skips, plain = (ResnetGenerator(1, 1, width=4, blocks=1, skips=skips) for skips in (True, False))
    stripes = torch.ones(1, 1, 16, 16)
    stripes[..., ::2] = -1
    for network, sees in ((with_skips, True), (plain, False)):
        network.encoder[2].register_forward_hook(lambda module, read, out: torch.zeros_like(out))
        assert bool((network(stripes) - network(-stripes)).abs().max() > 1e-3) == sees


def test_the_ends_are_as_wide_as_asked_and_keep_the_size():
    for side in (3, 7):
        network = ResnetGenerator(2, 1, 4, 1, skips=True, end_kernel=side)
        kernels = [m.kernel_size for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert kernels[0] == kernels[-1] == (side, side)
        assert network(torch.zeros(1, 2, 16, 16)).shape == (1, 1, 16, 16)
