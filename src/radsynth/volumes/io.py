"""Reading and writing head volumes, whatever their format, with one set of checks.

`read_volume` is what the stages use; `check_volume` and `check_series` are the same reading without the result, for
``radsynth check``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from radsynth.errors import InputRefused
from radsynth.files import sha256_of
from radsynth.volumes.geometry import Volume
from radsynth.volumes.nifti import read_nifti, write_nifti
from radsynth.volumes.payload import check_voxels

__all__ = ["SUFFIXES", "Volume", "check_series", "check_volume", "read_volume", "source_sha256", "stem", "write_nifti"]

SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
"""Endings of volume files, longest first."""


def read_volume(path: str | Path) -> Volume:
    """Read a NIfTI, MetaImage or NRRD file, or the folder of a DICOM series.

    Parameters
    ----------
    path
        File or folder.

    Returns
    -------
    Volume
        Voxels (i, j, k) as stored (rescaled where the file says so; HU for CT), affine voxel -> RAS mm.

    Raises
    ------
    InputRefused
        Where the file is damaged, lies about itself, or is no volume; nothing large was allocated.
    InputQuarantined
        Where it is whole but cannot be used: NaN voxels, one value everywhere, tilted or uneven slices.
    """
    path = Path(path)
    if path.is_dir():
        from radsynth.volumes.dicom import read_series

        volume = read_series(path)
    else:
        name = path.name.lower()
        if name.endswith((".nii.gz", ".nii")):
            volume = read_nifti(path)
        elif name.endswith((".mha", ".mhd")):
            from radsynth.volumes.metaimage import read_metaimage

            volume = read_metaimage(path)
        elif name.endswith((".nrrd", ".nhdr")):
            from radsynth.volumes.metaimage import read_nrrd

            volume = read_nrrd(path)
        else:
            raise InputRefused("volume_format", "not a volume format", where=path, expected=", ".join(SUFFIXES))
    check_voxels(volume.voxels, path)
    return volume


def check_volume(path: str | Path) -> None:
    """Raise `InputRefused` or `InputQuarantined` where a volume file must not, or cannot, be used."""
    read_volume(path)


def check_series(folder: str | Path) -> None:
    """Raise `InputRefused` or `InputQuarantined` where a DICOM series must not, or cannot, be used."""
    read_volume(folder)


def source_sha256(path: str | Path) -> str:
    """SHA-256 of a volume as it is stored: of its file, its series' folder, or its header and the data file beside it.

    Raises
    ------
    InputRefused
        See `radsynth.volumes.metaimage.data_file`.
    """
    path = Path(path)
    if path.is_file() and path.name.lower().endswith((".mha", ".mhd", ".nrrd", ".nhdr")):
        from radsynth.volumes.metaimage import data_file

        if data := data_file(path):
            return hashlib.sha256(f"{sha256_of(path)}\n{sha256_of(data)}\n".encode()).hexdigest()
    return sha256_of(path)


def stem(path: str | Path) -> str:
    """Name of a volume without its (double) ending; a series folder's name."""
    name = Path(path).name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
