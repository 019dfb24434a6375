"""One training loop for every network: phases in turn, checkpoints, averages, validation, history.

The order of the phases is the order of the game (after the phases of StyleGAN3's training loop, Karras et al. 2021).
Started again with the same settings, data and code it continues where it was; on a CPU the result is the same to the
bit as without the interruption.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from radsynth.errors import NonFiniteLoss
from radsynth.progress import Meter
from radsynth.training.checkpoints import Stateful, load_checkpoint, save_checkpoint
from radsynth.training.device import Device
from radsynth.training.ema import Ema

Batch = Any
Sums = dict[str, tuple[Tensor, int]]


@dataclass(frozen=True)
class Phase:
    """One player's move.

    Parameters
    ----------
    name
        Shown in errors.
    modules
        The networks that this move trains; all others are frozen while it runs.
    optimizer
        Over the parameters of `modules`.
    accumulate
        Runs its own forward and backward on a batch and returns detached scalars by name; nothing where the player
        sits this batch out.
    learning_rate
        Pure function of the images seen; None keeps the optimiser's own.
    max_gradient_norm
        The gradient of all `modules` together is scaled down to this norm where it is larger; None leaves it.
    """

    name: str
    modules: tuple[nn.Module, ...]
    optimizer: torch.optim.Optimizer
    accumulate: Callable[[Batch], dict[str, Tensor]]
    learning_rate: Callable[[int], float] | None = None
    max_gradient_norm: float | None = None


@dataclass(frozen=True)
class Follow:
    """A network and the average that follows it."""

    network: nn.Module
    ema: Ema


@dataclass
class Outcome:
    """What training leaves: the curves, and the weights that validation chose (the last ones without validation).

    A row of `history` holds the mean losses since the one before, or the figures of a validation, or both.
    """

    history: list[dict[str, float]]
    system: list[dict[str, float]]
    images_seen: int
    best_images_seen: int
    best_score: float | None
    best: dict[str, Tensor] = field(repr=False)


def train(
    *,
    what: str,
    phases: list[Phase],
    batch_at: Callable[[int], Batch],
    batch_size: int,
    images_seen: int,
    device: Device,
    state: dict[str, Stateful],
    result: Callable[[], dict[str, Tensor]],
    follow: list[Follow] = (),
    checkpoint_folder: Path | None = None,
    checkpoint_images: int = 10_000,
    validate: Callable[[int], dict[str, float]] | None = None,
    validate_images: int = 10_000,
    score: str | None = None,
    log_images: int | None = None,
) -> Outcome:
    """Play the game of `phases` until `images_seen` images were seen.

    Parameters
    ----------
    what
        Shown in the progress, e.g. ``"training the report GAN"``.
    batch_at
        Pure function: images seen so far -> the next batch. It is called one batch ahead in a thread.
    state
        Everything that must be in a checkpoint: networks, optimisers, averages, pools.
    result
        The weights to keep, by name; asked for whenever validation improves and at the end.
    validate
        Images seen -> metrics on the validation split; may also draw pictures. Runs every `validate_images` images
        and at the end, without changing the training's random numbers.
    score
        The name of the metric that chooses; lower is better.

    Raises
    ------
    NonFiniteLoss
        Before the update, with the images seen and the names of the losses.
    """
    log_images = log_images or max(images_seen // 100, batch_size)
    history: list[dict[str, float]] = []
    system: list[dict[str, float]] = []
    seen, best_seen, best_score, best = 0, 0, None, result()
    sums: Sums = {}
    resumed = load_checkpoint(checkpoint_folder, state) if checkpoint_folder else None
    if resumed:
        seen, history, system = resumed["seen"], resumed["history"], resumed["system"]
        best_seen, best_score, best = resumed["best_seen"], resumed["best_score"], resumed["best"]
        sums = {name: (total.to(device.device), count) for name, (total, count) in resumed["sums"].items()}
        print(f"{what}: continuing after {seen} images", file=sys.stderr)

    window_start, window_seen = time.monotonic(), seen
    # torch in one thread there: a second team of spinning threads took the cores from the step (1.7 times as slow)
    loader = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
    with loader as ahead, Meter(what, images_seen, done=seen) as meter:
        upcoming = ahead.submit(batch_at, seen)
        while seen < images_seen:
            batch = upcoming.result()
            upcoming = ahead.submit(batch_at, seen + batch_size)
            for phase in phases:
                _move(phase, batch, seen, phases, sums)
            seen += batch_size
            for pair in follow:
                pair.ema.update(pair.network, batch_size, seen)
            done = seen >= images_seen
            meter.advance(batch_size)

            if done or _passed(seen, batch_size, log_images):
                means = {name: (total / count).item() for name, (total, count) in sums.items()}
                history.append({"images_seen": seen, **means})
                seconds = time.monotonic() - window_start
                system.append({"images_seen": seen, **_system_figures((seen - window_seen) / seconds)})
                sums, window_start, window_seen = {}, time.monotonic(), seen
            if validate and (done or _passed(seen, batch_size, validate_images)):
                paused = time.monotonic()
                with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                    figures = validate(seen)
                if not history or history[-1]["images_seen"] != seen:
                    history.append({"images_seen": seen})
                history[-1] |= figures
                if score is None or best_score is None or figures[score] < best_score:
                    best_seen, best = seen, {k: v.detach().clone().cpu() for k, v in result().items()}
                    best_score = None if score is None else figures[score]
                window_start += time.monotonic() - paused
            if checkpoint_folder and not done and _passed(seen, batch_size, checkpoint_images):
                progress = {
                    "seen": seen,
                    "history": history,
                    "system": system,
                    "best_seen": best_seen,
                    "best_score": best_score,
                    "best": best,
                    "sums": sums,
                }
                save_checkpoint(checkpoint_folder, seen, state, progress)
        upcoming.cancel()
    if validate is None:
        best_seen, best = seen, {k: v.detach().clone().cpu() for k, v in result().items()}
    return Outcome(history, system, seen, best_seen, best_score, best)


def linear_decay(images_seen: int, total_images: int, learning_rate: float) -> float:
    """`learning_rate` in the first half of training, then falling in a straight line to zero at its end."""
    return learning_rate * min(1.0, 2 * (1 - images_seen / total_images))


def forget_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished training, once its model is written."""
    shutil.rmtree(folder, ignore_errors=True)


