"""The PatchGAN discriminator: one logit for each overlapping patch."""

from __future__ import annotations

from torch import Tensor, nn


def receptive_field(layers: int) -> int:
    """Side in pixels of the patch that one logit of `PatchGan(layers=layers)` sees: 16, 34, 70, 142 for 1 to 4."""
    side = 1 + 3 * 2  # the two convolutions of stride 1
    for _ in range(layers):
        side = 2 * side + 2  # a 4x4 convolution of stride 2: 2 (side - 1) + 4
    return side


def patch_places(layers: int) -> tuple[float, int]:
    """Pixel of the centre of the first patch of `PatchGan(layers=layers)`, and pixels from one centre to the next."""
    first, step = 0.0, 1
    for stride in (*[2] * layers, 1, 1):  # a 4x4 convolution, padded by 1: place i sees 2 i - 1 .. 2 i + 2 of its input
        first, step = first + 0.5 * step, step * stride
    return first, step


class PatchGan(nn.Module):
    """4x4 convolutions with LeakyReLU 0.2; the paper has InstanceNorm on all but the first and the last.

    InstanceNorm takes the mean and the contrast of every feature away, and with them the HU level that tells bone from
    soft tissue; Grad-CAM means nothing before it either. Without it, and initialised as He et al. 2015 do, this
    network learned to tell synthetic CT from real in 30 steps, where with it nothing was learned in 200.

    Parameters
    ----------
    in_channels
        Channels of the picture judged.
    width
        Filters of the first layer (64 in the paper), doubled by each layer up to eight times.
    layers
        Convolutions of stride 2. 3 makes the paper's 70x70 patches; 2 makes 34x34, a like share of a 128x128 picture.
    norm
        Use InstanceNorm.

    References
    ----------
    Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", section 6.1.2.
    """

    def __init__(self, in_channels: int = 1, width: int = 64, layers: int = 3, norm: bool = True) -> None:
        super().__init__()
        self.layers = layers
        channels = [width * min(2**i, 8) for i in range(layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, 2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        for i in range(1, layers + 1):
            stride = 2 if i < layers else 1
            parts += [
                # InstanceNorm removes the channel's mean, and the bias with it
                nn.Conv2d(channels[i - 1], channels[i], 4, stride, padding=1, bias=not norm),
                *([nn.InstanceNorm2d(channels[i])] if norm else []),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.body = nn.Sequential(*parts)
        self.last = nn.Conv2d(channels[-1], 1, 4, 1, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W), -1..1 -> logits (B, 1, h, w), large where a patch looks real."""
        return self.last(self.body(image))
