"""Class activation maps with sign and magnitude kept, on layers where they mean something.

The weighting of each method is pytorch-grad-cam's; its scaling of every map to 0..1, which makes no evidence look like
strong evidence, is left out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radsynth.errors import RadsynthError

METHODS = ("gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "scorecam")
WITHOUT_GRADIENT = ("eigencam", "scorecam")
DEAD_BELOW = 1e-3
BATCH = 32

Score = Callable[[Tensor], Tensor]


class DeadLayer(RadsynthError):
    """A layer at which a method says nothing, for example Grad-CAM before an InstanceNorm."""


def activation_map(
    model: nn.Module,
    layer: nn.Module,
    pictures: Tensor,
    score: Score | Sequence[Score],
    method: str = "hirescam",
) -> np.ndarray:
    """Evidence by place for a scalar of the model's output; `activation_maps` for one layer and one method.

    Returns
    -------
    numpy.ndarray
        float32 (B, h, w).
    """
    return activation_maps(model, {"": layer}, pictures, score, (method,))["", method]


def activation_maps(
    model: nn.Module,
    layers: dict[str, nn.Module],
    pictures: Tensor,
    score: Score | Sequence[Score],
    methods: Sequence[str],
    *,
    skip_dead: bool = False,
) -> dict[tuple[str, str], np.ndarray]:
    """Evidence by place for a scalar of the model's output, at several layers by several methods from one pass.

    Parameters
    ----------
    model
        Pictures -> output, one row a picture. It is left in the mode, and with the gradients, in which it was.
    layers
        Modules of `model` whose outputs have shape (B, C, h, w), in the order in which they run.
    pictures
        (B, 1, H, W).
    score
        One row of the output -> scalar; or one such function a picture.
    methods
        ``gradcam`` (Selvaraju et al. 2017, eqs. 1 and 2, without the ReLU), ``gradcam++`` (Chattopadhyay et al. 2018,
        eq. 19), ``hirescam`` (Draelos & Carin 2020, eq. 3: gradient times activation, place by place), ``layercam``
        (Jiang et al. 2021, eq. 5, without the ReLU), ``eigencam`` (Muhammad & Yeasin 2020: first principal component
        of the activations, signed so that its strongest place is positive; it does not know the score) and
        ``scorecam`` (Wang et al. 2020: one forward pass a channel).
    skip_dead
        Leave dead pairs of layer and method out instead of raising.

    Returns
    -------
    dict
        (layer's name, method) -> float32 (B, h, w): positive speaks for, negative against a high score.

    Raises
    ------
    DeadLayer
        Where the activations are the same at all places, the gradient or the map is zero everywhere, or, for
        ``gradcam``, the spatial mean of the gradient is below a thousandth of its mean magnitude: a following
        InstanceNorm removed it.
    """
    for method in methods:
        if method not in METHODS:
            raise RadsynthError("no such method", got=repr(method), expected=", ".join(METHODS))
    scores = [score] * len(pictures) if callable(score) else list(score)
    was_training = model.training
    parts: dict[tuple[str, str], list[np.ndarray]] = {(name, m): [] for name in layers for m in methods}
    statistics: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in layers}
    for start in range(0, len(pictures), BATCH):
        chosen = slice(start, start + BATCH)
        found = _of_batch(model, layers, pictures[chosen], scores[chosen], methods)
        for name, (activations, gradients, maps) in found.items():
            statistics[name].append((activations, gradients))
            for method, one in maps.items():
                parts[name, method].append(one)
    model.train(was_training)
    complete = {}
    for (name, method), pieces in parts.items():
        maps = np.concatenate(pieces).astype(np.float32)
        activations, gradients = (np.concatenate(s) for s in zip(*statistics[name], strict=True))
        why = _dead(activations, gradients, maps, method)
        if why is None:
            complete[name, method] = maps
        elif not skip_dead:
            raise DeadLayer(
                f"{method} is dead at this layer: {why[0]}",
                where=name or None,
                got=why[1],
                next_step="use hirescam or layercam, or a layer without InstanceNorm behind it",
            )
    return complete


def _of_batch(
    model: nn.Module, layers: dict[str, nn.Module], pictures: Tensor, scores: list[Score], methods: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
    """For each layer: spread of the activations, size of the gradient's mean and of the gradient, and the maps."""
    import pytorch_grad_cam as cams

    kinds = {
        "gradcam": cams.GradCAM,
        "gradcam++": cams.GradCAMPlusPlus,
        "hirescam": cams.HiResCAM,
        "layercam": cams.LayerCAM,
        "scorecam": cams.ScoreCAM,
    }
    found = {}
    modules = list(layers.values())
    with torch.enable_grad(), cams.HiResCAM(model, modules) as watched:
        inputs = pictures.detach().clone().requires_grad_()
        outputs = watched.activations_and_grads(inputs)
        torch.stack([one(row) for one, row in zip(scores, outputs, strict=True)]).sum().backward(inputs=[inputs])
        activations = [a.numpy() for a in watched.activations_and_grads.activations]
        gradients = [g.numpy() for g in watched.activations_and_grads.gradients]
    if len(gradients) != len(modules):
        gradients = [np.zeros_like(a) for a in activations]
    for (name, layer), a, g in zip(layers.items(), activations, gradients, strict=True):
        maps = {}
        for method in methods:
            if method == "eigencam":
                maps[method] = first_component(a)
                continue
            with kinds[method](model, [layer]) as cam, torch.no_grad(), _no_progress():
                cam.activations_and_grads.release()
                maps[method] = np.asarray(cam.get_cam_image(pictures, layer, scores, a, g, False))
        spread = a.std((2, 3)).mean(1) / (np.abs(a).mean((1, 2, 3)) + 1e-12)
        sizes = np.stack([np.abs(g.mean((2, 3))).mean(1), np.abs(g).mean((1, 2, 3))], 1)
        found[name] = (spread, sizes, maps)
    return found


@contextlib.contextmanager
def _no_progress():
    """Score-CAM draws a progress bar for every picture."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def first_component(activations: np.ndarray) -> np.ndarray:
    """Eigen-CAM: activations (B, C, h, w) on their first principal component over the places, strongest place positive.

    From the C x C covariance: pytorch-grad-cam's `EigenCAM` gives the same but for the sign, through a square matrix of
    all places, which takes seconds for 64 x 64 of them.
    """
    flat = activations.reshape(*activations.shape[:2], -1)
    flat = flat - flat.mean(2, keepdims=True)
    _, vectors = np.linalg.eigh(flat @ flat.transpose(0, 2, 1))
    maps = np.einsum("bc,bcp->bp", vectors[:, :, -1], flat)
    strongest = np.take_along_axis(maps, np.abs(maps).argmax(1)[:, None], 1)
    return (maps * np.where(strongest < 0, -1, 1)).reshape(len(flat), *activations.shape[2:])


def _dead(spread: np.ndarray, gradients: np.ndarray, maps: np.ndarray, method: str) -> tuple[str, str] | None:
    if spread.max() <= 1e-6:
        return "its activations are the same at all places", f"spread {spread.max():.2g} of their size"
    mean, size = gradients.mean(0)
    if method not in WITHOUT_GRADIENT and size == 0:
        return "its gradient is zero", "0"
    if method == "gradcam" and mean <= DEAD_BELOW * size:
        return "its gradient has no spatial mean", f"{mean:.2g} of {size:.2g}"
    if np.ptp(maps.reshape(len(maps), -1), axis=1).max() == 0:
        return "its map is the same at all places", f"{maps.flat[0]:.2g}"
    return None


def enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    """Maps (B, h, w) at the size of the picture (B, size, size), bilinear."""
    return F.interpolate(torch.from_numpy(maps)[:, None], size=(size, size), mode="bilinear")[:, 0].numpy()


def placed(maps: np.ndarray, start: float, step: float, size: int) -> np.ndarray:
    """Patch values where their patches lie: (B, h, w) -> (B, size, size), linear between the patches' centres.

    Parameters
    ----------
    start, step
        Pixel of the first patch's centre, and pixels from one centre to the next; the same in both directions.
    """
    weights = []
    for count in maps.shape[1:]:
        position = np.clip((np.arange(size) - start) / step, 0, count - 1)
        low = np.minimum(np.floor(position).astype(int), max(count - 2, 0))
        share = position - low
        matrix = np.zeros((size, count), np.float32)
        matrix[np.arange(size), low] = 1 - share
        matrix[np.arange(size), np.minimum(low + 1, count - 1)] += share
        weights.append(matrix)
    return (weights[0] @ maps @ weights[1].T).astype(np.float32)
