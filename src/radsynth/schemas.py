"""Every table that passes between stages: columns, types and units, and the only doors it is read and written through.

A schema judges types and presence; whether values may be used is Great Expectations' business (`radsynth.validation`).
Arrays lie beside their table as ``.npy`` files whose first axis is the table's `row` column.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from radsynth.errors import RadsynthError
from radsynth.files import atomic_path
from radsynth.vocabulary import FINDINGS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """A named table: `columns` maps each column to its Arrow type, `units` says what numbers mean."""

    name: str
    columns: dict[str, pa.DataType]
    units: dict[str, str]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema; units are in the fields' metadata."""
        return pa.schema([pa.field(c, t, metadata={"unit": self.units.get(c, "")}) for c, t in self.columns.items()])

    def write(self, frame: pd.DataFrame, path: str | Path) -> None:
        """Write `frame` as Parquet; a missing, extra or mistyped column is an error.

        Raises
        ------
        RadsynthError
            Where the frame does not fit the table.
        """
        self._require(list(frame.columns), path)
        try:
            table = pa.Table.from_pandas(frame[list(self.columns)], schema=self.schema, preserve_index=False)
        except (pa.ArrowException, OverflowError) as error:
            raise RadsynthError(f"a value does not fit the {self.name} table: {error}", where=path) from error
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary)

    def read(self, path: str | Path) -> pd.DataFrame:
        """Read a table written by `write`.

        Raises
        ------
        RadsynthError
            Where the file is missing, or is another table.
        """
        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise RadsynthError("no such table", where=path, expected=self.name, next_step="run `dvc repro`") from None
        except (pa.ArrowException, OSError) as error:
            raise RadsynthError(f"not a readable Parquet file ({error})", where=path, expected=self.name) from error
        self._require(table.column_names, path)
        try:
            return table.select(list(self.columns)).cast(self.schema).to_pandas()
        except pa.ArrowException as error:
            raise RadsynthError(f"not the {self.name} table ({error})", where=path) from error

    def empty(self) -> pd.DataFrame:
        """The table without rows."""
        return self.schema.empty_table().to_pandas()

    def _require(self, got: list[str], path: str | Path) -> None:
        missing, extra = sorted(set(self.columns) - set(got)), sorted(set(got) - set(self.columns))
        if missing or extra:
            raise RadsynthError(f"not the {self.name} table", where=path, got=f"extra {extra}, missing {missing}")


_string, _bool, _strings = pa.string(), pa.bool_(), pa.list_(pa.string())

QUARANTINE = Table(
    "quarantine",
    {"path": _string, "kind": _string, "verdict": _string, "reason": _string, "message": _string},
    {"kind": "report | image | volume | series | archive", "verdict": "quarantined | refused"},
)

# ---- chest ----

RAW_REPORTS = Table(
    "raw reports",
    {"report_id": _string, "subject_id": _string, "name": _string, "xml": pa.binary()},
    {"name": "the file it came from, for messages", "xml": "an Open-i eCitation document"},
)

RAW_IMAGES = Table(
    "raw images",
    {"image_id": _string, "container": _string, "member": _string, "view_hint": _string},
    {
        "image_id": "as a report's parentImage/@id names it",
        "container": "folder or .tgz that holds the file",
        "member": "path inside the container",
        "view_hint": "frontal | lateral | unknown, where the source says so",
    },
)

FINDING_TRUTH = Table(
    "finding truth",
    {
        "image_id": _string,
        "finding": _string,
        "side": _string,
        "zone": _string,
        "size_mm": pa.float32(),
        "severity": pa.float32(),
        "mask_row": pa.int32(),
    },
    {
        "side": "patient's side: left | right | both | ''",
        "zone": "upper | mid | lower | ''",
        "size_mm": "largest extent, mm",
        "severity": "0..1",
        "mask_row": "row of masks.npy: uint8 (M, 256, 32), the 256x256 mask through numpy.packbits on the last axis",
    },
)

_LABELS = {f"label_{f}": pa.int8() for f in FINDINGS} | {
    f"{p}_{f}": _string for p in ("side", "zone", "size") for f in FINDINGS
}
_LABEL_UNITS = {f"label_{f}": "1 present, 0 negated or not mentioned, -1 uncertain" for f in FINDINGS}

