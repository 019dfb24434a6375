"""Token vectors of reports, kept sentence by sentence: a report is a list of sentences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radsynth.files import read_json

NO_SENTENCE = -1
"""After the last sentence of a report."""


@dataclass(frozen=True)
class ReportVectors:
    """Token vectors of S different sentences, and of which of them each of R reports is made.

    Parameters
    ----------
    vectors
        float16 (W, D), may be memory-mapped: tokens of the first sentence, ``[CLS]`` first and ``[SEP]`` last, then
        those of the second, and so on.
    starts
        int64 (S + 1,): the vectors of sentence s are the rows ``starts[s]`` to ``starts[s + 1]``.
    reports
        int32 (R, L): sentences of each report in order, then `NO_SENTENCE`.
    switched
        int32 (S,): each sentence with left and right exchanged, itself where it names no side.
    max_tokens
        Where a report is cut.
    """

    vectors: np.ndarray
    starts: np.ndarray
    reports: np.ndarray
    switched: np.ndarray
    max_tokens: int

    @property
    def width(self) -> int:
        """Width D of a vector."""
        return self.vectors.shape[1]

    def tokens(self, sentences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of B reports that are made of `sentences` (B, L), as `reports` are.

        Returns
        -------
        tokens : float16 (B, T, D)
            Zeros after the last token; T is the longest report's length.
        lengths : int16 (B,)
            Tokens of each report.
        """
        rows = [self._rows(report) for report in sentences]
        lengths = np.array([len(report) for report in rows], dtype=np.int16)
        tokens = np.zeros((len(rows), int(lengths.max(initial=0)), self.width), dtype=self.vectors.dtype)
        for report, vectors in zip(rows, tokens, strict=True):
            vectors[: len(report)] = self.vectors[report]
        return tokens, lengths

    def pooled(self) -> np.ndarray:
        """Mean of each report's token vectors, ``[CLS]`` and ``[SEP]`` included, float32 (R, D)."""
        found = np.zeros((len(self.reports), self.width), dtype=np.float32)
        for mean, report in zip(found, self.reports, strict=True):
            mean[:] = self.vectors[self._rows(report)].mean(axis=0, dtype=np.float64)
        return found

    def exchanged(self, sentences: np.ndarray) -> np.ndarray:
        """Sentences (B, L) with left and right exchanged."""
        return np.where(sentences == NO_SENTENCE, NO_SENTENCE, self.switched[sentences])

    def save(self, folder: Path) -> None:
        """Write all but `max_tokens`, which stands in the folder's ``encoder.json``."""
        for name in ("vectors", "starts", "reports", "switched"):
            np.save(folder / f"{name}.npy", getattr(self, name))

    def _rows(self, report: np.ndarray) -> np.ndarray:
        spans = [np.arange(self.starts[s], self.starts[s + 1]) for s in report if s != NO_SENTENCE]
        return np.concatenate(spans)[: self.max_tokens]


def load_vectors(folder: str | Path) -> ReportVectors:
    """What `ReportVectors.save` wrote, the vectors memory-mapped."""
    folder = Path(folder)
    starts, reports, switched = (np.load(folder / f"{name}.npy") for name in ("starts", "reports", "switched"))
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    return ReportVectors(vectors, starts, reports, switched, read_json(folder / "encoder.json")["max_tokens"])
