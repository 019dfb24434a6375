"""The residual image-to-image generator of CycleGAN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _normalised_conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Reflection pad, convolution, InstanceNorm, ReLU: the picture's size is kept, or divided by `stride`."""
    return nn.Sequential(
        nn.ReflectionPad2d(kernel_size // 2),
        # InstanceNorm removes the channel's mean, and the bias with it
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, bias=False),
        nn.InstanceNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class FewChannelConv2d(nn.Conv2d):
    """A stride-1 convolution without padding to one or a few channels, as one matrix product and a shifted sum.

    Convolution kernels work on blocks of output channels, and most of a block is wasted on one: this is the same
    linear map at twice the speed on a CPU.
    """

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H - kernel_size + 1, W - kernel_size + 1)."""
        (side, _), (height, width) = self.kernel_size, features.shape[-2:]
        # taps[o, k] at a pixel is what this pixel gives to the output k rows and columns before it
        taps = torch.einsum("ock,bcp->bokp", self.weight.flatten(2).flip(-1), features.flatten(2)).flatten(1, 2)
        summed = F.fold(taps, (height + side - 1, width + side - 1), side)
        return summed[:, :, side - 1 : height, side - 1 : width] + self.bias[:, None, None]


class ResidualBlock(nn.Module):
    """x + F(x), F two 3x3 convolutions with InstanceNorm, a ReLU between them and none after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _normalised_conv(channels, channels, 3),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=False),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return features + self.body(features)


class ResnetGenerator(nn.Module):
    """Image to image: a convolution, two halvings, residual blocks, two doublings, a convolution, tanh.

    Doubling is nearest-neighbour resizing and a convolution: a transposed convolution leaves a checkerboard. The
    last convolution and the tanh run in float32 also under autocast: bfloat16 near 1.0 is a step of 5.9 HU for a
    window of 3000 HU. InstanceNorm is per sample and keeps no running statistics, so a batch of several images gives
    exactly what the images give one by one, and `train()` and `eval()` are the same function.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the picture read and of the picture made.
    width
        Filters at full size (64 in the paper); four times as many in the residual blocks.
    blocks
        Residual blocks (6 at 128x128, 9 at 256x256 in the paper).
    skips
        Each doubling also reads what the encoder saw at its size, as in a U-Net: edges need not pass a quarter of the
        resolution. Not in Zhu et al.
    end_kernel
        Side of the first and the last convolution, odd; 7 in the paper.

    References
    ----------
    Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", section 7.2.
    Johnson et al. 2016, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution".
    Odena et al. 2016, "Deconvolution and Checkerboard Artifacts".
    Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation".
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = 64,
        blocks: int = 9,
        skips: bool = False,
        end_kernel: int = 7,
    ) -> None:
        super().__init__()
        self.skips = skips
        self.encoder = nn.ModuleList(
            [
                _normalised_conv(in_channels, width, end_kernel),
                _normalised_conv(width, 2 * width, 3, stride=2),
                _normalised_conv(2 * width, 4 * width, 3, stride=2),
            ]
        )
        self.residual = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(blocks)))
        self.decoder = nn.ModuleList(
            [
                _normalised_conv((4 + 2 * skips) * width, 2 * width, 3),
                _normalised_conv((2 + skips) * width, width, 3),
            ]
        )
        self.last = nn.Sequential(
            nn.ReflectionPad2d(end_kernel // 2), FewChannelConv2d(width, out_channels, end_kernel)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Translate a picture.

        Parameters
        ----------
        image
            (B, in_channels, H, W), -1..1; H and W multiples of 4.

        Returns
        -------
        Tensor
            (B, out_channels, H, W), float32 (float64 for float64 input outside autocast), -1..1.
        """
        at_size = [image]
        for layer in self.encoder:
            at_size.append(layer(at_size[-1]))
        features = self.residual(at_size[-1])
        for layer, seen in zip(self.decoder, at_size[-2:0:-1], strict=True):
            features = F.interpolate(features, scale_factor=2, mode="nearest")
            features = layer(torch.cat([features, seen], 1) if self.skips else features)
        with torch.autocast(image.device.type, enabled=False):
            return torch.tanh(self.last(features.to(torch.promote_types(features.dtype, torch.float32))))
