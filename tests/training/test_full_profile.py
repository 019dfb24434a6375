"""The networks of the profile `full` at their real size take a step, on whatever machine the tests run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from radsynth.configure import configure
from radsynth.networks.vgg import Vgg
from radsynth.settings import Settings, load
from radsynth.training.cyclegan import build_networks, build_optimizers
from radsynth.training.cyclegan import build_phases as cyclegan_phases
from radsynth.training.device import Device
from radsynth.training.loop import Phase
from radsynth.training.pool import ImagePool
from radsynth.training.report_gan import ReportBatch, build_phases, fresh_networks
from radsynth.training.slices import Pair, Slices
from radsynth.vocabulary import PLACED_FINDINGS, TARGETS

CPU = Device(torch.device("cpu"), "32-true")
SIZE, BERT_WIDTH, WORDS = 256, 768, 40


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    params = tmp_path_factory.mktemp("full") / "params.yaml"
    configure(["profile=full"], Path(__file__).parents[2] / "conf", params)
    return load(params)


def take_a_step(phases: list[Phase], everybody: list[nn.Module], batch: object) -> None:
    """Every player moves once, the others frozen; all it says is finite, and it moves what it trains.

    A tenth may stay: nothing bends the canonical chest while its pictures are blank.
    """
    for phase in phases:
        for module in everybody:
            module.requires_grad_(any(module is own for own in phase.modules))
        before = [p.detach().clone() for module in phase.modules for p in module.parameters()]
        losses = phase.accumulate(batch)
        phase.optimizer.step()
        after = [p for module in phase.modules for p in module.parameters()]
        assert losses
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert all(torch.isfinite(p).all() for p in after)
        moved = [not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
        assert sum(moved) > 0.9 * len(moved)


def test_the_report_gan_of_the_full_profile_takes_a_step(full: Settings) -> None:
    own = full.train_report_gan
    torch.manual_seed(0)
    gan, encoder = fresh_networks(own, SIZE, BERT_WIDTH)
    gan.conditioner.requires_grad_(False)
    vgg = Vgg(((64, 64), (128, 128))).requires_grad_(False)
    phases, _ = build_phases(gan, encoder, vgg, own, CPU, torch.ones(len(TARGETS)), 0)
    words = [
        torch.randn(2, WORDS, BERT_WIDTH),
        torch.ones(2, WORDS, dtype=torch.bool),
        torch.zeros(2, dtype=torch.long),
    ]
    with_penalty = own.reconstruction_images * own.r1_every
    targets = (torch.rand(2, len(TARGETS)) < 0.2).float()
    places = torch.rand(2, len(PLACED_FINDINGS), 2, 2)
    batch = ReportBatch(torch.rand(2, 1, SIZE, SIZE) * 2 - 1, *words, *words, targets, places, step=with_penalty)
    take_a_step(phases, [gan.generator, gan.discriminator, encoder], batch)


def test_the_cyclegan_of_the_full_profile_takes_a_step(full: Settings) -> None:
    own = full.train_cyclegan
    networks = build_networks(own, 0)
    pools = {name: ImagePool(own.pool_size, 0) for name in ("ct", "mr")}
    phases = cyclegan_phases(networks, build_optimizers(networks, own), pools, own, CPU, nn.ModuleDict(), 0)
    torch.manual_seed(0)
    mr, ct = (Slices(*(torch.rand(1, channels, SIZE, SIZE) * 2 - 1 for channels in (1, 3, 0, 0))) for _ in ("mr", "ct"))
    take_a_step(phases, list(networks.values()), Pair(mr, ct, 0))
