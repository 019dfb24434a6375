"""Where training runs and in which precision: one CPU, one GPU, or several GPUs started by torchrun."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from radsynth.processor import gains_by_bfloat16

NETWORK_LAYOUT = torch.channels_last
"""Memory layout of the X-ray networks' weights: an X-ray's maps then lie with their channels side by side, as
convolution kernels read them. Not for networks with reflection padding and InstanceNorm, which gain nothing by it."""


@dataclass(frozen=True)
class Device:
    """The device, the precision of the forward passes, and this process's place among its peers."""

    device: torch.device
    precision: str
    rank: int = 0
    world_size: int = 1

    def autocast(self) -> AbstractContextManager[None]:
        """Forward passes in bfloat16 where the precision says so; parameters and optimisers stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed")

    def sum_gradients(self, modules: Iterable[nn.Module]) -> None:
        """Average the gradients of `modules` over the processes; nothing to do for one."""
        if self.world_size == 1:
            return
        grads = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        flat /= self.world_size
        for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))


def cpu_device() -> Device:
    """The CPU in float32, where finished models are loaded."""
    return Device(torch.device("cpu"), "32-true")


def pick_device(precision: str = "32-true") -> Device:
    """The GPU where there is one, else the CPU; joins its peers where torchrun started several.

    Parameters
    ----------
    precision
        ``"32-true"`` or ``"bf16-mixed"``. A processor that gains nothing by bfloat16 gets float32: where it is emulated
        a CycleGAN step took 1.1 s in bfloat16 and 0.65 s in float32.
    """
    if precision == "bf16-mixed" and not torch.cuda.is_available() and not gains_by_bfloat16():
        print("float32 is used: on this processor it is faster than bfloat16", file=sys.stderr)
        precision = "32-true"
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else "cpu"
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if world_size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank = dist.get_rank() if world_size > 1 else 0
    return Device(torch.device(device), precision, rank, world_size)
