"""What can be said of synthetic CTs where nobody has both scans. None of it is an error in HU: each is a proxy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from radsynth.evaluation.copies import from_array
from radsynth.evaluation.distribution import kid
from radsynth.evaluation.features import FeatureSpace, extract
from radsynth.evaluation.intervals import Interval
from radsynth.training.device import Device
from radsynth.training.slices import hu_to_unit

BINS = 64
"""Bins a side of the joint histogram of MR and CT."""
AIR_HU = -1024.0

DEFINITIONS = {
    "proxy_kid": "proxy without pairs: unbiased squared MMD, kernel (a.b/d + 1)^3, between axial slices (every sixth, "
    "outside the head air, -1..1 over the model's HU window) and those of the training CTs; lower is better, 0 is "
    "alike, may be below 0",
    "proxy_histogram_hu": "proxy without pairs: first Wasserstein distance of the HU histogram inside the head (bins "
    "of 1 HU) to that of the training CTs, HU; it does not see where in the head a value lies",
    "proxy_mutual_information": f"proxy without pairs: mutual information of MR and synthetic CT inside the MR's head, "
    f"{BINS} x {BINS} bins over 0..1 and the HU window, nats; any one-to-one change of the MR's grey values has the "
    "most, so more is not better: compare it with that of the true CT",
    "proxy_cycle_hu": "proxy without pairs: mean |CT - CT of the MR of the CT| inside the head, HU; as in training, "
    "the place of a pixel stays that of the CT",
    "proxy_cycle_mr": "proxy without pairs: mean |MR - MR of the CT of the MR| inside the head, in the MR's normalised "
    "units of 0..1; as in training, the place of a pixel stays that of the MR",
}
"""What each proxy is."""


@dataclass
class HuHistogram:
    """How often each whole HU of a window occurs; volumes are added one by one, the memory stays the same."""

    window: tuple[float, float]
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        low, high = self.window
        self.counts = np.zeros(int(high - low) + 1, np.int64)

    def add(self, hu: np.ndarray) -> None:
        """Count voxels (n,), clipped to the window."""
        low, high = self.window
        values = np.round(hu.clip(low, high) - low).astype(np.int64)
        self.counts += np.bincount(values.ravel(), minlength=len(self.counts))

    def distance(self, other: HuHistogram) -> float:
        """First Wasserstein distance to another histogram of the same window, HU; NaN where one is empty."""
        from scipy.stats import wasserstein_distance

        if not self.counts.any() or not other.counts.any():
            return float("nan")
        places = np.arange(len(self.counts))
        return float(wasserstein_distance(places, places, self.counts, other.counts))


def mutual_information(mr: np.ndarray, ct: np.ndarray, window: tuple[float, float]) -> float:
    """Mutual information of the grey values of the same voxels, nats: `mr` (n,) in 0..1, `ct` (n,) in HU."""
    from sklearn.metrics import mutual_info_score

    joint = np.histogram2d(mr.clip(0, 1), ct.clip(*window), BINS, [(0, 1), window])[0]
    return float(mutual_info_score(None, None, contingency=joint))


def slice_pictures(ct: np.ndarray, inside: np.ndarray, places: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Slices (N, Y, X) float32 in -1..1 of a CT in HU (Z, Y, X), air outside the head."""
    return hu_to_unit(np.where(inside[places], ct[places], AIR_HU), window)


def features_of(volumes: Sequence[np.ndarray], space: FeatureSpace, device: Device) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, width) of the slices of several heads, and the number of the head of each (n,).

    Parameters
    ----------
    volumes
        From `slice_pictures`, one a head.
    """
    heads = np.repeat(np.arange(len(volumes)), [len(v) for v in volumes])
    parts = [extract(space, from_array(v), len(v), device) for v in volumes if len(v)]
    return np.concatenate(parts) if parts else np.empty((0, space.width), np.float32), heads


def slice_distance(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], repetitions: int, seed: int
) -> Interval:
    """Kernel distance of two results of `features_of`, of different people; the interval by heads.

    NaN with fewer than two heads a side.
    """
    return kid(one[0], other[0], one[1], -1 - other[1], repetitions=repetitions, seed=seed)
