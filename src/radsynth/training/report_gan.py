"""The game of the report GAN: which player moves how, and why.

With a report's features t, its condition c (from a conditioner trained on finding labels and then frozen), noise z, a
real picture x and a report c' of other findings, a batch is cut in two halves: one draws z from the posterior E(x) and
must reconstruct x, the other draws z from N(0, I) and is only judged. So the L1 loss does not average the noise away.
What E(x) of all training pictures is together is whitened to N(0, I) (`networks.whitening`).

    L_D = w_adv [ f(D(G(z,t), c) - D(x, c)) + w_mis f(D(x, c') - D(x, c)) + w_pat f(P(G) - P(x)) ] + gamma/2 (R1 + R2)
    L_G = w_adv [ f(D(x, c) - D(G(z,t), c)) + w_pat f(P(x) - P(G)) ]
          + w_l1 |G - x|_1 + w_small |G - x|_1 where small findings lie + w_l2 |G - x|_2^2 + w_perc |VGG(G) - VGG(x)|_1
          + w_tex |s(VGG(G)) - s(VGG(x))|_1 + w_kl KL(E(x) || N(0, I))     (first half)

    and w_find [BCE(C(x), y) + w_pl CE(e(x), p)] to L_D, w_find BCE(C(G(z,t)), y) to L_G, with y the findings and sides
    of the report, p where a small one lies (`finding_places.py`), e the evidence of it, place by place

with P the discriminator's logits of a pyramid of patches, C its naming of findings (Odena et al. 2017, AC-GAN, on real
pictures alone), s the local standard deviation of features (after Sajjadi et al. 2017, eq. 6), and f = softplus: the
relativistic pairing loss of R3GAN (Huang et al. 2024, eq. 2), the penalties lazily every `r1_every` steps (Karras et
al. 2020) on D plus the mean of w_pat P, the halves of BicycleGAN (Zhu et al. 2017, eqs. 5-9), mismatched reports of
GAN-INT-CLS (Reed et al. 2016), every second time as like the own one as can be, patches of pix2pix (Isola et al. 2017).
D sees every picture, real or drawn, moved by a few pixels (DiffAugment, Zhao et al. 2020), and learns less of them by
heart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from radsynth.losses.reconstruction import (
    kl_to_standard_normal,
    l1_loss,
    l2_loss,
    low_pass,
    perceptual_loss,
    texture_loss,
    weighted_l1,
)
from radsynth.losses.relativistic import gradient_penalty, relativistic_loss
from radsynth.networks.layout import Targets
from radsynth.networks.report_gan import PosteriorEncoder, ReportDiscriminator, ReportGenerator, Seen
from radsynth.networks.text import TextConditioner
from radsynth.networks.vgg import Vgg
from radsynth.settings import TrainReportGan
from radsynth.training.chest_data import OTHER_SIDE, ChestSet, learnable
from radsynth.training.device import NETWORK_LAYOUT, Device
from radsynth.training.ema import Ema
from radsynth.training.finding_places import add_seen_places, place_loss, shadow_places, usual_places
from radsynth.training.findings import FindingsPlan, labels_phase, masked_bce, predict, shifted
from radsynth.training.loop import Follow, Outcome, Phase, linear_decay, train
from radsynth.training.mixed_reports import mixed_reports
from radsynth.training.models import load_model, of_this_version, part_of
from radsynth.training.sampler import batch_indices
from radsynth.training.scores import in_common_units, joint_features, kernel_distance
from radsynth.vocabulary import MIDLINE_FINDINGS, TARGETS, VIEWS

SMALL_FINDINGS = ("nodule",)
"""Findings too small to change a picture as a whole: they are told by what is seen at one place alone."""

CONDITION_WIDTH = 128
DRAWN_TOGETHER = 16
"""Pictures that are drawn at a time."""

MAX_GRADIENT_NORM = 20.0
"""Of each player; about the norm of an ordinary step. One wild batch would otherwise throw a norm-free network off."""


@dataclass(frozen=True)
class ReportBatch:
    """Pictures with their reports, and for each a report of other findings; `step` counts batches.

    `places` (B, n, 2, 2) tells where the findings lie, as `networks.layout.Targets.spots` takes it.
    """

    pictures: Tensor
    tokens: Tensor
    mask: Tensor
    view: Tensor
    other_tokens: Tensor
    other_mask: Tensor
    other_view: Tensor
    targets: Tensor
    places: Tensor
    step: int

    def to(self, device: torch.device) -> ReportBatch:
        """The batch on a device."""
        moved = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in vars(self).items()}
        return ReportBatch(**moved)


class ReportGan(nn.Module):
    """What is needed to draw, and to judge what was drawn: conditioner, generator, discriminator.

    Parameters
    ----------
    size, width, subpixel, noise_size, attention_gate, canonical_maps, layout
        See `ReportGenerator`.
    token_width
        Width of the BERT features.
    attention_at
        Resolutions of the generator with cross-attention.
    places, names
        See `ReportDiscriminator`.
    discriminator_width
        Its `width`; by default the generator's.
    """

    def __init__(
        self,
        size: int,
        width: int,
        subpixel: int,
        noise_size: int,
        token_width: int,
        attention_at: tuple[int, ...] = (16,),
        attention_gate: float = 0.0,
        places: bool = False,
        names: bool = False,
        discriminator_width: int | None = None,
        canonical_maps: bool = False,
        layout: bool = False,
    ) -> None:
        super().__init__()
        self.arguments = {
            "size": size,
            "width": width,
            "subpixel": subpixel,
            "noise_size": noise_size,
            "token_width": token_width,
            "attention_at": list(attention_at),
            "attention_gate": attention_gate,
            "places": places,
            "names": names,
            "discriminator_width": discriminator_width or width,
            "canonical_maps": canonical_maps,
            "layout": layout,
        }
        self.noise_size = noise_size
        self.conditioner = TextConditioner(token_width, len(VIEWS), CONDITION_WIDTH, targets=len(TARGETS))
        self.targets = targets = Targets(TARGETS, small=SMALL_FINDINGS, midline=MIDLINE_FINDINGS)
        self.generator = ReportGenerator(
            size, width, subpixel, noise_size, CONDITION_WIDTH, token_width,
            tuple(attention_at), attention_gate, canonical_maps, targets if layout else None,
        )  # fmt: skip
        self.discriminator = ReportDiscriminator(
            size,
            discriminator_width or width,
            subpixel,
            CONDITION_WIDTH,
            names=targets if names else None,
            places=places,
        )

    def forward(self, noise: Tensor, tokens: Tensor, mask: Tensor, view: Tensor) -> Tensor:
        """Pictures (B, 1, S, S) float32 in -1..1 from noise (B, noise_size) and reports."""
        return self.draw(noise, self.conditioner(tokens, mask, view), tokens, mask).clamp(-1, 1)

    def draw(
        self, noise: Tensor, condition: Tensor, tokens: Tensor, mask: Tensor, places: Tensor | None = None
    ) -> Tensor:
        """What the generator makes of noise and reports of which the condition is known already."""
        with torch.no_grad():
            said = self.conditioner.said(condition).sigmoid()
        return self.generator(noise, condition, tokens, mask, said, places)


@torch.inference_mode()
def generate(
    gan: ReportGan,
    tokens: Tensor,
    mask: Tensor,
    view: Tensor,
    *,
    seed: int,
    device: Device,
    batch_size: int = DRAWN_TOGETHER,
    first: int = 0,
) -> np.ndarray:
    """Draw one picture a report.

    The noise of the i-th picture depends on (seed, first + i) alone, whatever the batch size; the texture noise inside
    the generator on (seed, batch).

    Parameters
    ----------
    first
        Number of the first picture, where these are a part of more.

    Returns
    -------
    numpy.ndarray
        float32 (B, S, S) in -1..1.
    """
    drawn = []
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for start in range(0, len(tokens), batch_size):
            rows = slice(start, start + batch_size)
            numbers = range(first + start, first + min(start + batch_size, len(tokens)))
            noise = np.stack([np.random.default_rng((seed, i)).standard_normal(gan.noise_size) for i in numbers])
            torch.manual_seed(seed + first + start)
            text = (t[rows].to(device.device) for t in (tokens, mask, view))
            with device.autocast():
                pictures = gan(torch.from_numpy(noise.astype(np.float32)).to(device.device), *text)
            drawn.append(pictures[:, 0].float().cpu().numpy())
    return np.concatenate(drawn)


def as_batch(pictures: np.ndarray) -> Tensor:
    """Pictures (B, S, S) as a batch (B, 1, S, S) that networks read."""
    return torch.from_numpy(pictures)[:, None]


def taught(data: ChestSet) -> np.ndarray:
    """The findings and sides that conditioner and discriminator learn from `data`: bool (len(TARGETS),)."""
    return learnable(data.targets, 3)


def train_conditioner(
    data: ChestSet,
    images_seen: int,
    seed: int,
    device: Device,
    batch_size: int = 64,
    *,
    switch_sides: bool = True,
    mix_sentences: bool = True,
) -> tuple[TextConditioner, Outcome]:
    """Teach the conditioner to say a report's findings with their sides and zones; text alone, then frozen.

    What too few reports say to be learned it never says.

    Parameters
    ----------
    switch_sides
        Exchange left and right, in text and labels, in every second batch: a few hundred reports name a finding on
        one side too seldom for the words to be told from the company they keep.
    mix_sentences
        In two of every four batches learn from `mixed_reports`, for the same reason.
    """
    torch.manual_seed(seed)
    conditioner = TextConditioner(data.token_width, len(VIEWS), CONDITION_WIDTH, targets=len(TARGETS)).to(device.device)
    conditioner.taught.copy_(torch.from_numpy(taught(data)))
    targets, weight = data.targets, conditioner.taught.float()
    optimizer = torch.optim.Adam(conditioner.parameters(), lr=2e-3)

    def batch_at(seen: int) -> tuple[Tensor, ...]:
        chosen, step = batch_indices(len(data), batch_size, seen, seed), seen // batch_size
        switched = switch_sides and step % 2 == 1
        if mix_sentences and step % 4 >= 2:
            return mixed_reports(data, chosen, (seed, seen, 4), switched=switched)
        wanted = targets[chosen][:, OTHER_SIDE] if switched else targets[chosen]
        return (*data.text(chosen, np.full(len(chosen), switched)), torch.from_numpy(wanted))

    def accumulate(batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        tokens, mask, view, wanted = (t.to(device.device) for t in batch)
        loss = masked_bce(conditioner.said(conditioner(tokens, mask, view)), wanted, weight)
        loss.backward()
        return {"text_cross_entropy": loss.detach()}

    outcome = train(
        what="reading findings off the reports",
        phases=[Phase("text", (conditioner,), optimizer, accumulate, lambda n: linear_decay(n, images_seen, 2e-3))],
        batch_at=batch_at,
        batch_size=batch_size,
        images_seen=images_seen,
        device=device,
        state={},
        result=conditioner.state_dict,
    )
    return conditioner.eval().requires_grad_(False), outcome


def warm_up_naming(
    discriminator: ReportDiscriminator,
    data: ChestSet,
    places: Tensor,
    images_seen: int,
    seed: int,
    device: Device,
    batch_size: int = 16,
    weight_places: float = 0.0,
) -> None:
    """Teach a fresh discriminator to name findings and sides on real pictures, before the game begins.

    In the small batches of the game it hardly learns the small ones, and what it cannot name it cannot ask for.

    Parameters
    ----------
    places
        (len(data), n, 2, 2): of what is found by its shadow, see `finding_places.shadow_places`.
    """
    learned = torch.from_numpy(taught(data).astype(np.float32)).to(device.device)
    targets = len(TARGETS)

    def loss_of(pictures: Tensor, wanted: Tensor) -> Tensor:
        seen, said = discriminator.look(pictures), wanted[:, :targets]
        places = wanted[:, targets:].unflatten(1, (-1, 2, 2))
        loss = masked_bce(discriminator.named(seen), said, learned)
        return loss + weight_places * place_loss(discriminator, seen, said, places) if weight_places else loss

    labels = np.concatenate([data.targets, places.flatten(1).numpy()], 1)
    plan = FindingsPlan(images_seen, batch_size, 1e-3, seed)
    phase, batch_at = labels_phase("naming", discriminator, loss_of, data, labels, plan, device, MAX_GRADIENT_NORM)
    train(
        what="naming findings on real X-rays",
        phases=[phase],
        batch_at=batch_at,
        batch_size=batch_size,
        images_seen=images_seen,
        device=device,
        state={},
        result=discriminator.state_dict,
    )


def find_places(
    discriminator: ReportDiscriminator, data: ChestSet, settings: TrainReportGan, seed: int, device: Device
) -> tuple[Tensor, Tensor]:
    """Where findings lie on the training pictures; the discriminator learns to name them on the way.

    First what is found by its shadow, then naming is learned with it, then what the discriminator has evidence of.

    Returns
    -------
    places, usual
        See `finding_places.shadow_places`.
    """
    places, usual = shadow_places(data, device)
    if settings.weight_findings and settings.naming_warmup_images:
        warm_up_naming(
            discriminator, data, places, settings.naming_warmup_images, seed, device,
            batch_size=4 * settings.batch_size, weight_places=settings.weight_places,
        )  # fmt: skip
    if settings.layout:
        add_seen_places(discriminator, data, places, usual, device)
    return places, usual


def fresh_networks(settings: TrainReportGan, size: int, token_width: int) -> tuple[ReportGan, PosteriorEncoder]:
    """Untrained networks for pictures of `size` pixels and BERT features of `token_width`."""
    s = settings
    gan = ReportGan(
        size,
        s.width,
        s.subpixel,
        s.noise_size,
        token_width,
        attention_gate=s.attention_gate,
        places=s.discriminator_places,
        names=bool(s.weight_findings),
        discriminator_width=s.discriminator_width,
        canonical_maps=s.canonical_maps,
        layout=s.layout,
    )
    encoder = PosteriorEncoder(
        size, max(s.width // 2, 4), s.subpixel, s.noise_size, s.posterior_pixels, whiten=s.whiten_noise
    )
    return gan, encoder


def build_phases(
    gan: ReportGan,
    encoder: PosteriorEncoder,
    vgg: Vgg,
    settings: TrainReportGan,
    device: Device,
    learned: Tensor,
    seed: int,
) -> tuple[list[Phase], dict[str, torch.optim.Optimizer]]:
    """The two moves of a step; the equations are at the top of this file.

    The generator moves first, so that the discriminator learns from the very pictures that were just drawn.

    Parameters
    ----------
    learned
        (len(TARGETS),) 1 for findings and sides that are named often enough to be learned, else 0.
    seed
        Decides how far the discriminator's pictures are moved.
    """
    generator, discriminator, s = gan.generator, gan.discriminator, settings

    def adam(rate: float, *modules: nn.Module) -> torch.optim.Optimizer:
        parameters = list(chain.from_iterable(m.parameters() for m in modules))
        return torch.optim.Adam(parameters, lr=rate, betas=(0.5, 0.99), fused=True)

    optimizers = {
        "discriminator": adam(s.discriminator_learning_rate, discriminator),
        "generator": adam(s.learning_rate, generator, encoder),
    }

    drawn: dict[str, Tensor] = {}

    def warming(b: ReportBatch) -> bool:
        return b.step * len(b.pictures) < s.reconstruction_images

    def moved(pictures: Tensor, step: int, move: int) -> Tensor:
        """What the discriminator sees of pictures, real or drawn."""
        return shifted(pictures, np.random.default_rng((seed, step, move)), s.discriminator_shift_pixels)

    def whole_logit(pictures: Tensor, condition: Tensor) -> Tensor:
        logit = discriminator(pictures, condition)
        return logit + s.weight_patches * discriminator.patches(pictures).mean((1, 2, 3)) if s.weight_patches else logit

    def named(seen: Seen, targets: Tensor) -> Tensor:
        return masked_bce(discriminator.named(seen), targets, learned)

    def generator_move(batch: ReportBatch) -> dict[str, Tensor]:
        b = batch.to(device.device)
        half = len(b.pictures) if warming(b) else (len(b.pictures) + 1) // 2
        with device.autocast():
            with torch.no_grad():
                condition = gan.conditioner(b.tokens, b.mask, b.view)
            mean, log_variance = encoder(b.pictures[:half])
            noise = torch.randn(len(b.pictures) - half, gan.noise_size, device=device.device)
            noise = torch.cat([encoder.draw(mean, log_variance), noise])
            fake = gan.draw(noise, condition, b.tokens, b.mask, b.places[:half])
            drawn["fake"], drawn["condition"] = fake.detach(), condition
            rebuilt, target = fake[:half], b.pictures[:half]
            losses = {"g_kl": kl_to_standard_normal(mean, log_variance)}
            loss = s.weight_kl * losses["g_kl"]
            if (s.weight_adversarial or s.weight_findings) and not warming(b):
                shown = moved(fake, b.step, 0)
                seen = discriminator.look(shown)
                if s.weight_findings:
                    losses["g_findings"] = named(seen, b.targets)
                    loss = loss + s.weight_findings * losses["g_findings"]
                if s.weight_adversarial:
                    real = moved(b.pictures, b.step, 1)
                    with torch.no_grad():
                        on_real = discriminator(real, condition)
                    on_fake = discriminator.head(seen.features, condition)
                    losses["g_adversarial"] = relativistic_loss(on_fake, on_real)
                    loss = loss + s.weight_adversarial * losses["g_adversarial"]
                    if s.weight_patches:
                        shown_part, real_part = same_crop(s.patch_crop, shown, real)
                        with torch.no_grad():
                            real_patches = discriminator.patches.by_size(real, real_part)
                        losses["g_patches"] = patch_loss(discriminator.patches.by_size(shown, shown_part), real_patches)
                        loss = loss + s.weight_adversarial * s.weight_patches * losses["g_patches"]
            if s.weight_l1:
                losses["g_l1"] = l1_loss(low_pass(rebuilt, s.low_pass_pixels), low_pass(target, s.low_pass_pixels))
                loss = loss + s.weight_l1 * losses["g_l1"]
            if s.weight_l1_small:
                losses["g_l1_small"] = small_l1(rebuilt, target, b.targets[:half], b.places[:half])
                loss = loss + s.weight_l1_small * losses["g_l1_small"]
            if s.weight_l2:
                losses["g_l2"] = l2_loss(low_pass(rebuilt, s.low_pass_pixels), low_pass(target, s.low_pass_pixels))
                loss = loss + s.weight_l2 * losses["g_l2"]
            if s.weight_perceptual or s.weight_texture:
                rebuilt, target = same_crop(s.perceptual_crop, rebuilt, target)
                with torch.no_grad():
                    wanted = vgg.features(target)
                found = vgg.features(rebuilt)
                if s.weight_perceptual:
                    losses["g_perceptual"] = perceptual_loss(found, wanted)
                    loss = loss + s.weight_perceptual * losses["g_perceptual"]
                if s.weight_texture:
                    losses["g_texture"] = texture_loss(found, wanted)
                    loss = loss + s.weight_texture * losses["g_texture"]
        loss.backward()
        return {name: value.detach() for name, value in losses.items()}

    def discriminator_move(batch: ReportBatch) -> dict[str, Tensor]:
        if warming(batch):
            return {}
        b = batch.to(device.device)
        fake, condition = drawn["fake"], drawn["condition"]
        with device.autocast():
            with torch.no_grad():
                other = gan.conditioner(b.other_tokens, b.other_mask, b.other_view)
            pictures = moved(torch.cat([b.pictures, fake]), b.step, 2)
            seen = discriminator.look(pictures)
            on_pictures, on_drawn = (Seen(*half) for half in zip(*(t.chunk(2) for t in seen), strict=True))
            on_real, on_fake = (discriminator.head(x.features, condition) for x in (on_pictures, on_drawn))
            losses = {"d_realism": relativistic_loss(on_real, on_fake)}
            losses["d_mismatch"] = relativistic_loss(on_real, discriminator.head(on_pictures.features, other))
            loss = losses["d_realism"] + s.weight_mismatch * losses["d_mismatch"]
            if s.weight_patches:
                (part,) = same_crop(s.patch_crop, pictures)
                patches = [logits.chunk(2) for logits in discriminator.patches.by_size(pictures, part)]
                losses["d_patches"] = patch_loss(*zip(*patches, strict=True))
                loss = loss + s.weight_patches * losses["d_patches"]
            loss = s.weight_adversarial * loss
            if s.weight_findings:
                losses["d_findings"] = named(on_pictures, b.targets)
                loss = loss + s.weight_findings * losses["d_findings"]
                if s.weight_places:
                    losses["d_places"] = place_loss(discriminator, on_pictures, b.targets, b.places)
                    loss = loss + s.weight_findings * s.weight_places * losses["d_places"]
        if s.r1_gamma and batch.step % s.r1_every == 0:
            twice = torch.cat([condition, condition])
            with device.autocast():
                penalty = 2 * gradient_penalty(lambda x: whole_logit(x, twice), pictures)
            losses["d_penalty"] = penalty
            loss = loss + s.r1_gamma * s.r1_every * penalty
        loss.backward()
        losses |= {"logit_real": on_real.mean(), "logit_fake": on_fake.mean()}
        return {name: value.detach() for name, value in losses.items()}

    def small_l1(rebuilt: Tensor, target: Tensor, said: Tensor, places: Tensor) -> Tensor:
        """L1 where small findings lie: of all places they are too few to count."""
        spots = gan.targets.spots(said.nan_to_num(), places, rebuilt.shape[-1], small=True)
        return weighted_l1(rebuilt, target, spots.amax(1, keepdim=True))

    def decaying(rate: float) -> Callable[[int], float]:
        return lambda seen: linear_decay(seen, s.images_seen, rate)

    moves = (
        ("generator", (generator, encoder), generator_move, decaying(s.learning_rate)),
        ("discriminator", (discriminator,), discriminator_move, decaying(s.discriminator_learning_rate)),
    )
    phases = [
        Phase(name, modules, optimizers[name], move, rate, MAX_GRADIENT_NORM) for name, modules, move, rate in moves
    ]
    return phases, optimizers


def patch_loss(better: list[Tensor], worse: list[Tensor]) -> Tensor:
    """The relativistic loss of logits by size (`PatchPyramid.by_size`); each size counts alike."""
    return torch.stack([relativistic_loss(*pair) for pair in zip(better, worse, strict=True)]).mean()


def same_crop(side: int, *batches: Tensor) -> tuple[Tensor, ...]:
    """A random square of `side` pixels, the same of all batches (B, 1, S, S); the whole for 0.

    A loss that is a mean over places has the same expectation on it, but for the picture's edge, at a part of the cost.
    """
    size = batches[0].shape[-1]
    if not 0 < side < size:
        return batches
    y, x = torch.randint(size - side + 1, (2,)).tolist()
    return tuple(batch[..., y : y + side, x : x + side] for batch in batches)


def other_reports(
    data: ChestSet, chosen: np.ndarray, seed: int | tuple[int, ...], *, nearest: bool = False
) -> np.ndarray:
    """For each example the index of a report that names another set of findings, or another side; int64 (B,).

    Parameters
    ----------
    nearest
        Of 32 reports take the one that differs least, instead of the first.
    """
    signatures = np.nan_to_num(data.targets, nan=2.0)
    candidates = np.random.default_rng(seed).integers(0, len(data), (len(chosen), 32))
    differences = (signatures[candidates] != signatures[chosen][:, None]).sum(2)
    differs = differences > 0
    order = np.where(differs, differences, differences.max() + 1).argmin(1) if nearest else differs.argmax(1)
    return candidates[np.arange(len(chosen)), order]


def balanced(labels: np.ndarray, chosen: np.ndarray, share: float, seed: int | tuple[int, ...]) -> np.ndarray:
    """The examples `chosen`, a share of them exchanged for others: first a finding is drawn, then who shows it.

    A finding that one patient in fifty shows is otherwise met too seldom for its look to be learned.

    Parameters
    ----------
    labels
        (n, K): 1 present, 0 absent, NaN uncertain; findings that fewer than five show are left out.
    """
    findings = np.flatnonzero(learnable(labels)) if share else ()
    if not len(findings):
        return chosen
    random, found = np.random.default_rng(seed), chosen.copy()
    for place in np.flatnonzero(random.random(len(chosen)) < share):
        found[place] = random.choice(np.flatnonzero(labels[:, random.choice(findings)] == 1))
    return found


def report_batches(
    data: ChestSet, places: Tensor, batch_size: int, seed: int, *, hard: bool = False, balance: float = 0.0
) -> Callable[[int], ReportBatch]:
    """Images seen -> batch, each example with a report of other findings.

    Parameters
    ----------
    places
        (len(data), n, 2, 2), see `finding_places.py`.
    balance
        See `balanced`.
    hard
        In every second batch the other report is as like as can be: the own one with left and right exchanged where
        that makes a difference, else the nearest of some.
    """
    targets = data.targets
    one_sided = (np.nan_to_num(targets) != np.nan_to_num(targets[:, OTHER_SIDE])).any(1)

    def batch_at(seen: int) -> ReportBatch:
        step = seen // batch_size
        chosen = balanced(data.labels, batch_indices(len(data), batch_size, seen, seed), balance, (seed, seen, 3))
        alike = hard and step % 2 == 1
        others = other_reports(data, chosen, (seed, seen, 2), nearest=alike)
        mirrored = one_sided[chosen] & alike
        text = data.text(np.where(mirrored, chosen, others), mirrored)
        return ReportBatch(
            data.pictures(chosen), *data.text(chosen), *text, torch.from_numpy(targets[chosen]), places[chosen], step
        )

    return batch_at


def train_report_gan(
    sets: dict[str, ChestSet],
    vgg: Vgg,
    settings: TrainReportGan,
    *,
    seed: int,
    device: Device,
    checkpoint_folder: Path | None = None,
    show: Callable[[int, ReportGan], None] | None = None,
) -> tuple[ReportGan, Outcome]:
    """Train on the training split; the validation split chooses among the averaged generators.

    The choice is the kernel distance of joint (picture, report) features between real and drawn validation examples, in
    the features of `vgg`; the judging classifier and the test split have no part in it.

    Parameters
    ----------
    show
        Called with the images seen and the averaged model at every validation, for example to draw a grid; the
        discriminator it holds is the untrained one.
    """
    data = sets["train"]
    conditioner, _ = train_conditioner(
        data, settings.text_warmup_images, seed, device,
        switch_sides=settings.switch_sides, mix_sentences=settings.mix_sentences,
    )  # fmt: skip
    torch.manual_seed(seed)
    gan, encoder = fresh_networks(settings, data.size, data.token_width)
    gan.to(device.device, memory_format=NETWORK_LAYOUT)
    gan.conditioner.load_state_dict(conditioner.state_dict())
    gan.conditioner.requires_grad_(False)
    encoder.to(device.device, memory_format=NETWORK_LAYOUT)
    places, usual = find_places(gan.discriminator, data, settings, seed, device)
    if settings.layout:
        gan.generator.layout.usual.copy_(usual_places(usual))
    vgg = vgg.to(device.device)
    learned = torch.from_numpy(taught(data).astype(np.float32)).to(device.device)
    phases, optimizers = build_phases(gan, encoder, vgg, settings, device, learned, seed)
    ema = Ema(gan.generator, settings.ema_half_life_images)
    chosen = sets.get("validation", data)
    used = copy.deepcopy(gan).eval()
    used.generator = ema.network
    score = _validation_score(used, chosen, vgg, seed, device)

    def validate(seen: int) -> dict[str, float]:
        if show:
            show(seen, used)
        return {"validation_joint_kernel_distance": score()}

    outcome = train(
        what="training the report GAN",
        phases=phases,
        batch_at=report_batches(
            data, places, settings.batch_size, seed, hard=settings.hard_mismatch, balance=settings.balance_findings
        ),
        batch_size=settings.batch_size,
        images_seen=settings.images_seen,
        device=device,
        state={"gan": gan, "encoder": encoder, "ema": ema, **optimizers},
        result=lambda: {**gan.state_dict(), **{f"generator.{k}": v for k, v in ema.state_dict().items()}},
        follow=[Follow(gan.generator, ema)],
        checkpoint_folder=checkpoint_folder,
        checkpoint_images=settings.checkpoint_images,
        validate=validate,
        validate_images=settings.validate_images,
        score="validation_joint_kernel_distance",
    )
    gan.load_state_dict(outcome.best)
    return gan.eval().requires_grad_(False), outcome


def _validation_score(gan: ReportGan, data: ChestSet, vgg: Vgg, seed: int, device: Device) -> Callable[[], float]:
    """A function that draws one picture a validation report and gives its distance to the real ones."""
    text = data.text(np.arange(len(data)))

    def pooled(pictures: Tensor) -> Tensor:
        maps = [f.float().flatten(2) for f in vgg.features(pictures)]
        return torch.cat([f.mean(2) for f in maps] + [f.std(2) for f in maps], 1)

    real = predict(pooled, data.pictures, len(data), device)
    with torch.inference_mode():
        condition = gan.conditioner(*(t.to(device.device) for t in text)).float().cpu().numpy()
        widths = [f.shape[1] for f in vgg.features(data.pictures(np.arange(1)).to(device.device))]
    words = in_common_units(condition, condition, [condition.shape[1]])

    def joint(features: np.ndarray) -> np.ndarray:
        return joint_features(in_common_units(features, real, 2 * widths), words)

    def score() -> float:
        drawn = torch.from_numpy(generate(gan, *text, seed=seed, device=device))[:, None]
        fake = predict(pooled, lambda i: drawn[i], len(data), device)
        return kernel_distance(joint(real), joint(fake))

    return score


def load_report_gan(folder: str | Path) -> tuple[ReportGan, dict[str, Any]]:
    """A finished report GAN with its averaged weights, in eval mode, and its description.

    Raises
    ------
    RadsynthError
        Where the folder holds no model, or that of another version.
    """
    weights, description = load_model(folder)
    with of_this_version("report GAN", folder):
        gan = ReportGan(**description["network"])
        for name, module in gan.named_children():
            module.load_state_dict(part_of(weights, name))
    return gan.eval().requires_grad_(False).to(memory_format=NETWORK_LAYOUT), description
