"""How figures are written for people: names, numbers, intervals, and where a value stands between its bounds."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

_SPELT = {
    "auroc": "AUROC", "kid": "KID", "mae": "MAE", "me": "ME", "psnr": "PSNR", "ssim": "SSIM", "ms": "MS", "hu": "(HU)",
    "ct": "CT", "mr": "MR", "hd95": "HD95", "iou": "IoU", "roc": "ROC", "gan": "GAN", "mri": "MRI", "auc": "AUC",
    "mm": "(mm)", "cam": "CAM", "cams": "CAMs", "id": "ID", "p": "p", "road": "ROAD", "cyclegan": "CycleGAN",
    "xray": "X-ray", "xrays": "X-rays", "fd": "FD", "kl": "KL", "g": "generator", "d": "discriminator",
}  # fmt: skip
_JOINED = {"MS SSIM": "MS-SSIM", "real real": "real against real"}


class Scale(NamedTuple):
    """Where a value and its interval stand from the worst case (0) to the floor (1), in percent of the way."""

    value: float
    low: float
    high: float
    share: float


def named(name: str) -> str:
    """``mae_hu_mean_ct`` -> ``MAE (HU) mean CT``; the first letter is a capital."""
    words = " ".join(_SPELT.get(word.lower(), word) for word in name.replace("_", " ").split())
    for apart, joined in _JOINED.items():
        words = words.replace(apart, joined)
    return words[:1].upper() + words[1:]


def number(value: Any) -> str:
    """Three digits, without an exponent where that reads well; a dash where nothing is known."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10000 else str(value)
    if isinstance(value, float):
        if value != 0 and not 1e-3 <= abs(value) < 1e5:
            return f"{value:.3g}"
        decimals = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
        digits = f"{value:.{decimals}f}"
        return digits.rstrip("0").rstrip(".") if "." in digits else digits
    return str(value)


def cell(value: Any) -> str:
    """What stands in a table: a number, a text, or a value with its interval."""
    if isinstance(value, dict) and "value" in value:
        interval = between(value)
        return number(value["value"]) + (f" ({interval})" if interval else "")
    if isinstance(value, dict):
        return ", ".join(f"{name} {cell(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(cell(part) for part in value)
    return number(value)


def between(entry: Any) -> str:
    """The interval of a figure, or of a floor that has one; '' where there is none."""
    if not isinstance(entry, dict) or entry.get("low") is None or entry.get("high") is None:
        return ""
    return f"{number(entry['low'])} to {number(entry['high'])}"


def plain(bound: Any) -> float | None:
    """The value of a floor or worst case, with or without an interval; None where there is none."""
    value = bound.get("value") if isinstance(bound, dict) else bound
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def ends(entry: Any) -> tuple[float, float] | None:
    """Lower and upper end of a figure or bound, both its value where it has no interval; None where it is unknown."""
    value = plain(entry)
    if value is None:
        return None
    low, high = (entry.get("low"), entry.get("high")) if isinstance(entry, dict) else (None, None)
    return (value, value) if low is None or high is None else (float(low), float(high))


def scale(entry: dict[str, Any]) -> Scale | None:
    """Place a figure between its worst case and its floor; None where a bound is missing or both are the same."""
    value, floor, worst = plain(entry), plain(entry.get("floor")), plain(entry.get("worst_case"))
    if value is None or floor is None or worst is None or floor == worst:
        return None

    def place(x: float) -> float:
        return (x - worst) / (floor - worst)

    def drawn(x: float) -> float:
        return round(100 * min(1.0, max(0.0, x)), 2)

    low, high = sorted(place(x) for x in ends(entry) or (value, value))
    return Scale(drawn(place(value)), drawn(low), drawn(high), place(value))
