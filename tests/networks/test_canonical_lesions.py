"""What a finding adds to a picture where it lies."""

from __future__ import annotations

import torch

from radsynth.networks.canonical_lesions import CanonicalLesions
from radsynth.networks.layout import Targets
from radsynth.vocabulary import SIDED_FINDINGS, TARGETS

MASS = SIDED_FINDINGS.index("mass")


def said(*words: str) -> torch.Tensor:
    return torch.tensor([[float(target in words) for target in TARGETS]])


def test_a_lesion_lies_where_it_is_told_and_nothing_else_is_added() -> None:
    torch.manual_seed(0)
    lesions = CanonicalLesions(Targets(TARGETS), style=6, size=128)
    with torch.no_grad():
        lesions.pictures[MASS, :, 20:28, 20:28] = 1.0
    places = torch.full((1, len(SIDED_FINDINGS), 2, 2), 0.5)
    places[0, MASS, 0] = torch.tensor([0.25, 0.75])
    style = torch.randn(1, 6)
    drawn = lesions(style, said("mass", "mass_left"), places)[0, 0]
    assert drawn.shape == (128, 128)
    at = int(drawn.argmax())
    assert abs(at // 128 - 32) <= 4
    assert abs(at % 128 - 96) <= 4
    assert not drawn[64:].any()
    assert not lesions(style, said("effusion", "effusion_left"), places).any()
    both = lesions(style, said("mass"), places)[0, 0]
    assert torch.allclose(both[:48, 80:112], drawn[:48, 80:112] / 2, atol=1e-6)


def test_its_look_and_its_size_learn() -> None:
    torch.manual_seed(0)
    lesions = CanonicalLesions(Targets(TARGETS), style=6, size=64)
    torch.nn.init.normal_(lesions.pictures)
    places = torch.rand(1, len(SIDED_FINDINGS), 2, 2)
    lesions(torch.randn(1, 6), said("mass", "mass_right"), places).square().sum().backward()
    assert lesions.pictures.grad[MASS].abs().max() > 0
    assert not lesions.pictures.grad[SIDED_FINDINGS.index("nodule")].any()
    assert lesions.scale.weight.grad[MASS].abs().max() > 0
    assert lesions.shares.weight.grad.abs().max() > 0


def test_a_picture_of_one_side_is_shown_there_alone() -> None:
    lesions = CanonicalLesions(Targets(TARGETS), style=6, size=64)
    left, right = CanonicalLesions.OF_SIDE
    only_left = next(k for k in range(CanonicalLesions.PICTURES) if left[k] and not right[k])
    with torch.no_grad():
        lesions.pictures[MASS, only_left] = 1.0
    style, places = torch.zeros(1, 6), torch.full((1, len(SIDED_FINDINGS), 2, 2), 0.5)
    assert lesions(style, said("mass", "mass_left"), places).any()
    assert not lesions(style, said("mass", "mass_right"), places).any()


def test_a_large_one_is_larger_once_that_is_learned() -> None:
    lesions = CanonicalLesions(Targets(TARGETS), style=6, size=128)
    with torch.no_grad():
        lesions.pictures[MASS] = 1.0
    places, style = torch.full((1, len(SIDED_FINDINGS), 2, 2), 0.5), torch.zeros(1, 6)
    words = ("mass", "mass_left")
    assert torch.equal(lesions(style, said(*words), places), lesions(style, said(*words, "mass_large"), places))
    with torch.no_grad():
        lesions.larger[MASS] = 1.0
    usual, large, other = (
        (lesions(style, said(*words, *more), places) > 0).sum() for more in ((), ("mass_large",), ("nodule_large",))
    )
    assert usual == other
    assert large > 1.5 * usual
