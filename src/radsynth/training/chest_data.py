"""The chest manifest with its packed pictures and text features, as batches of tensors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from radsynth.errors import RadsynthError
from radsynth.reports.findings import sentences_read
from radsynth.reports.vectors import NO_SENTENCE, ReportVectors, load_vectors
from radsynth.schemas import CHEST
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS, SIZES, TARGETS, VIEWS, ZONES

_SWITCHED = {"left": "right", "right": "left"}
OTHER_SIDE: np.ndarray = np.array(
    [TARGETS.index("_".join(_SWITCHED.get(word, word) for word in target.split("_"))) for target in TARGETS]
)
"""Where each column of `ChestSet.targets` goes when left and right are exchanged."""


@dataclass(frozen=True)
class ChestSet:
    """The examples of one split: rows of the chest manifest, and the packs they point into.

    `pixels` is uint16 (N, S, S), memory-mapped.
    """

    frame: pd.DataFrame
    pixels: np.ndarray
    reports: ReportVectors

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def size(self) -> int:
        """Side of the pictures, pixels."""
        return self.pixels.shape[1]

    @property
    def token_width(self) -> int:
        """Width of the text features."""
        return self.reports.width

    @cached_property
    def labels(self) -> np.ndarray:
        """(n, len(FINDINGS)) float32: 1 present, 0 absent, NaN uncertain."""
        return labels_of(self.frame)

    @cached_property
    def targets(self) -> np.ndarray:
        """(n, len(TARGETS)) float32: `labels`, then 1 where a present finding is on that side, in that zone, and large.

        NaN where it is uncertain, and in a zone or for large where it is present and no single zone, or size, is
        stated.
        """
        return targets_of(self.frame)

    @cached_property
    def sentences(self) -> list[list[tuple[str, int]]]:
        """Of each example's report the sentences, each with its row in `reports`."""
        rows = self.reports.reports[self.frame["report_row"].to_numpy()]
        texts = (sentences_read(prompt) for prompt in self.frame["prompt"])
        return [
            list(zip(text, row[row != NO_SENTENCE].tolist(), strict=True))
            for text, row in zip(texts, rows, strict=True)
        ]

    def pictures(self, indices: np.ndarray) -> Tensor:
        """Pictures (B, 1, S, S), float32 in -1..1."""
        stored = self.pixels[self.frame["image_row"].to_numpy()[indices]]
        return torch.from_numpy(stored.astype(np.float32)).div_(32767.5).sub_(1)[:, None]

    def text(self, indices: np.ndarray, switched: np.ndarray | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Features of the reports, cut to the longest: tokens (B, T, D) float32, mask (B, T) bool, view (B,) int64.

        Parameters
        ----------
        switched
            (B,) bool: which of them to read with left and right exchanged; by default none.
        """
        sentences = self.reports.reports[self.frame["report_row"].to_numpy()[indices]]
        if switched is not None:
            sentences = np.where(switched[:, None], self.reports.exchanged(sentences), sentences)
        return self.read(sentences, indices)

    def read(self, sentences: np.ndarray, indices: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """As `text`, of reports made of `sentences` (B, L) and the views of the examples `indices` (B,)."""
        views = [VIEWS.index(v) for v in self.frame["view_position"].to_numpy()[indices]]
        return *masked(*self.reports.tokens(sentences)), torch.tensor(views)


def masked(tokens: np.ndarray, lengths: np.ndarray) -> tuple[Tensor, Tensor]:
    """Token vectors (B, T, D) as float32, and where there are any, bool (B, T), from the `lengths` (B,) of texts."""
    mask = torch.arange(tokens.shape[1])[None] < torch.from_numpy(lengths.astype(np.int64))[:, None]
    return torch.from_numpy(tokens).float(), mask


def labels_of(frame: pd.DataFrame) -> np.ndarray:
    """Labels of a table's ``label_`` columns, (n, len(FINDINGS)) float32: 1 present, 0 absent, NaN uncertain."""
    values = frame[[f"label_{f}" for f in FINDINGS]].to_numpy(np.float32)
    return np.where(values < 0, np.nan, values)


def targets_of(frame: pd.DataFrame) -> np.ndarray:
    """Targets of a table's ``label_``, ``side_``, ``zone_`` and ``size_`` columns, see `ChestSet.targets`."""
    label, side, zone, size = (
        {f: frame[f"{kind}_{f}"].to_numpy() for f in FINDINGS} for kind in ("label", "side", "zone", "size")
    )
    columns = [
        *(_told(label[f], np.isin(side[f], (s, "both"))) for f in SIDED_FINDINGS for s in ("left", "right")),
        *(_told(label[f], zone[f] == z, zone[f] != "") for f in SIDED_FINDINGS for z in ZONES[1:]),
        *(_told(label[f], size[f] == SIZES[-1], size[f] != "") for f in FINDINGS),
    ]
    return np.column_stack([labels_of(frame), *columns]).astype(np.float32)


def _told(label: np.ndarray, here: np.ndarray, stated: np.ndarray | bool = True) -> np.ndarray:
    """1 where a present finding is `here`, else 0; NaN where it is uncertain, or present and nothing is `stated`."""
    present = label == 1
    return np.where((label < 0) | (present & ~np.asarray(stated)), np.nan, present & here)


def load_chest(
    manifest: str | Path, xrays: str | Path, embeddings: str | Path, views: tuple[str, ...] = ("frontal",)
) -> dict[str, ChestSet]:
    """The splits of a chest manifest, pictures of `views` only.

    Parameters
    ----------
    manifest
        The table that `split_chest` writes.
    xrays, embeddings
        Folders with ``pixels.npy``, and with what `ReportVectors.save` writes.

    Raises
    ------
    RadsynthError
        Where the training split is empty.
    """
    frame = CHEST.read(manifest)
    frame = frame[frame["view_position"].isin(views)]
    pixels = np.load(Path(xrays) / "pixels.npy", mmap_mode="r")
    reports = load_vectors(embeddings)
    found = {s: ChestSet(g.reset_index(drop=True), pixels, reports) for s, g in frame.groupby("split")}
    if "train" not in found:
        raise RadsynthError(f"no training picture with view {' or '.join(views)}", where=manifest)
    return found


def learnable(labels: np.ndarray, least: int = 5) -> np.ndarray:
    """Which columns of a label matrix have at least `least` positives and `least` negatives: bool (columns,)."""
    return ((labels == 1).sum(0) >= least) & ((labels == 0).sum(0) >= least)
