"""The judge: a classifier that was trained on real pictures alone and is used in no loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radsynth.errors import RadsynthError
from radsynth.files import sha256_of
from radsynth.training.findings import load_findings
from radsynth.training.models import load_model
from radsynth.training.report_gan import as_batch
from radsynth.vocabulary import FINDINGS

JUDGE = "models/classifier"


class Judge:
    """The classifier with what it has learned.

    `thresholds` are the probabilities above which it sees a finding, chosen on its validation split; a finding that had
    too few pictures there is not in it.

    Parameters
    ----------
    folder
        Of the model.

    Raises
    ------
    RadsynthError
        Where the folder holds no judge.
    """

    def __init__(self, folder: str | Path) -> None:
        _, self.description = load_model(folder)
        if "learned" not in self.description:
            raise RadsynthError("not a classifier of findings", where=folder, expected="models/classifier or the like")
        self.network = load_findings(folder)
        self.learned = tuple(self.description["learned"])
        self.thresholds = {
            finding: 1 / (1 + math.exp(-logit)) for finding, logit in self.description.get("thresholds", {}).items()
        }
        self.facts: dict[str, Any] = {
            "sha256": sha256_of(folder),
            "fingerprint": self.description.get("fingerprint"),
            "learned": list(self.learned),
        }

    @property
    def size(self) -> int:
        """Side of the pictures that it was trained on, pixels."""
        return int(self.description["input"]["shape"][-1])

    def require_size(self, size: int) -> None:
        """Refuse to judge pictures of another size than the judge was trained on: it would answer, and wrongly.

        Raises
        ------
        RadsynthError
            Where `size`, pixels, is another.
        """
        if size != self.size:
            raise RadsynthError(
                "the judge was trained on pictures of another size than the model draws",
                got=f"a judge for {self.size} pixels",
                expected=f"{size} pixels",
                next_step="train both on the same X-rays (`dvc repro`), or name another judge with --judge",
            )

    def scores(self, pictures: np.ndarray) -> np.ndarray:
        """Probability of every finding, float32 (n, len(FINDINGS)), in pictures (n, S, S) of -1..1."""
        with torch.inference_mode():
            return torch.sigmoid(self.network(as_batch(pictures)).float()).numpy()

    def strongest(self, scores: np.ndarray) -> str:
        """The finding with the highest probability among those that were learned."""
        if not self.learned:
            raise RadsynthError("the judge has learned no finding", next_step="train it on more pictures")
        return max(self.learned, key=lambda finding: scores[FINDINGS.index(finding)])
