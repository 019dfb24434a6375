"""What reports, X-rays and their manifest must be like before a network may learn from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from radsynth.progress import track
from radsynth.validation.run import (
    Expect,
    Report,
    Suite,
    all_true,
    between,
    complete,
    in_set,
    matching,
    mean_between,
    rows_between,
    run_suites,
    unique,
    without,
)
from radsynth.vocabulary import FINDINGS, SIDED_FINDINGS, SIDES, SIZES, SPLITS, VIEWS, ZONES

if TYPE_CHECKING:
    import pandas as pd

    from radsynth.settings import ValidateChest

SHA256 = "^[0-9a-f]{64}$"
PROMPT_CHARACTERS = (3, 4000)
PIXEL_MEAN = (0.02, 0.98)
PIXEL_STD_MIN = 0.02
SATURATED_SHARE_MAX = 0.7
HASH_SIDE = 16
NEAR_DUPLICATE_BITS = 6
"""Of the 256 bits of a difference hash: pictures that differ in fewer are the same picture saved twice."""


def label_rates(manifest: pd.DataFrame) -> dict[str, float]:
    """Share of studies in which each finding is present (label 1), by finding.

    Parameters
    ----------
    manifest
        A CHEST table; a study with several images counts once.
    """
    studies = manifest.drop_duplicates("study_id")
    return {finding: _share(studies[f"label_{finding}"] == 1) for finding in FINDINGS}


def validate_chest(
    reports: pd.DataFrame,
    xrays: pd.DataFrame,
    manifest: pd.DataFrame,
    pixels: np.ndarray,
    quarantine: pd.DataFrame,
    settings: ValidateChest,
    reference: Mapping[str, float] | None,
) -> Report:
    """Judge the chest data.

    Parameters
    ----------
    reports, xrays, manifest, quarantine
        REPORTS, XRAYS, CHEST and QUARANTINE tables; `quarantine` is that of the reports and the images together.
    pixels
        uint16 (N, S, S), 0..65535; may be memory-mapped.
    settings
        Thresholds.
    reference
        The accepted data's `label_rates`, or None where no data has been accepted yet.
    """
    images = _images(reports, xrays, manifest, pixels)
    findings = _findings(manifest, reference)
    collection = _collection(reports, xrays, quarantine)
    suites = [
        Suite("reports", _reports(reports), "report_id", _expect_reports(settings)),
        Suite("studies", manifest.drop_duplicates("study_id")[["study_id"]], "study_id", _expect_studies(settings)),
        *[
            Suite(
                f"{split} images",
                images.loc[images["split"] == split, ["image_id"]],
                "image_id",
                rows_between(1, None, f"the {split} split is not empty"),
            )
            for split in SPLITS
        ],
        Suite("images", images, "image_id", _expect_images()),
        Suite("labels", _labels(manifest), "image_and_finding", _expect_labels()),
        Suite("findings", findings, "finding", _expect_findings(settings, reference)),
        Suite("collection", collection, "kind", _expect_collection(settings)),
    ]
    tables = {
        "Splits": _split_table(images),
        "Findings": _finding_table(findings),
        "Set aside": collection.to_dict("records"),
    }
    return run_suites("chest", suites, tables)


def _expect_reports(settings: ValidateChest) -> list[Expect]:
    return [
        *unique("report_id", "no report appears twice"),
        *complete(["report_id", "subject_id"]),
        *matching("source_sha256", SHA256, "every report names its source by SHA-256"),
        *between("xxxx_count", 0, None, "the number of XXXX tokens is not negative"),
        *mean_between(
            "has_xxxx", None, settings.max_xxxx_share, "few reports held de-identification tokens", "warning"
        ),
        *mean_between("prior", None, settings.max_prior_share, "few reports speak of prior studies", "warning"),
    ]


def _expect_studies(settings: ValidateChest) -> list[Expect]:
    return rows_between(settings.min_studies, None, "there are enough studies")


def _expect_images() -> list[Expect]:
    return [
        *unique("image_id", "no image appears twice"),
        *complete(["image_id", "subject_id", "study_id", "prompt"]),
        *matching("source_sha256", SHA256, "every image names its source by SHA-256"),
        *in_set("split", SPLITS, "every image is in a split"),
        *in_set("view_position", VIEWS, "every view is a known word"),
        *mean_between("unknown_view", None, 0.5, "most views are known", "warning"),
        *between("subject_splits", 1, 1, "no subject is in two splits"),
        *between("prompt_splits", 1, 1, "no prompt is in two splits"),
        *between("pixel_splits", 1, 1, "no picture is in two splits"),
        *between("near_duplicates", 0, 0, "no picture of the training split nearly equals a held-out one", "warning"),
        *without("prompt", "(?i)x{3,}", "no XXXX is left in a prompt"),
        *without("prompt", r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]", "no prompt holds control characters"),
        *between("prompt_characters", *PROMPT_CHARACTERS, "prompts have a plausible length (characters)"),
        *all_true("is_its_report", "every prompt is that of its report"),
        *all_true("is_its_xray", "every image row is that of its X-ray"),
        *between("pixel_mean", *PIXEL_MEAN, "no picture is all black or all white (mean, 0..1)"),
        *between("pixel_std", PIXEL_STD_MIN, None, "every picture has contrast (standard deviation, 0..1)"),
        *between("saturated_share", 0, SATURATED_SHARE_MAX, "few pixels are saturated", "warning"),
    ]


def _expect_labels() -> list[Expect]:
    return [
        *in_set("label", [-1, 0, 1], "labels are -1, 0 or 1"),
        *in_set("side", SIDES, "sides are known words"),
        *in_set("zone", ZONES, "zones are known words"),
        *in_set("size", SIZES, "sizes are known words"),
        *all_true("place_fits_finding", "only findings that have a side are given a side or a zone"),
        *all_true("place_fits_label", "no side or zone is given to an absent finding", "warning"),
        *all_true("size_fits_label", "no size is given to an absent finding", "warning"),
    ]


def _expect_findings(settings: ValidateChest, reference: Mapping[str, float] | None) -> list[Expect]:
    drift = Expect(
        "label rates are those of the last accepted data",
        "ExpectColumnValuesToBeBetween",
        "warning",
        {"column": "drift", "min_value": -settings.max_label_drift, "max_value": settings.max_label_drift},
        skipped=""
        if reference
        else "no data has been accepted yet: `radsynth accept-data` makes this data the reference",
    )
    return [
        *between(
            "positives_in_train",
            settings.min_positives,
            None,
            "every finding has enough positive studies in the training split",
            "warning",
        ),
        drift,
    ]


def _expect_collection(settings: ValidateChest) -> list[Expect]:
    return between("set_aside_share", 0, settings.max_quarantined, "few files were set aside", "warning")


def _reports(reports: pd.DataFrame) -> pd.DataFrame:
    return reports[["report_id", "subject_id", "source_sha256", "xxxx_count"]].assign(
        has_xxxx=(reports["xxxx_count"] > 0).astype(float), prior=reports["mentions_prior"].astype(float)
    )


def _images(reports: pd.DataFrame, xrays: pd.DataFrame, manifest: pd.DataFrame, pixels: np.ndarray) -> pd.DataFrame:
    """The manifest with derived columns; a row that points outside its table gets NaN and False, not another's."""
    import pandas as pd

    statistics = _pixel_statistics(pixels, xrays)
    by_row = manifest["image_row"]
    frame = manifest[
        ["image_id", "subject_id", "study_id", "prompt", "split", "view_position", "source_sha256"]
    ].reset_index(drop=True)
    looked_up = statistics.reindex(by_row).reset_index(drop=True)
    report = reports.drop_duplicates("row").set_index("row").reindex(manifest["report_row"]).reset_index(drop=True)
    frame = pd.concat([frame, looked_up[["pixel_mean", "pixel_std", "saturated_share"]]], axis=1)
    return frame.assign(
        unknown_view=(frame["view_position"] == "unknown").astype(float),
        prompt_characters=frame["prompt"].str.len(),
        subject_splits=_splits_of(frame, frame["subject_id"]),
        prompt_splits=_splits_of(frame, frame["prompt"].str.lower()),
        pixel_splits=_splits_of(frame, looked_up["digest"]),
        near_duplicates=_near_duplicates(looked_up["hash"], frame["split"]),
        is_its_report=(report["prompt"] == frame["prompt"]) & (report["subject_id"] == frame["subject_id"]),
        is_its_xray=looked_up["xray_image_id"] == frame["image_id"],
    )


