"""Does the report GAN's discriminator see fine structure: what it says of pictures that have more or less of it.

    python -m benchmarks.fine_structure

Run it where `dvc repro train_report_gan` has been. The two highest octaves of real and drawn validation pictures are
made weaker and stronger. A generator can only learn what changes these logits.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from radsynth.errors import one_line_errors
from radsynth.evaluation.report_agreement import octave_power
from radsynth.settings import load
from radsynth.training.chest_data import load_chest
from radsynth.training.device import pick_device
from radsynth.training.report_gan import as_batch, generate, load_report_gan

OCTAVES = ((0.25, 0.5), (0.5, 1.0))
"""Second and finest, in parts of the highest frequency."""

GAINS = ((1.0, 1.0), (0.67, 1.0), (1.5, 1.0), (1.0, 0.67), (1.0, 1.5), (1.5, 1.5))
"""Of their amplitudes."""


def amplified(pictures: np.ndarray, gains: tuple[float, float]) -> np.ndarray:
    """Pictures (n, S, S) with both octaves multiplied."""
    size = pictures.shape[-1]
    frequency = 2 * np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    by = np.ones_like(frequency)
    for (low, high), gain in zip(OCTAVES, gains, strict=True):
        by[(frequency >= low) & (frequency < high)] = gain
    return np.fft.irfft2(np.fft.rfft2(pictures) * by, s=(size, size)).astype(np.float32)


@one_line_errors
@torch.inference_mode()
def main() -> None:
    """Measure and print a table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    settings = load()
    own, seed = settings.train_report_gan, settings.seed
    data = load_chest("data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", tuple(own.views))
    validation, device = data["validation"], pick_device(own.precision)
    gan, _ = load_report_gan("models/report_gan")
    text = validation.text(np.arange(len(validation)))
    real = validation.pictures(np.arange(len(validation)))[:, 0].numpy()
    drawn = generate(gan.to(device.device), *text, seed=seed, device=device)
    condition = gan.conditioner(*(t.to(device.device) for t in text))

    usual = octave_power(real)
    print("| pictures | power, second and finest octave | logit of the whole picture | mean patch logit |")
    print("| --- " * 4 + "|")
    for name, pictures in (("real", real), ("drawn", drawn)):
        for gains in GAINS:
            changed = amplified(pictures, gains)
            power = (octave_power(changed) / usual)[-2:]
            shown = as_batch(changed).to(device.device)
            whole, patches = gan.discriminator(shown, condition), gan.discriminator.patches(shown)
            print(
                f"| {name}, x {gains[0]:g} and {gains[1]:g} | {power[0]:.2f}, {power[1]:.2f} "
                f"| {whole.mean():.2f} | {patches.mean():.3f} |"
            )


if __name__ == "__main__":
    main()
