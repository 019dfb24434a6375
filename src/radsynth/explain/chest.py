"""Where the judge sees a finding, and where the discriminator sees realism and agreement with the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radsynth.explain.cams import BATCH, activation_map, activation_maps, enlarged, placed
from radsynth.networks.classifier import FindingsClassifier
from radsynth.networks.report_gan import ReportDiscriminator, Seen
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


class Realism(nn.Module):
    """Pictures -> the realism term of the logit, which no report enters, (B, 1)."""

    def __init__(self, discriminator: ReportDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.discriminator.features(pictures)
        return self.discriminator.realism(F.avg_pool2d(features, 2).flatten(1)).float()


def judge_layers(judge: FindingsClassifier) -> dict[str, nn.Module]:
    """The layers at which the judge can be explained, finest first; the last explains its local evidence alone."""
    return {f"blocks.{i}": block for i, block in enumerate(judge.blocks)} | {"shown": judge.shown}


def usual_layer(judge: FindingsClassifier) -> str:
    """The block before the last: of all layers its maps hit the most validation lesions of the embedded sample."""
    return f"blocks.{max(len(judge.blocks) - 2, 0)}"


def finding_scores(findings: Sequence[str]) -> list[Callable[[Tensor], Tensor]]:
    """For each finding the function that reads its logit from a row of the judge's."""
    return [itemgetter(FINDINGS.index(finding)) for finding in findings]


def over_cells(maps: np.ndarray, size: int) -> np.ndarray:
    """The judge's maps (n, h, w) over the picture (n, size, size).

    Its strided convolutions have an odd width: place i of h looks at pixel i * size / h, half a place before the middle
    of its share of the picture. Only the mean pools beside them look at that.
    """
    return placed(maps, 0.0, size / maps.shape[1], size)


def finding_maps(
    judge: FindingsClassifier, pictures: Tensor, findings: Sequence[str], method: str, layer: str | None = None
) -> np.ndarray:
    """Evidence (n, S, S) for finding i on picture i of (n, 1, S, S), in the judge's logit.

    Parameters
    ----------
    layer
        One of `judge_layers`; by default the `usual_layer`.
    """
    at = judge_layers(judge)[layer or usual_layer(judge)]
    return over_cells(activation_map(judge, at, pictures, finding_scores(findings), method), pictures.shape[-1])


def discriminator_layers(discriminator: ReportDiscriminator) -> dict[str, nn.Module]:
    """The layers at which the discriminator can be explained: its two last trunk maps and its last activation."""
    blocks = discriminator.trunk.blocks
    names = {f"trunk.blocks.{i}": blocks[i] for i in range(max(len(blocks) - 2, 0), len(blocks))}
    return names | {"last": discriminator.last}


def agreement_maps(
    discriminator: ReportDiscriminator,
    pictures: Tensor,
    condition: Tensor,
    other: Tensor,
    method: str,
    layer: str = "last",
) -> np.ndarray:
    """Evidence (n, S, S) that pictures agree with their conditions rather than with `other`, in logits."""
    found = every_agreement_map(discriminator, pictures, condition, other, (layer,), (method,))
    return found[layer, method]


def every_agreement_map(
    discriminator: ReportDiscriminator,
    pictures: Tensor,
    condition: Tensor,
    other: Tensor,
    layers: Sequence[str],
    methods: Sequence[str],
    *,
    skip_dead: bool = False,
) -> dict[tuple[str, str], np.ndarray]:
    """`agreement_maps` at several layers by several methods, in one pass: (layer, method) -> (n, S, S)."""
    known = discriminator_layers(discriminator)
    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    for start in range(0, len(pictures), BATCH):
        rows = slice(start, start + BATCH)
        model = Agreement(discriminator, condition[rows], other[rows])
        chosen = {name: known[name] for name in layers}
        found = activation_maps(model, chosen, pictures[rows], lambda row: row[0], methods, skip_dead=skip_dead)
        for key, maps in found.items():
            parts.setdefault(key, []).append(enlarged(maps, pictures.shape[-1]))
    joined = {key: np.concatenate(pieces) for key, pieces in parts.items()}
    return {key: maps for key, maps in joined.items() if len(maps) == len(pictures)}


