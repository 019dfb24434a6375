"""Small, valid chest and brain data made by code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from radsynth import schemas
from radsynth.settings import ValidateBrain, ValidateChest
from radsynth.validation.brain import validate_brain
from radsynth.validation.chest import validate_chest
from radsynth.validation.run import Report
from radsynth.vocabulary import FINDINGS

STUDIES = 40
SIZE = 64


@dataclass(frozen=True)
class ChestData:
    """What `validate_chest` takes."""

    reports: pd.DataFrame
    xrays: pd.DataFrame
    manifest: pd.DataFrame
    pixels: np.ndarray
    quarantine: pd.DataFrame
    settings: ValidateChest
    reference: dict[str, float] | None

    def with_(self, **changes: Any) -> ChestData:
        return replace(self, **changes)

    def edited(self, table: str, row: int, /, **values: Any) -> ChestData:
        """A copy in which one row of a table has other values."""
        frame = getattr(self, table).copy()
        for column, value in values.items():
            frame.loc[row, column] = value
        return replace(self, **{table: frame})

    def judge(self) -> Report:
        return validate_chest(**{name: getattr(self, name) for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class BrainData:
    """What `validate_brain` takes."""

    volumes: pd.DataFrame
    mr: np.ndarray
    ct: np.ndarray
    mr_depth_mm: np.ndarray
    ct_depth_mm: np.ndarray
    quarantine: pd.DataFrame
    settings: ValidateBrain

    def with_(self, **changes: Any) -> BrainData:
        return replace(self, **changes)

    def edited(self, index: int, /, **values: Any) -> BrainData:
        """A copy in which one volume has other values."""
        frame = self.volumes.copy()
        for column, value in values.items():
            frame.at[index, column] = value
        return replace(self, volumes=frame)

    def judge(self) -> Report:
        return validate_brain(**{name: getattr(self, name) for name in self.__dataclass_fields__})


@pytest.fixture(scope="session")
def chest() -> ChestData:
    """Forty studies of one frontal image each: 24 train, 8 validation, 8 test; every finding present somewhere."""
    rng = np.random.default_rng(3)
    ids = [f"CXR{n}" for n in range(1, STUDIES + 1)]
    prompts = [f"Finding number {n} of this chest. No effusion." for n in range(STUDIES)]
    splits = ["train"] * 24 + ["validation"] * 8 + ["test"] * 8
    labels = {f"label_{f}": [int((n + i) % 4 == 0) for n in range(STUDIES)] for i, f in enumerate(FINDINGS)}
    places = {f"{place}_{f}": [""] * STUDIES for place in ("side", "zone", "size") for f in FINDINGS}
    reports = pd.DataFrame(
        {
            "row": range(STUDIES),
            "report_id": ids,
            "subject_id": ids,
            "findings": prompts,
            "impression": "",
            "indication": "",
            "comparison": "",
            "prompt": prompts,
            "mesh": [["normal"]] * STUDIES,
            "image_ids": [[f"{i}_IM-1"] for i in ids],
            "negated": [["effusion"]] * STUDIES,
            "xxxx_count": 0,
            "mentions_prior": False,
            "names_side": False,
            "has_negation": True,
            "usable": True,
            "prompt_sha256": "0" * 64,
            "source_sha256": "a" * 64,
            **labels,
            **places,
        }
    )
    xrays = pd.DataFrame(
        {
            "row": range(STUDIES),
            "image_id": [f"{i}_IM-1" for i in ids],
            "view_position": "frontal",
            "file_format": "PNG",
            "photometric_interpretation": "MONOCHROME2",
            "native_rows": 256,
            "native_columns": 256,
            "bits_stored": 8,
            "window_low": 0.0,
            "window_high": 255.0,
            "content_top": 0,
            "content_left": 0,
            "content_rows": SIZE,
            "content_columns": SIZE,
            "source_sha256": "b" * 64,
        }
    )
    manifest = pd.DataFrame(
        {
            "subject_id": ids,
            "study_id": ids,
            "image_id": xrays["image_id"],
            "image_row": range(STUDIES),
            "report_row": range(STUDIES),
            "view_position": "frontal",
            "findings": prompts,
            "impression": "",
            "prompt": prompts,
            "split": splits,
            "source_sha256": "b" * 64,
            **labels,
            **places,
        }
    )
    assert list(manifest.columns) == list(schemas.CHEST.columns)
    pixels = rng.integers(5000, 60000, (STUDIES, SIZE, SIZE)).astype(np.uint16)
    settings = ValidateChest(
        max_label_drift=0.1,
        min_studies=20,
        min_positives=3,
        max_xxxx_share=0.25,
        max_prior_share=0.25,
        max_quarantined=0.1,
    )
    return ChestData(reports, xrays, manifest, pixels, schemas.QUARANTINE.empty(), settings, None)


@pytest.fixture(scope="session")
def brain() -> BrainData:
    """Four MR and four CT volumes of 24 x 24 x 24 voxels of 10 mm; the last subject has both and is held out."""
    size, spacing = 24, 10.0
    affine = np.diag([spacing, spacing, spacing, 1.0]).ravel().tolist()
    z, y, x = np.meshgrid(*[np.arange(size) - size / 2 + 0.5] * 3, indexing="ij")
    radius_mm = np.sqrt(x**2 + y**2 + z**2) * spacing
    depth = np.where(radius_mm < 95, 95 - radius_mm, 0).astype(np.float16)
    one_ct = np.where(depth > 0, np.where(depth < 12, 900, 30), -1000).astype(np.int16)
    one_mr = np.where(depth > 0, np.clip(depth.astype(np.float32) / 100 + 0.1 * (x > 0), 0, 1), 0).astype(np.float32)
    rows = []
    for modality in ("MR", "CT"):
        for row, split in enumerate(("train", "train", "validation", "test")):
            paired = split == "test"
            rows.append(
                {
                    "row": row,
                    "volume_id": f"{modality.lower()}{row}",
                    "subject_id": "both" if paired else f"{modality}-{row}",
                    "modality": modality,
                    "paired": paired,
                    "split": split,
                    "intensity_unit": "HU" if modality == "CT" else "arbitrary",
                    "intensity_low": -1024.0 if modality == "CT" else 3.0,
                    "intensity_high": 3071.0 if modality == "CT" else 900.0,
                    "native_size": [size] * 3,
                    "native_spacing_mm": [1.0, 1.0, 1.5],
                    "native_affine": affine,
                    "native_orientation": "RAS",
                    "native_to_reference": np.eye(4).ravel().tolist(),
                    "grid_affine": affine,
                    "registration_metric": -0.8,
                    "native_path": "",
                    "source_sha256": f"{len(rows):064x}",
                }
            )
    return BrainData(
        pd.DataFrame(rows),
        np.stack([one_mr] * 4),
        np.stack([one_ct] * 4),
        np.stack([depth] * 4),
        np.stack([depth] * 4),
        schemas.QUARANTINE.empty(),
        ValidateBrain(min_volumes=2, max_quarantined=0.1),
    )
