"""List, or make, the raw MR and CT volumes: data/raw/brain."""

from __future__ import annotations

from pathlib import Path

from radsynth import settings
from radsynth.errors import one_line_errors
from radsynth.files import atomic_folder
from radsynth.schemas import QUARANTINE, RAW_VOLUMES
from radsynth.sources.set_aside import tell_set_aside

OUT = Path("data/raw/brain")


@one_line_errors
def main() -> None:
    """Run the stage."""
    all_settings = settings.load()
    ours = all_settings.acquire_brain
    refused = QUARANTINE.empty()
    with atomic_folder(OUT) as folder:
        if ours.source == "phantom":
            from radsynth.sources.head_phantom import make_head_sample

            volumes = make_head_sample(folder, unpaired=ours.unpaired, paired=ours.paired, seed=all_settings.seed)
            # made in a temporary folder that is renamed: the table names the place it will have
            volumes = volumes.assign(
                **{c: volumes[c].str.replace(str(folder), str(OUT), regex=False) for c in ("path", "mask_path")}
            )
        elif ours.source == "folder":
            from radsynth.sources.brain_folder import list_brain_folder

            volumes, refused = list_brain_folder(ours.path)
        else:
            from radsynth.sources.synthrad import list_synthrad

            volumes = list_synthrad(ours.path, seed=all_settings.seed)
        RAW_VOLUMES.write(volumes, folder / "volumes.parquet")
        QUARANTINE.write(refused, folder / "quarantine.parquet")
    tell_set_aside(refused)


if __name__ == "__main__":
    main()