def realism_maps(discriminator: ReportDiscriminator, pictures: Tensor, method: str) -> np.ndarray:
    """Evidence (n, S, S) for (positive) and against (negative) pictures being real, in the whole picture's logit."""
    model = Realism(discriminator)
    raw = activation_map(model, discriminator.last, pictures, lambda row: row[0], method)
    return enlarged(raw, pictures.shape[-1])


@torch.inference_mode()
def looked_at(discriminator: ReportDiscriminator, pictures: Tensor) -> Seen:
    """What the discriminator sees in pictures (n, 1, S, S)."""
    parts = [discriminator.look(part) for part in pictures.split(BATCH)]
    return Seen(*(torch.cat(values) for values in zip(*parts, strict=True)))


@torch.inference_mode()
def named_maps(
    discriminator: ReportDiscriminator, pictures: Tensor, targets: Sequence[int], usual: Tensor
) -> np.ndarray:
    """Evidence (n, S, S) for target i on picture i, in the logit with which the discriminator names it.

    What each place of the last feature maps adds: the logit falls by so much where the place is replaced by what is
    there on average in `usual` pictures (occlusion, Zeiler & Fergus 2014, in features). A gradient would follow the
    one place that is the largest of its channel, and leave out the learned values that tell the places apart.

    Parameters
    ----------
    targets
        Of each picture, the column of `vocabulary.TARGETS`.
    usual
        Other pictures (m, 1, S, S).
    """
    seen, known = looked_at(discriminator, pictures), looked_at(discriminator, usual)
    rows, columns = torch.arange(len(pictures)), torch.as_tensor(targets)
    as_seen = discriminator.named(seen)[rows, columns]
    count = seen.features.shape[-1]
    found = torch.empty(len(pictures), count, count)
    for y, x in np.ndindex(count, count):
        without = seen._replace(features=seen.features.clone(), finer=seen.finer.clone())
        for maps, other in ((without.features, known.features), (without.finer, known.finer)):
            side = maps.shape[-1] // count
            place = (..., slice(y * side, (y + 1) * side), slice(x * side, (x + 1) * side))
            maps[place] = other[place].mean(0)
        found[:, y, x] = as_seen - discriminator.named(without)[rows, columns]
    return enlarged(found.numpy(), pictures.shape[-1])


@torch.inference_mode()
def patches_of(discriminator: ReportDiscriminator, pictures: Tensor) -> Tensor:
    """The discriminator's logits (n, 3, P, P) of all patches of pictures (n, 1, S, S), batch by batch."""
    return torch.cat([discriminator.patches(batch) for batch in pictures.split(BATCH)])


def unusual_patches(discriminator: ReportDiscriminator, pictures: Tensor, usual: Tensor) -> np.ndarray:
    """How far the logits of the patches are from what they are there on `usual` pictures (n, S, S).

    In standard deviations over the usual ones, the mean over the sizes of patches. Either way: what neither real nor
    drawn pictures ever showed can look more real than anything as well as less. The logits differ much from place to
    place; left in, that shows anatomy.
    """
    known, found = (patches_of(discriminator, x) for x in (usual, pictures))
    apart = (found - known.mean(0)).abs() / (known.std(0, correction=0) + 1e-6)
    return enlarged(apart.mean(1).float().numpy(), pictures.shape[-1])


def known_lesions(data: ChestSet, raw: str | Path, findings: tuple[str, ...]) -> pd.DataFrame:
    """The true lesions of a split's pictures: columns index (into `data`), finding, mask_row, side; in picture order.

    Empty where the source knows no masks. Of NIH ChestX-ray14 they are the radiologists' boxes.
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
