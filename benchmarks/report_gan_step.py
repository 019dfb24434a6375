"""Time one report-GAN step against a textbook float32 loop of the same networks, batch and losses.

The textbook passes a real picture through the discriminator once for its own and once for the mismatched report, and
real and drawn pictures one after the other; radsynth reads each picture once, together, in bfloat16 where that is
faster. The gradients of both are proven equal in float64 before any time is taken.

    python -m benchmarks.report_gan_step
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import numpy as np
import torch
from torch import Tensor

from radsynth.losses.reconstruction import (
    kl_to_standard_normal,
    l1_loss,
    low_pass,
    perceptual_loss,
    texture_loss,
    weighted_l1,
)
from radsynth.losses.relativistic import relativistic_loss
from radsynth.networks.report_gan import PosteriorEncoder
from radsynth.networks.vgg import Vgg
from radsynth.settings import TrainReportGan, load
from radsynth.training.device import Device, pick_device
from radsynth.training.finding_places import place_loss
from radsynth.training.findings import masked_bce, shifted
from radsynth.training.loop import Phase
from radsynth.training.report_gan import ReportBatch, ReportGan, build_phases, fresh_networks, patch_loss, same_crop
from radsynth.vocabulary import PLACED_FINDINGS, TARGETS

CPU = torch.device("cpu")
TOKENS = 80
LEARNED = torch.ones(len(TARGETS))


def random_batch(batch_size: int, size: int, token_width: int, dtype: torch.dtype) -> ReportBatch:
    """Random pictures and reports, long after the warm-up, at a step without the lazy penalty."""
    torch.manual_seed(1)

    def text() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        tokens = torch.randn(batch_size, TOKENS, token_width, dtype=dtype)
        return tokens, torch.ones(batch_size, TOKENS, dtype=torch.bool), torch.zeros(batch_size, dtype=torch.int64)

    pictures = torch.rand(batch_size, 1, size, size, dtype=dtype) * 2 - 1
    targets = (torch.rand(batch_size, len(TARGETS)) < 0.1).to(dtype)
    places = torch.rand(batch_size, len(PLACED_FINDINGS), 2, 2, dtype=dtype)
    return ReportBatch(pictures, *text(), *text(), targets, places, step=8_000_001)


def textbook_step(gan: ReportGan, encoder: PosteriorEncoder, vgg: Vgg, b: ReportBatch, s: TrainReportGan) -> None:
    """Both moves call by call: every picture alone through the discriminator, every report alone."""
    with torch.no_grad():
        condition = gan.conditioner(b.tokens, b.mask, b.view)
        other = gan.conditioner(b.other_tokens, b.other_mask, b.other_view)
    half = (len(b.pictures) + 1) // 2
    mean, log_variance = encoder(b.pictures[:half])
    noise = torch.randn(len(b.pictures) - half, gan.noise_size)
    noise = torch.cat([encoder.draw(mean, log_variance), noise])
    fake = gan.draw(noise, condition, b.tokens, b.mask, b.places[:half])
    rebuilt, target = fake[:half], b.pictures[:half]
    judge = gan.discriminator

    def moved(x: Tensor, move: int) -> Tensor:
        return shifted(x, np.random.default_rng((b.step, move)), s.discriminator_shift_pixels)

    with torch.no_grad():
        real = moved(b.pictures, 1)
        on_real = judge(real, condition)
    loss = s.weight_kl * kl_to_standard_normal(mean, log_variance)
    shown = moved(fake, 0)
    drawn = judge.look(shown)
    loss = loss + s.weight_adversarial * relativistic_loss(judge.head(drawn.features, condition), on_real)
    shown_part, real_part = same_crop(s.patch_crop, shown, real)
    with torch.no_grad():
        real_patches = judge.patches.by_size(real, real_part)
    on_patches = patch_loss(judge.patches.by_size(shown, shown_part), real_patches)
    loss = loss + s.weight_adversarial * s.weight_patches * on_patches
    loss = loss + s.weight_findings * masked_bce(judge.named(drawn), b.targets, LEARNED.to(b.targets))
    loss = loss + s.weight_l1 * l1_loss(low_pass(rebuilt, s.low_pass_pixels), low_pass(target, s.low_pass_pixels))
    spots = gan.targets.spots(b.targets[:half].nan_to_num(), b.places[:half], rebuilt.shape[-1], small=True)
    loss = loss + s.weight_l1_small * weighted_l1(rebuilt, target, spots.amax(1, keepdim=True))
    crops = [vgg.features(x) for x in same_crop(s.perceptual_crop, rebuilt, target)]
    loss = loss + s.weight_perceptual * perceptual_loss(*crops) + s.weight_texture * texture_loss(*crops)
    loss.backward()
    judge.zero_grad()
    real, fake = moved(torch.cat([b.pictures, fake.detach()]), 2).chunk(2)
    seen, drawn = judge.look(real), judge.look(fake)
    on_real, on_fake = judge.head(seen.features, condition), judge.head(drawn.features, condition)
    on_other = judge(real, other)
    loss = relativistic_loss(on_real, on_fake) + s.weight_mismatch * relativistic_loss(on_real, on_other)
    real_part, fake_part = same_crop(s.patch_crop, real, fake)
    on_patches = patch_loss(judge.patches.by_size(real, real_part), judge.patches.by_size(fake, fake_part))
    loss = loss + s.weight_patches * on_patches
    named = masked_bce(judge.named(seen), b.targets, LEARNED.to(b.targets))
    placed = place_loss(judge, seen, b.targets, b.places)
    (s.weight_adversarial * loss + s.weight_findings * (named + s.weight_places * placed)).backward()


def radsynth_step(gan: ReportGan, phases: list[Phase], batch: ReportBatch) -> None:
    """The moves that `train_report_gan` plays, each network frozen while another learns."""
    for phase in phases:
        for module in (gan.generator, gan.discriminator):
            module.requires_grad_(module in phase.modules)
        phase.accumulate(batch)


def networks(s: TrainReportGan, size: int, token_width: int) -> tuple[ReportGan, PosteriorEncoder, Vgg]:
    """The quickstart's networks, freshly drawn."""
    torch.manual_seed(0)
    gan, encoder = fresh_networks(s, size, token_width)
    gan.conditioner.requires_grad_(False)
    return gan, encoder, Vgg(((12,), (24,), (48, 48), (96, 96))).requires_grad_(False)


