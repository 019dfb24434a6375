"""Does the network's answer hang on the places that a map names? Scored by taking them away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

Score = Callable[[Tensor], Tensor]


class Removal(NamedTuple):
    """Areas under the curves of the score's share, (n,) each."""

    deletion: np.ndarray
    insertion: np.ndarray


def blurred(pictures: np.ndarray, share: float = 1 / 16) -> np.ndarray:
    """Pictures (n, S, S) without detail: Gaussian blur with a sigma of `share` of the width."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(pictures, (0, *[pictures.shape[-1] * share] * 2), mode="nearest").astype(np.float32)


def deletion_insertion(
    model: nn.Module, pictures: Tensor, maps: np.ndarray, scores: Sequence[Score], steps: int = 8
) -> Removal:
    """Blur the highest places first (deletion), or bring them back into the blurred picture first (insertion).

    The score at each step is put on the scale where the blurred picture is 0 and the whole picture 1, cut to -1..2, so
    that findings can be averaged; a picture whose score blurring does not lower by 0.1 has NaN. A good map has a low
    deletion and a high insertion area.

    References
    ----------
    Petsiuk et al. 2018, "RISE", section 4.3.
    """
    sharp = pictures[:, 0].numpy()
    dull = blurred(sharp)
    size = sharp[0].size
    deletion, insertion = np.empty((len(sharp), steps + 1)), np.empty((len(sharp), steps + 1))
    for i, evidence in enumerate(maps.reshape(len(maps), -1)):
        order = np.argsort(-evidence, kind="stable")
        rank = np.empty(size, int)
        rank[order] = np.arange(size)
        taken = (rank < (np.arange(steps + 1) * size // steps)[:, None]).reshape(steps + 1, *sharp[i].shape)
        with torch.no_grad():
            batch = np.concatenate([np.where(taken, dull[i], sharp[i]), np.where(taken, sharp[i], dull[i])])
            answers = [float(scores[i](row)) for row in model(torch.from_numpy(batch)[:, None])]
        low, high = answers[steps], answers[0]
        scale = high - low if high - low >= 0.1 else np.nan
        deletion[i] = np.clip((np.array(answers[: steps + 1]) - low) / scale, -1, 2)
        insertion[i] = np.clip((np.array(answers[steps + 1 :]) - low) / scale, -1, 2)
    return Removal(np.trapezoid(deletion, dx=1 / steps, axis=1), np.trapezoid(insertion, dx=1 / steps, axis=1))


def road(
    model: nn.Module, pictures: Tensor, maps: np.ndarray, scores: Sequence[Score], percentiles: Sequence[int], seed: int
) -> np.ndarray:
    """ROAD of maps at the pictures' size: (least relevant first - most relevant first) / 2, in the score; (n,).

    Removed pixels are filled in from their neighbours with noise, so that the shape of the mask says nothing
    (`pytorch_grad_cam.metrics.road`). Positive is good; a map that knows nothing has 0.

    References
    ----------
    Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods".
    """
    from pytorch_grad_cam.metrics.road import ROADCombined

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        found = ROADCombined(percentiles=list(percentiles))(pictures, maps, list(scores), model)
    return np.asarray(found, np.float64)
