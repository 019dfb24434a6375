"""Say which head volumes train, validate and test: data/brain/manifest.parquet."""

from __future__ import annotations

from pathlib import Path

from radsynth import settings
from radsynth.errors import one_line_errors
from radsynth.schemas import VOLUMES
from radsynth.splits import split_volumes

ALIGNED = Path("data/brain/aligned")
OUT = Path("data/brain/manifest.parquet")


@one_line_errors
def main() -> None:
    """Run the stage."""
    all_settings = settings.load()
    ours = all_settings.split_brain
    volumes = VOLUMES.read(ALIGNED / "volumes.parquet")
    shares = {"validation": ours.validation, "test": ours.test, "few_pairs": ours.few_pairs}
    split = split_volumes(volumes, **shares, seed=all_settings.seed)
    VOLUMES.write(volumes.assign(split=split), OUT)


if __name__ == "__main__":
    main()