def _move(phase: Phase, batch: Batch, seen: int, phases: list[Phase], sums: Sums) -> None:
    for other in phases:
        for module in other.modules:
            module.requires_grad_(False)
    for module in phase.modules:
        module.requires_grad_(True)
    if phase.learning_rate:
        for group in phase.optimizer.param_groups:
            group["lr"] = phase.learning_rate(seen)
    phase.optimizer.zero_grad(set_to_none=True)
    losses = phase.accumulate(batch)
    if not losses:
        return
    values = torch.stack([v.float() for v in losses.values()])
    if not torch.isfinite(values).all():
        bad = [name for name, value in losses.items() if not torch.isfinite(value)]
        raise NonFiniteLoss(
            f"loss {', '.join(bad)} of phase {phase.name} is not finite after {seen} images",
            next_step="lower the learning rate or look at the data",
        )
    if phase.max_gradient_norm:
        parameters = [p for module in phase.modules for p in module.parameters()]
        torch.nn.utils.clip_grad_norm_(parameters, phase.max_gradient_norm)
    phase.optimizer.step()
    for name, value in losses.items():
        total, count = sums.get(name, (torch.zeros_like(value), 0))
        sums[name] = (total + value.detach(), count + 1)


def _passed(seen: int, batch_size: int, every: int) -> bool:
    return seen // every > (seen - batch_size) // every


def _system_figures(images_per_second: float) -> dict[str, float]:
    import psutil

    figures = {
        "images_per_second": images_per_second,
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "process_memory_megabytes": psutil.Process().memory_info().rss / 1e6,
    }
    if torch.cuda.is_available():
        figures["gpu_memory_megabytes"] = torch.cuda.max_memory_allocated() / 1e6
    return figures
