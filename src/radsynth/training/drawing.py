"""A finished report GAN with the text encoder of its training: reports in, pictures out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from radsynth.errors import RadsynthError
from radsynth.reports.encode import TextEncoder, load_encoder
from radsynth.reports.parse import Report, prompt_of
from radsynth.training.chest_data import masked
from radsynth.training.device import Device, pick_device
from radsynth.training.report_gan import generate, load_report_gan
from radsynth.vocabulary import VIEWS

MAX_SEED = 2**31 - 1


def prompt(findings: str, impression: str) -> str:
    """The text as the training read it: cleaned findings and impression; ``""`` where nothing is left."""
    return prompt_of(Report("", findings, impression, "", "", (), ()))


def as_read(encoder: TextEncoder, prompts: Sequence[str], view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Token vectors (R, T, e), mask (R, T) and view (R,) of R prompts, as the networks read them."""
    return *masked(*encoder(prompts)), view


class Drawer:
    """Draws pictures from prompts.

    Parameters
    ----------
    folder
        Of the model.
    device
        Where to draw; the GPU where there is one by default.

    Raises
    ------
    RadsynthError
        Where the folder holds no report GAN, or the text encoder is not the one of the training.
    """

    def __init__(self, folder: str | Path, device: Device | None = None) -> None:
        self.device = device or pick_device()
        gan, self.description = load_report_gan(folder)
        self.gan = gan.to(self.device.device)
        known = self.description["encoder"]
        self.encoder = load_encoder(known["encoder"], max_tokens=known["max_tokens"])
        if self.encoder.digest != known["digest"]:
            raise RadsynthError(
                f"the text encoder {known['encoder']} is not the one of the training",
                where=folder,
                got=f"digest {self.encoder.digest[:12]}",
                expected=known["digest"][:12],
            )
        # the texture noise comes from torch's global generator; a server draws in several threads
        self._lock = threading.Lock()

    @property
    def views(self) -> tuple[str, ...]:
        """The views that can be drawn."""
        return tuple(self.description["views"])

    @property
    def size(self) -> int:
        """Side of the pictures, pixels."""
        return self.description["network"]["size"]

    def text(self, prompts: Sequence[str], view: str) -> tuple[Tensor, Tensor, Tensor]:
        """Token vectors, mask and view of R prompts, as the networks read them."""
        return as_read(self.encoder, prompts, torch.full((len(prompts),), VIEWS.index(view)))

    def draw(self, prompts: Sequence[str], *, seeds: Sequence[int], view: str) -> np.ndarray:
        """Pictures (R, len(seeds), S, S), float32 -1..1; the noise depends on the seed and the prompt's place."""
        text = self.text(prompts, view)
        with self._lock:
            return np.stack([generate(self.gan, *text, seed=seed, device=self.device) for seed in seeds], axis=1)
