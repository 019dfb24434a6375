"""The network behind the perceptual loss: ImageNet VGG-16 where its weights are cached, else a VGG trained here."""

from __future__ import annotations

from pathlib import Path

import torch

from radsynth.errors import RadsynthError
from radsynth.networks.vgg import VGG16_BLOCKS, Vgg
from radsynth.training.device import NETWORK_LAYOUT
from radsynth.training.models import load_model


def cached_imagenet_weights() -> Path | None:
    """The file of torchvision's VGG-16 weights in torch's own cache, or None; nothing is downloaded."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / "vgg16-397923af.pth"
    return path if path.is_file() else None


def imagenet_vgg(path: Path) -> Vgg:
    """VGG-16 up to relu3_3 with torchvision's ImageNet weights from `path`.

    Raises
    ------
    RadsynthError
        Where the file does not hold them.
    """
    network = Vgg(VGG16_BLOCKS, in_channels=3)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    names = sorted(
        {name.rsplit(".", 1)[0] for name in weights if name.startswith("features.")},
        key=lambda name: int(name.split(".")[1]),
    )
    convolutions = [conv for block in network.blocks for conv in block]
    try:
        for conv, name in zip(convolutions, names, strict=False):
            conv.load_state_dict({"weight": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]})
    except (RuntimeError, KeyError) as error:
        raise RadsynthError(f"not torchvision's VGG-16 ({error})", where=path) from None
    return network


def load_perceptual(folder: str | Path) -> tuple[Vgg, str]:
    """The frozen network of a model folder and the name of its weights (``imagenet`` or ``pipeline``)."""
    weights, description = load_model(folder)
    arguments = description["network"]
    network = Vgg(tuple(tuple(b) for b in arguments["blocks"]), arguments["in_channels"], arguments["classes"])
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False).to(memory_format=NETWORK_LAYOUT), description["weights"]
