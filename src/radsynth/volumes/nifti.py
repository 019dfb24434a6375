"""NIfTI-1 and NIfTI-2 files (.nii, .nii.gz): what nibabel accepts silently is checked before an array is allocated.

References
----------
NIfTI-1 data format, https://nifti.nimh.nih.gov/nifti-1 ; nibabel, `nibabel.nifti1`.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from radsynth.errors import InputQuarantined, InputRefused
from radsynth.files import atomic_path
from radsynth.volumes.geometry import Volume, spacing_of
from radsynth.volumes.payload import check_size, check_spacing, open_regular, read_exactly

MAX_EXTENSION_BYTES = 1 << 24


def read_nifti(path: Path) -> Volume:
    """Read a single-file NIfTI volume.

    Raises
    ------
    InputRefused
        Reasons ``nifti_*``: header, magic, dimensions, 4-D, data type, spacing, affine, left-right, truncated,
        size_mismatch, corrupt.
    InputQuarantined
        ``nifti_orientation_unknown``, ``nifti_units``, ``volume_spacing_implausible``, ``volume_too_small``.
    """
    with open_regular(path, "nifti") as raw:
        magic = raw.read(2)
        raw.seek(0)
        if magic != b"\x1f\x8b":
            return _read(raw, path)
        with gzip.GzipFile(fileobj=raw) as unpacked:
            return _read(unpacked, path)  # type: ignore[arg-type]


def _read(file: BinaryIO, path: Path) -> Volume:
    header, consumed = _header(file, path)
    size = _size(header, path)
    affine = _affine(header, path)
    try:
        dtype = header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
    except Exception as error:
        raise InputRefused("nifti_data_type", f"unusable data type or scaling ({error})", where=path) from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputRefused(
            "nifti_data_type", "not a scalar image", where=path, got=str(dtype), expected="integers or floats"
        )

    offset = float(header["vox_offset"])
    start = max(int(offset), consumed) if np.isfinite(offset) else -1
    if not consumed <= start <= consumed + MAX_EXTENSION_BYTES:
        raise InputRefused("nifti_header", "its data offset makes no sense", where=path, got=offset)
    read_exactly(file, start - consumed, "nifti", path, to_end=False)
    data = read_exactly(file, int(np.prod(size, dtype=np.int64)) * dtype.itemsize, "nifti", path)
    voxels = np.frombuffer(data, dtype=dtype).reshape(size, order="F")
    if slope is not None and (slope, intercept) != (1.0, 0.0):
        voxels = (voxels * np.float64(slope) + np.float64(intercept)).astype(np.float32)
    elif not dtype.isnative:
        voxels = voxels.astype(dtype.newbyteorder("="))
    return Volume(voxels, affine, "", str(path))


def _header(file: BinaryIO, path: Path) -> tuple[Any, int]:
    """The parsed header and the number of bytes read."""
    import nibabel as nib

    block = bytes(read_exactly(file, 348, "nifti", path, to_end=False))
    kind: Any = nib.Nifti1Header
    if 540 in (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")):
        block += bytes(read_exactly(file, 192, "nifti", path, to_end=False))
        kind = nib.Nifti2Header
    magic = block[4:7] if kind is nib.Nifti2Header else block[344:347]
    if magic in (b"ni1", b"ni2"):
        raise InputRefused(
            "nifti_detached", "a header whose data are in another file", where=path, expected="a single .nii file"
        )
    if magic not in (b"n+1", b"n+2"):
        raise InputRefused("nifti_header", "not a NIfTI file", where=path, got=f"magic {magic!r}")
    try:
        # check=False: nibabel would repair what is judged here, field by field
        header = kind(binaryblock=block, check=False)
    except Exception as error:
        raise InputRefused("nifti_header", f"unreadable header ({error})", where=path) from None
    return header, len(block)


def _size(header: Any, path: Path) -> tuple[int, int, int]:
    dim = [int(d) for d in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise InputRefused("nifti_dimensions", "not a 3-D volume", where=path, got=f"dim[0] = {dim[0]}")
    if any(d > 1 for d in dim[4 : dim[0] + 1]):
        raise InputRefused(
            "nifti_4d", "more than three dimensions", where=path, got=dim[1 : dim[0] + 1], expected="one 3-D volume"
        )
    size = tuple(dim[1 : min(dim[0], 3) + 1])
    check_size(size, "nifti", path)
    return size  # type: ignore[return-value]


def _affine(header: Any, path: Path) -> np.ndarray:
    spacing = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise InputRefused(
            "nifti_spacing", "spacing that is no length", where=path, got=spacing.tolist(), expected="mm above 0"
        )
    if int(header["xyzt_units"]) & 7 not in (0, 2):
        raise InputQuarantined(
            "nifti_units", "its lengths are not in mm", where=path, got=f"xyzt_units {int(header['xyzt_units'])}"
        )
    if int(header["qform_code"]) <= 0 and int(header["sform_code"]) <= 0:
        raise InputQuarantined(
            "nifti_orientation_unknown",
            "neither qform nor sform says which side is left",
            where=path,
            next_step="set its sform",
        )
    if header["pixdim"][0] == 0:  # NIfTI-1, "method 2": read as 1
        header["pixdim"][0] = 1
    try:
        qform = header.get_qform(coded=True)[0]
        sform = header.get_sform(coded=True)[0]
    except Exception as error:
        raise InputRefused("nifti_affine", f"unusable qform ({error})", where=path) from None
    for name, form in (("qform", qform), ("sform", sform)):
        if form is not None:
            _check_affine(form, name, path)
    if qform is not None and sform is not None:
        between = (qform[:3, :3] / spacing_of(qform)) @ np.linalg.inv(sform[:3, :3] / spacing_of(sform))
        if between[0, 0] < 0:
            raise InputRefused("nifti_left_right", "qform and sform disagree on which side is left", where=path)
        if between[1, 1] < 0 or between[2, 2] < 0:
            raise InputRefused(
                "nifti_forms_disagree", "qform and sform disagree on front and back or up and down", where=path
            )
    affine = np.asarray(sform if sform is not None else qform, dtype=np.float64)
    check_spacing(spacing_of(affine), path)
    return affine


def _check_affine(affine: np.ndarray, name: str, path: Path) -> None:
    if not np.isfinite(affine).all():
        raise InputRefused("nifti_affine_nonfinite", f"its {name} holds NaN or infinity", where=path)
    # relative to its columns' lengths, so that fine spacings do not look singular
    lengths = spacing_of(affine)
    if (lengths == 0).any() or abs(np.linalg.det(affine[:3, :3] / np.where(lengths == 0, 1, lengths))) < 1e-3:
        raise InputRefused("nifti_affine_singular", f"its {name} flattens space", where=path)


def write_nifti(volume: Volume, path: str | Path) -> None:
    """Write a volume as NIfTI-1 (.nii or .nii.gz), qform and sform alike; equal volumes give equal bytes.

    Parameters
    ----------
    volume
        Voxels int16, uint8 or float32 (others are stored as float32).
    path
        Ends in ``.nii`` or ``.nii.gz``.
    """
    import nibabel as nib

    voxels = volume.voxels
    if voxels.dtype not in (np.int16, np.uint8, np.float32):
        voxels = voxels.astype(np.uint8 if voxels.dtype == bool else np.float32)
    image = nib.Nifti1Image(voxels, volume.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(volume.affine, 1)
    # a sheared affine has no qform: then the sform alone says where the voxels are
    axes = volume.affine[:3, :3] / volume.spacing_mm
    image.set_qform(volume.affine, 1 if np.allclose(axes.T @ axes, np.eye(3), atol=1e-4) else 0)
    data = image.to_bytes()
    if str(path).endswith(".gz"):
        data = gzip.compress(data, compresslevel=4, mtime=0)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
