"""DICOM objects for synthetic pictures, built from an allow-list: what is not in the table below is not written.

No header is ever copied. The one value that may come from a file is the UID of the frame of reference, so that a
synthetic CT lies where its MR lies.

References
----------
DICOM PS3.3, A.3 (CT image), A.8.1 (secondary capture image); the clauses of the modules are in the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

NOTICE = "synthetic image, research only, not for clinical use"
"""What every output says of itself."""

BOTH, CT, XRAY = ("ct", "xray"), ("ct",), ("xray",)
CONSTANT, NEW, GIVEN = "constant", "new", "given"

ALLOWED: dict[str, tuple[str, tuple[str, ...], str, Any]] = {
    # attribute: (clause of PS3.3, objects that have it, where its value comes from, the value if constant)
    "ImageType": ("C.7.6.1.1.2", BOTH, GIVEN, None),
    "SOPClassUID": ("C.12.1", BOTH, GIVEN, None),
    "SOPInstanceUID": ("C.12.1", BOTH, NEW, None),
    "SyntheticData": ("C.12.1", BOTH, CONSTANT, "YES"),
    "StudyDate": ("C.7.2.1", BOTH, CONSTANT, ""),
    "StudyTime": ("C.7.2.1", BOTH, CONSTANT, ""),
    "AccessionNumber": ("C.7.2.1", BOTH, CONSTANT, ""),
    "Modality": ("C.7.3.1", BOTH, GIVEN, None),
    "ConversionType": ("C.8.6.1", XRAY, CONSTANT, "SYN"),
    "Manufacturer": ("C.7.5.1", BOTH, CONSTANT, "radsynth"),
    "ReferringPhysicianName": ("C.7.2.1", BOTH, CONSTANT, ""),
    "StudyDescription": ("C.7.2.1", BOTH, CONSTANT, NOTICE),
    "SeriesDescription": ("C.7.3.1", BOTH, GIVEN, None),
    "ManufacturerModelName": ("C.7.5.1", BOTH, GIVEN, None),
    "DerivationDescription": ("C.7.6.1", BOTH, GIVEN, None),
    "PatientName": ("C.7.1.1", BOTH, CONSTANT, "Synthetic^Radsynth"),
    "PatientID": ("C.7.1.1", BOTH, NEW, None),
    "PatientBirthDate": ("C.7.1.1", BOTH, CONSTANT, ""),
    "PatientSex": ("C.7.1.1", BOTH, CONSTANT, ""),
    "BodyPartExamined": ("C.7.3.1", BOTH, GIVEN, None),
    "SliceThickness": ("C.7.6.2", CT, GIVEN, None),
    "KVP": ("C.8.2.1", CT, CONSTANT, None),
    "SoftwareVersions": ("C.7.5.1", BOTH, GIVEN, None),
    "PatientPosition": ("C.7.3.1", CT, CONSTANT, ""),
    "ContentQualification": ("C.8.13.2", BOTH, CONSTANT, "RESEARCH"),
    "StudyInstanceUID": ("C.7.2.1", BOTH, NEW, None),
    "SeriesInstanceUID": ("C.7.3.1", BOTH, NEW, None),
    "StudyID": ("C.7.2.1", BOTH, CONSTANT, ""),
    "SeriesNumber": ("C.7.3.1", BOTH, CONSTANT, 1),
    "AcquisitionNumber": ("C.7.6.1", CT, CONSTANT, None),
    "InstanceNumber": ("C.7.6.1", BOTH, GIVEN, None),
    "PatientOrientation": ("C.7.6.1", XRAY, GIVEN, None),
    "ImagePositionPatient": ("C.7.6.2", CT, GIVEN, None),
    "ImageOrientationPatient": ("C.7.6.2", CT, GIVEN, None),
    "FrameOfReferenceUID": ("C.7.4.1", CT, GIVEN, None),
    "PositionReferenceIndicator": ("C.7.4.1", CT, CONSTANT, ""),
    "ImageComments": ("C.7.6.1", BOTH, CONSTANT, NOTICE),
    "SamplesPerPixel": ("C.7.6.3", BOTH, CONSTANT, 1),
    "PhotometricInterpretation": ("C.7.6.3", BOTH, CONSTANT, "MONOCHROME2"),
    "Rows": ("C.7.6.3", BOTH, GIVEN, None),
    "Columns": ("C.7.6.3", BOTH, GIVEN, None),
    "PixelSpacing": ("C.7.6.2", CT, GIVEN, None),
    "BitsAllocated": ("C.7.6.3", BOTH, CONSTANT, 16),
    "BitsStored": ("C.7.6.3", BOTH, CONSTANT, 16),
    "HighBit": ("C.7.6.3", BOTH, CONSTANT, 15),
    "PixelRepresentation": ("C.7.6.3", BOTH, GIVEN, None),
    "BurnedInAnnotation": ("C.7.6.1", BOTH, CONSTANT, "NO"),
    "WindowCenter": ("C.11.2", BOTH, GIVEN, None),
    "WindowWidth": ("C.11.2", BOTH, GIVEN, None),
    "RescaleIntercept": ("C.8.2.1", CT, CONSTANT, 0),
    "RescaleSlope": ("C.8.2.1", CT, CONSTANT, 1),
    "RescaleType": ("C.8.2.1", CT, CONSTANT, "HU"),
    "LossyImageCompression": ("C.7.6.1", BOTH, CONSTANT, "00"),
    "PixelData": ("C.7.6.3", BOTH, GIVEN, None),
}

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")


def new_uid(*parts: str) -> str:
    """A UID that follows from `parts`: the same content has the same UID, other content another one."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=["radsynth", *parts]))


def is_uid(value: str) -> bool:
    """Whether `value` is a UID and nothing else (PS3.5, 9.1)."""
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def build(kind: str, values: Mapping[str, Any]) -> Dataset:
    """A data set of the attributes that `ALLOWED` has for `kind`, and no other.

    Parameters
    ----------
    kind
        ``"ct"`` or ``"xray"``.
    values
        All that is not constant in the table, by keyword; the pixels as bytes, little endian.
    """
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    wanted = {name for name, (_, kinds, origin, _) in ALLOWED.items() if kind in kinds and origin != CONSTANT}
    assert set(values) == wanted, sorted(set(values) ^ wanted)
    dataset = Dataset()
    for name, (_, kinds, origin, constant) in ALLOWED.items():
        if kind in kinds:
            setattr(dataset, name, constant if origin == CONSTANT else values[name])
    dataset["PixelData"].VR = "OW"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = values["SOPClassUID"]
    meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    return dataset


def write(dataset: Dataset, path: str | Path) -> None:
    """Write a data set of `build` as a DICOM file."""
    import pydicom

    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
