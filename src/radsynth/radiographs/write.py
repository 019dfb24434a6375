"""Writing a synthetic X-ray: a grey PNG of 16 bits, or a DICOM secondary capture.

Secondary capture and not digital X-ray (DX): DX demands what only a detector knows (detector type, spacing at the
detector), which would have to be made up. Its conversion type SYN says that the picture was synthesised.

References
----------
DICOM PS3.3 A.8.1 (secondary capture image), C.8.6.1 (conversion type), C.7.6.1.1.1 (patient orientation).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from radsynth.synthetic_dicom import build, new_uid, write

SECONDARY_CAPTURE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"


def stored_values(picture: np.ndarray) -> np.ndarray:
    """Pictures in -1..1 as uint16, 0..65535, as the pipeline stores X-rays; bright = dense."""
    return np.rint((picture.clip(-1, 1).astype(np.float64) + 1) * 32767.5).astype(np.uint16)


def png_bytes(stored: np.ndarray, texts: Mapping[str, str]) -> bytes:
    """A grey PNG of 16 bits with text chunks.

    Parameters
    ----------
    stored
        uint16 (rows, columns).
    texts
        Keyword (1 to 79 Latin-1 characters) -> text.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def write_xray_dicom(stored: np.ndarray, path: Path, *, view: str, software: str, source: str, key: str) -> None:
    """Write a picture as a DICOM secondary capture image; equal arguments give equal bytes.

    Parameters
    ----------
    stored
        uint16 (rows, columns), bright = dense.
    view
        Of a frontal picture it is stated that rows run to the patient's left and columns to the feet.
    software
        The model and its version.
    source
        How it was made, for the derivation description.
    key
        Says which picture of which study this is; UIDs follow from it and the pixels.
    """
    content = hashlib.sha256(stored.tobytes() + f"{key}\0{software}".encode()).hexdigest()
    values = {
        "ImageType": ["DERIVED", "SECONDARY"],
        "SOPClassUID": SECONDARY_CAPTURE_STORAGE,
        "SOPInstanceUID": new_uid(content, "instance"),
        "Modality": "OT",
        "SeriesDescription": f"synthetic {view} chest X-ray, research only",
        "ManufacturerModelName": "report-to-xray",
        "DerivationDescription": source,
        "PatientID": f"SYNTHETIC-{content[:12]}",
        "BodyPartExamined": "CHEST",
        "SoftwareVersions": software[:64],
        "StudyInstanceUID": new_uid(content, "study"),
        "SeriesInstanceUID": new_uid(content, "series"),
        "InstanceNumber": 1,
        "PatientOrientation": ["L", "F"] if view == "frontal" else "",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "PixelRepresentation": 0,
        "WindowCenter": 32768,
        "WindowWidth": 65536,
        "PixelData": np.ascontiguousarray(stored).astype("<u2").tobytes(),
    }
    write(build("xray", values), path)
