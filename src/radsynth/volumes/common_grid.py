"""What is needed to bring a new volume on the grid of a data set: the reference head and the settings, in one file.

The file travels with a model, so that the model can be used where its data are not. It holds the reference as it was
registered to: one person's CT of the head at `WORK_MM`, without a name or an id, but with the shape of the face.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radsynth.errors import RadsynthError
from radsynth.files import atomic_path
from radsynth.volumes.registration import Head

FILE = "common_grid.safetensors"
"""Its name in the folder of aligned volumes and in the folder of a model."""
PLACED_BY = "pose and size"
"""How heads come on the grid (docs/adr/0021): a model that learned from heads of their own size misreads others."""


@dataclass(frozen=True)
class CommonGrid:
    """The reference head, upright in the reference world, and the settings of the stage align_volumes.

    Parameters
    ----------
    head
        What every volume is registered to.
    grid_size, spacing_mm
        Of the common grid, (x, y, z).
    n4
        Whether the bias field of MR is corrected.
    """

    head: Head
    grid_size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    n4: bool


def write_common_grid(common: CommonGrid, path: str | Path) -> None:
    """Write `common`; equal ones give equal bytes."""
    from safetensors.numpy import save_file

    head = common.head
    arrays = {
        "image": np.ascontiguousarray(head.image, np.float32),
        "affine": np.ascontiguousarray(head.affine, np.float64),
        # one bit a voxel
        "mask": np.packbits(head.mask, axis=None),
        "seen": np.packbits(head.seen, axis=None),
    }
    settings = {"grid_size": common.grid_size, "spacing_mm": common.spacing_mm, "n4": common.n4}
    settings |= {"placed_by": PLACED_BY}
    # one key: the order of several is not fixed
    about = {"settings": json.dumps(settings | {"modality": head.modality}, sort_keys=True)}
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, about)


def read_common_grid(path: str | Path) -> CommonGrid:
    """Read what `write_common_grid` wrote.

    Raises
    ------
    RadsynthError
        Where there is no such file, or it is another one.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "np") as file:
            settings = json.loads(file.metadata()["settings"])
            arrays = {name: file.get_tensor(name) for name in ("image", "affine", "mask", "seen")}
    except FileNotFoundError:
        raise RadsynthError(
            "no reference head to bring a new volume on the model's grid",
            where=path,
            next_step="run `dvc repro train_cyclegan`: models made before the reference was kept have none",
        ) from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise RadsynthError(f"not a readable reference head ({error})", where=path) from None
    if settings.get("placed_by") != PLACED_BY:
        raise RadsynthError(
            "the reference head is of another version",
            where=path,
            got="heads placed by their pose alone",
            expected=f"by {PLACED_BY}: train again, `dvc repro`",
        )
    image = arrays["image"]
    masks = {n: np.unpackbits(arrays[n], count=image.size).reshape(image.shape) > 0 for n in ("mask", "seen")}
    head = Head(image, arrays["affine"], masks["mask"], masks["seen"], settings["modality"])
    return CommonGrid(head, tuple(settings["grid_size"]), tuple(settings["spacing_mm"]), settings["n4"])
