"""Decode, resize and normalise every X-ray and pack them into one array: data/chest/xrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from radsynth import settings
from radsynth.errors import RadsynthError, one_line_errors
from radsynth.files import atomic_folder
from radsynth.radiographs.prepare import prepare_all, read_image
from radsynth.schemas import QUARANTINE, RAW_IMAGES, XRAYS
from radsynth.sources.archives import iter_members

RAW = Path("data/raw/chest")
OUT = Path("data/chest/xrays")


@one_line_errors
def main() -> None:
    """Run the stage."""
    ours = settings.load().prepare_xrays
    images = RAW_IMAGES.read(RAW / "images.parquet")
    hints = dict(zip(images["image_id"], images["view_hint"], strict=True))
    with atomic_folder(OUT) as folder:
        xrays, refused = prepare_all(
            contents(images), list(images["image_id"]), folder / "pixels.npy", ours.size, view_hints=hints
        )
        if len(refused) > ours.max_refused * len(images):
            raise RadsynthError(
                f"{len(refused)} of {len(images)} images cannot be used; the first: {refused['message'].iloc[0]}",
                where=RAW,
                expected=f"at most {ours.max_refused} (prepare_xrays.max_refused)",
            )
        XRAYS.write(xrays, folder / "xrays.parquet")
        QUARANTINE.write(refused, folder / "quarantine.parquet")


def contents(images: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    """Yield image_id and bytes, container by container; an archive is read once, in its own order."""
    for container, group in images.groupby("container", sort=False):
        ids = dict(zip(group["member"], group["image_id"], strict=True))
        if Path(container).is_dir():
            yield from (
                (image_id, data) for m, image_id in ids.items() if (data := read_image(Path(container, m))) is not None
            )
        else:
            yield from ((ids[m], data) for m, data in iter_members(container) if m in ids)


if __name__ == "__main__":
    main()
