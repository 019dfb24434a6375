"""What a study of explanations brings home."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Found:
    """Parts of `metrics/explain.json`.

    Parameters
    ----------
    figures
        Each as `evaluation.entries.entry` says.
    tables
        Name -> rows.
    notes
        What the figures do not show, in whole sentences.
    facts
        Further keys of the top: how it was measured.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def __iadd__(self, other: Found) -> Found:
        self.figures |= other.figures
        self.tables |= other.tables
        self.notes += other.notes
        self.facts |= other.facts
        return self

    def note_if_no_better(self, gain: str, note: str) -> None:
        """Add a note where the interval of a paired gain reaches zero; nothing where the gain was not measured."""
        figure = self.figures.get(gain)
        if figure and figure["low"] is not None and figure["low"] <= 0:
            self.notes.append(note)
