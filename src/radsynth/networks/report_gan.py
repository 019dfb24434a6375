"""Report -> chest X-ray: a residual generator, a norm-free projection discriminator, and a posterior encoder."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radsynth.networks.canonical_chest import MAPS_GAIN, CanonicalChest, deformed, exact, smoothed
from radsynth.networks.canonical_lesions import CanonicalLesions
from radsynth.networks.layout import Layout, Targets
from radsynth.networks.text import CrossAttention
from radsynth.networks.whitening import Whitening

LAYOUT_AT = (16, 32, 64)
"""Sides of the maps to which the generator adds where the findings lie."""

SHARPNESS = 8.0
"""Of the smooth maximum of local evidence."""


def channels_at(resolution: int, finest: int, width: int) -> int:
    """Channels of the maps at `resolution`: `width` at `finest`, doubled by every halving, at most 8 `width`."""
    return width * min(finest // resolution, 8)


def _conv(inputs: int, outputs: int, kernel: int = 3, gain: float = math.sqrt(2)) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    nn.init.normal_(conv.weight, std=gain / math.sqrt(inputs * kernel * kernel))
    nn.init.zeros_(conv.bias)
    return conv


def _halving_conv(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
    nn.init.normal_(conv.weight, std=math.sqrt(2 / (16 * inputs)))
    nn.init.zeros_(conv.bias)
    return conv


def _subpixel_conv(inputs: int, subpixel: int, gain: float) -> nn.Conv2d:
    """The convolution before a pixel shuffle; at first all pixels of a square agree (ICNR, Aitken et al. 2017)."""
    conv = _conv(inputs, subpixel**2, 3, gain)
    with torch.no_grad():
        conv.weight.copy_(conv.weight[:1].expand_as(conv.weight))
    return conv


def _pixel_norm(x: Tensor) -> Tensor:
    """Scale every place to unit mean square over the channels (Karras et al. 2018, section 4.2)."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)


class _Modulation(nn.Module):
    """Pixel norm, then scale and shift of every channel by the style."""

    def __init__(self, style: int, channels: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style, 2 * channels)
        nn.init.normal_(self.affine.weight, std=0.5 / math.sqrt(style))
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.affine(style)[:, :, None, None].chunk(2, 1)
        return torch.addcmul(shift, _pixel_norm(x), 1 + scale)


class _UpBlock(nn.Module):
    """Residual block that doubles the resolution, one convolution before and one after; fresh noise for texture.

    The first convolution runs before the bilinear doubling, at a quarter of the cost. With `maps` for its output's
    resolution the block adds learned maps, deformed: what a chest has there, instead of what grew from coarser maps.
    """

    def __init__(self, inputs: int, outputs: int, style: int, maps: int = 0) -> None:
        super().__init__()
        self.skip = _conv(inputs, outputs, 1, gain=1.0)
        self.modulate1, self.conv1 = _Modulation(style, inputs), _conv(inputs, outputs)
        self.modulate2, self.conv2 = _Modulation(style, outputs), _conv(outputs, outputs, gain=0.5)
        self.texture = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.maps = nn.Parameter(torch.zeros(1, outputs, maps, maps)) if maps else None

    def forward(self, x: Tensor, style: Tensor, points: Tensor | None) -> Tensor:
        y = self.conv1(F.leaky_relu(self.modulate1(x, style), 0.2))
        x, y = (F.interpolate(t, scale_factor=2, mode="bilinear") for t in (self.skip(x), y))
        y = y + self.texture * torch.randn_like(y[:, :1])
        if self.maps is not None:
            y = y + deformed(MAPS_GAIN * self.maps, points).to(y.dtype)
        return x + self.conv2(F.leaky_relu(self.modulate2(y, style), 0.2))


