"""The report GAN's game: who learns from what, and that what is drawn depends on the seed alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from radsynth.errors import NonFiniteLoss, RadsynthError
from radsynth.networks.report_gan import PosteriorEncoder
from radsynth.networks.vgg import Vgg
from radsynth.settings import TrainReportGan
from radsynth.training import report_gan
from radsynth.training.chest_data import ChestSet, learnable
from radsynth.training.device import pick_device
from radsynth.training.findings import masked_bce
from radsynth.training.models import load_model, save_model
from radsynth.training.report_gan import (
    ReportGan,
    balanced,
    build_phases,
    generate,
    load_report_gan,
    other_reports,
    report_batches,
    same_crop,
    taught,
    train_conditioner,
    train_report_gan,
    warm_up_naming,
)
from radsynth.vocabulary import PLACED_FINDINGS, TARGETS

SETTINGS = TrainReportGan(
    views=("frontal",),
    images_seen=32,
    text_warmup_images=640,
    naming_warmup_images=0,
    reconstruction_images=0,
    batch_size=4,
    width=4,
    subpixel=2,
    noise_size=8,
    learning_rate=1e-3,
    discriminator_learning_rate=1e-3,
    ema_half_life_images=16,
    weight_adversarial=1.0,
    weight_l1=10.0,
    weight_l1_small=1.0,
    weight_l2=1.0,
    weight_perceptual=1.0,
    weight_texture=1.0,
    weight_patches=0.5,
    low_pass_pixels=2,
    patch_crop=16,
    perceptual_crop=16,
    weight_mismatch=0.5,
    hard_mismatch=True,
    weight_findings=1.0,
    weight_places=0.1,
    discriminator_places=True,
    switch_sides=True,
    mix_sentences=True,
    attention_gate=0.5,
    canonical_maps=True,
    layout=True,
    posterior_pixels=32,
    discriminator_width=4,
    balance_findings=0.0,
    weight_kl=0.01,
    whiten_noise=True,
    discriminator_shift_pixels=0,
    r1_gamma=1.0,
    r1_every=2,
    checkpoint_images=16,
    validate_images=16,
    precision="32-true",
)


def anywhere(chest_set: ChestSet) -> torch.Tensor:
    return torch.full((len(chest_set), len(PLACED_FINDINGS), 2, 2), 0.5)


def game(chest_set: ChestSet, **changes: object) -> tuple:
    """A fresh game, its first batch, and what each move reports."""
    torch.manual_seed(0)
    settings = SETTINGS.model_copy(update=changes)
    gan = ReportGan(32, 4, 2, 8, 12, names=True, places=True)
    gan.conditioner.requires_grad_(False)
    encoder = PosteriorEncoder(32, 4, 2, 8, whiten=True)
    vgg = Vgg(((4,), (8,))).requires_grad_(False)
    phases, _ = build_phases(gan, encoder, vgg, settings, pick_device(), torch.ones(len(TARGETS)), 0)
    return gan, encoder, phases, report_batches(chest_set, anywhere(chest_set), 4, 0)(0)


def test_the_discriminator_learns_to_name_findings_before_the_game(chest_set: ChestSet) -> None:
    torch.manual_seed(0)
    discriminator = ReportGan(32, 4, 2, 8, 12, names=True, places=True).discriminator
    everyone = np.arange(len(chest_set))
    learned = torch.from_numpy(learnable(chest_set.targets, 3).astype(np.float32))

    def error() -> float:
        with torch.no_grad():
            logits = discriminator.named(discriminator.look(chest_set.pictures(everyone)))
        return float(masked_bce(logits, torch.from_numpy(chest_set.targets), learned))

    before = error()
    warm_up_naming(discriminator, chest_set, anywhere(chest_set), 1280, 0, pick_device())
    assert error() < 0.9 * before


def has_gradient(module: torch.nn.Module) -> bool:
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_the_discriminator_move_teaches_the_discriminator_alone(chest_set: ChestSet) -> None:
    gan, encoder, (generator_phase, discriminator_phase), batch = game(chest_set)
    generator_phase.accumulate(batch)
    for module in (gan.generator, gan.discriminator, encoder):
        module.zero_grad()
    discriminator_phase.accumulate(batch)
    assert has_gradient(gan.discriminator)
    assert not has_gradient(gan.generator)
    assert not has_gradient(encoder)


def test_the_generator_move_teaches_generator_and_encoder(chest_set: ChestSet) -> None:
    gan, encoder, (generator_phase, _), batch = game(chest_set)
    gan.discriminator.requires_grad_(False)
    generator_phase.accumulate(batch)
    assert has_gradient(gan.generator)
    assert has_gradient(encoder)
    assert not has_gradient(gan.discriminator)


@pytest.mark.parametrize(
    ("weight", "loss"),
    [
        ("weight_adversarial", "g_adversarial"),
        ("weight_l1", "g_l1"),
        ("weight_l2", "g_l2"),
        ("weight_perceptual", "g_perceptual"),
        ("weight_texture", "g_texture"),
        ("weight_patches", "g_patches"),
        ("weight_findings", "g_findings"),
    ],
)
def test_a_weight_of_zero_removes_its_term_and_no_other(chest_set: ChestSet, weight: str, loss: str) -> None:
    gone = {loss, "g_patches"} if loss == "g_adversarial" else {loss}
    *_, (generator_phase, _), batch = game(chest_set)
    all_losses = set(generator_phase.accumulate(batch))
    *_, (generator_phase, _), batch = game(chest_set, **{weight: 0.0})
    assert set(generator_phase.accumulate(batch)) == all_losses - gone
    assert gone < all_losses


def test_the_discriminator_learns_from_the_very_pictures_that_were_drawn(chest_set: ChestSet) -> None:
    gan, _, (generator_phase, discriminator_phase), batch = game(chest_set)
    seen = []
    hook = gan.discriminator.trunk.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    generator_phase.accumulate(batch)
    drawn = seen[0]
    discriminator_phase.accumulate(batch)
    hook.remove()
    assert any(x.shape[0] == 8 and torch.equal(x[4:], drawn) for x in seen)


def test_the_discriminator_sees_every_picture_moved(chest_set: ChestSet) -> None:
    gan, _, phases, batch = game(chest_set, discriminator_shift_pixels=3)
    drawn, seen = [], []
    gan.generator.register_forward_hook(lambda module, inputs, output: drawn.append(output.detach()))
    gan.discriminator.trunk.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    for phase in phases:
        phase.accumulate(batch)
    assert has_gradient(gan.generator)
    real_and_drawn = torch.cat([batch.pictures, drawn[0]])

    def move(shown: torch.Tensor, picture: torch.Tensor) -> list[tuple[int, int]]:
        inner = shown[..., 3:-3, 3:-3]
        return [(y, x) for y in range(7) for x in range(7) if torch.equal(inner, picture[..., y : y + 26, x : x + 26])]

    in_discriminator_move = next(x for x in seen if len(x) == 8)
    moves = [move(*pair) for pair in zip(in_discriminator_move, real_and_drawn, strict=True)]
    assert all(len(found) == 1 for found in moves)
    assert len({found[0] for found in moves}) > 4
    assert [len(move(*pair)) for pair in zip(seen[0], drawn[0], strict=True)] == [1] * 4
    assert [len(move(*pair)) for pair in zip(seen[1], batch.pictures, strict=True)] == [1] * 4


def test_a_crop_is_the_same_square_of_all() -> None:
    picture = torch.arange(64.0).view(1, 1, 8, 8)
    one, other = same_crop(3, picture, picture + 100)
    assert one.shape == (1, 1, 3, 3)
    assert torch.equal(one + 100, other)
    assert same_crop(0, picture)[0] is picture
    assert same_crop(8, picture)[0] is picture


def test_a_mismatched_report_names_another_finding_or_side(chest_set: ChestSet) -> None:
    chosen = np.arange(len(chest_set))
    others = other_reports(chest_set, chosen, 0)
    sides = chest_set.frame["side_effusion"].to_numpy()
    assert (sides[others] != sides[chosen]).all()


def test_the_nearest_mismatch_differs_least(chest_set: ChestSet) -> None:
    chosen = np.arange(len(chest_set))
    chest_set.frame["label_mass"], chest_set.frame["zone_mass"] = chosen % 2, np.where(chosen % 2, "mid", "")
    targets = chest_set.targets

    def differences(nearest: bool) -> np.ndarray:
        others = other_reports(chest_set, chosen, 0, nearest=nearest)
        return (targets[others] != targets[chosen]).sum(1)

    assert (differences(True) > 0).all()
    assert (differences(True) <= differences(False)).all()
    assert differences(True).sum() < differences(False).sum()


def test_a_hard_mismatch_is_the_own_report_with_its_sides_exchanged(chest_set: ChestSet) -> None:
    soft, hard = (report_batches(chest_set, anywhere(chest_set), 16, 0, hard=hard)(16) for hard in (False, True))
    assert torch.equal(soft.tokens, hard.tokens)
    one_sided = soft.targets[:, TARGETS.index("effusion")] == 1
    assert 0 < one_sided.sum() < 16
    exchanged = hard.tokens[one_sided][..., [1, 0, *range(2, 12)]]
    assert torch.equal(hard.other_tokens[one_sided], exchanged)
    assert not torch.equal(soft.other_tokens[one_sided], exchanged)
    assert torch.equal(
        report_batches(chest_set, anywhere(chest_set), 16, 0, hard=True)(0).other_tokens,
        report_batches(chest_set, anywhere(chest_set), 16, 0)(0).other_tokens,
    )


def test_the_conditioner_learns_to_tell_the_sides_apart(chest_set: ChestSet) -> None:
    conditioner, outcome = train_conditioner(chest_set, 6400, 0, pick_device())
    assert outcome.history[-1]["text_cross_entropy"] < 0.2 * outcome.history[0]["text_cross_entropy"]
    assert not any(p.requires_grad for p in conditioner.parameters())


def test_the_conditioner_never_says_what_it_could_not_learn(chest_set: ChestSet) -> None:
    conditioner, _ = train_conditioner(chest_set, 640, 0, pick_device())
    said = conditioner.said(conditioner(*chest_set.text(np.arange(len(chest_set))))).sigmoid()
    learned = taught(chest_set)
    assert 0 < learned.sum() < len(TARGETS)
    assert said[:, ~learned].max() < 0.001
    assert said[:, learned].max() > 0.5


def test_balanced_examples_show_every_finding_about_as_often() -> None:
    labels = np.zeros((1000, 3), np.float32)
    labels[:300, 0] = labels[300:310, 1] = labels[310:313, 2] = 1
    chosen = np.random.default_rng(0).integers(0, 1000, 4000)
    half = balanced(labels, chosen, 0.5, (1, 2))
    common, rare, too_rare = labels[half].sum(0)
    assert rare == pytest.approx(1000, rel=0.15), "half of the half that is exchanged"
    assert common == pytest.approx(1000 + 0.3 * 2000, rel=0.15)
    assert too_rare < 20
    assert np.array_equal(half, balanced(labels, chosen, 0.5, (1, 2)))
    assert np.array_equal(balanced(labels, chosen, 0.0, 3), chosen)
    assert np.array_equal(balanced(np.zeros((9, 2)), np.arange(9), 1.0, 3), np.arange(9))


def test_the_discriminator_may_be_narrower() -> None:
    gan = ReportGan(32, 8, 2, 8, 12, discriminator_width=4)
    assert gan.discriminator.trunk.channels[0] < ReportGan(32, 8, 2, 8, 12).discriminator.trunk.channels[0]
    again = ReportGan(**gan.arguments)
    again.load_state_dict(gan.state_dict())


def test_what_is_drawn_depends_on_the_seed_and_the_place_in_the_list(chest_set: ChestSet) -> None:
    torch.manual_seed(0)
    gan, text = ReportGan(32, 4, 2, 8, 12).eval(), chest_set.text(np.arange(6))
    drawn = generate(gan, *text, seed=5, device=pick_device())
    assert drawn.shape == (6, 32, 32)
    assert np.array_equal(drawn, generate(gan, *text, seed=5, device=pick_device()))
    assert np.abs(drawn - generate(gan, *text, seed=6, device=pick_device())).mean() > 1e-3
    fewer = generate(gan, *(t[:3] for t in text), seed=5, device=pick_device())
    assert np.allclose(fewer, drawn[:3], atol=1e-4)
    later = generate(gan, *(t[3:] for t in text), seed=5, device=pick_device(), first=3)
    assert np.allclose(later, drawn[3:], atol=1e-4), "a part of a list is drawn as in the whole"


def test_a_penalty_that_is_no_number_stops_the_training(chest_set: ChestSet, monkeypatch) -> None:
    monkeypatch.setattr(report_gan, "gradient_penalty", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    sets = {"train": chest_set, "validation": chest_set}
    with pytest.raises(NonFiniteLoss, match="d_penalty"):
        train_report_gan(sets, Vgg(((4,), (8,))).requires_grad_(False), SETTINGS, seed=1, device=pick_device())


def test_training_gives_the_same_model_twice_and_it_survives_the_disk(chest_set: ChestSet, tmp_path: Path) -> None:
    sets = {"train": chest_set, "validation": chest_set}
    vgg = Vgg(((4,), (8,))).requires_grad_(False)
    first, outcome = train_report_gan(sets, vgg, SETTINGS, seed=1, device=pick_device())
    again, _ = train_report_gan(sets, vgg, SETTINGS, seed=1, device=pick_device())
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert {"d_realism", "d_mismatch", "g_adversarial", "g_l1", "g_perceptual"} <= set(outcome.history[-1])
    save_model(tmp_path / "m", first.state_dict(), {"network": first.arguments})
    loaded, _ = load_report_gan(tmp_path / "m")
    text = chest_set.text(np.arange(2))
    assert np.array_equal(
        generate(loaded, *text, seed=0, device=pick_device()), generate(first, *text, seed=0, device=pick_device())
    )
    assert {p.name for p in (tmp_path / "m").iterdir()} == {"weights.safetensors", "model.json"}
    assert load_model(tmp_path / "m")[1]["network"]["width"] == 4


def test_a_model_of_another_version_is_told_in_one_line(tmp_path: Path) -> None:
    gan = ReportGan(32, 4, 2, 8, 12)
    save_model(tmp_path / "before", gan.state_dict(), {"network": gan.arguments | {"targets": 37}})
    few = {name: weight for name, weight in gan.state_dict().items() if "labels" not in name}
    save_model(tmp_path / "fewer", few, {"network": gan.arguments})
    for folder in ("before", "fewer"):
        with pytest.raises(RadsynthError, match=r"of another version.*train it again"):
            load_report_gan(tmp_path / folder)
