"""The pool of earlier made images that CycleGAN's discriminators learn from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Up to `capacity` made images; the discriminator sees an old one every other time.

    This keeps a discriminator from forgetting what the generator did some steps ago. The pool has its own random
    numbers, and its state goes into the checkpoint: a resumed training hands out the same images.

    Parameters
    ----------
    capacity
        Images kept (50 in the paper); 0 hands every image straight through.
    seed
        Of the choices.

    References
    ----------
    Shrivastava et al. 2017, "Learning from Simulated and Unsupervised Images through Adversarial Training", 2.3.
    Zhu et al. 2017, section 4.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self.capacity = capacity
        self._images: list[Tensor] = []
        self._random = torch.Generator().manual_seed(seed)

    def exchange(self, images: Tensor) -> Tensor:
        """Put images in, get as many out.

        Until the pool is full, an image is kept and handed through. Then, with probability one half, it takes the
        place of a random older one, which is handed out instead of it.

        Parameters
        ----------
        images
            (B, C, H, W), detached from what made them.

        Returns
        -------
        Tensor
            (B, C, H, W), same dtype and device.
        """
        if self.capacity == 0:
            return images
        out = []
        for image in images:
            if len(self._images) < self.capacity:
                self._images.append(image.clone())
                out.append(image)
            elif torch.rand((), generator=self._random) < 0.5:
                place = int(torch.randint(self.capacity, (), generator=self._random))
                out.append(self._images[place].to(image))
                self._images[place] = image.clone()
            else:
                out.append(image)
        return torch.stack(out)

    def state_dict(self) -> dict[str, Any]:
        """The images kept and the state of the pool's random numbers."""
        images = torch.stack(self._images) if self._images else torch.empty(0)
        return {"images": images, "random": self._random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._images = list(state["images"].unbind())
        self._random.set_state(state["random"])