def _pixel_statistics(pixels: np.ndarray, xrays: pd.DataFrame) -> pd.DataFrame:
    """Facts about each picture, indexed by its row of `pixels`; measured where the picture lies, not on its padding."""
    import hashlib

    import pandas as pd

    box = xrays.drop_duplicates("row").set_index("row")
    rows: list[dict[str, Any]] = []
    for row in track(range(len(pixels)), "measuring X-rays", unit="images"):
        if row not in box.index:
            continue
        where = box.loc[row]
        top, left = int(where["content_top"]), int(where["content_left"])
        content = np.asarray(
            pixels[row, top : top + int(where["content_rows"]), left : left + int(where["content_columns"])]
        )
        values = content.astype(np.float32) / 65535.0
        known = content.size > 0
        rows.append(
            {
                "row": row,
                "xray_image_id": where["image_id"],
                "pixel_mean": float(values.mean()) if known else np.nan,
                "pixel_std": float(values.std()) if known else np.nan,
                "saturated_share": float(np.mean((content == 0) | (content == 65535))) if known else np.nan,
                "digest": hashlib.sha256(np.ascontiguousarray(pixels[row]).tobytes()).hexdigest(),
                "hash": difference_hash(np.asarray(pixels[row])),
            }
        )
    columns = ["row", "xray_image_id", "pixel_mean", "pixel_std", "saturated_share", "digest", "hash"]
    return pd.DataFrame(rows, columns=columns).set_index("row")


