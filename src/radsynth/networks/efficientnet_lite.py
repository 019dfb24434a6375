"""EfficientNet-Lite0: the picture features of a network that was trained on photographs, for judging distributions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, kernel, stride of the first block, expansion and channels of each stage."""
FEATURES = 1280


class _SameConv(nn.Conv2d):
    """Convolution padded as TensorFlow's SAME: the odd pixel goes to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        down, across = (
            max((-(-extent // stride) - 1) * stride + kernel - extent, 0)
            for extent, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        )
        if down % 2 or across % 2:
            x = F.pad(x, [across // 2, across - across // 2, down // 2, down - down // 2])
            down = across = 0
        return F.conv2d(x, self.weight, self.bias, self.stride, (down // 2, across // 2), 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel, narrow without an activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand_conv = _SameConv(inputs, wide, 1, bias=False) if expansion > 1 else None
        self.bn0 = _norm(wide) if expansion > 1 else None
        self.depthwise_conv = _SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self.bn1 = _norm(wide)
        self.project_conv = _SameConv(wide, outputs, 1, bias=False)
        self.bn2 = _norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand_conv is None else F.relu6(self.bn0(self.expand_conv(x)), inplace=True)
        y = self.bn2(self.project_conv(F.relu6(self.bn1(self.depthwise_conv(y)), inplace=True)))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-B0 without squeeze-and-excitation, with ReLU6: 4.7 million weights, 0.4 GFLOP at 224x224.

    Module names are those of the published PyTorch weights without their leading underscores.

    References
    ----------
    Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", table 1; the Lite
    variant: TensorFlow TPU models, efficientnet/lite.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = _SameConv(3, 32, 3, stride=2, bias=False), _norm(32)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for repeat in range(repeats):
                blocks.append(_Block(inputs, outputs, kernel, 1 if repeat else stride, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.conv_head, self.bn1 = _SameConv(inputs, FEATURES, 1, bias=False), _norm(FEATURES)
        self.fc = nn.Linear(FEATURES, classes)

    def maps(self, picture: Tensor, blocks: int | None = None) -> Tensor:
        """Feature maps after the first `blocks` blocks (112 channels, 1/16 of the side for 11); all for None."""
        x = F.relu6(self.bn0(self.conv_stem(picture)), inplace=True)
        for block in self.blocks[:blocks]:
            x = block(x)
        return x

    def features(self, picture: Tensor) -> Tensor:
        """Pooled features (B, 1280) of pictures (B, 3, H, W), (grey value 0..255 - 127) / 128."""
        return F.relu6(self.bn1(self.conv_head(self.maps(picture))), inplace=True).mean((2, 3))

    def forward(self, picture: Tensor) -> Tensor:
        """Logits (B, classes) of the ImageNet classes."""
        return self.fc(self.features(picture))

    def fold_norms(self) -> EfficientNetLite0:
        """Put every batch norm into the convolution before it, for use alone: equal outputs, by fewer passes."""
        self.eval()
        pairs = [(self, "conv_stem", "bn0"), (self, "conv_head", "bn1")]
        for block in self.blocks:
            pairs += [(block, "expand_conv", "bn0")] if block.expand_conv is not None else []
            pairs += [(block, "depthwise_conv", "bn1"), (block, "project_conv", "bn2")]
        for owner, conv, norm in pairs:
            setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
            setattr(owner, norm, nn.Identity())
        return self
