"""Who is learned from, who chooses the model and who judges it: splits by person, with equal texts on one side."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from radsynth.errors import RadsynthError
from radsynth.schemas import CHEST
from radsynth.vocabulary import FEW_PAIRS, FINDINGS, SPLITS

if TYPE_CHECKING:
    import pandas as pd

LARGE = 0.25
"""A group that would fill more than this share of a held-out split goes to training: a sentence is no test."""


def split_groups(
    subjects: Sequence[str],
    texts: Sequence[str],
    labels: np.ndarray,
    *,
    validation: float,
    test: float,
    seed: int,
    judging: np.ndarray | None = None,
) -> np.ndarray:
    """Assign studies to train, validation and test so that no person and no text is on two sides.

    Studies that share a subject or a text, directly or through others, form a group that stays whole. Groups are
    dealt out by iterative stratification: the rarest finding first, each group to the split that still lacks it most.
    A finding that three groups or more have reaches every split.

    Parameters
    ----------
    subjects, texts
        (N,), what may not be on two sides; equal values are the same person or text.
    labels
        Boolean (N, F), what shall be in every split in proportion. Studies without any count as a label of their own.
    validation, test
        Shares of the studies, 0..1, together below 1. Groups being whole, they are met about.
    seed
        Decides between equals.
    judging
        Boolean (N,), studies that belong in the test split, whatever else it holds: their groups go there first, as
        long as they fit and are not too large.

    Returns
    -------
    np.ndarray
        (N,) of ``train``, ``validation``, ``test``.

    Raises
    ------
    RadsynthError
        Where the shares leave nothing to train on.

    References
    ----------
    Sechidis, Tsoumakas, Vlahavas, On the stratification of multi-label data, ECML PKDD 2011, algorithm 1.
    """
    if validation + test >= 1:
        raise RadsynthError("nothing is left to train on", got=f"validation {validation} + test {test}")
    count = len(subjects)
    if count == 0:
        return np.empty(0, dtype=object)
    group = _groups(subjects, texts)
    sizes = np.bincount(group)
    labels = np.asarray(labels, bool)
    labels = np.column_stack([labels, ~labels.any(1)])
    counts = np.zeros((len(sizes), labels.shape[1]), int)
    np.add.at(counts, group, labels)
    first = np.zeros(len(sizes), bool)
    if judging is not None:
        first[group[judging]] = True
    split_of_group = _stratify(sizes, counts, np.array([1 - validation - test, validation, test]), seed, first)
    return np.array(SPLITS, dtype=object)[split_of_group[group]]


def chest_manifest(
    reports: pd.DataFrame,
    xrays: pd.DataFrame,
    *,
    validation: float,
    test: float,
    seed: int,
    outlined: Collection[str] = (),
) -> pd.DataFrame:
    """Join usable reports with their prepared images and split them.

    Parameters
    ----------
    reports, xrays
        The REPORTS and XRAYS tables.
    validation, test, seed
        As `split_groups` takes them; shares are of studies.
    outlined
        Ids of the images whose lesions somebody outlined. Where they are few, less than the test's share of the
        studies, they test: what is learned needs no outlines, and a handful in each split would prove nothing.

    Returns
    -------
    pd.DataFrame
        The CHEST table, a row for each image, in the order of the reports and of their images.

    Raises
    ------
    RadsynthError
        Where no usable report has an image.
    """
    usable = reports[reports["usable"]].rename(columns={"row": "report_row"})
    pairs = usable.explode("image_ids").rename(columns={"image_ids": "image_id"})
    pairs = pairs.drop_duplicates("image_id")
    known = xrays[xrays["view_position"] != "unknown"].rename(columns={"row": "image_row"})
    pairs = pairs.drop(columns="source_sha256").merge(
        known[["image_id", "image_row", "view_position", "source_sha256"]], on="image_id", how="inner"
    )
    if pairs.empty:
        raise RadsynthError(
            "no usable report has a prepared image",
            got=f"{len(usable)} usable reports and {len(known)} images",
            next_step="check that the images' names are the ids in the reports",
        )
    studies = pairs.drop_duplicates("report_id")
    with_outlines = set(pairs.loc[pairs["image_id"].isin(set(outlined)), "report_id"])
    judging = studies["report_id"].isin(with_outlines).to_numpy()
    studies = studies.assign(
        split=split_groups(
            studies["subject_id"].tolist(),
            studies["prompt_sha256"].tolist(),
            studies[[f"label_{f}" for f in FINDINGS]].to_numpy() == 1,
            validation=validation,
            test=test,
            seed=seed,
            judging=judging if judging.mean() < test else None,
        )
    )
    pairs = pairs.merge(studies[["report_id", "split"]], on="report_id", how="left")
    return pairs.rename(columns={"report_id": "study_id"})[list(CHEST.columns)]


def split_volumes(frame: pd.DataFrame, *, validation: float, test: float, seed: int, few_pairs: int = 0) -> pd.Series:
    """Assign brain volumes by subject: pairs judge, the unpaired teach.

    Subjects with both modalities are never in `train`: `few_pairs` of them are set aside for fine-tuning, a third of
    the others chooses the model, the rest tests it. Unpaired subjects train; of a modality with at least five of them,
    the share `validation` is held out, and the share `test` too where there are no pairs to test with.

    Parameters
    ----------
    frame
        The VOLUMES table.
    validation, test
        Shares of the unpaired subjects of a modality, 0..1.
    seed
        Decides who.
    few_pairs
        Subjects with both modalities to set aside.

    Returns
    -------
    pd.Series
        ``train``, ``validation``, ``test`` or ``few_pairs``, on the index of `frame`.

    Raises
    ------
    RadsynthError
        Where the shares leave nothing to train on, or `few_pairs` leaves no pair to validate and one to test.
    """
    if validation + test >= 1:
        raise RadsynthError("nothing is left to train on", got=f"validation {validation} + test {test}")
    generator = np.random.default_rng(seed)
    split: dict[str, str] = {}
    paired = sorted(set(frame.loc[frame["paired"], "subject_id"]))
    judging = len(paired) - few_pairs
    if few_pairs and judging < 2:
        raise RadsynthError(
            f"too few subjects with both modalities to set {few_pairs} aside",
            got=len(paired),
            expected=f"{few_pairs + 2} or more: one must validate and one test",
            next_step="lower split_brain.few_pairs, or add subjects with both (of the phantom: acquire_brain.paired)",
        )
    held_out = max(1, round(judging / 3)) if judging >= 2 else 0
    split |= _deal(paired, held_out, judging - held_out, generator, FEW_PAIRS)
    unpaired = frame[~frame["subject_id"].isin(paired)]
    modality = unpaired.groupby("subject_id", sort=True)["modality"].min()
    for _, subjects in modality.groupby(modality, sort=True):
        names = list(subjects.index)
        enough = len(names) >= 5
        to_validate = max(1, round(validation * len(names))) if enough and validation > 0 else 0
        to_test = max(1, round(test * len(names))) if enough and test > 0 and not paired else 0
        split |= _deal(names, to_validate, to_test, generator)
    return frame["subject_id"].map(split)


def _deal(
    names: list[str], validation: int, test: int, generator: np.random.Generator, rest: str = "train"
) -> dict[str, str]:
    shuffled = [names[n] for n in generator.permutation(len(names))]
    kinds = ["validation"] * validation + ["test"] * test
    kinds += [rest] * (len(names) - len(kinds))
    return dict(zip(shuffled, kinds, strict=True))


def _groups(subjects: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Number (N,) of the connected component of each study in the graph of studies, subjects and texts."""
    count = len(subjects)
    _, subject = np.unique(np.asarray(subjects, str), return_inverse=True)
    _, text = np.unique(np.asarray(texts, str), return_inverse=True)
    study = np.arange(count)
    nodes = count + subject.max() + 1 + text.max() + 1
    row, column = np.tile(study, 2), np.concatenate([count + subject, count + subject.max() + 1 + text])
    graph = coo_array((np.ones(2 * count, np.int8), (row, column)), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    return np.unique(component[:count], return_inverse=True)[1]


def _stratify(sizes: np.ndarray, counts: np.ndarray, shares: np.ndarray, seed: int, first: np.ndarray) -> np.ndarray:
    """Split number (G,) of each group of `sizes` (G,), holding `counts` (G, L) of each label; `first` (G,) test."""
    train, test = 0, 2
    split = np.full(len(sizes), train)
    held_out = np.flatnonzero(shares[1:] > 0) + 1
    if len(held_out) == 0:
        return split
    wanted_studies = shares * sizes.sum()
    wanted = shares[:, None] * counts.sum(0)
    spread = (counts > 0).sum(0) >= len(held_out) + 1
    wanted[held_out] = np.where(spread, np.maximum(wanted[held_out], 1), wanted[held_out])
    wanted[train] = counts.sum(0) - wanted[held_out].sum(0)

    open_ = sizes <= _largest_held_out(sizes, wanted_studies[held_out])
    wanted[train] -= counts[~open_].sum(0)
    wanted_studies[train] -= sizes[~open_].sum()
    for group in np.flatnonzero(first & open_ & (shares[test] > 0)):
        if sizes[group] <= wanted_studies[test] + 0.5:
            split[group], open_[group] = test, False
            wanted[test] -= counts[group]
            wanted_studies[test] -= sizes[group]
    tie = np.random.default_rng(seed).random(len(sizes))
    left = counts[open_].sum(0)
    # By label, the open groups that have it, fullest last: a group is popped for one label and skipped for the others.
    having = [np.lexsort((tie, c)) for c in counts.T]
    having = [[int(g) for g in order if open_[g] and counts[g, label] > 0] for label, order in enumerate(having)]
    while left.any():
        label = int(np.argmin(np.where(left > 0, left, np.iinfo(int).max)))
        while not open_[chosen := having[label].pop()]:
            pass
        room = np.maximum(wanted_studies + 0.5, 1) * (wanted_studies > 0)
        fits = sizes[chosen] <= room
        fits[train] = True
        to = int(np.lexsort((-wanted_studies, -wanted[:, label], ~fits))[0])
        split[chosen] = to
        wanted[to] -= counts[chosen]
        wanted_studies[to] -= sizes[chosen]
        left -= counts[chosen]
        open_[chosen] = False
    return split


def _largest_held_out(sizes: np.ndarray, wanted_studies: np.ndarray) -> float:
    """Size above which a group goes to training: `LARGE`, or more where the smaller groups would not do."""
    ordered = np.sort(sizes)
    enough = int(np.searchsorted(np.cumsum(ordered), 2 * wanted_studies.sum()))
    return max(LARGE * wanted_studies.min(), float(ordered[min(enough, len(ordered) - 1)]))
