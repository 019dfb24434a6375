"""What torch says of itself and of the machine, asked in a child: a broken build may end what imports it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from radsynth.errors import RadsynthError

MAX_SECONDS = 300.0
"""Longest wait for the child; it takes about four seconds, more where the disk is read for the first time."""
_CHILD = "from radsynth.doctor.torch_facts import report; report()"


def torch_facts() -> dict[str, Any]:
    """Facts about torch, torchvision and the device.

    Returns
    -------
    torch, torch_cuda, torchvision, torchvision_cuda
        Versions, and the CUDA versions that the two were built for; None for builds without CUDA.
    error
        One line where importing or using the two failed, else None.
    gpus
        One dict a GPU: name, memory_gb, bfloat16 (whether it computes it itself).
    cpu_bfloat16
        Whether the processor computes faster in bfloat16 than in float32.
    device, precision, product
        What a training with ``bf16-mixed`` would get here: device, precision, and the type of a product of matrices.

    Raises
    ------
    RadsynthError
        Where the child ended without an answer.
    """
    alone = {name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "RANK", "LOCAL_RANK")}
    child = subprocess.run(
        [sys.executable, "-c", _CHILD], capture_output=True, text=True, env=alone, timeout=MAX_SECONDS
    )
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        how = signal.Signals(-child.returncode).name if child.returncode < 0 else f"exit status {child.returncode}"
        what = f"importing torch ends the process ({how}: {last[:200]})"
        raise RadsynthError(what, next_step="install torch for this processor: `python -m pip install torch`")
    return json.loads(child.stdout.splitlines()[-1])


def report() -> None:
    """Print the facts as one line of JSON; the child's only purpose."""
    facts: dict[str, Any] = dict.fromkeys(
        ("torch", "torch_cuda", "torchvision", "torchvision_cuda", "error", "cpu_bfloat16")
    )
    facts |= dict.fromkeys(("device", "precision", "product")) | {"gpus": []}
    try:
        _ask(facts)
    except Exception as error:
        facts["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    print(json.dumps(facts))


def _ask(facts: dict[str, Any]) -> None:
    import torch

    from radsynth.processor import gains_by_bfloat16
    from radsynth.training.device import pick_device

    facts |= {"torch": torch.__version__, "torch_cuda": torch.version.cuda, "cpu_bfloat16": gains_by_bfloat16()}
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        with torch.cuda.device(index):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        facts["gpus"].append({"name": about.name, "memory_gb": about.total_memory / 1e9, "bfloat16": native})
    device = pick_device("bf16-mixed")
    with device.autocast():
        product = torch.ones(8, 8, device=device.device) @ torch.ones(8, 8, device=device.device)
    facts |= {"device": device.device.type, "precision": device.precision}
    facts["product"] = str(product.dtype).removeprefix("torch.")

    import torchvision

    cuda = torch.ops.torchvision._cuda_version()  # 13020 for CUDA 13.2, -1 for a build without
    facts["torchvision"] = torchvision.__version__
    facts["torchvision_cuda"] = f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda > 0 else None
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.9]], device=device.device)
    kept = torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9], device=device.device), 0.5)
    assert kept.tolist() == [1], kept
