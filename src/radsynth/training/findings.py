"""Training a network that names findings: the judge, and the VGG whose features the perceptual loss compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radsynth.networks.classifier import FindingsClassifier
from radsynth.training.chest_data import ChestSet, learnable
from radsynth.training.device import NETWORK_LAYOUT, Device
from radsynth.training.ema import Ema
from radsynth.training.loop import Follow, Outcome, Phase, train
from radsynth.training.models import load_model
from radsynth.training.sampler import batch_indices
from radsynth.vocabulary import FINDINGS

SHIFT_PIXELS = 12
"""By which a picture is moved at most, either way, while findings are learned."""


@dataclass(frozen=True)
class FindingsPlan:
    """How long and how fast to train a findings network."""

    images_seen: int
    batch_size: int
    learning_rate: float
    seed: int
    ema_half_life_images: int = 500
    shift_pixels: int = SHIFT_PIXELS


def masked_bce(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy of (B, K) logits over the labels that are not NaN, columns weighted by `weight` (K,)."""
    known = ~labels.isnan()
    losses = F.binary_cross_entropy_with_logits(logits.float(), labels.nan_to_num(), reduction="none")
    return (losses * known * weight).sum() / (known * weight).sum().clamp_min(1)


def shifted(pictures: Tensor, rng: np.random.Generator, pixels: int) -> Tensor:
    """Each picture moved by up to `pixels` either way, edges repeated.

    Never mirrored: reports name left and right.
    """
    padded = F.pad(pictures, (pixels,) * 4, mode="replicate")
    size = pictures.shape[-1]
    moves = rng.integers(0, 2 * pixels + 1, (len(pictures), 2))
    return torch.stack([p[:, y : y + size, x : x + size] for p, (y, x) in zip(padded, moves, strict=True)])


def warmed_cosine(seen: int, images_seen: int, batch_size: int, rate: float) -> float:
    """A learning rate that rises to `rate` in the first twentieth of a training and falls to 0 along a cosine."""
    warm = min(1.0, (seen + batch_size) / (0.05 * images_seen))
    return rate * warm * 0.5 * (1 + float(np.cos(np.pi * seen / images_seen)))


def labels_phase(
    name: str,
    network: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    data: ChestSet,
    labels: np.ndarray,
    plan: FindingsPlan,
    device: Device,
    max_gradient_norm: float | None = None,
) -> tuple[Phase, Callable[[int], tuple[Tensor, Tensor]]]:
    """What teaches a network to read labels off pictures that are moved about: its move, and the batches for it.

    Parameters
    ----------
    loss_of
        Pictures (B, 1, S, S) and their labels -> the loss of `network`.
    labels
        (len(data), ...).
    """

    def batch_at(seen: int) -> tuple[Tensor, Tensor]:
        chosen = batch_indices(len(data), plan.batch_size, seen, plan.seed)
        rng = np.random.default_rng((plan.seed, seen, 1))
        return shifted(data.pictures(chosen), rng, plan.shift_pixels), torch.from_numpy(labels[chosen])

    def accumulate(batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        pictures, wanted = (t.to(device.device, non_blocking=True) for t in batch)
        with device.autocast():
            loss = loss_of(pictures, wanted)
        loss.backward()
        return {"loss": loss.detach()}

    def rate(seen: int) -> float:
        return warmed_cosine(seen, plan.images_seen, plan.batch_size, plan.learning_rate)

    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=1e-4, fused=True)
    return Phase(name, (network,), optimizer, accumulate, rate, max_gradient_norm), batch_at


