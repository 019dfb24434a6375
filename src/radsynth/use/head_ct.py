"""A CT in HU from an MR of the head: `translate`."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from radsynth.errors import InputRefused, RadsynthError
from radsynth.files import write_json
from radsynth.progress import track
from radsynth.synthetic_dicom import NOTICE
from radsynth.tracking.registry import Resolved, resolve
from radsynth.training.cyclegan import MriToCt, load_mri_to_ct, translate_volume
from radsynth.training.device import pick_device
from radsynth.use.outputs import ABOUT, check_file, check_folder, new_folder, try_to_write, writing
from radsynth.use.provenance import about, title
from radsynth.volumes.align import Aligned, align_new_mr
from radsynth.volumes.common_grid import FILE, read_common_grid
from radsynth.volumes.dicom_write import frame_of_reference_of, require_right_angles, write_ct_series
from radsynth.volumes.geometry import Volume, to_native
from radsynth.volumes.io import read_volume, write_nifti

MODEL = "mri-to-ct"
SLICES = 8
CT_AIR = -500
CT_SHARE = 0.01
"""A volume with more than this share of voxels below `CT_AIR` is in HU: no magnitude MR is negative."""


def translate(
    mr: str | Path,
    out: str | Path | None = None,
    *,
    form: str = "nifti",
    model: str = "champion",
    force: bool = False,
    root: str | Path = ".",
) -> Volume:
    """Make a CT from an MR of the head, on the MR's own grid.

    The MR takes the steps of the stage align_volumes, with the reference and the settings that the model was trained
    with; the result is put back by the same transform.

    Parameters
    ----------
    mr
        NIfTI, MetaImage or NRRD file, or the folder of a DICOM series.
    out
        ``.nii`` or ``.nii.gz`` to write, with a JSON sidecar beside it; or a folder for a DICOM series, with the
        sidecar ``about.json`` in it. None writes nothing.
    form
        ``nifti`` or ``dicom``.
    model
        Alias, version or model folder.
    force
        Overwrite `out` where an earlier command made it.
    root
        The checkout whose registry is asked.

    Returns
    -------
    Volume
        int16 HU on the grid of `mr`. Outside the head, and where the model's grid does not reach, it is the floor of
        the model's HU window, -1024 by default: air.

    Raises
    ------
    RadsynthError
        Where `mr` is no MR of a head, there is no such model, or `out` must not be written.
    """
    target = None if out is None else _target(out, form, force, mr)
    if not Path(mr).exists():
        raise RadsynthError("no such file or folder", where=mr)
    resolved = resolve(root, MODEL, model)
    common = read_common_grid(resolved.folder / FILE)
    networks, _ = load_mri_to_ct(resolved.folder)
    native = _read_mr(Path(mr))
    if form == "dicom":
        require_right_angles(native)
    if target is not None:
        try_to_write(target)
    print("placing the head on the model's grid", file=sys.stderr)
    aligned = align_new_mr(mr, common)
    networks.networks.to(pick_device().device)
    air = float(networks.hu_window[0])
    placed = to_native(_translated(networks, aligned), aligned.row, fill=air)
    ct = Volume(np.rint(placed.voxels).clip(-32768, 32767).astype(np.int16), placed.affine, "CT")
    if target is not None:
        _write(ct, target, form, resolved, _facts(resolved, native, aligned, ct, air, form), Path(mr))
    return ct


def _read_mr(path: Path) -> Volume:
    """The volume as stored, where it can be an MR."""
    try:
        volume = read_volume(path)
    except InputRefused as error:
        if error.reason == "volume_format" and path.is_file():
            raise RadsynthError(
                "not a volume",
                where=path,
                expected="a NIfTI, MHA or NRRD file, or the folder of a DICOM series",
                next_step="for one slice of a series, give its folder",
            ) from None
        raise
    share = float((volume.voxels < CT_AIR).mean())
    if volume.modality == "CT" or share > CT_SHARE:
        got = "a CT" if volume.modality == "CT" else f"values in HU ({share:.0%} of the voxels below {CT_AIR})"
        raise RadsynthError("not an MR", where=path, got=got, expected="an MR of the head, to make a CT from")
    return volume


def _translated(networks: MriToCt, aligned: Aligned) -> np.ndarray:
    """HU on the common grid, float32 (Z, Y, X), with progress."""

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, len(aligned.image), SLICES):
            places = np.arange(start, min(start + SLICES, len(aligned.image)))
            yield translate_volume(
                networks, aligned.image[places], aligned.depth_mm[places], batch_size=SLICES, places=places
            )

    total = -(-len(aligned.image) // SLICES)
    return np.concatenate(list(track(parts(), "translating", total, f"parts of {SLICES} slices")))


def _facts(resolved: Resolved, native: Volume, aligned: Aligned, ct: Volume, air: float, form: str) -> dict[str, Any]:
    """The sidecar. The input's path stays out: file names carry names."""
    row = aligned.row
    grid = {"size": list(native.voxels.shape), "affine_ras_mm": native.affine.tolist()}
    return about("translate", resolved) | {
        "input": {"sha256": row["source_sha256"], "modality": "MR", "orientation": row["native_orientation"]},
        "output": {"unit": "HU", "dtype": "int16", "air_hu": air, **grid},
        "placement": {
            "native_to_reference_ras_mm": np.reshape(row["native_to_reference"], (4, 4)).tolist(),
            "mutual_information": row["registration_metric"],
        },
        "settings": {"format": form},
        "voxels_sha256": hashlib.sha256(np.ascontiguousarray(ct.voxels).tobytes()).hexdigest(),
    }


def _target(out: str | Path, form: str, force: bool, mr: str | Path) -> Path:
    name = str(out).lower()
    if form not in ("nifti", "dicom"):
        raise RadsynthError("no such format", got=repr(form), expected="nifti or dicom")
    if form == "nifti":
        if not str(out).endswith((".nii", ".nii.gz")):
            raise RadsynthError("not the name of a NIfTI file", where=out, expected=".nii.gz or .nii")
        return check_file(out, _sidecar(Path(out)), force, mr)
    if name.endswith((".nii", ".nii.gz", ".dcm")):
        raise RadsynthError("a DICOM series is a folder", where=out, expected="the name of a folder")
    return check_folder(out, force, mr)


def _sidecar(out: Path) -> Path:
    return out.with_name(out.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def _write(ct: Volume, target: Path, form: str, resolved: Resolved, facts: dict[str, Any], mr: Path) -> None:
    """Write the CT and its sidecar.

    A NIfTI file and its sidecar are written whole beside `target`, then the old CT is removed, and the new sidecar and
    the new CT are put in their places in this order. So no sidecar ever lies beside another CT than its own. A kill in
    between leaves a sidecar alone, the old or the new one, which ``--force`` replaces.
    """
    if form == "dicom":
        frame = frame_of_reference_of(mr) if mr.is_dir() else None
        source = f"made by {title(resolved)} from an MR; {NOTICE}"
        with new_folder(target) as folder:
            write_ct_series(ct, folder, software=title(resolved), source=source, frame_of_reference=frame)
            write_json(folder / ABOUT, facts)
        return
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp") as temporary:
            picture = Path(temporary) / target.name
            write_nifti(ct, picture)
            write_json(_sidecar(picture), facts | {"file": target.name})
            target.unlink(missing_ok=True)
            os.replace(_sidecar(picture), _sidecar(target))
            os.replace(picture, target)