def largest_gradient_difference(s: TrainReportGan) -> float:
    """Of all trained networks in float64, relative to the largest gradient of each network."""
    s = s.model_copy(update={"patch_crop": 32, "perceptual_crop": 32})
    batch, found = random_batch(4, 64, 24, torch.float64), []
    for ours in (True, False):
        gan, encoder, vgg = (n.double() for n in networks(s, 64, 24))
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(2)
        if ours:
            radsynth_step(
                gan, build_phases(gan, encoder, vgg, s, Device(CPU, "32-true"), LEARNED.double(), 0)[0], batch
            )
        else:
            textbook_step(gan, encoder, vgg, batch, s)
        torch.set_default_dtype(torch.float32)
        learned = (gan.generator, gan.discriminator, encoder)
        found.append([torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None]) for m in learned])
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*found, strict=True))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5, help="steps of each that are timed (default 5)")
    steps = parser.parse_args().steps
    s = load().train_report_gan
    print(f"largest difference of gradients in float64: {largest_gradient_difference(s):.1e}")
    gan, encoder, vgg = networks(s, 256, 384)
    batch = random_batch(s.batch_size, 256, 384, torch.float32)
    plain = [copy.deepcopy(n) for n in (gan, encoder, vgg)]
    precision = pick_device(s.precision).precision
    phases, _ = build_phases(gan, encoder, vgg, s, Device(CPU, precision), LEARNED, 0)

    def textbook() -> None:
        textbook_step(*plain, batch, s)

    def ours() -> None:
        radsynth_step(gan, phases, batch)

    seconds: dict[str, list[float]] = {"textbook float32": [], f"radsynth {precision}": []}
    for repetition in range(steps + 1):
        for name, step in zip(seconds, (textbook, ours), strict=True):
            start = time.perf_counter()
            step()
            if repetition:
                seconds[name].append(time.perf_counter() - start)
    medians = [statistics.median(values) for values in seconds.values()]
    for name, median in zip(seconds, medians, strict=True):
        print(f"{name}: {1000 * median:.0f} ms a step of {s.batch_size} pictures of 256x256")
    print(f"ratio: {medians[0] / medians[1]:.2f} (wanted: at least 1.5)")


if __name__ == "__main__":
    main()
