"""Where the judge sees a finding, and where the discriminator sees that a picture agrees with its report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor, nn

from radsynth.explain.cams import activation_map, enlarged
from radsynth.explain.localisation import energy_inside, pointing_hits, random_maps
from radsynth.networks.classifier import FindingsClassifier
from radsynth.networks.report_gan import ReportDiscriminator
from radsynth.schemas import FINDING_TRUTH
from radsynth.training.chest_data import ChestSet
from radsynth.vocabulary import FINDINGS


class Agreement(nn.Module):
    """Pictures -> logit with their own report minus logit with a report of other findings, (B, 1).

    The realism term cancels, so a map of this score shows what speaks for the report and not what looks real.
    """

    def __init__(self, discriminator: ReportDiscriminator, condition: Tensor, other: Tensor) -> None:
        super().__init__()
        self.discriminator, self.condition, self.other = discriminator, condition, other

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.discriminator.features(pictures)
        own, other = (self.discriminator.head(features, c) for c in (self.condition, self.other))
        return (own - other)[:, None]


def finding_maps(judge: FindingsClassifier, pictures: Tensor, findings: list[str], method: str) -> np.ndarray:
    """Evidence (n, S, S) for finding i on picture i of (n, 1, S, S), in the judge's logit."""
    size = pictures.shape[-1]
    maps = []
    for picture, finding in zip(pictures, findings, strict=True):
        k = FINDINGS.index(finding)
        maps.append(activation_map(judge, judge.shown, picture[None], lambda row, k=k: row[k], method)[0])
    return enlarged(np.stack(maps), size)


def agreement_maps(
    discriminator: ReportDiscriminator, pictures: Tensor, condition: Tensor, other: Tensor, method: str
) -> np.ndarray:
    """Evidence (n, S, S) that pictures agree with their conditions rather than with `other`, in logits."""
    model = Agreement(discriminator, condition, other)
    raw = activation_map(model, discriminator.last, pictures, lambda row: row[0], method)
    return enlarged(raw, pictures.shape[-1])


def known_lesions(data: ChestSet, raw: str | Path, findings: tuple[str, ...]) -> pd.DataFrame:
    """The true lesions of a split's pictures: columns index (into `data`), finding, mask_row, side; in picture order.

    Empty where the source knows no masks.
    """
    truth = FINDING_TRUTH.read(Path(raw) / "truth.parquet")
    places = pd.Series(np.arange(len(data)), index=data.frame["image_id"])
    truth = truth[truth["image_id"].isin(places.index) & truth["finding"].isin(findings)]
    found = truth.assign(index=places.loc[truth["image_id"]].to_numpy())
    return found[["index", "finding", "mask_row", "side"]].sort_values(["index", "finding"], ignore_index=True)


def lesion_masks(raw: str | Path, rows: np.ndarray, size: int) -> np.ndarray:
    """Masks (n, size, size) bool of `masks.npy`; nearest neighbour where the pictures are not 256 pixels wide."""
    packed = np.load(Path(raw) / "masks.npy", mmap_mode="r")[rows]
    masks = np.unpackbits(packed, axis=-1).astype(bool)
    places = (np.arange(size) + 0.5) * masks.shape[-1] / size
    return masks[:, places.astype(int)][:, :, places.astype(int)]


def pointing_figures(
    maps: np.ndarray, masks: np.ndarray, findings: list[str], seed: int, tolerance: int
) -> dict[str, object]:
    """Hit rate and energy of maps beside random maps and the middle of the mean mask, over all and by finding."""
    size = maps.shape[-1]
    hits = pointing_hits(maps, masks, tolerance)
    noise = random_maps(len(maps), size, 8, seed)
    chance = pointing_hits(noise, masks, tolerance)
    prior = pointing_hits(np.broadcast_to(masks.mean(0), maps.shape), masks, tolerance)
    names = np.array(findings)
    return {
        "hit_rate": float(hits.mean()),
        "hit_rate_random": float(chance.mean()),
        "hit_rate_prior": float(prior.mean()),
        "energy_inside": float(energy_inside(maps, masks).mean()),
        "energy_inside_random": float(energy_inside(noise, masks).mean()),
        "n": len(maps),
        "tolerance_pixels": tolerance,
        "by_finding": {
            f: {"hit_rate": float(hits[names == f].mean()), "n": int((names == f).sum())} for f in sorted(set(findings))
        },
    }
