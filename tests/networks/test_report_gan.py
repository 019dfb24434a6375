"""Networks of the report GAN: shapes, what depends on what, what receives gradient."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from radsynth.networks.canonical_chest import CanonicalChest, Deformation, deformed, smoothed
from radsynth.networks.classifier import FindingsClassifier, log_mean_exp
from radsynth.networks.layout import Layout, Targets
from radsynth.networks.report_gan import (
    SHARPNESS,
    PatchPyramid,
    PosteriorEncoder,
    ReportDiscriminator,
    ReportGenerator,
    Seen,
)
from radsynth.networks.text import CrossAttention, TextConditioner
from radsynth.networks.vgg import Vgg
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS, TARGETS


@pytest.fixture
def report() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 7, 12), torch.tensor([[True] * 7, [True] * 3 + [False] * 4])


@pytest.mark.parametrize(("size", "subpixel"), [(32, 1), (32, 2), (64, 4)])
def test_generator_draws_pictures_between_minus_one_and_one(size: int, subpixel: int, report: tuple) -> None:
    generator = ReportGenerator(size, width=4, subpixel=subpixel, noise_size=8, condition_width=16, token_width=12)
    pictures = generator(torch.randn(2, 8), torch.randn(2, 16), *report)
    assert pictures.shape == (2, 1, size, size)
    assert pictures.dtype == torch.float32
    assert pictures.abs().max() <= 1


def test_noise_and_report_both_change_the_picture(report: tuple) -> None:
    generator = ReportGenerator(32, width=4, subpixel=2, noise_size=8, condition_width=16, token_width=12)
    noise, condition = torch.randn(2, 8), torch.randn(2, 16)

    def draw(n: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return generator(n, c, *report)

    base = draw(noise, condition)
    assert (draw(torch.randn(2, 8), condition) - base).abs().mean() > 0.01
    assert (draw(noise, torch.randn(2, 16)) - base).abs().mean() > 0.01


def test_the_fresh_deformation_is_the_identity() -> None:
    maps = torch.randn(1, 3, 32, 32)
    points = Deformation(style=6)(torch.randn(2, 6))
    assert torch.allclose(deformed(maps, points), maps.expand(2, -1, -1, -1), atol=1e-4)


def test_shifted_control_points_shift_the_maps() -> None:
    maps = torch.randn(1, 3, 33, 33)
    points = Deformation(style=6)(torch.zeros(1, 6))
    points[:, 0] += 2 * 4 / 32  # x by four of 32 steps
    moved = deformed(maps, points)
    assert torch.allclose(moved[..., :-4], maps[..., 4:], atol=1e-4)
    assert torch.allclose(moved[..., -1], maps[..., -1], atol=1e-4)


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5])
def test_a_canonical_chest_keeps_its_fine_detail_where_it_is_bent(shift: float) -> None:
    chest, style = CanonicalChest(style=6, size=66), torch.randn(1, 6)
    with torch.no_grad():
        chest.pictures.copy_(torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(9)[:33].expand_as(chest.pictures))
        chest.deformation.shifts.bias[:64] = 2 * shift / 32  # x by a part of one of 32 steps
        drawn = chest(style)[1]
        full = chest.GAIN * chest.shares(style).sum().abs()
    assert drawn.shape == (1, 1, 66, 66)
    assert drawn[..., 8:-8].std() > 0.9 * full


@pytest.mark.parametrize("square", [2, 4])
def test_smoothing_takes_whatever_comes_again_in_every_square_and_keeps_slopes(square: int) -> None:
    torch.manual_seed(0)
    grid = torch.randn(square, square).repeat(48 // square, 48 // square)[None, None]
    inner = smoothed(grid, square)[..., 16:-16, 16:-16]
    assert torch.allclose(inner, grid.mean(), atol=1e-6)
    slope = torch.linspace(0, 1, 48).expand(1, 1, 48, 48)
    assert torch.allclose(smoothed(slope, square)[..., 16:-16, 16:-16], slope[..., 16:-16, 16:-16], atol=1e-6)
    picture = torch.randn(2, 1, 48, 48)
    padded = F.pad(picture, (square // 2,) * 4, mode="replicate")
    means = F.avg_pool2d(F.avg_pool2d(padded, square, 1), 2, 1)
    torch.testing.assert_close(smoothed(picture, square), means)
    once = torch.zeros(1, 1, 49, 49)
    once[..., 24, 24] = 1
    spread = smoothed(once, square)
    assert torch.allclose(spread.sum(), torch.tensor(1.0))
    assert torch.allclose(spread, spread.flip(2, 3)), "a pixel stays where it is"


def test_no_style_makes_sub_pixels_without_bounds(report: tuple) -> None:
    generator = ReportGenerator(32, width=4, subpixel=2, noise_size=8, condition_width=16, token_width=12)
    noise, condition = torch.randn(2, 8), torch.randn(2, 16)
    with torch.no_grad():
        usual, wild = (generator(n, condition, *report).abs().max() for n in (noise, 1000 * noise))
    assert wild < 10 * usual


def test_canonical_maps_reach_the_picture_and_learn(report: tuple) -> None:
    generator = ReportGenerator(
        64, width=4, subpixel=2, noise_size=8, condition_width=16, token_width=12, canonical_maps=True
    )
    maps = [block.maps for block in generator.blocks if block.maps is not None]
    assert [m.shape[-1] for m in maps] == [16, 32]
    noise, condition = torch.randn(2, 8), torch.randn(2, 16)
    generator(noise, condition, *report).square().sum().backward()
    learned = [*maps, generator.canonical.pictures]
    assert all(m.grad.abs().max() > 0 for m in learned)
    with torch.no_grad():
        for m in learned:
            m.normal_()
    generator(noise, condition, *report).square().sum().backward()
    assert generator.canonical.deformation.shifts.weight.grad.abs().max() > 0


def test_padding_tokens_are_not_read(report: tuple) -> None:
    tokens, mask = report
    conditioner = TextConditioner(12, views=3, condition_width=16)
    attention = CrossAttention(8, 12)
    torch.nn.init.ones_(attention.gate)
    features, view = torch.randn(2, 8, 4, 4), torch.tensor([0, 0])
    changed = torch.where(mask[..., None], tokens, tokens + 100)
    assert torch.allclose(conditioner(tokens, mask, view), conditioner(changed, mask, view), atol=1e-5)
    assert torch.allclose(attention(features, tokens, mask), attention(features, changed, mask), atol=1e-5)


def test_the_view_changes_the_condition(report: tuple) -> None:
    conditioner = TextConditioner(12, views=3, condition_width=16)
    assert not torch.allclose(conditioner(*report, torch.tensor([0, 0])), conditioner(*report, torch.tensor([1, 1])))


def test_fresh_attention_changes_nothing(report: tuple) -> None:
    features = torch.randn(2, 8, 4, 4)
    assert torch.equal(CrossAttention(8, 12)(features, *report), features)


def test_discriminator_reads_one_picture_under_two_reports_with_one_trunk() -> None:
    judge = ReportDiscriminator(64, width=4, subpixel=2, condition_width=16)
    pictures, conditions = torch.randn(3, 1, 64, 64), torch.randn(3, 16)
    logits = judge(pictures, conditions)
    assert logits.shape == (3,)
    assert torch.allclose(judge.head(judge.features(pictures), conditions), logits)
    assert not torch.allclose(judge(pictures, torch.randn(3, 16)), logits)


def test_only_a_discriminator_that_knows_its_places_can_tell_left_from_right() -> None:
    """Through 1x1 convolutions and a maximum a mirrored map reads the same; the borders of the trunk are left out."""
    seen = Seen(torch.randn(2, 32, 8, 8), torch.zeros(2, 16, 16, 16))
    mirrored = seen._replace(features=seen.features.flip(3))
    for places in (False, True):
        torch.manual_seed(0)
        judge = ReportDiscriminator(64, width=4, subpixel=1, condition_width=16, names=Targets(TARGETS), places=places)
        same = torch.allclose(judge.named(seen), judge.named(mirrored))
        assert same is not places
        assert judge.named(seen).shape == (2, len(TARGETS))


def test_local_evidence_names_a_finding_where_it_lies() -> None:
    torch.manual_seed(0)
    judge = ReportDiscriminator(64, width=4, subpixel=1, condition_width=16, names=Targets(TARGETS), places=True)
    torch.nn.init.zeros_(judge.shown.weight)
    with torch.no_grad():
        judge.shown.weight[FINDINGS.index("mass"), 0, 1, 1] = 1.0
    finer = torch.zeros(1, 16, 16, 16)
    nothing = Seen(torch.zeros(1, 32, 8, 8), finer)
    finer = finer.clone()
    finer[0, 0, 3, 12] = 5.0
    with torch.no_grad():
        gained = judge.named(nothing._replace(finer=finer)) - judge.named(nothing)
    gained = dict(zip(TARGETS, gained[0].tolist(), strict=True))
    assert gained.pop("mass") == pytest.approx(5 - math.log(256) / SHARPNESS, abs=1e-3)
    assert gained.pop("mass_left") == pytest.approx(5 - math.log(128) / SHARPNESS, abs=1e-3)
    assert gained.pop("mass_upper") > 4
    assert set(gained.values()) == {0.0}
    assert judge.evidence(nothing).shape == (1, len(Targets(TARGETS).looks), 16, 16)


def test_patches_see_their_neighbourhood_alone() -> None:
    judge = ReportDiscriminator(256, width=4, subpixel=4, condition_width=16)
    picture = torch.randn(1, 1, 256, 256)
    changed = picture.clone()
    changed[..., :8, :8] += 1
    patches, after = judge.patches(picture), judge.patches(changed)
    assert patches.shape == (1, 3, 32, 32)
    assert torch.equal(judge.look(picture).features, judge.features(picture))
    for level, reach in zip((patches != after)[0], (4, 6, 12), strict=True):
        assert level[0, 0]
        assert not level[reach:].any()
        assert not level[:, reach:].any()


def test_the_smallest_patches_see_fine_structure_alone() -> None:
    judge = PatchPyramid(width=4, subpixel=4)
    slope = torch.linspace(-1, 1, 256).expand(1, 1, 256, 256)
    fine = slope + 0.02 * torch.tensor([1.0, -1.0]).repeat(128)
    flat, sloped, seen = (judge(x)[:, 0, 4:-4, 4:-4] for x in (torch.zeros_like(slope), slope, fine))
    assert torch.allclose(sloped, flat, atol=1e-5)
    assert (seen - flat).abs().min() > 1e-3


@pytest.mark.parametrize("subpixel", [1, 2, 4])
def test_the_structure_of_a_picture_is_what_a_smoothing_takes(subpixel: int) -> None:
    pyramid, picture = PatchPyramid(width=2, subpixel=subpixel).double(), torch.rand(2, 1, 32, 32).double()
    line = torch.tensor([1, 4, 6, 4, 1]).double() / 16
    smooth = F.conv2d(F.pad(picture, (2,) * 4, mode="replicate"), torch.outer(line, line)[None, None])
    taken = F.pixel_shuffle(pyramid.structure_of(picture), subpixel)
    assert torch.allclose(taken, picture - smooth, rtol=0, atol=1e-12)


def test_patches_of_a_part_are_those_of_the_picture_there() -> None:
    pyramid, picture = PatchPyramid(width=4, subpixel=4), torch.randn(1, 1, 256, 256)
    whole, there = pyramid.by_size(picture), pyramid.by_size(picture, picture[..., 64:192, 32:160])
    assert [tuple(x.shape[2:]) for x in there] == [(16, 16), (16, 16), (8, 8)]
    inside = slice(3, -3)
    assert torch.allclose(there[0][..., inside, inside], whole[0][..., 8:24, 4:20][..., inside, inside], atol=1e-5)
    assert all(torch.equal(*pair) for pair in zip(there[1:], whole[1:], strict=True))


def test_a_fresh_generator_draws_without_a_grid(report: tuple) -> None:
    generator = ReportGenerator(64, width=4, subpixel=4, noise_size=8, condition_width=16, token_width=12)
    pictures = generator(torch.randn(2, 8), torch.randn(2, 16), *report)
    squares = pictures.unfold(2, 4, 4).unfold(3, 4, 4)
    assert squares.std((-2, -1)).max() < 1e-5


def test_the_layout_says_where_a_finding_lies_as_far_as_the_report_does() -> None:
    said = torch.zeros(3, len(TARGETS))
    said[0, [TARGETS.index(t) for t in ("mass", "mass_left", "mass_upper")]] = 1
    said[1, [TARGETS.index(t) for t in ("mass", "effusion", "effusion_left", "effusion_right", "hernia")]] = 1
    mass, effusion, hernia = (
        Targets(TARGETS).laid_out(said, 16)[:, FINDINGS.index(f)] for f in ("mass", "effusion", "hernia")
    )
    assert (mass[0, :5, 9:] == 1).all()
    assert not mass[0, 8:].any()
    assert not mass[0, :, :7].any()
    assert all((maps[1] == 1).all() for maps in (mass, effusion, hernia))
    assert not torch.stack([effusion[0], hernia[0], mass[2]]).any()


def test_a_large_finding_is_laid_out_where_the_finding_is() -> None:
    targets = Targets(TARGETS)
    said = torch.zeros(1, len(TARGETS))
    said[:, [TARGETS.index(t) for t in ("mass", "mass_left", "mass_upper", "mass_large", "hernia", "hernia_large")]] = 1
    maps = dict(zip(targets.looks, targets.laid_out(said, 16)[0], strict=True))
    assert targets.findings == FINDINGS
    assert targets.large(said)[0].tolist() == [float(f == "mass") for f in SIDED_FINDINGS]
    assert torch.equal(maps["mass_large"], maps["mass"])
    assert torch.equal(maps["hernia_large"], maps["hernia"])
    assert {look for look, found in maps.items() if found.any()} == {"mass", "mass_large", "hernia", "hernia_large"}


def test_a_height_that_is_half_believed_beside_another_does_not_count() -> None:
    said = torch.zeros(1, len(TARGETS))
    said[:, [TARGETS.index(t) for t in ("mass", "mass_left")]] = 1
    said[:, TARGETS.index("mass_upper")] = 0.99
    clear = Targets(TARGETS).in_zones(said, 16)
    said[:, TARGETS.index("mass_lower")] = 0.7
    assert torch.equal(Targets(TARGETS).in_zones(said, 16), clear)
    assert not clear[0, SIDED_FINDINGS.index("mass"), 12:].any()


def test_a_height_that_is_not_sure_is_kept_to() -> None:
    said = torch.zeros(200, len(TARGETS))
    said[:, [TARGETS.index(t) for t in ("mass", "mass_left")]] = 1
    said[:, TARGETS.index("mass_upper")] = 0.8
    layout, mass = Layout(Targets(TARGETS), {16: 4}, noise_size=8), SIDED_FINDINGS.index("mass")
    layout.usual[mass] = 1e-4
    layout.usual[mass, 10] = 1
    places = layout.places(said, torch.randn(200, 8, generator=torch.Generator().manual_seed(0)))
    assert (places[:, mass, 0, 0] < 0.47).float().mean() > 0.99


def test_the_layout_reaches_the_picture(report: tuple) -> None:
    torch.manual_seed(0)
    generator = ReportGenerator(64, 4, 1, noise_size=8, condition_width=16, token_width=12, layout=Targets(TARGETS))
    noise, condition, said = torch.randn(2, 8), torch.randn(2, 16), torch.zeros(2, len(TARGETS))
    asked = said.clone()
    asked[:, [TARGETS.index(t) for t in ("mass", "mass_left", "mass_upper")]] = 1
    for block in generator.blocks:
        torch.nn.init.zeros_(block.texture)
    without, with_it = (generator(noise, condition, *report, s) for s in (said, asked))
    changed = (without - with_it).abs()
    assert changed[..., :24, 40:].mean() > 10 * changed[..., 48:, :16].mean()


def test_a_spot_lies_where_the_noise_says_and_the_words_allow() -> None:
    layout, mass = Layout(Targets(TARGETS), {16: 4}, noise_size=8), SIDED_FINDINGS.index("mass")
    said = torch.zeros(50, len(TARGETS))
    said[:, [TARGETS.index(t) for t in ("mass", "mass_left", "mass_upper")]] = 1
    noise = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    places = layout.places(said, noise)
    assert torch.equal(places, layout.places(said, noise))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(places, layout.places(said, noise))
    left = places[:, mass, 0]
    assert (left[:, 0] < 0.47).all()
    assert (left[:, 1] > 0.43).all()
    assert left.std(0).min() > 0.08
    maps = Targets(TARGETS).spots(said, places, 64)
    assert not maps[:, [k for k in range(len(SIDED_FINDINGS)) if k != mass]].any()
    found = torch.stack([m[mass].flatten().argmax() for m in maps])
    assert (torch.stack([found // 64, found % 64], 1) / 64 - left).abs().max() < 1 / 64
    layout.usual.zero_()[mass, 3, 12] = 1
    assert (layout.places(said, noise)[:, mass, 0] * 16).floor().unique(dim=0).tolist() == [[3, 12]]


def test_what_lies_on_the_midline_has_one_place_and_no_side() -> None:
    targets = Targets(TARGETS, midline=("hernia",))
    layout, hernia = Layout(targets, {16: 4}, noise_size=8), targets.placed.index("hernia")
    said = torch.zeros(20, len(TARGETS))
    said[:, [TARGETS.index(t) for t in ("hernia", "hernia_large", "mass", "mass_upper")]] = 1
    assert torch.equal(targets.on_sides(said)[:, hernia], torch.tensor([1.0, 0.0]).expand(20, 2))
    assert (targets.in_zones(said, 16)[:, hernia] == 1).all()
    assert (targets.large(said)[:, hernia] == 1).all()
    layout.usual[hernia] = 0
    layout.usual[hernia, 12, 6:10] = 1
    places = layout.places(said, torch.randn(20, 8, generator=torch.Generator().manual_seed(0)))
    assert set((places[:, hernia, 0] * 16).long()[:, 1].tolist()) > {7, 8}
    maps = targets.spots(said, places, 64)
    assert maps[:, hernia, 48:52].amax((1, 2)).min() > 0.9
    assert maps[:, hernia, :16].max() < 1e-6


def test_places_that_are_known_come_first(report: tuple) -> None:
    torch.manual_seed(0)
    generator = ReportGenerator(64, 4, 1, noise_size=8, condition_width=16, token_width=12, layout=Targets(TARGETS))
    noise, condition = torch.randn(2, 8), torch.randn(2, 16)
    said = torch.full((2, len(TARGETS)), 0.5)
    for block in generator.blocks:
        torch.nn.init.zeros_(block.texture)
    free = generator(noise, condition, *report, said)
    known = generator(noise, condition, *report, said, torch.full((1, len(SIDED_FINDINGS), 2, 2), 0.1))
    assert not torch.allclose(free[0], known[0], atol=1e-3)
    assert torch.allclose(free[1], known[1], atol=1e-5)


def test_posterior_has_a_bounded_variance() -> None:
    mean, log_variance = PosteriorEncoder(64, 4, 2, 8)(100 * torch.randn(3, 1, 64, 64))
    assert mean.shape == log_variance.shape == (3, 8)
    assert log_variance.max() <= 2
    assert log_variance.min() >= -8


def test_a_posterior_of_a_coarse_picture_does_not_see_what_is_inside_its_squares() -> None:
    torch.manual_seed(0)
    encoder, picture = PosteriorEncoder(64, 4, 2, 8, seen=16), torch.randn(1, 1, 64, 64)
    lesion = torch.zeros_like(picture)
    lesion[..., 20:22, 20:24], lesion[..., 22:24, 20:24] = 1, -1
    whole = PosteriorEncoder(64, 4, 2, 8)
    assert torch.allclose(encoder(picture)[0], encoder(picture + lesion)[0], atol=1e-5)
    assert not torch.allclose(encoder(picture)[0], encoder(picture + 1)[0], atol=1e-3)
    assert not torch.allclose(whole(picture)[0], whole(picture + lesion)[0], atol=1e-5)


def test_vgg_features_halve_in_size_and_the_classifier_says_a_logit_a_finding() -> None:
    vgg = Vgg(((4,), (8,), (16, 16)), classes=5)
    pictures = torch.randn(2, 1, 32, 32)
    assert [tuple(f.shape) for f in vgg.features(pictures)] == [(2, 4, 32, 32), (2, 8, 16, 16), (2, 16, 8, 8)]
    assert vgg(pictures).shape == (2, 5)
    assert FindingsClassifier(15, 8)(torch.randn(2, 1, 64, 64)).shape == (2, 15)


def test_log_mean_exp_lies_between_the_mean_and_the_maximum() -> None:
    maps = torch.randn(2, 3, 4, 4)
    pooled = log_mean_exp(maps, 4.0)
    assert (pooled > maps.mean((2, 3))).all()
    assert (pooled < maps.amax((2, 3))).all()
    assert torch.allclose(log_mean_exp(maps, 1e-3), maps.mean((2, 3)), atol=1e-2)
    assert torch.allclose(log_mean_exp(maps, 1e3), maps.amax((2, 3)), atol=1e-2)
