"""A few slices of every validation head, to be seen while a model is trained."""

from __future__ import annotations

import numpy as np

from radsynth.training.cyclegan import MriToCt, translate_volume
from radsynth.training.slices import Heads


def middle_slices(model: MriToCt, mr: Heads, ct: Heads, most: int = 3) -> tuple[list[str], list[list[np.ndarray]]]:
    """Column titles and rows of axial slices in -1..1 (CT: -400..1200 HU), the front up, of the first few MR heads."""
    rows = []
    for subject in mr.subjects[:most]:
        image, depth = mr.of(subject)
        z = int(np.median(np.nonzero((depth > 0).any(axis=(1, 2)))[0]))
        cut = slice(z, z + 1)
        hu = [translate_volume(model, image[cut], depth[cut], places=np.array([z]))[0]]
        if subject in ct.subjects:
            hu.append(ct.of(subject)[0][z])
        row = [image[z] * 2 - 1, *(np.clip((v - 400.0) / 800, -1, 1) for v in hu)]
        rows.append([picture[::-1, ::-1] for picture in row])
    return ["MR", "synthetic CT", "true CT"][: max(map(len, rows), default=0)], rows
