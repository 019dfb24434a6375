"""The figures of a trained MRI to CT model on held-out people, beside those of the baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from radsynth.evaluation import ct_anatomy, ct_fidelity, ct_proxies, synthrad
from radsynth.evaluation.baselines_ct import hu_quantiles, match_histogram, mean_ct, median_ct
from radsynth.evaluation.ct_anatomy import anatomy_figures
from radsynth.evaluation.ct_proxies import HuHistogram, mutual_information, slice_pictures
from radsynth.evaluation.ct_uncertainty import ESTIMATES, area_under, maps_of_doubt, rank_correlation, risk_coverage
from radsynth.evaluation.entries import entry
from radsynth.evaluation.features import FeatureSpace
from radsynth.evaluation.intervals import Interval, bootstrap_interval
from radsynth.evaluation.synthrad import synthrad_figures, widened
from radsynth.training.cyclegan import MriToCt, cycle_error, translate_volume
from radsynth.training.device import Device
from radsynth.training.slices import Heads, densities, head_in_both, image_channel, paired_subjects, unit_to_hu

BASELINES = {
    "mean_ct": "voxel-wise mean of the training CTs on the common grid",
    "median_ct": "voxel-wise median of the training CTs on the common grid",
    "place": "what is usual in a CT at this place of the MR's head mask (the model's CT atlas), its grey values unseen",
    "atlas": "what the model's CT atlas expects of the MR, pixel by pixel: what the CycleGAN starts from",
    "histogram_matching": "MR given the histogram of the training CTs inside the head",
    "textbook": "the CycleGAN of Zhu et al. 2017 (adversarial, cycle and identity losses with the paper's weights, no "
    "atlas, no head geometry), as wide and deep as ours, same seed, slices and learning rate",
}
MODEL, TRUE = "cyclegan", "true_ct"
"""How the tables call the model, and the true CT where it is measured like a synthetic one."""
WORST = "mean_ct"
"""The baseline that stands as the worst case: it has not seen the MR."""

MASK = "head mask: the true CT's where the MR shows the head too (widened by two pixels in its plane)"
"""Where all figures but the proxies are taken, `head_in_both`: a field of view that cuts the neck is nobody's error."""
DOUBT_EVERY, CYCLE_EVERY, PICTURE_EVERY = 3, 6, 6
"""Every how many slices of a head are looked at for doubt, for the cycle error, and in the feature space."""
MOST_UNPAIRED = 20
"""Heads that the proxies are taken of where nobody has both scans, at most."""

