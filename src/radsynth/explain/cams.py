"""Class activation maps with sign and magnitude kept, on layers where they mean something.

The weighting of each method is pytorch-grad-cam's; its scaling of every map to 0..1, which makes no evidence look like
strong evidence, is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radsynth.errors import RadsynthError

DEAD_BELOW = 1e-3


class DeadLayer(RadsynthError):
    """A layer at which a method says nothing, for example Grad-CAM before an InstanceNorm."""


def activation_map(
    model: nn.Module,
    layer: nn.Module,
    pictures: Tensor,
    score: Callable[[Tensor], Tensor],
    method: str = "hirescam",
) -> np.ndarray:
    """Evidence by place for a scalar of the model's output.

    Parameters
    ----------
    model
        Pictures -> output, one row a picture. It is left in the mode, and with the gradients, in which it was.
    layer
        A module of `model` whose output has shape (B, C, h, w).
    pictures
        (B, 1, H, W).
    score
        One row of the output -> scalar.
    method
        ``gradcam`` (Selvaraju et al. 2017, eqs. 1 and 2, without the ReLU), ``hirescam`` (Draelos & Carin 2020, eq. 3:
        gradient times activation, place by place) or ``layercam`` (Jiang et al. 2021, eq. 5, without the ReLU).

    Returns
    -------
    numpy.ndarray
        float32 (B, h, w): positive speaks for, negative against a high score, in the score's units.

    Raises
    ------
    DeadLayer
        For ``gradcam`` where the spatial mean of the gradient is below a thousandth of its mean magnitude: a following
        InstanceNorm removed it.
    """
    from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM

    methods = {"gradcam": GradCAM, "hirescam": HiResCAM, "layercam": LayerCAM}
    was_training = model.training
    with torch.enable_grad(), methods[method](model, [layer]) as cam:
        cam.compute_input_gradient = True
        targets = [score] * len(pictures)
        cam(pictures, targets)
        activations = cam.activations_and_grads.activations[0].numpy()
        gradients = cam.activations_and_grads.gradients[0].numpy()
        raw = cam.get_cam_image(pictures, layer, targets, activations, gradients, False)
    model.train(was_training)
    if method == "gradcam":
        mean, magnitude = np.abs(gradients.mean((2, 3))).mean(), np.abs(gradients).mean()
        if mean <= DEAD_BELOW * magnitude:
            raise DeadLayer(
                "Grad-CAM is dead at this layer: its gradient has no spatial mean",
                got=f"{mean:.2g} of {magnitude:.2g}",
                next_step="use hirescam or layercam, or a layer without InstanceNorm behind it",
            )
    return raw.astype(np.float32)


def enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    """Maps (B, h, w) at the size of the picture (B, size, size), bilinear."""
    return F.interpolate(torch.from_numpy(maps)[:, None], size=(size, size), mode="bilinear")[:, 0].numpy()
