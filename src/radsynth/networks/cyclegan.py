"""The four networks of an MRI <-> CT CycleGAN."""

from __future__ import annotations

import torch
from torch import nn

from radsynth.networks.patchgan import PatchGan
from radsynth.networks.resnet_generator import ResnetGenerator


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw every convolution's weights from N(0, 0.02) and set its bias to zero, as Zhu et al. 2017 do.

    A discriminator without InstanceNorm would hardly pass anything on with weights so small: its convolutions but the
    last are drawn as He et al. 2015 do.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for judge in network.modules():
        if isinstance(judge, PatchGan) and not any(isinstance(m, nn.InstanceNorm2d) for m in judge.modules()):
            for module in judge.body:
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, 0.2, generator=generator)


def cyclegan_networks(
    generator_channels: int,
    discriminator_channels: int,
    width: int,
    blocks: int,
    discriminator_layers: int,
    seed: int,
    discriminator_norm: bool = False,
    skips: bool = False,
    last_weights: float = 0.02,
    end_kernel: int = 7,
) -> nn.ModuleDict:
    """Build and initialise `mr_to_ct`, `ct_to_mr`, `discriminator_ct` and `discriminator_mr`.

    Parameters
    ----------
    generator_channels, discriminator_channels
        Channels that they read: the image, and what is known about each pixel beside it.
    width
        Filters of the first layer of every network.
    blocks
        Residual blocks of a generator.
    discriminator_layers
        Convolutions of stride 2 in a discriminator.
    seed
        Of the initial weights.
    discriminator_norm
        Use InstanceNorm in the discriminators.
    skips
        Skip connections in the generators.
    last_weights
        Standard deviation of the weights of a generator's last convolution: small for one that says what differs from
        a picture that is nearly right.
    end_kernel
        Side of a generator's first and last convolution.
    """
    networks = nn.ModuleDict(
        {
            "mr_to_ct": ResnetGenerator(generator_channels, 1, width, blocks, skips, end_kernel),
            "ct_to_mr": ResnetGenerator(generator_channels, 1, width, blocks, skips, end_kernel),
            "discriminator_ct": PatchGan(discriminator_channels, width, discriminator_layers, discriminator_norm),
            "discriminator_mr": PatchGan(discriminator_channels, width, discriminator_layers, discriminator_norm),
        }
    )
    random = torch.Generator().manual_seed(seed)
    initialise(networks, random)
    for name in ("mr_to_ct", "ct_to_mr"):
        nn.init.normal_(networks[name].last[1].weight, 0.0, last_weights, generator=random)
    return networks
