"""Changing the size of a picture without aliasing."""

from __future__ import annotations

import functools

import numpy as np

_ROWS_A_BLOCK = 8
"""Output rows a matrix product: short blocks follow the band of the resampling matrix closely."""

_BLOCKS_A_STRIP = 4
"""Blocks whose input is turned to floats at once: little enough for the processor's cache."""


def resize(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Resample with a Lanczos filter of three lobes that widens with the reduction, so that nothing aliases.

    The same filter as Pillow's, as two products with banded matrices.

    Parameters
    ----------
    pixels
        Real (R, C).

    Returns
    -------
    np.ndarray
        float32 (rows, columns), in the units of `pixels`; may overshoot beside sharp edges.

    References
    ----------
    Duchon, Lanczos filtering in one and two dimensions, J. Appl. Meteorology 18 (1979).
    """
    if pixels.shape == (rows, columns):
        return pixels.astype(np.float32)
    shrunk = np.empty((rows, pixels.shape[1]), np.float32)
    blocks = _lanczos_blocks(pixels.shape[0], rows)
    for start in range(0, len(blocks), _BLOCKS_A_STRIP):
        strip = blocks[start : start + _BLOCKS_A_STRIP]
        top = strip[0][1].start
        numbers = pixels[top : strip[-1][1].stop].astype(np.float32)
        for out, used, weights in strip:
            np.matmul(weights, numbers[used.start - top : used.stop - top], out=shrunk[out])
    resized = np.empty((rows, columns), np.float32)
    for out, used, weights in _lanczos_blocks(pixels.shape[1], columns):
        resized[:, out] = shrunk[:, used] @ weights.T
    return resized


@functools.lru_cache(maxsize=64)
def _lanczos_blocks(size_in: int, size_out: int) -> list[tuple[slice, slice, np.ndarray]]:
    """The (size_out, size_in) resampling matrix as blocks along its diagonal: rows, columns, float32 weights."""
    scale = size_in / size_out
    support = 3 * max(scale, 1.0)
    centres = (np.arange(size_out) + 0.5) * scale
    first = np.maximum(np.floor(centres - support), 0).astype(int)
    taps = first[:, None] + np.arange(int(np.ceil(2 * support)) + 1)
    distance = (taps + 0.5 - centres[:, None]) / max(scale, 1.0)
    weights = np.sinc(distance) * np.sinc(distance / 3)
    weights[(np.abs(distance) >= 3) | (taps >= size_in)] = 0
    weights /= weights.sum(1, keepdims=True)
    blocks = []
    for start in range(0, size_out, _ROWS_A_BLOCK):
        out = slice(start, min(start + _ROWS_A_BLOCK, size_out))
        used = slice(int(first[start]), min(int(taps[out.stop - 1, -1]) + 1, size_in))
        block = np.zeros((out.stop - out.start, used.stop - used.start), np.float32)
        inside = taps[out] < size_in
        block[np.nonzero(inside)[0], taps[out][inside] - used.start] = weights[out][inside]
        blocks.append((out, used, block))
    return blocks
