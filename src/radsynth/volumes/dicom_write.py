"""Writing a synthetic CT as a DICOM series, on the grid that it has.

References
----------
DICOM PS3.3 A.3 (CT image), C.7.6.2 (image plane). A pixel's place is that of C.7.6.2.1.1, equation C.7.6.2.1-1.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from radsynth.errors import RadsynthError
from radsynth.synthetic_dicom import build, is_uid, new_uid, write
from radsynth.volumes.dicom import series_files
from radsynth.volumes.geometry import Volume, lps_affine

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
WINDOWS_HU = ((40.0, 400.0), (500.0, 2000.0))
"""Centre and width of soft tissue and of bone."""
MAX_SKEW = 1e-3
"""Largest cosine between voxel axes that still counts as a right angle."""


def write_ct_series(
    volume: Volume, folder: Path, *, software: str, source: str, frame_of_reference: str | None = None
) -> None:
    """Write one file a slice (0001.dcm, ...) into an existing folder; equal volumes give equal bytes.

    Slices are the planes of the volume's third axis, numbered along the normal of their rows and columns.

    Parameters
    ----------
    volume
        int16 HU (i, j, k) of any orientation, its axes at right angles.
    software
        The model and its version.
    source
        How it was made, for the derivation description.
    frame_of_reference
        UID that says in whose coordinates the volume lies; a new one where None.

    Raises
    ------
    RadsynthError
        Where the axes are not at right angles: DICOM cannot say that.
    """
    require_right_angles(volume)
    assert volume.voxels.dtype == np.int16
    lps = lps_affine(volume.affine)
    spacing = volume.spacing_mm
    along_i, along_j, along_k = (lps[:3, axis] / spacing[axis] for axis in range(3))
    content = hashlib.sha256(np.ascontiguousarray(volume.voxels).tobytes() + lps.tobytes() + software.encode())
    key = content.hexdigest()
    count = volume.voxels.shape[2]
    order = range(count) if np.cross(along_i, along_j) @ along_k > 0 else range(count - 1, -1, -1)
    for number, k in enumerate(order, start=1):
        plane = volume.voxels[:, :, k].T
        values = {
            "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
            "SOPClassUID": CT_IMAGE_STORAGE,
            "SOPInstanceUID": new_uid(key, "instance", str(number)),
            "Modality": "CT",
            "SeriesDescription": "synthetic CT, research only",
            "ManufacturerModelName": "mri-to-ct",
            "DerivationDescription": source,
            "PatientID": f"SYNTHETIC-{key[:12]}",
            "BodyPartExamined": "HEAD",
            "SliceThickness": _decimal(spacing[2]),
            "SoftwareVersions": software[:64],
            "StudyInstanceUID": new_uid(key, "study"),
            "SeriesInstanceUID": new_uid(key, "series"),
            "InstanceNumber": number,
            "ImagePositionPatient": [_decimal(mm) for mm in lps[:3, 3] + k * lps[:3, 2]],
            "ImageOrientationPatient": [_decimal(cosine) for cosine in (*along_i, *along_j)],
            "FrameOfReferenceUID": frame_of_reference or new_uid(key, "frame of reference"),
            "Rows": plane.shape[0],
            "Columns": plane.shape[1],
            # between rows first: the spacing along j
            "PixelSpacing": [_decimal(spacing[1]), _decimal(spacing[0])],
            "PixelRepresentation": 1,
            "WindowCenter": [centre for centre, _ in WINDOWS_HU],
            "WindowWidth": [width for _, width in WINDOWS_HU],
            "PixelData": np.ascontiguousarray(plane).astype("<i2").tobytes(),
        }
        write(build("ct", values), folder / f"{number:04d}.dcm")


def require_right_angles(volume: Volume) -> None:
    """Raise `RadsynthError` where the volume's axes are not at right angles, which a DICOM series cannot say."""
    axes = volume.affine[:3, :3] / volume.spacing_mm
    skew = np.abs(axes.T @ axes - np.eye(3)).max()
    if skew > MAX_SKEW:
        raise RadsynthError(
            "the voxel axes are not at right angles, which DICOM cannot say",
            where=volume.path or None,
            got=f"a cosine of {skew:.4f}",
            next_step="write NIfTI",
        )


def frame_of_reference_of(folder: Path) -> str | None:
    """The one frame of reference UID of a series, where it is a UID; nothing else is read out."""
    import pydicom

    headers = (
        pydicom.dcmread(path, specific_tags=["FrameOfReferenceUID"], stop_before_pixels=True)
        for path in series_files(folder)
    )
    found = {str(header.get("FrameOfReferenceUID", "")) for header in headers}
    uid = found.pop() if len(found) == 1 else ""
    return uid if is_uid(uid) else None


def _decimal(number: float) -> str:
    """A decimal string (VR DS): at most 16 characters, as exact as they allow."""
    from pydicom.valuerep import format_number_as_ds

    # adding zero turns -0.0 into 0.0
    return format_number_as_ds(float(number) + 0.0)
