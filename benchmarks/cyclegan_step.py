"""A CycleGAN step of radsynth against a textbook one: same networks, weights, batch and losses.

The textbook step calls each generator once for each image it translates, all in float32, with PyTorch's ordinary Adam
and convolutions. Gradients of both are compared in float64 before any time is taken; then both are timed in turn.

Run as ``python -m benchmarks.cyclegan_step``.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from radsynth import settings as settings_module
from radsynth.networks.resnet_generator import FewChannelConv2d
from radsynth.settings import TrainCyclegan
from radsynth.training.cyclegan import GEOMETRY, build_networks, build_optimizers, build_phases, with_air
from radsynth.training.device import Device, pick_device
from radsynth.training.pool import ImagePool
from radsynth.training.slices import Pair, Slices

Step = Callable[[], None]


def textbook_networks(networks: nn.ModuleDict) -> nn.ModuleDict:
    """The same weights with ordinary convolutions throughout."""
    networks = copy.deepcopy(networks)
    for module in networks.modules():
        if isinstance(module, FewChannelConv2d):
            module.__class__ = nn.Conv2d
    return networks


def textbook_step(networks: nn.ModuleDict, batch: Pair, own: TrainCyclegan, learning_rate: float) -> Step:
    """Zhu et al. 2017 as it is usually written down."""
    g, f, d_ct, d_mr = (networks[n] for n in ("mr_to_ct", "ct_to_mr", "discriminator_ct", "discriminator_mr"))
    betas = (0.5, 0.999)
    generators = torch.optim.Adam([*g.parameters(), *f.parameters()], lr=learning_rate, betas=betas)
    discriminators = torch.optim.Adam([*d_ct.parameters(), *d_mr.parameters()], lr=learning_rate, betas=betas)
    pools = {"ct": ImagePool(own.pool_size, 0), "mr": ImagePool(own.pool_size, 1)}
    heads = own.head_channels

    def show(image: Tensor, place: Tensor) -> Tensor:
        return torch.cat([image, place], 1) if heads else image

    def go(generator: nn.Module, image: Tensor, place: Tensor) -> Tensor:
        if not heads:
            return generator(image)
        start = place[:, 1:2] if generator is g else place[:, 2:3]
        return with_air(generator(torch.cat([image, place, start], 1)) + start, place, heads)

    def step() -> None:
        (x, dx, *_), (y, dy, *_) = batch.mr, batch.ct
        x, y = with_air(x, dx, heads), with_air(y, dy, heads)
        for judge in (d_ct, d_mr):
            judge.requires_grad_(False)
        generators.zero_grad()
        fake_y, fake_x = go(g, x, dx), go(f, y, dy)
        adversarial = (d_ct(show(fake_y, dx)) - 1).square().mean() + (d_mr(show(fake_x, dy)) - 1).square().mean()
        cycle = (go(f, fake_y, dx) - x).abs().mean() + (go(g, fake_x, dy) - y).abs().mean()
        identity = (go(g, y, dy) - y).abs().mean() + (go(f, x, dx) - x).abs().mean()
        total = own.weight_adversarial * adversarial + own.weight_cycle * cycle + own.weight_identity * identity
        total.backward()
        generators.step()
        discriminators.zero_grad()
        for name, judge, real, depth, fake, fake_depth in (
            ("ct", d_ct, y, dy, fake_y, dx),
            ("mr", d_mr, x, dx, fake_x, dy),
        ):
            judge.requires_grad_(True)
            old, old_depth = pools[name].exchange(torch.cat([fake, fake_depth], 1).detach()).split([1, GEOMETRY], 1)
            loss = (judge(show(real, depth)) - 1).square().mean() + judge(show(old, old_depth)).square().mean()
            (0.5 * loss).backward()
        discriminators.step()

    return step


def radsynth_step(networks: nn.ModuleDict, batch: Pair, own: TrainCyclegan, precision: str) -> Step:
    """The phases that `train_cyclegan` plays."""
    pools = {"ct": ImagePool(own.pool_size, 0), "mr": ImagePool(own.pool_size, 1)}
    optimizers = build_optimizers(networks, own)
    device = Device(torch.device("cpu"), precision)
    phases = build_phases(networks, optimizers, pools, own, device, nn.ModuleDict(), 0)

    def step() -> None:
        for phase in phases:
            for network in networks.values():
                network.requires_grad_(any(network is mine for mine in phase.modules))
            phase.optimizer.zero_grad(set_to_none=True)
            phase.accumulate(batch)
            phase.optimizer.step()

    return step


def largest_gradient_difference(own: TrainCyclegan, batch: Pair) -> float:
    """Relative to the largest gradient of each parameter, in float64, after one step at learning rate 0."""
    own = own.model_copy(update={"learning_rate": 0.0})
    batch = Pair(*(Slices(*(t.double() for t in slices)) for slices in (batch.mr, batch.ct)), batch.images_seen)
    ours = build_networks(own, seed=0).double()
    textbook = textbook_networks(ours)
    radsynth_step(ours, batch, own, "32-true")()
    textbook_step(textbook, batch, own, 0.0)()
    theirs = dict(textbook.named_parameters())
    return max(
        float((p.grad - theirs[name].grad).abs().max() / theirs[name].grad.abs().max())
        for name, p in ours.named_parameters()
    )


def random_batch(batch_size: int, side: int) -> Pair:
    """Discs of noise, as deep as they are wide."""
    random = torch.Generator().manual_seed(0)
    place = torch.linspace(-1, 1, side)
    radius = torch.hypot(place[:, None], place[None, :])
    depth = torch.where(radius < 0.8, 0.8 - radius, -1.0)
    rows, columns = torch.meshgrid(place, place, indexing="ij")
    geometry = torch.stack([depth, rows, columns]).expand(batch_size, -1, -1, -1).contiguous()
    images = (torch.rand(batch_size, 1, side, side, generator=random) * 2 - 1 for _ in range(2))
    none = torch.empty(batch_size, 0, side, side)
    return Pair(*(Slices(image, geometry, none, none) for image in images), images_seen=0)


def main() -> None:
    """Prove the gradients equal, then time both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=128, help="pixels")
    parser.add_argument("--steps", type=int, default=7, help="steps of each kind that are timed")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    own = settings_module.load().train_cyclegan.model_copy(update={"weight_anatomy": 0.0})  # the textbook has none

    difference = largest_gradient_difference(own, random_batch(own.batch_size, arguments.side // 2))
    print(f"largest relative difference of gradients in float64: {difference:.1e}")
    if difference > 1e-8:
        raise SystemExit("the gradients differ: no time is taken")

    batch = random_batch(own.batch_size, arguments.side)
    precision = pick_device(own.precision).precision
    ours = build_networks(own, seed=0)
    steps = {
        "textbook float32": textbook_step(textbook_networks(ours), batch, own, own.learning_rate),
        f"radsynth {precision}": radsynth_step(ours, batch, own, precision),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in range(arguments.steps + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repetition:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name}: {1000 * median:.0f} ms a step of {own.batch_size} pairs, {arguments.side}x{arguments.side}")
    textbook, radsynth = medians.values()
    print(f"ratio: {textbook / radsynth:.2f} (wanted: at least 1.5)")


if __name__ == "__main__":
    main()
