"""A chest set small enough to train on in seconds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from radsynth.reports.vectors import ReportVectors
from radsynth.training.chest_data import ChestSet
from radsynth.vocabulary import FINDINGS


def make_chest_set(count: int, size: int = 32, seed: int = 0) -> ChestSet:
    """Pictures with a bright square where the finding is: effusion on one side, or nothing."""
    rng = np.random.default_rng(seed)
    side = rng.choice(["", "left", "right"], count)
    pixels = rng.integers(0, 20_000, (count, size, size)).astype(np.uint16)
    pixels[side == "left", size // 2 :, size // 2 :] += 40_000
    pixels[side == "right", size // 2 :, : size // 2] += 40_000
    tokens = rng.normal(0, 0.1, (count, 6, 12)).astype(np.float16)
    tokens[side == "left", 0, 0], tokens[side == "right", 0, 1] = 3, 3
    sided = np.flatnonzero(side != "")
    exchanged = tokens[sided]
    exchanged[..., [0, 1]] = exchanged[..., [1, 0]]
    switched = np.arange(count + len(sided))
    switched[sided], switched[count:] = switched[count:].copy(), sided
    frame = pd.DataFrame(
        {
            "subject_id": [f"s{i}" for i in range(count)],
            "image_row": np.arange(count),
            "report_row": np.arange(count),
            "view_position": "frontal",
            "prompt": [f"effusion {s}" for s in side],
        }
    )
    for finding in FINDINGS:
        frame[f"label_{finding}"] = (side != "").astype(np.int8) if finding == "effusion" else np.int8(0)
        frame[f"side_{finding}"] = side if finding == "effusion" else ""
        frame[f"zone_{finding}"] = np.where(side == "", "", "lower") if finding == "effusion" else ""
        frame[f"size_{finding}"] = ""
    vectors = np.concatenate([tokens, exchanged]).reshape(-1, 12)
    starts, reports = np.arange(0, len(vectors) + 1, 6), np.arange(count)[:, None]
    return ChestSet(frame, pixels, ReportVectors(vectors, starts, reports, switched, max_tokens=16))


@pytest.fixture
def chest_set() -> ChestSet:
    return make_chest_set(48)
