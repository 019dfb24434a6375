"""Stage validate_brain: stop the pipeline where the brain data must not be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from radsynth import schemas, settings
from radsynth.errors import one_line_errors
from radsynth.validation.brain import validate_brain
from radsynth.validation.results import finish

RAW, BRAIN = Path("data/raw/brain"), Path("data/brain")
PAGE = "reports/validation_brain.html"
METRICS = "metrics/validate_brain.json"


@one_line_errors
def main() -> None:
    """Judge data/brain; the JSON and the page are written in any case."""
    aligned = BRAIN / "aligned"
    mr, ct, mr_depth_mm, ct_depth_mm = (
        np.load(aligned / f"{name}.npy", mmap_mode="r") for name in ("mr", "ct", "mr_depth_mm", "ct_depth_mm")
    )
    report = validate_brain(
        volumes=schemas.VOLUMES.read(BRAIN / "manifest.parquet"),
        mr=mr,
        ct=ct,
        mr_depth_mm=mr_depth_mm,
        ct_depth_mm=ct_depth_mm,
        quarantine=pd.concat(
            [schemas.QUARANTINE.read(part / "quarantine.parquet") for part in (RAW, aligned)], ignore_index=True
        ),
        settings=settings.load().validate_brain,
    )
    finish(report, METRICS, PAGE)


if __name__ == "__main__":
    main()
