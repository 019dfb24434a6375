"""Whether two collections of reports, pictures or volumes could be of the same kind.

Each is described by named measures, an array of one value a study, picture or volume. Shares (boolean measures) are
compared by Fisher's exact test, distributions by the two-sample Kolmogorov-Smirnov test. A measure drifted where the
difference is both beyond chance and larger than a stated limit: in large collections trifles are significant, in small
ones large differences happen by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from radsynth.vocabulary import FINDINGS

if TYPE_CHECKING:
    import pandas as pd

    from radsynth.settings import Monitor

CT_BONE_ABOVE_HU = 300


@dataclass(frozen=True)
class Measure:
    """One comparison.

    Parameters
    ----------
    reference, incoming
        Share, or median, of each collection, in the unit that `name` says.
    difference
        Of shares: their absolute difference. Of distributions: the Kolmogorov-Smirnov distance, 0..1.
    limit, p_value, significance
        It drifted where `difference` exceeds `limit` and `p_value` is below `significance`.
    reference_count, incoming_count
        Studies, pictures or volumes.
    """

    name: str
    reference: float
    incoming: float
    difference: float
    limit: float
    p_value: float
    significance: float
    reference_count: int
    incoming_count: int

    @property
    def drifted(self) -> bool:
        """Whether the difference is beyond chance and beyond the limit."""
        return self.difference > self.limit and self.p_value < self.significance


def compare(
    reference: Mapping[str, np.ndarray], incoming: Mapping[str, np.ndarray], settings: Monitor
) -> list[Measure]:
    """Compare every measure that both collections have.

    Parameters
    ----------
    reference, incoming
        Name -> 1-D array, boolean for shares, numbers otherwise. Values that are not finite do not count; a measure
        without values on either side is left out.
    settings
        The limits. `significance` is divided by the number of measures (Bonferroni).
    """
    pairs = {name: (_usable(reference[name]), _usable(incoming[name])) for name in reference if name in incoming}
    pairs = {name: pair for name, pair in pairs.items() if pair[0].size and pair[1].size}
    each = settings.significance / max(len(pairs), 1)
    return [_compare(name, *pair, settings, each) for name, pair in pairs.items()]


def _compare(name: str, reference: np.ndarray, incoming: np.ndarray, settings: Monitor, significance: float) -> Measure:
    from scipy.stats import fisher_exact, ks_2samp

    counts = (int(reference.size), int(incoming.size))
    if reference.dtype == bool:
        had, have = int(reference.sum()), int(incoming.sum())
        p_value = fisher_exact([[had, counts[0] - had], [have, counts[1] - have]]).pvalue
        shares = had / counts[0], have / counts[1]
        difference, limit, middles = abs(shares[0] - shares[1]), settings.max_rate_change, shares
    else:
        found = ks_2samp(reference, incoming)
        difference, p_value, limit = float(found.statistic), found.pvalue, settings.max_distance
        middles = float(np.median(reference)), float(np.median(incoming))
    return Measure(name, *middles, difference, limit, float(p_value), significance, *counts)


def _usable(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    return values if values.dtype == bool else values[np.isfinite(values)].astype(np.float64)


def report_measures(reports: pd.DataFrame, known_words: frozenset[str]) -> dict[str, np.ndarray]:
    """What reports say and how: a share for every finding, their length, and how many of their words are unknown.

    Parameters
    ----------
    reports
        One row a study with `prompt` and ``label_<finding>``, as REPORTS and CHEST have them.
    known_words
        See `words_of`.
    """
    texts = [_words(prompt) for prompt in reports["prompt"]]
    unknown = [sum(word not in known_words for word in words) / max(len(words), 1) for words in texts]
    labels = {f"{finding} (share)": reports[f"label_{finding}"].to_numpy() == 1 for finding in FINDINGS}
    return labels | {
        "report length (words)": np.array([len(words) for words in texts], float),
        "unknown words (share)": np.array(unknown, float),
    }


def words_of(prompts: Sequence[str]) -> frozenset[str]:
    """Every word of these texts, in lower case."""
    return frozenset(word for prompt in prompts for word in _words(prompt))


def _words(prompt: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in prompt.lower()).split()


def picture_measures(xrays: pd.DataFrame, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Size and brightness of prepared X-rays.

    Parameters
    ----------
    xrays
        Rows of XRAYS.
    pixels
        uint16 (N, S, S), 0..65535, that `row` points into; may be memory-mapped.
    """
    rows = xrays["row"].to_numpy()
    means, deviations = np.empty(len(rows)), np.empty(len(rows))
    for place, row in enumerate(rows):
        picture = pixels[row] / 65535.0
        means[place], deviations[place] = picture.mean(), picture.std()
    return {
        "picture rows (px)": xrays["native_rows"].to_numpy(float),
        "picture columns (px)": xrays["native_columns"].to_numpy(float),
        "picture mean (0..1)": means,
        "picture contrast (standard deviation, 0..1)": deviations,
    }


def volume_measures(path: str, modality: str) -> dict[str, float]:
    """Spacing, extent and intensity of one native volume.

    Parameters
    ----------
    path
        As `radsynth.volumes.io.read_volume` takes it.
    modality
        MR or CT.

    Raises
    ------
    InputRefused, InputQuarantined
        Where the volume cannot be read or holds no head.
    """
    from radsynth.volumes.geometry import canonical
    from radsynth.volumes.intensity import clip_hu, mr_range
    from radsynth.volumes.io import read_volume
    from radsynth.volumes.registration import working_head

    native = read_volume(path)
    volume = canonical(native)
    voxels = clip_hu(volume.voxels) if modality == "CT" else volume.voxels
    head = working_head(voxels, volume.affine, modality, path)
    inside = head.image[head.mask]
    spacing, extent = native.spacing_mm, native.spacing_mm * np.asarray(native.voxels.shape)
    found = {
        f"{modality} finest spacing (mm)": spacing.min(),
        f"{modality} coarsest spacing (mm)": spacing.max(),
        f"{modality} longest side (mm)": extent.max(),
        f"{modality} shortest side (mm)": extent.min(),
    }
    if modality == "CT":
        found |= {
            "CT mean in the head (HU)": inside.mean(dtype=np.float64),
            "CT bone (share of the head)": (inside > CT_BONE_ABOVE_HU).mean(),
        }
    else:
        low, high = mr_range(head.image, head.mask)
        found |= {
            "MR brightest in the head (arbitrary units)": high,
            "MR mean in the head (0..1 of its range)": (inside.mean(dtype=np.float64) - low) / (high - low),
        }
    return {name: float(value) for name, value in found.items()}