class ReportGenerator(nn.Module):
    """Noise and a report -> picture, by residual blocks from 4x4 upwards, with cross-attention to the tokens.

    The last doublings are a sub-pixel convolution (Shi et al. 2016). On a CPU, maps of few channels at full size cost
    more time than all others together, and few of the operations that they could do.

    Parameters
    ----------
    size
        Side of the picture, a power of two.
    width
        Channels of the finest maps; see `channels_at`.
    subpixel
        The finest maps have `size` / `subpixel` pixels a side, and each gives `subpixel` x `subpixel` of the picture.
    noise_size, condition_width, token_width
        Widths of the noise, of `TextConditioner`'s output, of the BERT features.
    attention_at
        Resolutions with cross-attention to the tokens.
    attention_gate
        With which it enters at first.
    canonical_maps
        Give the blocks from 16x16 on learned maps of a canonical chest, and the picture a learned one, deformed by the
        style.
    layout
        What reports may say: the maps of `LAYOUT_AT` are shown where each finding lies by the words, see
        `layout.Layout`, and to the picture is added what it looks like there, see `CanonicalLesions`.
    """

    def __init__(
        self,
        size: int,
        width: int,
        subpixel: int,
        noise_size: int,
        condition_width: int,
        token_width: int,
        attention_at: tuple[int, ...] = (16,),
        attention_gate: float = 0.0,
        canonical_maps: bool = False,
        layout: Targets | None = None,
    ) -> None:
        super().__init__()
        style = 2 * condition_width
        finest = size // subpixel
        self.noise_size, self.subpixel = noise_size, subpixel
        self.mapping = nn.Sequential(
            nn.Linear(noise_size + condition_width, style),
            nn.LeakyReLU(0.2),
            nn.Linear(style, style),
            nn.LeakyReLU(0.2),
        )
        resolutions = [4 * 2**k for k in range(int(math.log2(finest)) - 1)]
        channels = {r: channels_at(r, finest, width) for r in resolutions}
        self.start = nn.Linear(style, channels[4] * 16)
        self.blocks = nn.ModuleList(
            _UpBlock(channels[a], channels[b], style, maps=b if canonical_maps and b >= 16 else 0)
            for a, b in pairwise(resolutions)
        )
        self.canonical = CanonicalChest(style, size) if canonical_maps else None
        self.attention = nn.ModuleDict(
            {
                str(r): CrossAttention(channels[r], token_width, gate=attention_gate)
                for r in attention_at
                if r in channels
            }
        )
        shown = {r: channels[r] for r in LAYOUT_AT if r in channels}
        self.layout = Layout(layout, shown, noise_size) if layout else None
        self.lesions = CanonicalLesions(layout, style, size) if layout else None
        self.to_picture = _subpixel_conv(width, subpixel, gain=0.3)

    def forward(
        self,
        noise: Tensor,
        condition: Tensor,
        tokens: Tensor,
        mask: Tensor,
        said: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Pictures (B, 1, size, size), float32, bright = dense; meant for -1..1, not held to it.

        No tanh: pushed into its flat ends early on, a generator would get no gradient to come back by.

        Parameters
        ----------
        noise
            (B, noise_size), standard normal.
        condition
            (B, condition_width) from `TextConditioner`.
        tokens, mask
            (B, T, token_width) features and (B, T) bool.
        said
            (B, targets), how probable it is that the report says so; needed for a `layout`.
        places
            (b, n, 2, 2) with b <= B, as `layout.Targets.spots` takes them: of the first b pictures where the findings
            lie. The noise decides it of the others.
        """
        if self.layout is not None:
            drawn = self.layout.places(said, noise)
            places = drawn if places is None else torch.cat([places, drawn[len(places) :]])
        style = self.mapping(torch.cat([noise, condition], 1))
        x = self.start(style).view(noise.shape[0], -1, 4, 4)
        points, canonical = self.canonical(style) if self.canonical is not None else (None, None)
        for block in self.blocks:
            x = block(x, style, points)
            if self.layout is not None:
                x = self.layout(x, said, places)
            attention = str(x.shape[2])
            if attention in self.attention:
                x = self.attention[attention](x, tokens, mask)
        x = self.to_picture(F.leaky_relu(_pixel_norm(x), 0.2))
        with torch.autocast(x.device.type, enabled=False):
            picture = F.pixel_shuffle(exact(x), self.subpixel)
            picture = picture if canonical is None else canonical + smoothed(picture, self.subpixel)
            return picture if self.lesions is None else picture + self.lesions(style, said, places)


class _DownBlock(nn.Module):
    """Residual block that halves the resolution; no normalisation (Huang et al. 2024, R3GAN)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.skip = _conv(inputs, outputs, 1, gain=1.0)
        self.conv1 = _halving_conv(inputs, outputs)
        self.conv2 = _conv(outputs, outputs, gain=0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.leaky_relu(x, 0.2))
        y = self.conv2(F.leaky_relu(y, 0.2))
        return self.skip(F.avg_pool2d(x, 2)) + y


class _Trunk(nn.Module):
    """Picture (B, 1, S, S) -> what every block makes of it, finest first; the last is (B, C, 8, 8).

    The generator's sub-pixels are taken apart into channels.
    """

    def __init__(self, size: int, width: int, subpixel: int) -> None:
        super().__init__()
        finest = size // subpixel
        self.subpixel = subpixel
        self.from_picture = _conv(subpixel**2, width)
        channels = [channels_at(finest >> k, finest, width) for k in range(int(math.log2(finest)) - 2)]
        self.blocks = nn.ModuleList(_DownBlock(a, b) for a, b in pairwise(channels))
        self.channels = channels[1:]
        self.out_channels = channels[-1]

    def forward(self, picture: Tensor) -> list[Tensor]:
        x = self.from_picture(F.pixel_unshuffle(picture, self.subpixel))
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found


class PatchPyramid(nn.Module):
    """Picture (B, 1, S, S) -> logits (B, 3, P, P) of how real its structure is, patch by patch, the finest first.

    P is S / (2 `subpixel`). Every level of a Laplacian pyramid (Burt & Adelson 1983; Denton et al. 2015) has a PatchGAN
    (Isola et al. 2017) of its own, which sees what a smoothing takes from the picture or from that picture halved once
    or twice, enlarged: waves as fine as a rib's edge have a fiftieth of the amplitude of those as coarse as a lung, and
    a discriminator hardly learns them from the picture itself (Chen et al. 2021, SSD-GAN). With four sub-pixels a patch
    has 36, 72 and 144 pixels a side. Logits of larger patches are repeated, so that each level counts alike.
    """

    GAINS = (4.0, 2.0, 1.0)
    """By which the structure of each level is enlarged."""

    def __init__(self, width: int, subpixel: int) -> None:
        super().__init__()
        self.subpixel = subpixel
        self.register_buffer("structure", _structure(subpixel), persistent=False)
        self.levels = nn.ModuleList(
            nn.Sequential(
                _conv(subpixel**2, 2 * width),
                nn.LeakyReLU(0.2),
                _conv(2 * width, 2 * width),
                nn.LeakyReLU(0.2),
                _halving_conv(2 * width, 2 * width),
                nn.LeakyReLU(0.2),
                _conv(2 * width, 1, 1, gain=1.0),
            )
            for _ in self.GAINS
        )

    def by_size(self, picture: Tensor, part: Tensor | None = None) -> list[Tensor]:
        """Logits (B, 1, P, P), (B, 1, P / 2, P / 2) and (B, 1, P / 4, P / 4) of each level.

        Parameters
        ----------
        part
            (B, 1, s, s), a part of the picture: the smallest patches are looked at there alone, (B, 1, p, p) of them.
            They are most of the work, and nearly alike from place to place.
        """
        half = F.avg_pool2d(picture, 2)
        pictures = (picture if part is None else part, half, F.avg_pool2d(half, 2))
        return [
            level(gain * self.structure_of(x)).float()
            for level, gain, x in zip(self.levels, self.GAINS, pictures, strict=True)
        ]

    def forward(self, picture: Tensor) -> Tensor:
        found = self.by_size(picture)
        return torch.cat([F.interpolate(logits, found[0].shape[-2:]) for logits in found], 1)

    def structure_of(self, picture: Tensor) -> Tensor:
        """What a 5x5 binomial smoothing takes from pictures, their sub-pixels apart in channels; float32."""
        beside = self.structure.shape[-1] // 2 * self.subpixel
        with torch.autocast(picture.device.type, enabled=False):
            padded = F.pad(exact(picture), (beside,) * 4, mode="replicate")
            return F.conv2d(F.pixel_unshuffle(padded, self.subpixel), self.structure)


def _structure(subpixel: int) -> Tensor:
    """The convolution that takes a 5x5 binomial mean from each pixel of pictures with their sub-pixels in channels.

    Before the sub-pixels are taken apart it would be a convolution of one channel, which a CPU is slow at.
    """
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    taken = -torch.outer(line, line)
    taken[2, 2] += 1
    reach = -(-2 // subpixel)
    weight = torch.zeros(subpixel**2, subpixel**2, 2 * reach + 1, 2 * reach + 1)
    for y, x, v, u in product(range(subpixel), range(subpixel), range(5), range(5)):
        (row, inner_row), (column, inner_column) = divmod(y + v - 2, subpixel), divmod(x + u - 2, subpixel)
        channel = subpixel * inner_row + inner_column
        weight[subpixel * y + x, channel, row + reach, column + reach] = taken[v, u]
    return weight


class Seen(NamedTuple):
    """What the trunk of a `ReportDiscriminator` makes of pictures."""

    features: Tensor
    """The last maps (B, C, 8, 8)."""
    finer: Tensor
    """Activations of the trunk at 16x16, (B, C', 16, 16)."""


class ReportDiscriminator(nn.Module):
    """Is the picture real, and does it show what the report says: projection discriminator (Miyato & Koyama 2018).

    The logit is ``f(h) + <g(condition), h> / sqrt(C)``: pooled features `h` do not depend on the report, so that one
    pass over a picture answers for its own and for a mismatched report. Free of normalisation layers, so gradients
    with respect to its activations are meaningful for class activation maps.

    A maximum over the places alone could not tell left from right, so `places` adds what tells them apart to the maps
    that it is taken of. With `names` it also says what findings there are, on which side and in which zone, without the
    report, as an auxiliary classifier (Odena et al. 2017): from the same maxima, and from local evidence on the trunk's
    maps of 16x16, where a small mass is more than a part of one place. A finding has one map of evidence, looked at in
    a side or a zone for those: what a mass looks like is learned from all masses; a large one has another. What is
    small by definition is named by local evidence alone: from maxima over the picture a few dozen examples are learned
    by heart.

    Beside it `patches` judges realism alone, by structure of three sizes: what makes ribs and vessels, not what makes a
    chest. It shares no layer with the others, whose gradients are larger: on the trunk's finest maps it stayed at
    chance.
    """

    def __init__(
        self,
        size: int,
        width: int,
        subpixel: int,
        condition_width: int,
        *,
        names: Targets | None = None,
        places: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = _Trunk(size, width, subpixel)
        channels = self.trunk.out_channels
        self.place = nn.Parameter(0.5 * torch.randn(1, channels, 8, 8)) if places else None
        self.targets = names
        self.names = nn.Linear(channels, len(names.names)) if names else None
        self.shown = _conv(self.trunk.channels[-2:][0], len(names.looks), gain=1.0) if names else None
        side = 8 * min(len(self.trunk.channels), 2)
        self.shown_place = nn.Parameter(torch.zeros(1, len(names.looks), side, side)) if names and places else None
        if names:
            region = names.regions(side)
            self.register_buffer("of_look", names.look, persistent=False)
            self.register_buffer("whole", (~names.small_column).float(), persistent=False)
            self.register_buffer("region", region / region.sum((1, 2), keepdim=True), persistent=False)
        self.last = _conv(channels, channels)
        self.realism = nn.Linear(16 * channels, 1)
        self.project_map = nn.Linear(condition_width, channels)
        self.squeeze = _conv(channels, channels, 1)
        self.patches = PatchPyramid(width, subpixel)
        nn.init.normal_(self.realism.weight, std=1 / math.sqrt(16 * channels))

    def look(self, picture: Tensor) -> Seen:
        """What the trunk sees in pictures (B, 1, S, S)."""
        maps = [F.leaky_relu(x, 0.2) for x in self.trunk(picture)]
        return Seen(F.leaky_relu(self.last(maps[-1]), 0.2), maps[-2:][0])

    def features(self, picture: Tensor) -> Tensor:
        """Last feature maps (B, C, 8, 8) of pictures (B, 1, S, S)."""
        return self.look(picture).features

    def head(self, features: Tensor, condition: Tensor) -> Tensor:
        """Logits (B,) of feature maps under conditions (B, condition_width)."""
        realism = self.realism(F.avg_pool2d(features, 2).flatten(1)).squeeze(1)
        read = self.read(features)
        agreement = (self.project_map(condition) * read).sum(1) / math.sqrt(read.shape[1])
        return (realism + agreement).float()

    def read(self, features: Tensor) -> Tensor:
        """What is found anywhere in the picture (B, C): the maximum over the places of feature maps."""
        if self.place is not None:
            features = features + self.place
        return F.leaky_relu(self.squeeze(features), 0.2).amax((2, 3))

    def evidence(self, seen: Seen) -> Tensor:
        """Local evidence of each look, findings first, (B, looks, 16, 16); a smooth maximum of it counts."""
        evidence = self.shown(seen.finer)
        return (evidence if self.shown_place is None else evidence + self.shown_place).float()

    def named(self, seen: Seen) -> Tensor:
        """Logits (B, targets) of findings on the pictures that were looked at; needs `names`."""
        evidence = SHARPNESS * self.evidence(seen)[:, self.of_look] + self.region.log()
        local = evidence.flatten(2).logsumexp(2) / SHARPNESS
        return self.whole * self.names(self.read(seen.features)).float() + local

    def forward(self, picture: Tensor, condition: Tensor) -> Tensor:
        """Logits (B,), positive for real and agreeing."""
        return self.head(self.features(picture), condition)


class PosteriorEncoder(nn.Module):
    """Picture -> mean and log-variance of the noise that would have made it (Larsen et al. 2016; BicycleGAN 2017).

    Parameters
    ----------
    size, width, subpixel
        As of the generator.
    noise_size
        Width of the noise.
    seen
        Side of what it sees, pixels: means over squares of the picture. What they do not show the noise cannot tell,
        so the generator has to learn it from the report. By default the whole picture.
    whiten
        See `Whitening`.
    """

    def __init__(
        self, size: int, width: int, subpixel: int, noise_size: int, seen: int | None = None, whiten: bool = False
    ) -> None:
        super().__init__()
        self.square = max(size // (seen or size), 1)
        self.trunk = _Trunk(size // self.square, width, max(subpixel // self.square, 1))
        self.out = nn.Linear(16 * self.trunk.out_channels, 2 * noise_size)
        nn.init.normal_(self.out.weight, std=0.1)
        self.whitening = Whitening(noise_size) if whiten else None

    def draw(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Noise (B, noise_size) float32 of the posteriors; while training, they count in what it is whitened by."""
        noise = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        if self.whitening is None:
            return noise
        if self.training:
            self.whitening.follow(mean, log_variance)
        return self.whitening(noise)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, S, S) -> mean and log-variance, each (B, noise_size) float32; the log-variance lies in -8..2."""
        seen = F.avg_pool2d(picture, self.square) if self.square > 1 else picture
        features = F.avg_pool2d(F.leaky_relu(self.trunk(seen)[-1], 0.2), 2).flatten(1)
        mean, log_variance = self.out(features / math.sqrt(features.shape[1])).float().chunk(2, 1)
        return mean, log_variance.clamp(-8, 2)