def train_findings(
    what: str,
    build: Callable[[], nn.Module],
    sets: dict[str, ChestSet],
    plan: FindingsPlan,
    device: Device,
    checkpoint_folder: Path | None = None,
) -> tuple[nn.Module, Outcome]:
    """Train a network (pictures -> logits of all FINDINGS) on the training split, chosen by the validation split.

    Findings with fewer than five positives or negatives in the training split carry no weight.

    Parameters
    ----------
    build
        Makes the fresh network; called once the seed is set, so that its first weights are the seed's as well.

    Returns
    -------
    torch.nn.Module, Outcome
        The network with the chosen weights, in evaluation mode.
    """
    torch.manual_seed(plan.seed)
    network = build()
    data = sets["train"]
    labels = data.labels
    weight = torch.from_numpy(learnable(labels).astype(np.float32)).to(device.device)
    network.to(device.device, memory_format=NETWORK_LAYOUT)
    ema = Ema(network, plan.ema_half_life_images)

    def loss_of(pictures: Tensor, wanted: Tensor) -> Tensor:
        return masked_bce(network(pictures), wanted, weight)

    phase, batch_at = labels_phase("findings", network, loss_of, data, labels, plan, device)

    def validate(_: int) -> dict[str, float]:
        chosen = sets.get("validation", data)
        logits = predict(ema.network, chosen.pictures, len(chosen), device)
        wanted = torch.from_numpy(chosen.labels)
        return {"validation_cross_entropy": masked_bce(torch.from_numpy(logits), wanted, weight.cpu()).item()}

    network.train()
    outcome = train(
        what=what,
        phases=[phase],
        batch_at=batch_at,
        batch_size=plan.batch_size,
        images_seen=plan.images_seen,
        device=device,
        state={"network": network, "optimizer": phase.optimizer, "ema": ema},
        result=ema.network.state_dict,
        follow=[Follow(network, ema)],
        checkpoint_folder=checkpoint_folder,
        checkpoint_images=max(plan.images_seen // 4, 1),
        validate=validate,
        validate_images=max(plan.images_seen // 8, 1),
        score="validation_cross_entropy",
    )
    network.load_state_dict(outcome.best)
    return network.eval(), outcome


@torch.inference_mode()
def predict(
    network: Callable[[Tensor], Tensor],
    pictures: Callable[[np.ndarray], Tensor],
    count: int,
    device: Device,
    batch_size: int = 32,
) -> np.ndarray:
    """Outputs (count, ...) float32 of `network` for the pictures 0..count-1, batch by batch.

    Of no pictures they are (0, ...): the network sees one empty batch, which tells the shape.
    """
    found = []
    for start in range(0, max(count, 1), batch_size):
        batch = pictures(np.arange(start, min(start + batch_size, count))).to(device.device)
        with device.autocast():
            found.append(network(batch).float().cpu().numpy())
    return np.concatenate(found)


def judge_thresholds(logits: np.ndarray, labels: np.ndarray, learned: Sequence[str]) -> dict[str, float]:
    """For each finding the logit at which the judge is right most often in both classes, on real pictures.

    Youden's J: sensitivity + specificity - 1 is largest. Half-way between the neighbouring values; findings without
    three positives and three negatives are left out.

    Parameters
    ----------
    logits, labels
        (n, len(FINDINGS)); labels 1, 0 or NaN.
    """
    found = {}
    for k, finding in enumerate(FINDINGS):
        positives, negatives = np.sort(logits[labels[:, k] == 1, k]), np.sort(logits[labels[:, k] == 0, k])
        if finding not in learned or min(len(positives), len(negatives)) < 3:
            continue
        values = np.unique(np.concatenate([positives, negatives]))
        cuts = np.concatenate([[values[0] - 1], (values[1:] + values[:-1]) / 2])
        missed = np.searchsorted(positives, cuts) / len(positives)
        false = 1 - np.searchsorted(negatives, cuts) / len(negatives)
        found[finding] = float(cuts[np.argmin(missed + false)])
    return found


def load_findings(folder: str | Path) -> FindingsClassifier:
    """A finished judge in eval mode.

    Raises
    ------
    RadsynthError
        Where the folder holds no model.
    """
    weights, description = load_model(folder)
    network = FindingsClassifier(**description["network"])
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False).to(memory_format=NETWORK_LAYOUT)
