"""How near to their true centres the lesions of the training split are found before the game begins.

    python -m benchmarks.places 13 23 24

Run it where `dvc repro train_classifier` has been; each number draws first weights, 3 to 4 minutes on two cores. A
finding's own constant distance, which a generator learns as well, is taken off. The last row is what one place a side
would be right in: its median.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch

from radsynth.errors import one_line_errors
from radsynth.explain.study import Lesions, true_lesions
from radsynth.networks.layout import SIDES
from radsynth.settings import load
from radsynth.training.chest_data import load_chest
from radsynth.training.device import NETWORK_LAYOUT, pick_device
from radsynth.training.report_gan import find_places, fresh_networks
from radsynth.vocabulary import MIDLINE_FINDINGS, PLACED_FINDINGS

WITHIN = (0.03, 0.05, 0.08)
"""Of a picture's width."""

LEAST = 10
"""Lesions of a finding that are worth a share."""


def centres(lesions: Lesions) -> dict[str, list[tuple[int, int, np.ndarray]]]:
    """Of every placed finding the row, the place's number and the centre (y, x), 0..1, of each lesion."""
    found: dict[str, list[tuple[int, int, np.ndarray]]] = {}
    for row, finding, mask, side in zip(
        lesions.rows, lesions.findings, lesions.masks, lesions.frame["side"], strict=True
    ):
        midline = finding in MIDLINE_FINDINGS
        if finding in PLACED_FINDINGS and mask.any() and (midline or side in SIDES):
            centre = (np.argwhere(mask > 0).mean(0) + 0.5) / mask.shape[0]
            found.setdefault(finding, []).append((int(row), 0 if midline else SIDES.index(side), centre))
    return {finding: lesions for finding, lesions in sorted(found.items()) if len(lesions) >= LEAST}


def shares(true: np.ndarray, found: np.ndarray) -> str:
    """Shares of `found` (n, 2) within `WITHIN` of `true`, less the median difference."""
    off = found - true
    distance = np.hypot(*(off - np.median(off, 0)).T)
    return " / ".join(f"{(distance < within).mean():.2f}" for within in WITHIN)


@one_line_errors
def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="+", type=int, help="of the discriminator's first weights")
    asked, own = parser.parse_args(), load().train_report_gan
    device = pick_device(own.precision)
    data = load_chest("data/chest/manifest.parquet", "data/chest/xrays", "data/chest/embeddings", tuple(own.views))
    known = centres(true_lesions(data["train"], "data/raw/chest", PLACED_FINDINGS))
    print(f"| first weights | {' | '.join(known)} |\n|{' --- |' * (len(known) + 1)}")

    def row(name: str, found: Callable[[str, int, int], np.ndarray]) -> None:
        cells = [
            shares(np.stack([c for *_, c in lesions]), np.stack([found(finding, r, s) for r, s, _ in lesions]))
            for finding, lesions in known.items()
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)

    for seed in asked.seeds:
        torch.manual_seed(seed)
        gan, _ = fresh_networks(own, data["train"].size, data["train"].token_width)
        discriminator = gan.discriminator.to(device.device, memory_format=NETWORK_LAYOUT)
        places = find_places(discriminator, data["train"], own, seed, device)[0].numpy()
        row(str(seed), lambda finding, r, s, places=places: places[r, PLACED_FINDINGS.index(finding), s])

    def median(finding: str, _: int, side: int) -> np.ndarray:
        return np.median([c for _, s, c in known[finding] if s == side], 0)

    row("one place a side", median)


if __name__ == "__main__":
    main()
