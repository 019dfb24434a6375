"""Feature spaces whose weights come from elsewhere: used where they are on this machine, never downloaded."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radsynth.errors import RadsynthError
from radsynth.evaluation.features import FeatureSpace, weights_digest
from radsynth.files import sha256_of
from radsynth.reports.encode import quiet_transformers
from radsynth.training.device import Device

INCEPTION = "inception_v3_google-0cc3c7bd.pth"
"""File of torchvision's weights. They are not those of the TensorFlow graph that published FIDs were taken with."""
XRV = "nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
"""File of torchxrayvision's ``densenet121-res224-all``."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def optional_spaces(names: Sequence[str], device: Device) -> tuple[dict[str, FeatureSpace], list[str]]:
    """The feature spaces that can be had, and a sentence for each that cannot.

    Parameters
    ----------
    names
        ``inception`` (torchvision, ImageNet), ``xrv`` (torchxrayvision's DenseNet, chest X-rays), or a vision model of
        Hugging Face by its name in the cache or its folder, e.g. ``microsoft/rad-dino``.

    Returns
    -------
    dict
        Suffix of the figures' names, e.g. ``_rad_dino``, -> the space.
    list of str
        What is missing, and where it was looked for.
    """
    makers: dict[str, Callable[[], FeatureSpace]] = {
        "inception": lambda: inception_space(device),
        "xrv": lambda: xray_space(device),
    }
    found, missing = {}, []
    for name in names:
        try:
            space = makers[name]() if name in makers else hugging_face_space(name, device)
        except RadsynthError as error:
            missing.append(f"No distances in the feature space {name}: {error}.".replace("..", "."))
        else:
            found["_" + re.sub(r"\W+", "_", Path(name).name.lower())] = space
    return found, missing


def inception_space(device: Device) -> FeatureSpace:
    """Pooled features of torchvision's Inception-v3 (ImageNet): 2048 numbers, 299x299.

    Raises
    ------
    RadsynthError
        Where torch's cache does not have the weights.
    """
    from torchvision.models import inception_v3

    path = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION
    weights = _read(path, "no weights of Inception-v3 in torch's cache")
    network = inception_v3(weights=None, init_weights=False, transform_input=False)
    network.load_state_dict(weights)
    network.fc = nn.Identity()
    network.eval().requires_grad_(False).to(device.device)

    def read(pictures: Tensor) -> Tensor:
        return network(_colour(pictures, 299, (0.5,) * 3, (0.5,) * 3))

    return FeatureSpace("torchvision inception_v3 pooled 2048, ImageNet, 299x299", sha256_of(path)[:12], 2048, read)


def xray_space(device: Device) -> FeatureSpace:
    """Pooled features of torchxrayvision's DenseNet-121, trained on seven collections of chest X-rays: 1024 numbers.

    Raises
    ------
    RadsynthError
        Where the package or its weights are not there.

    References
    ----------
    Cohen et al. 2022, "TorchXRayVision: A library of chest X-ray datasets and models".
    """
    try:
        xrv = importlib.import_module("torchxrayvision")
    except ImportError:
        raise RadsynthError(
            "no X-ray features", got="no package torchxrayvision", next_step="`pip install torchxrayvision`"
        ) from None
    path = Path.home() / ".torchxrayvision/models_data" / XRV
    if not path.is_file():
        raise RadsynthError("no weights of torchxrayvision's DenseNet", where=path)
    network = xrv.models.DenseNet(weights="densenet121-res224-all").eval().requires_grad_(False).to(device.device)

    def read(pictures: Tensor) -> Tensor:
        grey = F.interpolate(pictures.float(), size=(224, 224), mode="bilinear", antialias=True)
        return network.features2(grey * 1024)  # its range is -1024..1024

    name = "torchxrayvision densenet121-res224-all pooled 1024, chest X-rays, 224x224"
    return FeatureSpace(name, sha256_of(path)[:12], 1024, read)


def hugging_face_space(name: str, device: Device) -> FeatureSpace:
    """The pooled output of a vision transformer of Hugging Face, from its cache or a folder.

    Raises
    ------
    RadsynthError
        Where it is not there, or pools nothing.

    References
    ----------
    Perez-Garcia et al. 2024, "RAD-DINO: Exploring Scalable Medical Image Encoders Beyond Text Supervision".
    """
    from transformers import AutoImageProcessor, AutoModel

    try:
        with quiet_transformers():
            processor = AutoImageProcessor.from_pretrained(name, local_files_only=True)
            network = AutoModel.from_pretrained(name, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise RadsynthError(
            "cannot load the vision model",
            where=name,
            got=str(error).split("\n")[0][:120],
            expected="a local folder, or a model in Hugging Face's cache",
        ) from None
    network = network.eval().requires_grad_(False).to(device.device)
    size = getattr(processor, "crop_size", None) or processor.size
    side = int(size.get("height") or size["shortest_edge"])
    mean = tuple(getattr(processor, "image_mean", None) or IMAGENET_MEAN)
    std = tuple(getattr(processor, "image_std", None) or IMAGENET_STD)

    def read(pictures: Tensor) -> Tensor:
        return network(pixel_values=_colour(pictures, side, mean, std)).pooler_output

    with torch.inference_mode():
        pooled = read(torch.zeros(1, 1, side, side, device=device.device))
    if pooled is None:
        raise RadsynthError("the vision model pools nothing", where=name, expected="a pooler_output")
    width = int(pooled.flatten(1).shape[1])
    return FeatureSpace(f"{name} pooled {width}, {side}x{side}", weights_digest(network), width, read)


def _colour(pictures: Tensor, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Grey (B, 1, S, S) in -1..1 -> normalised colour (B, 3, side, side)."""
    grey = F.interpolate((pictures.float() + 1) / 2, size=(side, side), mode="bilinear", antialias=True)
    shift, scale = (grey.new_tensor(values)[:, None, None] for values in (mean, std))
    return (grey - shift) / scale


def _read(path: Path, what: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise RadsynthError(what, where=path)
    return torch.load(path, map_location="cpu", weights_only=True)
