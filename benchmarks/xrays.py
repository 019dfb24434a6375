"""X-ray preparation against a plain Pillow loop: the same pictures first, then the time.

Run ``python -m benchmarks.xrays`` from the repository root. Prints the ratio; ``--images`` and ``--seed`` vary it.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from radsynth.radiographs.prepare import prepare_all

SIDE, SIZE = 1024, 256


def make_png(generator: np.random.Generator) -> bytes:
    """A 1024x1024 8-bit PNG as hard to decode as a radiograph (430 kB): shadows, ribs, blurred quantum noise."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    lungs = sum(np.exp(-(((x - side) / 0.28) ** 4) - ((y + 0.1) / 0.55) ** 4) for side in (-0.42, 0.42))
    ribs = 0.06 * np.sin(28 * (y + 0.3 * x**2) + generator.uniform(0, 6)) * lungs
    noise = gaussian_filter(generator.normal(0, 1, x.shape), 0.6)
    picture = 0.85 - 0.55 * lungs + ribs - 0.6 * (np.abs(x) > 0.93) + 0.008 * noise / noise.std()
    file = io.BytesIO()
    Image.fromarray(np.uint8(255 * picture.clip(0, 1))).save(file, "PNG")
    return file.getvalue()


def plain_loop(files: list[Path]) -> np.ndarray:
    """One process, one image after another, nothing clever: decode, resize, normalise as floats."""
    rows = []
    for path in files:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("F").resize((SIZE, SIZE), Image.Resampling.LANCZOS))
        low, high = np.percentile(pixels, (0.5, 99.5))
        rows.append(np.round(np.clip((pixels - low) / (high - low), 0, 1) * 65535).astype(np.uint16))
    return np.stack(rows)


def ours(files: list[Path], target: Path, workers: int) -> np.ndarray:
    """What the stage does, from files to the packed array on disk, digests and views included."""
    items = ((path.name, path.read_bytes()) for path in files)
    prepare_all(items, [path.name for path in files], target, SIZE, workers=workers)
    return np.load(target, mmap_mode="r")


def main() -> None:
    """Compare, then measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{n:04d}.png" for n in range(arguments.images)]
        patterns = [make_png(generator) for _ in range(min(8, arguments.images))]
        for n, path in enumerate(files):
            path.write_bytes(patterns[n % len(patterns)])
        target = Path(folder) / "pixels.npy"
        difference = np.abs(ours(files, target, arguments.workers).astype(int) - plain_loop(files))
        print(f"largest difference {difference.max()} of 65535, mean {difference.mean():.4f}")
        if difference.max() > 16:
            raise SystemExit("the pictures differ: no time is taken")
        plain, fast = [], []
        for _ in range(arguments.rounds):
            plain.append(timed(lambda: plain_loop(files)) / len(files))
            fast.append(timed(lambda: ours(files, target, arguments.workers)) / len(files))
    print(f"plain Pillow loop: {np.median(plain):.2f} ms an image")
    print(f"prepare_all, {arguments.workers} workers: {np.median(fast):.2f} ms an image, their start included")
    print(f"ratio {np.median(plain) / np.median(fast):.2f}")


def timed(work: Callable[[], object]) -> float:
    """Wall time of `work`, ms."""
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
