"""The words that every part of radsynth shares: findings, sides, zones, sizes, views, splits."""

from __future__ import annotations

FINDINGS: tuple[str, ...] = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "edema",
    "effusion",
    "emphysema",
    "fibrosis",
    "fracture",
    "hernia",
    "mass",
    "nodule",
    "opacity",
    "pleural_thickening",
    "pneumonia",
    "pneumothorax",
)
"""Findings of the chest, in the order of every label vector. NIH ChestX-ray14's fourteen (its "Infiltration" is
`opacity` here) and `fracture`."""

SIDED_FINDINGS: tuple[str, ...] = tuple(
    f for f in FINDINGS if f not in ("cardiomegaly", "edema", "emphysema", "hernia")
)
"""Findings that can be on the patient's left, right or both."""

MIDLINE_FINDINGS: tuple[str, ...] = ("hernia",)
"""Findings without a side that lie at one place, near the midline."""

PLACED_FINDINGS: tuple[str, ...] = SIDED_FINDINGS + MIDLINE_FINDINGS
"""Findings that lie at a place. The others change the whole picture."""

SIDES: tuple[str, ...] = ("", "left", "right", "both")
"""The PATIENT's side, not the picture's: on a frontal image the patient's left is on the right. "" is not stated."""

ZONES: tuple[str, ...] = ("", "upper", "mid", "lower")
"""The height in the lungs. "" is not stated, or more than one."""

SIZES: tuple[str, ...] = ("", "small", "moderate", "large")
"""How much there is of a finding, from less to more. "" is not stated."""

TARGETS: tuple[str, ...] = (
    *FINDINGS,
    *(f"{f}_{side}" for f in SIDED_FINDINGS for side in ("left", "right")),
    *(f"{f}_{zone}" for f in SIDED_FINDINGS for zone in ("upper", "mid", "lower")),
    *(f"{f}_large" for f in FINDINGS),
)
"""What a report GAN learns of a report: every finding, the sided ones by side, then by zone, every one if large."""

VIEWS: tuple[str, ...] = ("frontal", "lateral", "unknown")
SPLITS: tuple[str, ...] = ("train", "validation", "test")
FEW_PAIRS = "few_pairs"
"""A split of head volumes alone: registered pairs that may be learned from after the unpaired training."""
