"""Axial slices of aligned heads as CycleGAN reads them: position-matched, unpaired, in -1..1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor, nn

from radsynth.errors import RadsynthError
from radsynth.training.sampler import batch_indices

DEPTH_SCALE_MM = 15.0
"""Distance to the skin at which the depth channel is 1 - 1/e."""
MIN_HEAD = 0.03
"""Share of a slice's pixels that must be head for the slice to be trained on."""

BACKGROUND_MARGIN = 2
"""Pixels by which the head mask is widened before all outside it is taken for air."""


class Slices(NamedTuple):
    """Slices of one modality, float32, and what is known of their places without their grey values.

    `image` (B, 1, Y, X); `geometry` (B, 3, Y, X), see `geometry_channels`; `ct_density` and `mr_density`
    (B, LEVELS, Y, X), what the atlases hold possible there, with no channels where there is no atlas.
    """

    image: Tensor
    geometry: Tensor
    ct_density: Tensor
    mr_density: Tensor


class Pair(NamedTuple):
    """MR and CT slices of DIFFERENT people at about the same height of the head, after `images_seen` others.

    Without MR while the generator learns from CTs alone.
    """

    mr: Slices | None
    ct: Slices
    images_seen: int


@dataclass(frozen=True)
class Heads:
    """Aligned volumes of one modality.

    Parameters
    ----------
    modality
        ``"MR"`` or ``"CT"``.
    images
        (V, Z, Y, X), memory-mapped: MR float 0..1, CT int16 HU.
    depth_mm
        (V, Z, Y, X): distance to the skin inside the head, 0 outside.
    rows
        Rows of `images` that belong to these heads.
    subjects
        Their `subject_id`, in the order of `rows`.
    """

    modality: str
    images: np.ndarray
    depth_mm: np.ndarray
    rows: tuple[int, ...]
    subjects: tuple[str, ...]

    def volume(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """The image and the depth of head number `place`, each (Z, Y, X)."""
        return np.asarray(self.images[self.rows[place]]), np.asarray(self.depth_mm[self.rows[place]])

    def of(self, subject: str) -> tuple[np.ndarray, np.ndarray]:
        """The image and the depth of a subject."""
        return self.volume(self.subjects.index(subject))

    def only(self, subjects: Sequence[str]) -> Heads:
        """The heads of these subjects, in their order."""
        rows = tuple(self.rows[self.subjects.index(subject)] for subject in subjects)
        return replace(self, rows=rows, subjects=tuple(subjects))


def read_heads(aligned: str | Path, manifest: pd.DataFrame, modality: str, split: str | None) -> Heads:
    """Open the heads of one modality and split; None is every split.

    Parameters
    ----------
    aligned
        Folder with mr.npy, ct.npy, mr_depth_mm.npy and ct_depth_mm.npy.
    manifest
        The VOLUMES table with `split` filled.

    Raises
    ------
    RadsynthError
        Where an array is missing or does not fit the manifest.
    """
    stem, aligned = modality.lower(), Path(aligned)
    try:
        images = np.load(aligned / f"{stem}.npy", mmap_mode="r")
        depth_mm = np.load(aligned / f"{stem}_depth_mm.npy", mmap_mode="r")
    except (FileNotFoundError, ValueError) as error:
        raise RadsynthError(
            f"no aligned {modality} volumes ({error})", where=aligned, next_step="run `dvc repro`"
        ) from None
    chosen = manifest[(manifest["modality"] == modality) & ((manifest["split"] == split) | (split is None))]
    if images.shape != depth_mm.shape or (len(chosen) and chosen["row"].max() >= len(images)):
        raise RadsynthError(f"{modality} arrays do not fit the manifest", where=aligned, got=images.shape)
    return Heads(modality, images, depth_mm, tuple(chosen["row"].astype(int)), tuple(chosen["subject_id"]))


def paired_subjects(mr: Heads, ct: Heads) -> list[str]:
    """Subjects who have both modalities, in the order of `mr`."""
    return [subject for subject in mr.subjects if subject in ct.subjects]


def head_in_both(mr_depth_mm: np.ndarray, ct_depth_mm: np.ndarray) -> np.ndarray:
    """Where a synthetic CT is compared with the true one: bool (Z, Y, X).

    Inside the head mask of the true CT and that of the MR, widened in its plane by `BACKGROUND_MARGIN`: beyond its own
    mask a synthetic CT is air. What the MR's field of view cuts off (often the neck) has no answer to compare.
    """
    side = 2 * BACKGROUND_MARGIN + 1
    return (ct_depth_mm > 0) & maximum_filter(mr_depth_mm > 0, size=(1, side, side))


def hu_to_unit(hu: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """HU, clipped to `window`, mapped linearly to -1..1, float32."""
    low, high = window
    return (np.asarray(hu, np.float32).clip(low, high) - low) * np.float32(2 / (high - low)) - 1


def unit_to_hu(unit: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Inverse of `hu_to_unit`: -1..1 to HU, float32."""
    low, high = window
    return (np.asarray(unit, np.float32) + 1) * np.float32((high - low) / 2) + np.float32(low)


def image_channel(image: np.ndarray, modality: str, window: tuple[float, float]) -> np.ndarray:
    """CT in HU, or MR 0..1, as a network reads it: float32 -1..1, air at -1."""
    return hu_to_unit(image, window) if modality == "CT" else np.asarray(image, np.float32) * 2 - 1


def depth_channel(depth_mm: np.ndarray) -> np.ndarray:
    """What is known about a pixel's place: -1 outside the head, 1 - exp(-depth / 15 mm) inside, float32.

    The scale is fine near the skin, where scalp, skull and brain follow each other within millimetres.
    """
    depth_mm = np.asarray(depth_mm, np.float32)
    return np.where(depth_mm > 0, 1 - np.exp(-depth_mm / DEPTH_SCALE_MM), np.float32(-1))


def densities(
    depth_mm: np.ndarray,
    slices: np.ndarray,
    modality: str,
    atlases: nn.ModuleDict,
    statistics: np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    """What the CT and the MR atlas hold possible at each pixel: float32 (B, LEVELS, Y, X), or (B, 0, Y, X) without one.

    Parameters
    ----------
    depth_mm
        (B, Y, X): distance to the skin inside the head, 0 outside.
    slices
        (B,) int: which slices of the grid.
    modality
        ``"MR"`` or ``"CT"``: the scan that the depth was found in.
    atlases
        From `training.atlas.train_atlases`.
    statistics
        (6, B, Y, X): what the atlas of `modality` reads instead of its own.
    """
    device = next(atlases.buffers(), torch.empty(0)).device
    depth = torch.from_numpy(np.asarray(depth_mm, np.float32)).to(device)
    places = torch.as_tensor(np.asarray(slices, np.int64), device=device)
    found = []
    for name in ("ct", "mr"):
        if name in atlases:
            own = name == modality.lower()
            read = torch.from_numpy(statistics).to(device) if own and statistics is not None else None
            with torch.no_grad():
                found.append(atlases[name].density(depth, places, own, read))
        else:
            found.append(depth.new_empty((len(depth), 0, *depth.shape[1:])))
    ct, mr = found
    return ct, mr


def geometry_channels(depth_mm: np.ndarray, ct_density: Tensor, mr_density: Tensor, atlases: nn.ModuleDict) -> Tensor:
    """What is known about each pixel without its grey value: float32 (B, 3, Y, X).

    Aligned heads lie alike on the common grid, and a network of convolutions cannot see where on it a pixel is.

    Returns
    -------
    Tensor
        `depth_channel`, and the medians of what the atlases hold possible in the CT and in the MR, 0 without an atlas.
    """
    depth = torch.from_numpy(depth_channel(depth_mm))[:, None].to(ct_density.device)
    usual = [
        atlases[name].median(density) if name in atlases else torch.zeros_like(depth)
        for name, density in (("ct", ct_density), ("mr", mr_density))
    ]
    return torch.cat([depth, *usual], 1)


def to_slices(
    image: np.ndarray,
    depth_mm: np.ndarray,
    slices: np.ndarray,
    modality: str,
    window: tuple[float, float],
    atlases: nn.ModuleDict,
    depth_of: str | None = None,
    statistics: np.ndarray | None = None,
) -> Slices:
    """Slices number `slices` (B,) of one modality, (B, Y, X) each, as `Slices`; the depth from a scan of `depth_of`.

    `statistics`: see `densities`.
    """
    ct, mr = densities(depth_mm, slices, depth_of or modality, atlases, statistics)
    shown = torch.from_numpy(np.ascontiguousarray(image_channel(image, modality, window)))[:, None]
    return Slices(shown.to(ct.device), geometry_channels(depth_mm, ct, mr, atlases), ct, mr)


def usable_slices(heads: Heads) -> np.ndarray:
    """(place, z) of every slice that shows enough head, int64 (N, 2)."""
    shown = [(heads.volume(place)[1] > 0).mean(axis=(1, 2)) >= MIN_HEAD for place in range(len(heads.rows))]
    return np.argwhere(np.stack(shown)) if shown else np.empty((0, 2), np.int64)


def matched_pairs(
    mr: Heads,
    ct: Heads,
    window: tuple[float, float],
    reach: int,
    batch_size: int,
    seed: int,
    atlases: nn.ModuleDict,
    without_mr: int = 0,
    statistics: dict[str, list[np.ndarray]] | None = None,
) -> Callable[[int], Pair]:
    """Make the pure function images seen -> batch.

    Position-matched, not paired: every MR slice is seen once an epoch, and meets a CT slice of another person at most
    `reach` slices higher or lower on the common grid (the nearest height where the CTs have none so near). So what the
    discriminator learns from is how a CT looks at this height, and not that heights differ between the two sets.
    Each slice is mirrored left-right half the time, independently.

    Parameters
    ----------
    without_mr
        The first images, of which only the CT is read.
    statistics
        By modality, from `training.atlas.statistics_of_others`: then no atlas tells a head of itself.

    Raises
    ------
    RadsynthError
        Where a modality has no slice that shows enough head.
    """
    mr_slices, ct_slices = usable_slices(mr), usable_slices(ct)
    for heads, found in ((mr, mr_slices), (ct, ct_slices)):
        if not len(found):
            raise RadsynthError(f"no {heads.modality} slice to train on", got=f"{len(heads.rows)} volumes")

    def take(heads: Heads, chosen: np.ndarray, mirrored: np.ndarray) -> Slices:
        rows = [heads.rows[place] for place in chosen[:, 0]]
        image, depth_mm = (
            np.stack([source[row, z] for row, z in zip(rows, chosen[:, 1], strict=True)])
            for source in (heads.images, heads.depth_mm)
        )
        by_fold, own = (statistics or {}).get(heads.modality), None
        if by_fold:
            own = np.stack([by_fold[place % len(by_fold)][:, z] for place, z in chosen], 1)
        found = to_slices(image, depth_mm, chosen[:, 1], heads.modality, window, atlases, statistics=own)
        flip = torch.from_numpy(mirrored)[:, None, None, None].to(found.image.device)
        return Slices(*(torch.where(flip, t.flip(-1), t) for t in found))

    def batch_at(images_seen: int) -> Pair:
        mr_chosen = mr_slices[batch_indices(len(mr_slices), batch_size, images_seen, seed)]
        random = np.random.default_rng((seed, 1, images_seen))
        ct_chosen = np.stack([_partner(place, z, mr, ct, ct_slices, reach, random) for place, z in mr_chosen])
        mirrored = random.random((2, batch_size)) < 0.5
        shown = take(mr, mr_chosen, mirrored[0]) if images_seen >= without_mr else None
        return Pair(shown, take(ct, ct_chosen, mirrored[1]), images_seen)

    return batch_at


def _partner(
    place: int, z: int, mr: Heads, ct: Heads, ct_slices: np.ndarray, reach: int, random: np.random.Generator
) -> np.ndarray:
    """A random CT slice near height z of another person than MR head number `place`."""
    others = np.array([subject != mr.subjects[place] for subject in ct.subjects])
    candidates = ct_slices[others[ct_slices[:, 0]]] if others.any() else ct_slices
    if not len(candidates):
        candidates = ct_slices
    distance = np.abs(candidates[:, 1] - z)
    near = candidates[distance <= max(reach, distance.min())]
    return near[random.integers(len(near))]