REPORTS = Table(
    "reports",
    {
        "row": pa.int32(),
        "report_id": _string,
        "subject_id": _string,
        "findings": _string,
        "impression": _string,
        "indication": _string,
        "comparison": _string,
        "prompt": _string,
        "mesh": _strings,
        "image_ids": _strings,
        "negated": _strings,
        "xxxx_count": pa.int32(),
        "mentions_prior": _bool,
        "names_side": _bool,
        "has_negation": _bool,
        "usable": _bool,
        "prompt_sha256": _string,
        "source_sha256": _string,
    }
    | _LABELS,
    {
        "findings": "as written, white space normalised; '' where the section is empty",
        "prompt": "cleaned findings + impression: what the text encoder reads",
        "negated": "findings that the text says are absent",
        "xxxx_count": "de-identification tokens in findings + impression, before cleaning",
        "usable": "findings or impression left after cleaning, and at least one image named",
        "prompt_sha256": "of the lower-cased prompt: equal texts stay in one split",
        "source_sha256": "of the XML bytes",
    }
    | _LABEL_UNITS,
)

XRAYS = Table(
    "x-rays",
    {
        "row": pa.int32(),
        "image_id": _string,
        "view_position": _string,
        "file_format": _string,
        "photometric_interpretation": _string,
        "native_rows": pa.int32(),
        "native_columns": pa.int32(),
        "bits_stored": pa.int16(),
        "window_low": pa.float32(),
        "window_high": pa.float32(),
        "content_top": pa.int16(),
        "content_left": pa.int16(),
        "content_rows": pa.int16(),
        "content_columns": pa.int16(),
        "source_sha256": _string,
    },
    {
        "row": "row of pixels.npy: uint16 (N, S, S), 0..65535, bright = dense",
        "view_position": "frontal | lateral | unknown",
        "window_low": "stored value that became 0",
        "window_high": "stored value that became 65535",
        "content_top": "px: where the picture lies inside the padded square",
    },
)

CHEST = Table(
    "chest manifest",
    {
        "subject_id": _string,
        "study_id": _string,
        "image_id": _string,
        "image_row": pa.int32(),
        "report_row": pa.int32(),
        "view_position": _string,
        "findings": _string,
        "impression": _string,
        "prompt": _string,
        "split": _string,
        "source_sha256": _string,
    }
    | _LABELS,
    {
        "image_row": "row of xrays/pixels.npy",
        "report_row": "row of reports.parquet and of the embeddings",
        "split": "train | validation | test, by subject; equal prompts stay together",
    }
    | _LABEL_UNITS,
)

# ---- brain ----

RAW_VOLUMES = Table(
    "raw volumes",
    {
        "volume_id": _string,
        "subject_id": _string,
        "modality": _string,
        "path": _string,
        "mask_path": _string,
        "paired": _bool,
    },
    {
        "modality": "MR | CT",
        "path": "NIfTI, MHA or NRRD file, or the folder of a DICOM series",
        "mask_path": "a given head mask, '' where there is none",
        "paired": "this subject has both modalities: for evaluation alone",
    },
)

VOLUMES = Table(
    "volume manifest",
    {
        "row": pa.int32(),
        "volume_id": _string,
        "subject_id": _string,
        "modality": _string,
        "paired": _bool,
        "split": _string,
        "intensity_unit": _string,
        "intensity_low": pa.float32(),
        "intensity_high": pa.float32(),
        "native_size": pa.list_(pa.int32()),
        "native_spacing_mm": pa.list_(pa.float64()),
        "native_affine": pa.list_(pa.float64()),
        "native_orientation": _string,
        "native_to_reference": pa.list_(pa.float64()),
        "grid_affine": pa.list_(pa.float64()),
        "registration_metric": pa.float32(),
        "native_path": _string,
        "source_sha256": _string,
    },
    {
        "row": "row of mr.npy or ct.npy, by modality: (V, Z, Y, X)",
        "intensity_unit": "HU | arbitrary",
        "intensity_low": "MR: native value stored as 0.0; CT: HU floor of the clip",
        "intensity_high": "MR: native value stored as 1.0; CT: HU ceiling of the clip",
        "native_size": "voxels, (i, j, k)",
        "native_spacing_mm": "mm, (i, j, k)",
        "native_affine": "4x4 row-major, voxel (i, j, k) -> RAS mm",
        "native_to_reference": "4x4 row-major, native RAS mm -> reference RAS mm: rigid, then a scale along x, y, z",
        "grid_affine": "4x4 row-major, voxel (x, y, z) of the common grid -> reference RAS mm",
        "registration_metric": "Mattes mutual information at the end (negative: better is lower)",
    },
)
