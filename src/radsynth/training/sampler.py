"""Which examples a step sees: a pure function of the seed and the images seen, so that there is no state to lose."""

from __future__ import annotations

import numpy as np


def batch_indices(examples: int, batch_size: int, images_seen: int, seed: int) -> np.ndarray:
    """Indices of the batch that begins after `images_seen` images.

    Every epoch is a fresh permutation of all examples; batches run across the border between two epochs.

    Returns
    -------
    numpy.ndarray
        int64 of shape (batch_size,), each in ``[0, examples)``.
    """
    positions = np.arange(images_seen, images_seen + batch_size)
    epochs, places = np.divmod(positions, examples)
    chosen = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        order = np.random.default_rng((seed, int(epoch))).permutation(examples)
        here = epochs == epoch
        chosen[here] = order[places[here]]
    return chosen