def difference_hash(picture: np.ndarray) -> np.ndarray:
    """Whether each of 16 x 17 block means is brighter than its right neighbour: bool (256,).

    Parameters
    ----------
    picture
        (S, S), any real dtype.

    References
    ----------
    N. Krawetz, "Kind of like that", 2013 (the dHash of pictures).
    """
    side = picture.shape[0]
    down = np.linspace(0, side, HASH_SIDE + 1).astype(int)
    across = np.linspace(0, side, HASH_SIDE + 2).astype(int)
    sums = np.add.reduceat(np.add.reduceat(picture.astype(np.float64), down[:-1], axis=0), across[:-1], axis=1)
    means = sums / np.outer(np.diff(down), np.diff(across))
    return (means[:, :-1] > means[:, 1:]).ravel()


def _near_duplicates(hashes: pd.Series, split: pd.Series) -> np.ndarray:
    """For each held-out picture, how many training pictures nearly equal it, by difference hash: int (N,)."""
    counts = np.zeros(len(hashes), np.int64)
    known = hashes.map(lambda value: isinstance(value, np.ndarray)).to_numpy(bool)
    train = np.flatnonzero(known & (split == "train").to_numpy())
    held_out = np.flatnonzero(known & (split != "train").to_numpy())
    if not len(train) or not len(held_out):
        return counts
    signs = np.stack([np.where(h, 1, -1) for h in hashes.iloc[train]]).astype(np.float32)
    for start in range(0, len(held_out), 512):
        rows = held_out[start : start + 512]
        block = np.stack([np.where(h, 1, -1) for h in hashes.iloc[rows]]).astype(np.float32)
        differing = (block.shape[1] - block @ signs.T) / 2
        counts[rows] = (differing < NEAR_DUPLICATE_BITS).sum(axis=1)
    return counts


def _splits_of(frame: pd.DataFrame, group: pd.Series) -> pd.Series:
    """For each row, in how many splits its group (subject, prompt, picture) appears."""
    return frame.groupby(group.to_numpy(), dropna=False)["split"].transform("nunique")


def _labels(manifest: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    parts = [
        pd.DataFrame(
            {
                "image_and_finding": manifest["image_id"] + " " + finding,
                "label": manifest[f"label_{finding}"],
                "side": manifest[f"side_{finding}"],
                "zone": manifest[f"zone_{finding}"],
                "size": manifest[f"size_{finding}"],
                "place_fits_finding": nowhere | (finding in SIDED_FINDINGS),
                "place_fits_label": nowhere | there,
                "size_fits_label": (manifest[f"size_{finding}"] == "") | there,
            }
        )
        for finding in FINDINGS
        for nowhere in [(manifest[f"side_{finding}"] == "") & (manifest[f"zone_{finding}"] == "")]
        for there in [manifest[f"label_{finding}"] != 0]
    ]
    return pd.concat(parts, ignore_index=True)


def _findings(manifest: pd.DataFrame, reference: Mapping[str, float] | None) -> pd.DataFrame:
    import pandas as pd

    train = manifest[manifest["split"] == "train"].drop_duplicates("study_id")
    rates = label_rates(manifest)
    accepted = reference or {}
    return pd.DataFrame(
        {
            "finding": list(FINDINGS),
            "positives_in_train": [int((train[f"label_{f}"] == 1).sum()) for f in FINDINGS],
            "rate": [rates[f] for f in FINDINGS],
            "accepted_rate": [float(accepted.get(f, np.nan)) for f in FINDINGS],
            "drift": [rates[f] - float(accepted.get(f, 0.0 if reference else np.nan)) for f in FINDINGS],
        }
    )


def _collection(reports: pd.DataFrame, xrays: pd.DataFrame, quarantine: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for kind, kept in (("report", len(reports)), ("image", len(xrays))):
        aside = int((quarantine["kind"] == kind).sum())
        total = kept + aside
        rows.append(
            {"kind": kind, "kept": kept, "set_aside": aside, "set_aside_share": aside / total if total else 0.0}
        )
    return pd.DataFrame(rows)


def _split_table(images: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "split": split,
            "subjects": int(rows["subject_id"].nunique()),
            "studies": int(rows["study_id"].nunique()),
            "images": len(rows),
            "frontal": int((rows["view_position"] == "frontal").sum()),
            "different prompts": int(rows["prompt"].nunique()),
        }
        for split in SPLITS
        for rows in [images[images["split"] == split]]
    ]


def _finding_table(findings: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "finding": row["finding"],
            "positive in train": int(row["positives_in_train"]),
            "rate": round(float(row["rate"]), 6),
            "accepted rate": None if np.isnan(row["accepted_rate"]) else round(float(row["accepted_rate"]), 6),
        }
        for row in findings.to_dict("records")
    ]


def _share(truth: pd.Series) -> float:
    return float(truth.mean()) if len(truth) else 0.0
