"""Time one report-GAN step against a textbook float32 loop of the same networks, batch and losses.

The textbook passes a real picture through the discriminator once for its own and once for the mismatched report, and
real and drawn pictures one after the other; radsynth reads each picture once, together, in bfloat16. The gradients of
both are proven equal in float64 before any time is taken.

    python -m benchmarks.report_gan_step
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch

from radsynth.losses.relativistic import relativistic_loss
from radsynth.networks.report_gan import PosteriorEncoder
from radsynth.networks.vgg import Vgg
from radsynth.settings import TrainReportGan, load
from radsynth.training.device import Device
from radsynth.training.report_gan import ReportBatch, ReportGan, build_phases

CPU = torch.device("cpu")
TOKENS = 80


def random_batch(batch_size: int, size: int, token_width: int, dtype: torch.dtype) -> ReportBatch:
    """Random pictures and reports, long after the warm-up, at a step without the lazy penalty."""
    torch.manual_seed(1)

    def text() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        tokens = torch.randn(batch_size, TOKENS, token_width, dtype=dtype)
        return tokens, torch.ones(batch_size, TOKENS, dtype=torch.bool), torch.zeros(batch_size, dtype=torch.int64)

    return ReportBatch(torch.rand(batch_size, 1, size, size, dtype=dtype) * 2 - 1, *text(), *text(), step=8_000_001)


def textbook_discriminator_move(gan: ReportGan, encoder: PosteriorEncoder, b: ReportBatch, s: TrainReportGan) -> None:
    """Three passes of the discriminator, one after the other."""
    with torch.no_grad():
        condition = gan.conditioner(b.tokens, b.mask, b.view)
        other = gan.conditioner(b.other_tokens, b.other_mask, b.other_view)
        half = (len(b.pictures) + 1) // 2
        mean, log_variance = encoder(b.pictures[:half])
        noise = torch.randn(len(b.pictures), gan.noise_size)
        noise = torch.cat([mean + noise[:half] * (log_variance / 2).exp(), noise[half:]])
        fake = gan.generator(noise, condition, b.tokens, b.mask).to(b.pictures.dtype)
    on_real, on_fake = gan.discriminator(b.pictures, condition), gan.discriminator(fake, condition)
    on_other = gan.discriminator(b.pictures, other)
    loss = relativistic_loss(on_real, on_fake) + s.weight_mismatch * relativistic_loss(on_real, on_other)
    (s.weight_adversarial * loss).backward()


def networks(s: TrainReportGan, size: int, token_width: int) -> tuple[ReportGan, PosteriorEncoder, Vgg]:
    """The quickstart's networks, freshly drawn."""
    torch.manual_seed(0)
    gan = ReportGan(size, s.width, s.subpixel, s.noise_size, token_width)
    gan.conditioner.requires_grad_(False)
    encoder = PosteriorEncoder(size, max(s.width // 2, 4), s.subpixel, s.noise_size)
    return gan, encoder, Vgg(((12,), (24,), (48, 48), (96, 96))).requires_grad_(False)


def largest_gradient_difference(s: TrainReportGan) -> float:
    """Of the discriminator's gradients in float64, relative to the largest gradient."""
    gan, encoder, vgg = (n.double() for n in networks(s, 64, 24))
    batch = random_batch(4, 64, 24, torch.float64)
    phases, _ = build_phases(gan, encoder, vgg, s, Device(CPU, "32-true"))
    found = []
    for move in (lambda: phases[0].accumulate(batch), lambda: textbook_discriminator_move(gan, encoder, batch, s)):
        gan.discriminator.zero_grad()
        torch.manual_seed(2)
        move()
        found.append(torch.cat([p.grad.flatten() for p in gan.discriminator.parameters()]))
    return ((found[0] - found[1]).abs().max() / found[1].abs().max()).item()


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
    fast_phases, _ = build_phases(gan, encoder, vgg, s, Device(CPU, s.precision))
    slow_phases, _ = build_phases(*plain, s, Device(CPU, "32-true"))

    def textbook() -> None:
        textbook_discriminator_move(plain[0], plain[1], batch, s)
        slow_phases[1].accumulate(batch)

    def ours() -> None:
        for phase in fast_phases:
            phase.accumulate(batch)

    seconds: dict[str, list[float]] = {"textbook float32": [], f"radsynth {s.precision}": []}
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