PAIRED = ct_fidelity.DEFINITIONS | synthrad.DEFINITIONS | ct_anatomy.DEFINITIONS
"""Every figure that needs the true CT."""
_PERFECT = {
    "mae_hu": 0.0, "me_hu": 0.0, "ssim": 1.0, "bone_dice": 1.0, "air_dice": 1.0, "synthrad_mae_hu": 0.0,
    "synthrad_me_hu": 0.0, "synthrad2023_ssim": 1.0, "synthrad2025_ms_ssim": 1.0, "bone_hd95_mm": 0.0,
    **{f"{figure}_hu_{tissue}": 0.0 for figure in ("mae", "me") for tissue in ("air", "soft", "bone")},
    **{f"slice_step_{plane}": 1.0 for plane in (*ct_anatomy.PLANES, "worst")},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One head as it was measured, to be drawn.

    Parameters
    ----------
    mr, synthetic, true
        (Z, Y, X): 0..1 and whole HU, air outside the head; `true` is None where there is none.
    places, doubt
        (N,) the slices looked at for doubt, and the map `both` of `ct_uncertainty.ESTIMATES`, HU (N, Y, X).
    mask, known
        (Z, Y, X) bool: where the figures were taken, and the part of it that the MR's own head mask covers: beyond it
        the model says nothing, and nothing can be said of its doubt.
    mae_hu
        Inside the head mask; NaN without a true CT.
    """

    subject: str
    mr: np.ndarray
    synthetic: np.ndarray
    true: np.ndarray | None
    places: np.ndarray
    doubt: np.ndarray
    mask: np.ndarray
    known: np.ndarray
    mae_hu: float


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_mri_to_ct` found.

    Parameters
    ----------
    metrics
        ``mae_hu``, ``mae_hu_mean_ct``, ... as flat numbers; ``figures``: each as `entries.entry` says; ``tables``; and
        ``notes``, what the figures do not show. Figures that need no pairs begin with ``proxy_``.
    cases
        In the order of the subjects.
    curves
        Name -> risk-coverage curve, HU (100,), mean over the heads; empty without pairs.
    """

    metrics: dict[str, Any]
    cases: list[Case]
    curves: dict[str, np.ndarray]


def synthesizers(
    model: MriToCt, train_ct: Heads, textbook: MriToCt | None = None
) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """The model ("") and every baseline as functions (MR, depth_mm) -> HU, by name."""
    volumes = [train_ct.volume(place) for place in range(len(train_ct.rows))]
    cts, masks = [ct for ct, _ in volumes], [depth > 0 for _, depth in volumes]
    mean, median, quantiles = mean_ct(cts), median_ct(cts), hu_quantiles(cts, masks)
    ways = {
        "": lambda mr, depth: translate_volume(model, mr, depth),
        "mean_ct": lambda mr, depth: mean,
        "median_ct": lambda mr, depth: median,
        "place": lambda mr, depth: expected_ct(model, depth, None),
        "atlas": lambda mr, depth: expected_ct(model, depth, mr),
        "histogram_matching": lambda mr, depth: match_histogram(mr, depth > 0, quantiles),
        "textbook": lambda mr, depth: translate_volume(textbook, mr, depth),
    }
    lacking = (() if "ct" in model.atlases else ("place", "atlas")) + (() if textbook else ("textbook",))
    return {name: way for name, way in ways.items() if name not in lacking}


def expected_ct(model: MriToCt, depth_mm: np.ndarray, mr: np.ndarray | None) -> np.ndarray:
    """What the model's CT atlas expects of an MR head: float32 HU (Z, Y, X), air outside the head.

    Parameters
    ----------
    depth_mm
        (Z, Y, X) of the MR's head mask.
    mr
        (Z, Y, X), 0..1; None where the grey values are not to be used.
    """
    atlas, made = model.atlases["ct"], np.empty(depth_mm.shape, np.float32)
    alone = nn.ModuleDict({"ct": atlas})
    for z in range(len(depth_mm)):  # a density of the whole head would not be small
        density, _ = densities(depth_mm[z : z + 1], np.array([z]), "MR", alone)
        if mr is not None:
            seen = image_channel(mr[z : z + 1, None], "MR", model.hu_window)
            density = atlas.posterior(density, torch.from_numpy(seen).to(density.device))
        made[z] = atlas.median(density)[0, 0].cpu().numpy()
    return unit_to_hu(made, model.hu_window)


@dataclass
class _Set:
    """What is gathered of one method over the heads, for figures of the whole set."""

    histogram: HuHistogram
    pictures: list[np.ndarray] = field(default_factory=list)

    def add(self, ct: np.ndarray, inside: np.ndarray, places: np.ndarray) -> None:
        self.histogram.add(ct[inside])
        self.pictures.append(slice_pictures(ct, inside, places, self.histogram.window))


def evaluate_mri_to_ct(
    model: MriToCt,
    mr: Heads,
    ct: Heads,
    train_ct: Heads,
    repetitions: int,
    seed: int,
    split: str = "test",
    *,
    ct_split: str | None = None,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    sizes: Mapping[str, np.ndarray] | None = None,
    space: FeatureSpace | None = None,
    device: Device | None = None,
    textbook: MriToCt | None = None,
    textbook_pairs: int = 0,
) -> Evaluation:
    """Measure a model on the people of one split who have both modalities; without any, by proxies marked as such.

    Parameters
    ----------
    mr, ct
        Heads of `split`; the CTs of `ct_split` where that is another, so that nobody has both.
    train_ct
        What baselines are made of, and what the proxies compare with.
    spacing_mm
        (x, y, z) of the common grid.
    sizes
        Subject -> how many times as large as on the common grid he is, (x, y, z): what is measured in mm is in his own.
        None where all are as large as there.
    space, device
        The feature space of the kernel distance, and where it is computed; None leaves that proxy out.
    textbook, textbook_pairs
        From `train_textbook`, and how many pairs it has seen; None leaves that baseline out.
    """
    subjects = paired_subjects(mr, ct)
    measured = subjects or list(mr.subjects[:MOST_UNPAIRED])
    if not measured:
        return Evaluation({"figures": {}, "tables": {}, "notes": ["There is no MR head to translate."]}, [], {})
    ways = synthesizers(model, train_ct, textbook)
    names = [name or MODEL for name in ways]
    sets = {name: _Set(HuHistogram(model.hu_window)) for name in (*names, TRUE)}
    rows: list[dict[str, Any]] = []
    cases, doubts, curves = [], [], []
    for subject in measured:
        image, depth = mr.of(subject)
        true, shown, mask, wide = None, None, depth > 0, None
        if subjects:
            true, true_depth = ct.of(subject)
            mask = head_in_both(depth, true_depth)
            shown = np.where(true_depth > 0, true, -1024).astype(np.int16)
            x, y, z = np.multiply(spacing_mm, 1.0 if sizes is None else sizes[subject])
            own_mm = float(x), float(y), float(z)
            wide = widened(mask, own_mm)
        heads_here, pictured = depth > 0, _places(mask, PICTURE_EVERY)
        for name, synthesize in zip(names, ways.values(), strict=True):
            made = synthesize(image, depth)
            row: dict[str, Any] = {"subject_id": subject, "method": name}
            if true is not None:
                row |= ct_fidelity.ct_fidelity(made, true, mask) | synthrad_figures(made, true, wide)
                row |= anatomy_figures(made, true, mask, own_mm)
            row |= _of_one_volume(made, image, heads_here, model, sets[name], pictured)
            if name == MODEL:
                row["proxy_cycle_mr"] = cycle_error(model, image, depth, "MR", _places(depth > 0, CYCLE_EVERY))
                case, maps = _case(model, subject, image, depth, made, shown, mask, row.get("mae_hu", math.nan), seed)
                cases.append(case)
                doubts += _doubt_rows(case, maps, curves)
            rows.append(row)
        if true is not None:
            row = {"subject_id": subject, "method": TRUE}
            row |= _of_one_volume(shown, image, heads_here, model, sets[TRUE], pictured)
            row["proxy_cycle_hu"] = cycle_error(model, true, true_depth, "CT", _places(true_depth > 0, CYCLE_EVERY))
            rows.append(row)

    table = _Table(rows, repetitions, seed, split)
    reference = _reference(train_ct, model)
    whole = _whole_sets(sets, reference, space, device, repetitions, seed)
    figures = _paired_figures(table, names) if subjects else {}
    real, of = (ct, ct_split or split) if ct.rows else (train_ct, "train")
    figures |= _proxy_figures(table, whole, model, real, of, space, bool(subjects))
    figures |= _doubt_figures(doubts, cases, repetitions, seed, split, bool(subjects))
    methods = _methods(table, names, whole, bool(subjects))
    tables: dict[str, Any] = {"volumes": rows, "methods": methods, "uncertainty": doubts}
    if subjects:
        tables["proxies"] = _agreement(methods)
        for row in tables["proxies"]:
            figures[f"{row['proxy']}_agreement"] = entry(
                row["rank_correlation_with_mae_hu"], split=split, seeds=[seed], n=row["methods"], floor=1.0,
                worst_case=0.0,
                definition="Spearman's rank correlation, over the model and the baselines, of the proxy (of mutual "
                "information: its distance to that of the true CT) and mae_hu; 1: the proxy orders them as the error "
                "does; 0: it says nothing; n counts methods, not heads",
            )  # fmt: skip
    if "textbook" in names:
        for name, figure in figures.items():
            if name.endswith("textbook"):
                figure["definition"] += f"; it saw {textbook_pairs} pairs of slices"
    notes = _notes(figures, names, len(measured), split, bool(subjects), spacing_mm)
    flat = {name: figure["value"] for name, figure in figures.items()}
    metrics = _plain({**flat, "figures": figures, "tables": tables, "notes": notes})
    mean_curves = {name: np.mean([c[name] for c in curves], 0) for name in (curves[0] if curves else ())}
    return Evaluation(metrics, cases, mean_curves)


def best_median_worst(cases: Sequence[Case]) -> dict[str, Case]:
    """The heads of least, middle and largest error, by these names; empty without true CTs."""
    known = sorted((case for case in cases if math.isfinite(case.mae_hu)), key=lambda case: (case.mae_hu, case.subject))
    if not known:
        return {}
    return {"best": known[0], "median": known[(len(known) - 1) // 2], "worst": known[-1]}


def _places(inside: np.ndarray, every: int) -> np.ndarray:
    """Every so many slices of those that show the head: (N,) int, at least the middle one."""
    shown = np.flatnonzero(inside.any(axis=(1, 2)))
    return shown[min(every // 2, max(len(shown) - 1, 0)) :: every]


def _of_one_volume(
    made: np.ndarray, mr: np.ndarray, inside: np.ndarray, model: MriToCt, gathered: _Set, places: np.ndarray
) -> dict[str, float]:
    gathered.add(made, inside, places)
    return {"proxy_mutual_information": mutual_information(mr[inside], made[inside], model.hu_window)}


def _case(
    model: MriToCt,
    subject: str,
    mr: np.ndarray,
    depth: np.ndarray,
    made: np.ndarray,
    true: np.ndarray | None,
    mask: np.ndarray,
    mae_hu: float,
    seed: int,
) -> tuple[Case, dict[str, np.ndarray]]:
    places = _places(mask, DOUBT_EVERY)
    maps = maps_of_doubt(model, mr, depth, made, places, seed)
    whole = np.round(made).astype(np.int16)
    return Case(
        subject, np.where(depth > 0, mr, 0), whole, true, places, maps["both"], mask, mask & (depth > 0), mae_hu
    ), maps


def _doubt_rows(case: Case, maps: dict[str, np.ndarray], curves: list[dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    """One row a map of doubt; the risk-coverage curves of the head are added to `curves`."""
    inside = case.known[case.places]
    if case.true is None:
        return [
            {"subject_id": case.subject, "estimate": name, "mean_hu": float(doubt[inside].mean())}
            for name, doubt in maps.items()
        ]
    error = np.abs(case.synthetic[case.places].astype(np.float64) - case.true[case.places])[inside]
    curve = {name: risk_coverage(doubt[inside], error) for name, doubt in maps.items()}
    curve |= {"oracle": risk_coverage(error, error), "random": np.full(100, error.mean())}
    curves.append(curve)
    least, chance = area_under(curve["oracle"]), area_under(curve["random"])
    return [
        {
            "subject_id": case.subject,
            "estimate": name,
            "mean_hu": float(doubt[inside].mean()),
            "rank_correlation": rank_correlation(doubt[inside], error),
            "aurc_hu": area_under(curve[name]),
            "aurc_oracle_hu": least,
            "aurc_random_hu": chance,
            "captured": (chance - area_under(curve[name])) / (chance - least) if chance > least else math.nan,
        }
        for name, doubt in maps.items()
    ]


class _Table:
    """Rows of one volume and method each, and how they are averaged over heads."""

    def __init__(self, rows: list[dict[str, Any]], repetitions: int, seed: int, split: str) -> None:
        self.rows, self.repetitions, self.seed, self.split = rows, repetitions, seed, split

    def column(self, name: str, method: str) -> np.ndarray:
        """Values over heads (n,), NaN where there is none."""
        return np.array([row.get(name, math.nan) for row in self.rows if row["method"] == method], np.float64)

    def mean(self, values: np.ndarray) -> Interval | None:
        """Mean over the heads that have the figure, with its interval."""
        known = values[np.isfinite(values)]
        return bootstrap_interval(known, repetitions=self.repetitions, seed=self.seed) if len(known) else None

    def entry(self, value: Any, definition: str, **more: Any) -> dict[str, Any]:
        return entry(value, split=self.split, seeds=[self.seed], definition=definition, **more)


def _paired_figures(table: _Table, names: list[str]) -> dict[str, Any]:
    figures = {}
    for name, definition in PAIRED.items():
        what = definition if name.startswith("synthrad") else f"{definition}; {MASK}"
        figures[name] = table.entry(
            table.mean(table.column(name, MODEL)),
            f"{what}; worst case: {BASELINES[WORST]}",
            floor=_PERFECT.get(name),
            worst_case=table.mean(table.column(name, WORST)),
        )
    own = table.column("mae_hu", MODEL)
    for name in (n for n in names if n != MODEL):
        theirs = table.column("mae_hu", name)
        definition = ct_fidelity.DEFINITIONS["mae_hu"]
        figures[f"mae_hu_{name}"] = table.entry(
            table.mean(theirs), f"{definition}; {MASK}; {BASELINES[name]}", floor=0.0
        )
        figures[f"mae_hu_gain_on_{name}"] = table.entry(
            table.mean(theirs - own),
            f"paired difference of mae_hu, HU, head by head: baseline - model, above 0 the model is better; {MASK}; "
            f"baseline: {BASELINES[name]}; worst case: no difference",
            worst_case=0.0,
        )
    return figures


def _reference(train_ct: Heads, model: MriToCt) -> _Set:
    gathered = _Set(HuHistogram(model.hu_window))
    for place in range(min(len(train_ct.rows), MOST_UNPAIRED)):
        hu, depth = train_ct.volume(place)
        gathered.add(hu, depth > 0, _places(depth > 0, PICTURE_EVERY))
    return gathered


def _whole_sets(
    sets: dict[str, _Set],
    reference: _Set,
    space: FeatureSpace | None,
    device: Device | None,
    repetitions: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Method -> ``proxy_kid`` and ``proxy_histogram_hu`` against the training CTs, for those that have volumes."""
    known = {name: gathered for name, gathered in sets.items() if gathered.pictures}
    found = {name: {"proxy_histogram_hu": g.histogram.distance(reference.histogram)} for name, g in known.items()}
    if space is not None and device is not None:
        real = ct_proxies.features_of(reference.pictures, space, device)
        for name, gathered in known.items():
            made = ct_proxies.features_of(gathered.pictures, space, device)
            found[name]["proxy_kid"] = ct_proxies.slice_distance(made, real, repetitions, seed)
    return found


def _proxy_figures(
    table: _Table,
    whole: dict[str, dict[str, Any]],
    model: MriToCt,
    real: Heads,
    real_split: str,
    space: FeatureSpace | None,
    paired: bool,
) -> dict[str, Any]:
    definitions, heads = ct_proxies.DEFINITIONS, len(table.column("proxy_cycle_mr", MODEL))
    true, compared = whole.get(TRUE, {}), f"compared with CTs of the train split; worst case: {BASELINES[WORST]}"
    floor = "; floor: the true CTs, in the same MR masks" if paired else "; no floor: no head has both scans"
    figures = {
        "proxy_histogram_hu": table.entry(
            whole[MODEL]["proxy_histogram_hu"], f"{definitions['proxy_histogram_hu']}; {compared}{floor}",
            floor=true.get("proxy_histogram_hu"), worst_case=whole[WORST]["proxy_histogram_hu"], n=heads,
        ),
        "proxy_mutual_information": table.entry(
            table.mean(table.column("proxy_mutual_information", MODEL)),
            f"{definitions['proxy_mutual_information']}; worst case: {BASELINES[WORST]}{floor}",
            floor=table.mean(table.column("proxy_mutual_information", TRUE)),
            worst_case=table.mean(table.column("proxy_mutual_information", WORST)),
        ),
        "proxy_cycle_mr": table.entry(
            table.mean(table.column("proxy_cycle_mr", MODEL)), definitions["proxy_cycle_mr"], floor=0.0
        ),
    }  # fmt: skip
    if "proxy_kid" in whole[MODEL]:
        figures["proxy_kid"] = table.entry(
            whole[MODEL]["proxy_kid"], f"{definitions['proxy_kid']}; {compared}{floor}", feature_space=str(space),
            floor=true.get("proxy_kid"), worst_case=whole[WORST]["proxy_kid"],
        )  # fmt: skip
    cycles = table.column("proxy_cycle_hu", TRUE)
    if not paired:
        volumes = [real.volume(place) for place in range(min(len(real.rows), MOST_UNPAIRED))]
        cycles = np.array([cycle_error(model, v, d, "CT", _places(d > 0, CYCLE_EVERY)) for v, d in volumes])
    figures["proxy_cycle_hu"] = entry(
        table.mean(cycles), split=real_split, seeds=[table.seed], floor=0.0,
        definition=f"{definitions['proxy_cycle_hu']}; CTs of the {real_split} split",
    )  # fmt: skip
    return figures


def _doubt_figures(
    rows: list[dict[str, Any]], cases: list[Case], repetitions: int, seed: int, split: str, paired: bool
) -> dict[str, Any]:
    table = _Table([{**row, "method": row["estimate"]} for row in rows], repetitions, seed, split)
    what = f"{ESTIMATES['both']}; views: {ESTIMATES['views']}; every {DOUBT_EVERY}rd slice, in both head masks"
    figures = {"uncertainty_hu": table.entry(table.mean(table.column("mean_hu", "both")), f"mean of {what}")}
    if not paired:
        return figures
    beyond = [case.mask & ~case.known for case in cases]
    shares = np.array([b.sum() / case.mask.sum() for b, case in zip(beyond, cases, strict=True)])
    errors = np.array([_mean_error_in(case, b) for b, case in zip(beyond, cases, strict=True)])
    return figures | {
        "uncertainty_unknown_share": table.entry(
            table.mean(shares),
            "share of the voxels that errors are taken of that lie outside the MR's own head mask: nothing is said of "
            "doubt there",
            floor=0.0,
        ),
        "uncertainty_unknown_mae_hu": table.entry(
            table.mean(errors), "mean absolute error, HU, over the voxels of uncertainty_unknown_share", floor=0.0
        ),
        "uncertainty_rank_correlation": table.entry(
            table.mean(table.column("rank_correlation", "both")),
            f"Spearman's rank correlation of doubt and |error| over the voxels of a head; doubt: {what}; floor: doubt "
            f"that is the error; worst case: {ESTIMATES['edges']}",
            floor=1.0,
            worst_case=table.mean(table.column("rank_correlation", "edges")),
        ),
        "uncertainty_aurc_hu": table.entry(
            table.mean(table.column("aurc_hu", "both")),
            f"area under the risk-coverage curve: mean |error| of the least doubtful voxels, averaged over the shares "
            f"1 % .. 100 %; doubt: {what}; floor: ordered by the error itself; worst case: random order",
            floor=table.mean(table.column("aurc_oracle_hu", "both")),
            worst_case=table.mean(table.column("aurc_random_hu", "both")),
        ),
        "uncertainty_captured": table.entry(
            table.mean(table.column("captured", "both")),
            "(random - AURC) / (random - oracle): share of what knowing the errors would gain; floor: "
            f"the errors known; worst case: {ESTIMATES['edges']}",
            floor=1.0,
            worst_case=table.mean(table.column("captured", "edges")),
        ),
    }


def _mean_error_in(case: Case, where: np.ndarray) -> float:
    difference = np.abs(case.synthetic[where].astype(np.float64) - case.true[where])
    return float(difference.mean()) if len(difference) else math.nan


def _methods(table: _Table, names: list[str], whole: dict[str, dict[str, Any]], paired: bool) -> list[dict[str, Any]]:
    """One row a method: means over the heads, and the proxies of its whole set."""
    shown = [*(PAIRED if paired else ()), "proxy_mutual_information"]
    rows = []
    for name in (*names, *([TRUE] if paired else [])):
        means = {figure: table.mean(table.column(figure, name)) for figure in shown}
        row = {"method": name, **{figure: mean.value if mean else None for figure, mean in means.items()}}
        for figure, value in whole[name].items():
            row[figure] = value.value if isinstance(value, Interval) else value
        rows.append(row)
    return rows


def _agreement(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Do the proxies order the methods as the error does?"""
    true = next(row for row in methods if row["method"] == TRUE)
    compared = [row for row in methods if row["method"] != TRUE]
    errors = [row["mae_hu"] for row in compared]
    rows = []
    for proxy in ("proxy_kid", "proxy_histogram_hu", "proxy_mutual_information"):
        if proxy not in true:
            continue
        values = [row[proxy] for row in compared]
        if proxy == "proxy_mutual_information":
            values = [abs(value - true[proxy]) for value in values]
        known = np.isfinite(values).all() and len(set(values)) > 1
        rows.append(
            {
                "proxy": proxy,
                "rank_correlation_with_mae_hu": float(spearmanr(values, errors).statistic) if known else None,
                "methods": len(values),
                "best_by_proxy": compared[int(np.argmin(values))]["method"] if known else None,
                "best_by_mae_hu": compared[int(np.argmin(errors))]["method"],
            }
        )
    return rows


def _notes(
    figures: dict[str, Any], names: list[str], heads: int, split: str, paired: bool, spacing_mm: tuple[float, ...]
) -> list[str]:
    dx, dy, dz = spacing_mm
    if not paired:
        return [
            f"Nobody of the {split} split has both scans: no error in HU can be known. These are proxies, and "
            "a CT may score well on all of them with its bones in the wrong place.",
            f"The proxies are of {heads} MR heads.",
        ]
    notes = [
        f"All figures are of {heads} heads of the {split} split. An interval over so few is itself uncertain, and "
        "says nothing of other scanners or of disease that these heads do not show.",
        f"Volumes are compared on the common grid ({dx:g} x {dy:g} x {dz:g} mm in a head as large as the "
        "reference): finer structure is in no figure, and surface distances move in steps of a voxel.",
        "Figures of SynthRAD's definitions can be compared with each other; the challenges measured on other heads, on "
        "a grid of 1 mm.",
    ]
    for name in (n for n in names if n != MODEL):
        gain = figures[f"mae_hu_gain_on_{name}"]
        if gain["value"] is not None and gain["low"] <= 0:
            told = "is not shown to be better than" if gain["value"] > 0 else "is no better than"
            notes.append(
                f"In mae_hu the model {told} the baseline {name}: baseline - model is {gain['value']:.2g} HU, 95 % "
                f"interval {gain['low']:.2g} to {gain['high']:.2g}."
            )
    steps = figures["slice_step_worst"]["value"]
    if steps is not None and steps < 0.9:
        notes.append(
            f"Neighbouring slices differ {steps:.2f} times as much as in the true CT in the worst direction: the "
            "synthetic CT is smoother than a real one."
        )
    for figure, words in (("rank_correlation", "rank correlation"), ("captured", "share of the possible gain")):
        own, control = (figures[f"uncertainty_{figure}"][k] for k in ("value", "worst_case"))
        if own is not None and control and control["value"] is not None and own <= control["value"]:
            notes.append(
                "The model's doubt is no better a guide to its errors than the edges of its own CT, which know nothing "
                f"of it ({words} {own:.2f} against {control['value']:.2f})."
            )
    beyond = figures["uncertainty_unknown_share"]["value"]
    if beyond:
        notes.append(
            f"{100 * beyond:.1f} % of the voxels that errors are taken of lie outside the MR's own head mask, where "
            f"no map of doubt says anything; their mean |error| is "
            f"{figures['uncertainty_unknown_mae_hu']['value']:.0f} HU."
        )
    if "textbook" not in names:
        notes.append("No textbook CycleGAN was trained beside the model (`textbook_pairs` is 0).")
    return notes


def _plain(value: Any) -> Any:
    """The same structure with None in place of what is not finite, and numbers of six digits."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
