"""What aligned MR and CT volumes must be like before a network may learn from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from radsynth.validation.run import (
    Expect,
    Report,
    Suite,
    all_true,
    between,
    complete,
    in_set,
    matching,
    rows_between,
    run_suites,
    unique,
)
from radsynth.vocabulary import FEW_PAIRS, SPLITS
from radsynth.volumes.geometry import without_scale

if TYPE_CHECKING:
    import pandas as pd

    from radsynth.settings import ValidateBrain

SHA256 = "^[0-9a-f]{64}$"
HU_BOUNDS = (-1024, 3071)
"""What twelve stored bits and an intercept of -1024 can hold."""
SPACING_BOUNDS_MM = (0.2, 10.0)
AIR_BELOW_HU = -300
SOFT_TISSUE_HU = (-150, 150)
BONE_ABOVE_HU = 300
SIZE_BOUNDS = 1.4
"""Times that an adult head may be larger or smaller than another along one axis."""
MASK_LITRES = (0.5, 12.0)
MASK_LITRES_USUAL = (1.5, 8.0)
"""An adult head without its neck holds about 3 to 5 litres."""


def validate_brain(
    volumes: pd.DataFrame,
    mr: np.ndarray,
    ct: np.ndarray,
    mr_depth_mm: np.ndarray,
    ct_depth_mm: np.ndarray,
    quarantine: pd.DataFrame,
    settings: ValidateBrain,
) -> Report:
    """Judge the brain data.

    Parameters
    ----------
    volumes, quarantine
        VOLUMES table with its splits, and the QUARANTINE table of the volumes.
    mr
        float32 (V, Z, Y, X), 0..1; may be memory-mapped, as all arrays here.
    ct
        int16 (V, Z, Y, X), HU.
    mr_depth_mm, ct_depth_mm
        float (V, Z, Y, X), mm from the skin inside the head, 0 outside.
    settings
        Thresholds.
    """
    import pandas as pd

    frame = _volumes(volumes)
    of_mr, of_ct = (frame[frame["modality"] == modality].reset_index(drop=True) for modality in ("MR", "CT"))
    of_mr = of_mr.join(pd.DataFrame([_mr_facts(row, mr, mr_depth_mm) for row in of_mr.to_dict("records")], columns=_MR))
    of_ct = of_ct.join(pd.DataFrame([_ct_facts(row, ct, ct_depth_mm) for row in of_ct.to_dict("records")], columns=_CT))
    aside, kept = len(quarantine), len(volumes)
    collection = pd.DataFrame(
        [{"kind": "volume", "kept": kept, "set_aside": aside, "set_aside_share": aside / max(kept + aside, 1)}]
    )
    suites = [
        Suite("volumes", frame, "volume_id", _expect_volumes(_splits(frame))),
        Suite("training subjects", _training(frame), "modality", _expect_training(settings)),
        *[
            Suite(
                f"{split} volumes",
                frame.loc[frame["split"] == split, ["volume_id"]],
                "volume_id",
                rows_between(
                    1, None, f"there are {split} volumes, so that something can be said of the result", "warning"
                ),
            )
            for split in ("validation", "test")
        ],
        Suite("MR volumes", of_mr, "volume_id", _expect_mr(settings)),
        Suite("CT volumes", of_ct, "volume_id", _expect_ct(settings)),
        Suite(
            "collection",
            collection,
            "kind",
            between("set_aside_share", 0, settings.max_quarantined, "few volumes were set aside", "warning"),
        ),
    ]
    tables = {
        "Splits": _split_table(frame),
        "MR volumes": _rounded(of_mr[["volume_id", "split", *_MR]]),
        "CT volumes": _rounded(of_ct[["volume_id", "split", *_CT]]),
        "Set aside": collection.to_dict("records"),
    }
    return run_suites("brain", suites, tables)


_MR = ["mask_litres", "mr_min", "mr_max", "mr_std", "finite_share"]
_CT = ["mask_litres", "hu_min", "hu_max", "air_share", "soft_tissue_share", "bone_share"]


def _expect_volumes(splits: tuple[str, ...]) -> list[Expect]:
    of_pairs, trained = [], "are never trained on"
    if FEW_PAIRS in splits:
        of_pairs = all_true("few_pairs_have_both", f"subjects of {FEW_PAIRS} have both modalities")
        trained = f"are trained on in {FEW_PAIRS} alone"
    return [
        *unique("volume_id", "no volume appears twice"),
        *complete(["volume_id", "subject_id"]),
        *matching("source_sha256", SHA256, "every volume names its source by SHA-256"),
        *in_set("modality", ["MR", "CT"], "every modality is MR or CT"),
        *in_set("split", splits, "every volume is in a split"),
        *between("subject_splits", 1, 1, "no subject is in two splits"),
        *between("source_splits", 1, 1, "no volume's bytes are in two splits"),
        *all_true("paired_is_held_out", f"subjects with both modalities {trained}"),
        *of_pairs,
        *all_true("unpaired_in_train", "no training subject has both modalities", "warning"),
        *all_true("unit_fits_modality", "CT is in HU, MR is in arbitrary units"),
        *between("spacing_min_mm", SPACING_BOUNDS_MM[0], None, "native voxels are not too small (mm)"),
        *between("spacing_max_mm", None, SPACING_BOUNDS_MM[1], "native voxels are not too large (mm)"),
        *between("grid_affines", 1, 1, "all volumes lie on the same grid"),
        *all_true("transform_is_valid", "every registration turns, moves and scales, no more"),
        *all_true("metric_is_finite", "every registration ended with a finite metric"),
        *all_true("intensity_scale_is_valid", "every intensity scale can be inverted"),
    ]


def _expect_training(settings: ValidateBrain) -> list[Expect]:
    return between("volumes", settings.min_volumes, None, "there are enough training volumes of each modality")


def _expect_mr(settings: ValidateBrain) -> list[Expect]:
    return [
        *rows_between(settings.min_volumes, None, "there are enough MR volumes"),
        *_expect_mask("MR"),
        *between("finite_share", 1, 1, "every MR voxel is a number"),
        *between("mr_min", 0, 1, "the darkest MR voxel lies in 0..1"),
        *between("mr_max", 0, 1, "the brightest MR voxel lies in 0..1"),
        *between("mr_std", 0.02, None, "MR has contrast inside the head (standard deviation, 0..1)"),
    ]


def _expect_ct(settings: ValidateBrain) -> list[Expect]:
    return [
        *rows_between(settings.min_volumes, None, "there are enough CT volumes"),
        *_expect_mask("CT"),
        *between("hu_min", *HU_BOUNDS, "the lowest CT voxel lies in -1024..3071 HU"),
        *between("hu_max", *HU_BOUNDS, "the highest CT voxel lies in -1024..3071 HU"),
        *between("air_share", 0.01, 0.95, "CT has air (share of the volume below -300 HU)"),
        *between("soft_tissue_share", 0.2, 0.98, "CT has soft tissue (share of the head in -150..150 HU)"),
        *between("bone_share", 0.01, 0.6, "CT has bone (share of the head above 300 HU)"),
    ]


def _expect_mask(modality: str) -> list[Expect]:
    return [
        *between("mask_litres", *MASK_LITRES, f"the {modality} head mask has a possible volume (litres)"),
        *between("mask_litres", *MASK_LITRES_USUAL, f"the {modality} head mask has a usual volume (litres)", "warning"),
    ]


def _volumes(volumes: pd.DataFrame) -> pd.DataFrame:
    frame = volumes.reset_index(drop=True)
    spacing = frame["native_spacing_mm"].map(lambda values: np.asarray(values, float))
    by_subject = frame.groupby("subject_id")
    has_both = by_subject["modality"].transform("nunique") > 1
    scale = frame["intensity_high"] - frame["intensity_low"]
    return frame[
        ["row", "volume_id", "subject_id", "modality", "split", "source_sha256", "registration_metric"]
    ].assign(
        subject_splits=by_subject["split"].transform("nunique"),
        source_splits=frame.groupby("source_sha256")["split"].transform("nunique"),
        paired_is_held_out=~frame["paired"] | (frame["split"] != "train"),
        unpaired_in_train=(frame["split"] != "train") | ~has_both,
        few_pairs_have_both=(frame["split"] != FEW_PAIRS) | has_both,
        unit_fits_modality=frame["intensity_unit"] == frame["modality"].map({"CT": "HU", "MR": "arbitrary"}),
        spacing_min_mm=spacing.map(lambda values: float(values.min()) if values.size == 3 else np.nan),
        spacing_max_mm=spacing.map(lambda values: float(values.max()) if values.size == 3 else np.nan),
        grid_affine=frame["grid_affine"],
        native_to_reference=frame["native_to_reference"],
        grid_affines=frame["grid_affine"].map(lambda values: tuple(values)).nunique(),
        transform_is_valid=frame["native_to_reference"].map(_is_pose_and_size),
        metric_is_finite=np.isfinite(frame["registration_metric"].astype(float)),
        intensity_scale_is_valid=np.isfinite(scale.astype(float)) & (scale > 0),
    )


def _splits(frame: pd.DataFrame) -> tuple[str, ...]:
    """The splits that there should be; `FEW_PAIRS` only where pairs were set aside."""
    return (*SPLITS, FEW_PAIRS) if (frame["split"] == FEW_PAIRS).any() else SPLITS


def _is_pose_and_size(values: Any) -> bool:
    matrix = np.asarray(values, float)
    if matrix.size != 16 or not np.isfinite(matrix).all():
        return False
    matrix = matrix.reshape(4, 4)
    if not np.linalg.det(matrix[:3, :3]) > 0:
        return False
    rigid, scale = without_scale(matrix)
    return bool(
        np.allclose(rigid[:3, :3] @ rigid[:3, :3].T, np.eye(3), atol=1e-3)
        and np.all(np.abs(np.log(scale)) < np.log(SIZE_BOUNDS))
        and np.allclose(matrix[3], [0, 0, 0, 1])
    )


def _training(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    train = frame[frame["split"] == "train"]
    return pd.DataFrame([{"modality": m, "volumes": int((train["modality"] == m).sum())} for m in ("MR", "CT")])


def _mr_facts(row: dict[str, Any], mr: np.ndarray, depth_mm: np.ndarray) -> dict[str, float]:
    volume, mask = _voxels(row, mr, depth_mm)
    if volume is None:
        return dict.fromkeys(_MR, np.nan)
    finite = np.isfinite(volume)
    usable = volume[finite]
    inside = volume[mask & finite]
    return {
        "mask_litres": _litres(row, mask),
        "mr_min": float(usable.min()) if usable.size else np.nan,
        "mr_max": float(usable.max()) if usable.size else np.nan,
        "mr_std": float(inside.std(dtype=np.float64)) if inside.size else np.nan,
        "finite_share": float(finite.mean()),
    }


def _ct_facts(row: dict[str, Any], ct: np.ndarray, depth_mm: np.ndarray) -> dict[str, float]:
    volume, mask = _voxels(row, ct, depth_mm)
    if volume is None:
        return dict.fromkeys(_CT, np.nan)
    inside = volume[mask]
    low, high = SOFT_TISSUE_HU
    return {
        "mask_litres": _litres(row, mask),
        "hu_min": float(volume.min()),
        "hu_max": float(volume.max()),
        "air_share": float((volume < AIR_BELOW_HU).mean()),
        "soft_tissue_share": float(((inside >= low) & (inside <= high)).mean()) if inside.size else np.nan,
        "bone_share": float((inside > BONE_ABOVE_HU).mean()) if inside.size else np.nan,
    }


def _voxels(
    row: dict[str, Any], array: np.ndarray, depth_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """A volume and its head mask; None where the table points outside the array."""
    index = int(row["row"])
    if not 0 <= index < min(len(array), len(depth_mm)):
        return None, None
    return np.asarray(array[index]), np.asarray(depth_mm[index]) > 0


def _litres(row: dict[str, Any], mask: np.ndarray) -> float:
    """Of the head as large as it is, not as it lies on the grid."""
    grid, placed = (np.asarray(row[name], float) for name in ("grid_affine", "native_to_reference"))
    if grid.size != 16 or placed.size != 16:
        return float("nan")
    grid_mm3, shrunk = (abs(np.linalg.det(matrix.reshape(4, 4)[:3, :3])) for matrix in (grid, placed))
    return float(mask.sum() * grid_mm3 / shrunk / 1e6) if shrunk else float("nan")


def _split_table(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "split": split,
            "subjects": int(rows["subject_id"].nunique()),
            "MR": int((rows["modality"] == "MR").sum()),
            "CT": int((rows["modality"] == "CT").sum()),
            "subjects with both": int((rows.groupby("subject_id")["modality"].nunique() > 1).sum()),
        }
        for split in _splits(frame)
        for rows in [frame[frame["split"] == split]]
    ]


def _rounded(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            column: (None if np.isnan(value) else float(f"{value:.5g}")) if isinstance(value, float) else value
            for column, value in row.items()
        }
        for row in frame.to_dict("records")
    ]
