"""What the tests of reports share."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture(scope="session")
def open_i(realdata: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """All Open-i reports: raw, parsed, and quarantined."""
    from radsynth.reports.parse import parse_reports
    from radsynth.sources.openi import read_openi

    raw = read_openi(realdata / "openi").reports
    return raw, *parse_reports(raw)
