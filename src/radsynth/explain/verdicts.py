"""Does a drawn picture show what its report says, and at a place where that can be?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from radsynth.vocabulary import SIDED_FINDINGS


def allowed_zone(masks: np.ndarray, findings: np.ndarray, sides: np.ndarray, finding: str, side: str) -> np.ndarray:
    """Where training lesions of a finding and side occur, dilated by a thirty-second of the width; bool (S, S).

    With fewer than three such lesions: the side's half of the picture (the patient's left is on the right), the whole
    where the finding has no side.
    """
    from scipy.ndimage import binary_dilation

    size = masks.shape[-1]
    chosen = findings == finding
    if side and finding in SIDED_FINDINGS:
        chosen &= np.isin(sides, ("left", "right", "both") if side == "both" else (side,))
    if chosen.sum() >= 3:
        return binary_dilation(masks[chosen].any(0), iterations=max(size // 32, 1))
    zone = np.ones((size, size), bool)
    if finding in SIDED_FINDINGS and side in ("left", "right"):
        zone[:, : size // 2] = side == "right"
        zone[:, size // 2 :] = side == "left"
    return zone


def verdicts(
    findings: Sequence[str],
    logits: np.ndarray,
    thresholds: dict[str, float],
    maps: np.ndarray,
    zones: np.ndarray,
) -> pd.DataFrame:
    """One row a drawn picture and finding that its report states.

    Parameters
    ----------
    findings
        Of each row; only those that have a threshold can be judged.
    logits
        (n,) the judge's, of that finding.
    maps, zones
        (n, S, S): the judge's evidence for it, and where it may lie.

    Returns
    -------
    pandas.DataFrame
        `finding`, `logit`, `agrees` (the judge sees it), `in_zone` (the map's highest place lies in the zone),
        `accepted` (both).
    """
    rows: list[dict[str, Any]] = []
    for finding, logit, evidence, zone in zip(findings, logits, maps, zones, strict=True):
        sees = bool(logit >= thresholds[finding])
        inside = bool(zone.flat[evidence.argmax()])
        rows.append(
            {
                "finding": finding,
                "logit": round(float(logit), 4),
                "agrees": sees,
                "in_zone": inside,
                "accepted": sees and inside,
            }
        )
    return pd.DataFrame(rows, columns=["finding", "logit", "agrees", "in_zone", "accepted"])


def tally(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Counts of `verdicts` by finding: drawn, judge agrees, in the zone, accepted, rejected."""
    rows = []
    for finding, part in table.groupby("finding"):
        rows.append(
            {
                "finding": finding,
                "drawn": len(part),
                "judge_agrees": int(part["agrees"].sum()),
                "in_zone": int(part["in_zone"].sum()),
                "accepted": int(part["accepted"].sum()),
                "rejected": int((~part["accepted"]).sum()),
            }
        )
    return rows
