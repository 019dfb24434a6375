"""Read reports and the list of X-rays from the source that the settings name: data/raw/chest."""

from __future__ import annotations

from pathlib import Path

from radsynth import settings
from radsynth.errors import one_line_errors
from radsynth.sources.chest import acquire_chest, write_raw_chest
from radsynth.sources.set_aside import tell_set_aside

OUT = Path("data/raw/chest")


@one_line_errors
def main() -> None:
    """Run the stage."""
    all_settings = settings.load()
    OUT.mkdir(parents=True, exist_ok=True)
    raw = acquire_chest(all_settings.acquire_chest, all_settings.seed, OUT)
    write_raw_chest(raw, OUT)
    tell_set_aside(raw.quarantine)


if __name__ == "__main__":
    main()
