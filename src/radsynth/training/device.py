"""Where networks run and in which precision: one CPU or one GPU."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from radsynth.errors import RadsynthError
from radsynth.processor import gains_by_bfloat16

NETWORK_LAYOUT = torch.channels_last
"""Memory layout of the X-ray networks' weights: an X-ray's maps then lie with their channels side by side, as
convolution kernels read them. Not for networks with reflection padding and InstanceNorm, which gain nothing by it."""


@dataclass(frozen=True)
class Device:
    """The device, and the precision of the forward passes."""

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[None]:
        """Forward passes in bfloat16 where the precision says so; parameters and optimisers stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed")


def cpu_device() -> Device:
    """The CPU in float32, where finished models are loaded."""
    return Device(torch.device("cpu"), "32-true")


def pick_device(precision: str = "32-true") -> Device:
    """The first GPU where there is one, else the CPU.

    Parameters
    ----------
    precision
        ``"32-true"`` or ``"bf16-mixed"``. A processor that gains nothing by bfloat16 gets float32: where it is emulated
        a CycleGAN step took 1.1 s in bfloat16 and 0.65 s in float32.

    Raises
    ------
    RadsynthError
        Where torchrun started several processes: each would train on the same batches.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise RadsynthError(
            "trainings and models run in one process, on one GPU",
            got=f"WORLD_SIZE={os.environ['WORLD_SIZE']}",
            next_step="start it without torchrun, or unset WORLD_SIZE",
        )
    if precision == "bf16-mixed" and not torch.cuda.is_available() and not gains_by_bfloat16():
        print("float32 is used: on this processor it is faster than bfloat16", file=sys.stderr)
        precision = "32-true"
    return Device(torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu"), precision)
