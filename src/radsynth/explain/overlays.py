"""The pictures of the studies: which cells stand beside each other, and what the colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from radsynth.explain.randomisation import Cascade
from radsynth.explain.study import Edited, Lesions, Planted, spread
from radsynth.figures import evidence_table

COLOURS = "red: evidence for, blue: against; every map on its own scale"
AGAINST = "red: evidence against the picture, of stripes above the map's median; every map on its own scale"

SAID = {"wrong_side": "agreement", "wrong_side_named": "finding named on the other side"}
"""What maps of planted flaws show."""

Cell = tuple[str, np.ndarray, np.ndarray | None, np.ndarray | None]
"""Title, picture, map, and mask to outline, as `figures.evidence_table` takes them."""


def draw_methods(lesions: Lesions, maps: dict[str, np.ndarray], layer: str, path: Path) -> None:
    """The first lesions, each by every method."""
    pictures = lesions.pictures[:, 0].numpy()
    shown = range(min(6, len(lesions)))
    evidence_table(
        [
            [("picture", pictures[i], None, lesions.masks[i])]
            + [(name, pictures[i], one[i], lesions.masks[i]) for name, one in maps.items()]
            for i in shown
        ],
        path,
        row_titles=[lesions.findings[i] for i in shown],
        note=f"maps of the judge at {layer}; green: the true lesion; {COLOURS}",
    )


def draw_randomisation(lesions: Lesions, found: Cascade, layer: str, method: str, path: Path) -> None:
    """The first lesions, each while the judge's weights are shuffled from the top down."""
    pictures = lesions.pictures[:, 0].numpy()
    shown = range(min(4, len(lesions)))

    def title(k: int, i: int) -> str:
        return "as trained" if k == 0 else f"shuffled to {found.names[k]}, r = {found.rank_correlation[k, i]:.2f}"

    evidence_table(
        [
            [(title(k, i), pictures[i], found.maps[k][i], lesions.masks[i]) for k in range(len(found.names))]
            for i in shown
        ],
        path,
        row_titles=[lesions.findings[i] for i in shown],
        note=f"{method} at {layer}, weights shuffled from the top down; r: rank correlation with the first; {COLOURS}",
    )


def draw_planted(striped: Planted, moved: Planted | None, path: Path) -> None:
    """X-rays with a stripe, and with their lesion on the other side."""
    rows = [_flaw(striped, i, "with a stripe") for i in range(min(3, len(striped.clean)))]
    titles = ["stripe"] * len(rows)
    if moved is not None:
        for i in spread(len(moved.clean), 3):
            rows.append(
                [
                    ("as it is", moved.clean[i], None, moved.masks[i][:, ::-1]),
                    ("lesion moved", moved.pictures[i], None, moved.masks[i]),
                    *(
                        (f"against: {SAID.get(name, name)}", moved.pictures[i], maps[i], moved.masks[i])
                        for name, maps in moved.maps.items()
                    ),
                ]
            )
            titles.append("lesion on the wrong side")
    evidence_table(rows, path, row_titles=titles, note=f"green: the planted flaw; {AGAINST}")


def draw_planted_ct(striped: Planted, path: Path) -> None:
    """CT slices with a stripe, the front up."""
    shown = spread(len(striped.clean), 4)
    upright = Planted(
        *(np.flip(part, 1) for part in (striped.clean, striped.pictures, striped.masks)),
        {name: np.flip(maps, 1) for name, maps in striped.maps.items()},
    )
    evidence_table(
        [_flaw(upright, i, "with a stripe", "true CT") for i in shown],
        path,
        row_titles=["stripe"] * len(shown),
        note=f"green: the planted stripe; {AGAINST.replace('picture', 'slice')}",
    )


def _flaw(found: Planted, i: int, planted: str, clean: str = "as it is") -> list[Cell]:
    against = [
        (f"against: {name}", found.pictures[i], maps[i] - np.median(maps[i]), found.masks[i])
        for name, maps in found.maps.items()
    ]
    return [(clean, found.clean[i], None, None), (planted, found.pictures[i], None, None), *against]


def draw_edits(found: Edited, path: Path) -> None:
    """Pictures drawn with and without a finding's sentences."""
    shown = spread(len(found.findings), 6)
    evidence_table(
        [
            [
                ("the report", found.drawn[i], None, None),
                (f"without {found.findings[i]}", found.without[i], None, None),
                ("difference", found.drawn[i], found.maps[i], found.zones[i]),
            ]
            for i in shown
        ],
        path,
        row_titles=[found.prompts[i] for i in shown],
        note="same noise; red: denser with the finding's sentences; green: where the finding may lie",
    )


def draw_words(rows: Sequence[Sequence[Cell]], titles: Sequence[str], path: Path) -> None:
    """Where the generator reads the words of a report."""
    evidence_table(
        rows,
        path,
        row_titles=titles,
        note="red: read more there than elsewhere, blue: less; green: where the finding may lie; maps on own scales",
    )
