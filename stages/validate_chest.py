"""Stage validate_chest: stop the pipeline where the chest data must not be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from radsynth import schemas, settings
from radsynth.errors import one_line_errors
from radsynth.validation.accept import read_accepted
from radsynth.validation.chest import validate_chest
from radsynth.validation.results import finish

RAW, CHEST = Path("data/raw/chest"), Path("data/chest")
PAGE = "reports/validation_chest.html"
METRICS = "metrics/validate_chest.json"


@one_line_errors
def main() -> None:
    """Judge data/chest; the JSON and the page are written in any case."""
    quarantine = pd.concat(
        [schemas.QUARANTINE.read(part / "quarantine.parquet") for part in (RAW, CHEST / "reports", CHEST / "xrays")],
        ignore_index=True,
    )
    report = validate_chest(
        reports=schemas.REPORTS.read(CHEST / "reports/reports.parquet"),
        xrays=schemas.XRAYS.read(CHEST / "xrays/xrays.parquet"),
        manifest=schemas.CHEST.read(CHEST / "manifest.parquet"),
        pixels=np.load(CHEST / "xrays/pixels.npy", mmap_mode="r"),
        quarantine=quarantine,
        settings=settings.load().validate_chest,
        reference=read_accepted(),
    )
    finish(report, METRICS, PAGE)


if __name__ == "__main__":
    main()
