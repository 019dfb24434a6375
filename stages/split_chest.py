"""Join reports with their X-rays and split them by patient: data/chest/manifest.parquet."""

from __future__ import annotations

from pathlib import Path

from radsynth import settings
from radsynth.errors import one_line_errors
from radsynth.schemas import CHEST, FINDING_TRUTH, REPORTS, XRAYS
from radsynth.splits import chest_manifest

RAW, DATA = Path("data/raw/chest"), Path("data/chest")


@one_line_errors
def main() -> None:
    """Run the stage."""
    all_settings = settings.load()
    ours = all_settings.split_chest
    manifest = chest_manifest(
        REPORTS.read(DATA / "reports/reports.parquet"),
        XRAYS.read(DATA / "xrays/xrays.parquet"),
        validation=ours.validation,
        test=ours.test,
        seed=all_settings.seed,
        outlined=FINDING_TRUTH.read(RAW / "truth.parquet")["image_id"].tolist(),
    )
    CHEST.write(manifest, DATA / "manifest.parquet")


if __name__ == "__main__":
    main()
