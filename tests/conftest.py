"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of small real data (Open-i, NIH, brain); skips where it is absent."""
    folder = Path(os.environ.get("RADSYNTH_REALDATA", ROOT.parent / "shared" / "data"))
    if not (folder / "openi").is_dir():
        pytest.skip(f"no real data at {folder}: set RADSYNTH_REALDATA")
    return folder
