"""Two models on the same held-out patients: every figure of both, and how much is gained, with paired intervals.

The bootstrap draws patients, the same for both models, and takes the difference within each draw: what makes a patient
hard for both does not widen the interval of the difference.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import numpy as np

from radsynth.errors import RadsynthError
from radsynth.evaluation.copies import packed
from radsynth.evaluation.ct_fidelity import DEFINITIONS, ct_fidelity
from radsynth.evaluation.intervals import Interval
from radsynth.evaluation.report_agreement import auroc, mean_auroc, spread_share
from radsynth.evaluation.report_gan import draw, read_pictures
from radsynth.networks.classifier import FindingsClassifier
from radsynth.training.chest_data import ChestSet, learnable
from radsynth.training.cyclegan import MriToCt, translate_volume, unpaired_proxy
from radsynth.training.device import Device
from radsynth.training.report_gan import ReportGan
from radsynth.training.slices import Heads, head_in_both, paired_subjects
from radsynth.vocabulary import FINDINGS

FINDING = "auroc_"
"""What the figures of single findings begin with."""
LAYOUT_CELLS = 8
"""Side of the grid of means that `layout_error` compares."""

XRAY_FIGURES = {
    "label_auroc_share": "(mean AUROC drawn - 0.5) / (mean AUROC real - 0.5), the judge's reading against the labels",
    "kid_judge": "squared MMD with the cubic kernel between the judge's features of drawn and of real pictures, as a "
    "share of the kernel's mean between real pictures of different patients",
    "layout_error": f"mean |drawn - real| over {LAYOUT_CELLS} x {LAYOUT_CELLS} cells of a picture, -1..1",
    "spread_share": "spread between pictures of one report, as a share of that between patients with its findings",
}
CT_FIGURES = DEFINITIONS | {
    "proxy_histogram_hu": "no pairs: Wasserstein distance of HU histograms inside the heads",
    "proxy_cycle_hu": "no pairs: mean |CT - CT of the MR of the CT| inside the head",
}
LOWER_IS_BETTER = {"kid_judge", "layout_error", "mae_hu", "proxy_histogram_hu", "proxy_cycle_hu"}

Figures = Callable[[np.ndarray], dict[str, float]]
"""Rows of the test set, repeated as they were drawn -> figures by name; NaN where there is none."""


@dataclass(frozen=True)
class Compared:
    """One figure of the challenger and of the champion, NaN where it could not be had.

    Parameters
    ----------
    champion, gain
        None where there is no champion. `gain` is positive where the challenger is better, in the figure's unit.
    """

    definition: str
    higher_is_better: bool
    challenger: Interval
    champion: Interval | None = None
    gain: Interval | None = None


def compare(
    challenger: Figures,
    champion: Figures | None,
    subjects: Sequence[str] | np.ndarray,
    definitions: dict[str, str],
    repetitions: int,
    seed: int,
    level: float = 0.95,
) -> dict[str, Compared]:
    """Bootstrap the figures of one or two models over the same patients.

    Parameters
    ----------
    subjects
        Patient of each row of the test set, (n,).
    definitions
        Of the figures; those of single findings need none.

    References
    ----------
    Efron and Tibshirani 1993, "An Introduction to the Bootstrap", sections 8.3 and 13.3.
    """
    models = [challenger] if champion is None else [challenger, champion]
    everybody = np.arange(len(subjects))
    values = [model(everybody) for model in models]
    draws = [[model(rows) for model in models] for rows in patient_draws(subjects, repetitions, seed)]
    n, found = len(set(subjects)), {}
    for name in values[0]:
        higher = name not in LOWER_IS_BETTER
        whole = [value.get(name, np.nan) for value in values]
        drawn = np.array([[figures.get(name, np.nan) for figures in pair] for pair in draws]).reshape(-1, len(models))
        own = [_interval(whole[m], drawn[:, m], n, level) for m in range(len(models))]
        gain = None
        if champion is not None:
            sign = 1 if higher else -1
            gain = _interval(sign * (whole[0] - whole[1]), sign * (drawn[:, 0] - drawn[:, 1]), n, level)
        definition = definitions.get(name, "the judge's AUROC for this finding on drawn pictures")
        found[name] = Compared(definition, higher, own[0], own[1] if champion is not None else None, gain)
    return found


def patient_draws(subjects: Sequence[str] | np.ndarray, repetitions: int, seed: int) -> Iterator[np.ndarray]:
    """Rows of as many patients as there are, drawn with replacement; all rows of a patient come together."""
    people, member = np.unique(np.asarray(subjects), return_inverse=True)
    of_person = [np.flatnonzero(member == person) for person in range(len(people))]
    random = np.random.default_rng(seed)
    for _ in range(repetitions):
        yield np.concatenate([of_person[person] for person in random.integers(0, len(people), len(people))])


def report_gan_figures(
    gan: ReportGan,
    judge: FindingsClassifier,
    train: ChestSet,
    test: ChestSet,
    *,
    samples: int,
    seed: int,
    device: Device,
) -> Figures:
    """The figures of a report GAN as a function of the rows of `test`, the pictures drawn once.

    A finding counts as in `evaluate_report_gan`. Spread has a value for the whole test set alone.

    Raises
    ------
    RadsynthError
        Where the model draws pictures of another size, or reads text features of another width.
    """
    for what, given in (("size", test.size), ("token_width", test.token_width)):
        if gan.arguments[what] != given:
            own = gan.arguments[what]
            raise RadsynthError(f"the model cannot be scored on this test set: {what}", got=own, expected=given)
    real_logits, real_features = read_pictures(judge, test.pictures, len(test), device)
    labels, cells = test.labels, (len(test), LAYOUT_CELLS, LAYOUT_CELLS)
    real = packed(lambda rows: _cells(test.pictures(rows)[:, 0].numpy()), cells)
    with TemporaryDirectory(prefix="radsynth-drawn-") as folder:
        drawn = draw(gan, judge, test, samples, seed, device, folder)
        layout = np.mean(
            [np.abs(packed(lambda rows, p=p: _cells(p[rows]), cells) - real).mean((1, 2)) for p in drawn.pictures], 0
        )
    on_real = np.array([auroc(real_logits[:, k], labels[:, k]) for k in range(len(FINDINGS))])
    countable = learnable(train.labels) & learnable(labels, 3) & (np.nan_to_num(on_real) > 0.6)
    columns = np.flatnonzero(countable)
    subjects = test.frame["subject_id"].to_numpy()
    kernel = KernelDistance(drawn.features, real_features, subjects)
    spread, *_ = spread_share(
        drawn.features.transpose(1, 0, 2), real_features, np.nan_to_num(labels, nan=2), subjects=subjects
    )

    def figures(rows: np.ndarray) -> dict[str, float]:
        known = labels[rows]
        single = {
            FINDINGS[k]: float(np.mean([auroc(logits[rows, k], known[:, k]) for logits in drawn.logits]))
            for k in columns
        }
        on_drawn = _mean_of_known(list(single.values()))
        share = (on_drawn - 0.5) / (mean_auroc(real_logits[rows], known, columns) - 0.5) if len(columns) else np.nan
        return {
            "label_auroc_share": float(share),
            "kid_judge": kernel(rows) / kernel.usual,
            "layout_error": float(layout[rows].mean()),
            "spread_share": float(spread) if np.array_equal(rows, np.arange(len(test))) else np.nan,
            **{FINDING + name: value for name, value in single.items()},
        }

    return figures


class KernelDistance:
    """`evaluation.distribution.kid` of chosen rows in one subset, its kernels computed once.

    Pictures of one patient are never compared with each other, nor a row that was drawn twice with itself, as the
    unbiased estimate wants: a bootstrap would else be biased upwards.

    Parameters
    ----------
    drawn
        Features (k, n, d) of k pictures drawn from each of n reports.
    real
        (n, d) of the reports' real pictures.
    subjects
        (n,) patients.

    Attributes
    ----------
    usual
        Mean of the kernel between real pictures of different patients.
    """

    def __init__(self, drawn: np.ndarray, real: np.ndarray, subjects: np.ndarray) -> None:
        every, real = np.asarray(drawn, np.float64), np.asarray(real, np.float64)
        width = real.shape[1]

        def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return (a @ b.T / width + 1) ** 3

        self.apart = (subjects[:, None] != subjects[None]).astype(np.float64)
        self.drawn = np.mean([between(a, b) for a in every for b in every], 0) * self.apart
        self.real = between(real, real) * self.apart
        self.cross = np.mean([between(a, real) for a in every], 0) * self.apart
        self.usual = self.real.sum() / max(self.apart.sum(), 1)

    def __call__(self, rows: np.ndarray) -> float:
        """Distance over `rows`; NaN where they are all of one patient."""
        times = np.bincount(rows, minlength=len(self.real)).astype(np.float64)
        pairs = times @ self.apart @ times
        if not pairs:
            return float("nan")
        return float(times @ (self.drawn + self.real - 2 * self.cross) @ times / pairs)


def mri_to_ct_figures(model: MriToCt, mr: Heads, ct: Heads) -> tuple[Figures, tuple[str, ...]]:
    """The figures of an MRI to CT model as a function of the rows, and the subject of each row.

    Without anybody who has both scans: the proxies, for all heads together.

    Raises
    ------
    RadsynthError
        Where the model's atlases are of another grid, or there is no head.
    """
    shape = tuple(mr.images.shape[1:])
    for name in model.atlases:
        own = tuple(int(n) for n in model.atlases[name].shape)
        if own != shape:
            raise RadsynthError("the model cannot be scored on this test set: grid", got=own, expected=shape)
    subjects = tuple(paired_subjects(mr, ct))
    if subjects:
        scores = []
        for subject in subjects:
            (image, depth), (true, true_depth) = mr.of(subject), ct.of(subject)
            scores.append(ct_fidelity(translate_volume(model, image, depth), true, head_in_both(depth, true_depth)))
        table = {name: np.array([score[name] for score in scores]) for name in scores[0] if name != "me_hu"}
        return lambda rows: {name: float(column[rows].mean()) for name, column in table.items()}, subjects
    if not mr.rows or not ct.rows:
        raise RadsynthError("no test head to score a model on", got=f"{len(mr.rows)} MR and {len(ct.rows)} CT volumes")
    proxies = {f"proxy_{name}": float(value) for name, value in unpaired_proxy(model, mr, ct).items()}
    whole = np.arange(len(mr.subjects))
    return lambda rows: {k: v if np.array_equal(rows, whole) else np.nan for k, v in proxies.items()}, mr.subjects


def _interval(value: float, draws: np.ndarray, n: int, level: float) -> Interval:
    """NaN ends where fewer than half of the draws have the figure."""
    tail = (1 - level) / 2
    if not len(draws) or np.isfinite(draws).mean() < 0.5:
        return Interval(float(value), float("nan"), float("nan"), n)
    low, high = np.nanquantile(np.where(np.isfinite(draws), draws, np.nan), [tail, 1 - tail])
    return Interval(float(value), float(low), float(high), n)


def _mean_of_known(values: list[float]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(np.nanmean(values)) if values else float("nan")


def _cells(pictures: np.ndarray) -> np.ndarray:
    """Means over cells: (n, S, S) -> (n, LAYOUT_CELLS, LAYOUT_CELLS); pixels beyond a multiple of the cells are cut."""
    side = pictures.shape[-1] // LAYOUT_CELLS
    cut = pictures[:, : side * LAYOUT_CELLS, : side * LAYOUT_CELLS]
    return cut.reshape(len(cut), LAYOUT_CELLS, side, LAYOUT_CELLS, side).mean((2, 4))
