"""Saying what a source could not use."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def tell_set_aside(quarantine: pd.DataFrame) -> None:
    """One line to standard error where a QUARANTINE table has rows: how many, and the first one's message."""
    if len(quarantine):
        print(f"{len(quarantine)} inputs set aside, the first: {quarantine['message'].iloc[0]}", file=sys.stderr)
