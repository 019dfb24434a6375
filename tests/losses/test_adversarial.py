import pytest
import torch

from radsynth.losses.adversarial import least_squares_discriminator, least_squares_generator
from radsynth.losses.cycle import cycle_loss, identity_loss


def logits(value):
    return torch.full((2, 1, 3, 3), value, dtype=torch.float64)


def test_the_generator_loses_the_squared_distance_to_one():
    assert least_squares_generator(logits(1.0)) == 0
    assert least_squares_generator(logits(-2.0)) == 9


def test_the_discriminator_loses_half_of_each_squared_distance():
    assert least_squares_discriminator(logits(1.0), logits(0.0)) == 0
    assert least_squares_discriminator(logits(0.0), logits(0.0)) == 0.5
    assert least_squares_discriminator(logits(1.0), logits(3.0)) == 4.5


def test_a_discriminator_that_is_fooled_loses_more_than_one_that_is_not():
    right = least_squares_discriminator(logits(0.9), logits(0.1))
    wrong = least_squares_discriminator(logits(0.1), logits(0.9))
    assert wrong > right


def test_gradients_are_those_of_the_equations():
    torch.manual_seed(0)
    real, fake = (torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(least_squares_discriminator, (real, fake))
    assert torch.autograd.gradcheck(least_squares_generator, (fake,))


@pytest.mark.parametrize("loss", [cycle_loss, identity_loss])
def test_cycle_and_identity_are_mean_absolute_differences(loss):
    image = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    assert loss(image, image) == 0
    assert loss(image, torch.tensor([[0.0, 1.0]], dtype=torch.float64)) == 1.25


def test_losses_of_bfloat16_are_computed_in_float32():
    low = torch.full((64,), 1.0, dtype=torch.bfloat16)
    assert least_squares_generator(low).dtype == torch.float32
    assert cycle_loss(low, low.float()).dtype == torch.float32
