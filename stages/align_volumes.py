"""Bring every head volume on one grid: data/brain/aligned."""

from __future__ import annotations

from pathlib import Path

from radsynth import settings
from radsynth.errors import one_line_errors
from radsynth.schemas import RAW_VOLUMES
from radsynth.volumes.align import align

RAW = Path("data/raw/brain")
OUT = Path("data/brain/aligned")


@one_line_errors
def main() -> None:
    """Run the stage."""
    ours = settings.load().align_volumes
    align(
        RAW_VOLUMES.read(RAW / "volumes.parquet"),
        OUT,
        grid_size=ours.grid_size,
        spacing_mm=ours.spacing_mm,
        n4=ours.n4,
        max_refused=ours.max_refused,
    )


if __name__ == "__main__":
    main()
