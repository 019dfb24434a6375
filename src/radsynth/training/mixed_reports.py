"""Reports made of the sentences of others: what tells a text encoder which words make a finding.

In a few hundred reports a sentence keeps company with the same others, and what a report says can be guessed from that.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from radsynth.reports.findings import label_text
from radsynth.reports.vectors import NO_SENTENCE
from radsynth.training.chest_data import OTHER_SIDE, ChestSet, targets_of

JOINED = 0.4
"""Share of the reports to which another one's sentences are added."""


def mixed_reports(
    data: ChestSet, chosen: np.ndarray, seed: int | tuple[int, ...], *, switched: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Reports of the examples `chosen` (B,) with sentences left out, some joined by another's, all shuffled.

    Which share is left out is drawn for each report: some keep all, some a single sentence, as many prompts are.

    Parameters
    ----------
    switched
        Exchange left and right in all of them.

    Returns
    -------
    tokens, mask, view
        See `ChestSet.text`.
    targets : float32 (B, len(TARGETS))
        What then stands there, read by `label_text`; as `ChestSet.targets`.
    """
    random = np.random.default_rng(seed)
    others = np.where(random.random(len(chosen)) < JOINED, random.integers(0, len(data), len(chosen)), -1)
    made = []
    for own, other in zip(chosen, others, strict=True):
        sentences = data.sentences[own] + (data.sentences[other] if other >= 0 else [])
        order, dropped = random.permutation(len(sentences)), random.random()
        kept = order[random.random(len(order)) >= dropped]
        made.append([sentences[k] for k in (kept if len(kept) else order[:1])])
    rows = np.full((len(made), max(map(len, made))), NO_SENTENCE)
    for row, sentences in zip(rows, made, strict=True):
        row[: len(sentences)] = [number for _, number in sentences]
    texts = ["; ".join(sentence for sentence, _ in sentences) for sentences in made]
    targets = targets_of(pd.DataFrame([label_text(text).columns() for text in texts]))
    if switched:
        rows, targets = data.reports.exchanged(rows), targets[:, OTHER_SIDE]
    return *data.read(rows, chosen), torch.from_numpy(targets)
