"""The figures of a trained MRI to CT model on held-out people, beside those of the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from radsynth.evaluation.baselines_ct import hu_quantiles, match_histogram, mean_ct, median_ct
from radsynth.evaluation.ct_fidelity import DEFINITIONS, ct_fidelity
from radsynth.evaluation.intervals import bootstrap_interval
from radsynth.training.cyclegan import MriToCt, translate_volume, unpaired_proxy
from radsynth.training.slices import Heads, densities, head_in_both, image_channel, paired_subjects, unit_to_hu

BASELINES = {
    "mean_ct": "voxel-wise mean of the training CTs on the common grid",
    "median_ct": "voxel-wise median of the training CTs on the common grid",
    "place": "what is usual in a CT at this place of the MR's head mask (the model's CT atlas), its grey values unseen",
    "atlas": "what the model's CT atlas expects of the MR, pixel by pixel: what the CycleGAN starts from",
    "histogram_matching": "MR given the histogram of the training CTs inside the head",
}

MASK = "head mask: the true CT's where the MR shows the head too (widened by two pixels in its plane)"
"""Where all figures are taken, `head_in_both`: a field of view that cuts the neck is nobody's error."""

PROXIES = {
    "proxy_histogram_hu": "no pairs: Wasserstein distance of HU histograms inside the heads, synthetic against real",
    "proxy_cycle_hu": "no pairs: mean |CT - CT of the MR of the CT| inside the head",
}


def synthesizers(model: MriToCt, train_ct: Heads) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
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
    }
    return ways if "ct" in model.atlases else {k: way for k, way in ways.items() if k not in ("place", "atlas")}


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


def evaluate_mri_to_ct(
    model: MriToCt,
    test_mr: Heads,
    test_ct: Heads,
    train_ct: Heads,
    repetitions: int,
    seed: int,
    split: str = "test",
) -> dict[str, Any]:
    """Measure a model on the people of one split who have both modalities; without any, by proxies marked as such.

    Returns
    -------
    dict
        ``mae_hu``, ``mae_hu_mean_ct``, ... as flat numbers; ``details``: for each of them, and for the other figures
        of the baselines, {value, low, high, n, split, seeds, definition} with the 95 % bootstrap interval over
        subjects; ``subjects``: all figures of each subject. Without pairs the names begin with ``proxy_``.
    """
    subjects = paired_subjects(test_mr, test_ct)
    if not subjects:
        return _proxies(model, test_mr, test_ct, train_ct, seed, split)
    ways = synthesizers(model, train_ct)
    rows = []
    for subject in subjects:
        (mr, depth), (true, true_depth) = test_mr.of(subject), test_ct.of(subject)
        mask = head_in_both(depth, true_depth)
        row: dict[str, Any] = {"subject_id": subject}
        for name, synthesize in ways.items():
            figures = ct_fidelity(synthesize(mr, depth), true, mask)
            row |= {_name(figure, name): value for figure, value in figures.items()}
        rows.append(row)
    details = {}
    for name, baseline in ((_name(f, b), b) for b in ways for f in DEFINITIONS):
        interval = bootstrap_interval(np.array([row[name] for row in rows]), repetitions=repetitions, seed=seed)
        definition = DEFINITIONS[name.removesuffix(f"_{baseline}")]
        details[name] = {
            **interval._asdict(),
            "split": split,
            "seeds": [seed],
            "definition": f"{BASELINES[baseline]}: {definition}; {MASK}" if baseline else f"{definition}; {MASK}",
        }
    shown = [*DEFINITIONS, *(_name("mae_hu", baseline) for baseline in ways if baseline)]
    return {**{name: details[name]["value"] for name in shown}, "details": details, "subjects": rows}


def examples(model: MriToCt, mr: Heads, ct: Heads) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray | None]]:
    """(subject, MR, synthetic CT, true CT or None) of every MR head; CT in HU, air outside the true CT's head."""
    for subject in mr.subjects:
        image, depth = mr.of(subject)
        true = None
        if subject in ct.subjects:
            true, true_depth = ct.of(subject)
            true = np.where(true_depth > 0, true, -1024).astype(np.float32)
        yield subject, np.where(depth > 0, image, 0), translate_volume(model, image, depth), true


def middle_slices(model: MriToCt, mr: Heads, ct: Heads, most: int = 3) -> tuple[list[str], list[list[np.ndarray]]]:
    """Column titles and rows of axial slices in -1..1 (CT: -400..1200 HU), the front up, of the first few MR heads."""
    rows = []
    for subject in mr.subjects[:most]:
        image, depth = mr.of(subject)
        z = int(np.median(np.nonzero((depth > 0).any(axis=(1, 2)))[0]))
        cut = slice(z, z + 1)
        hu = [translate_volume(model, image[cut], depth[cut], places=np.array([z]))[0]]
        if subject in ct.subjects:
            hu.append(ct.of(subject)[0][z])
        row = [image[z] * 2 - 1, *(np.clip((v - 400.0) / 800, -1, 1) for v in hu)]
        rows.append([picture[::-1, ::-1] for picture in row])
    return ["MR", "synthetic CT", "true CT"][: max(map(len, rows), default=0)], rows


def _name(figure: str, baseline: str) -> str:
    return f"{figure}_{baseline}" if baseline else figure


def _proxies(model: MriToCt, test_mr: Heads, test_ct: Heads, train_ct: Heads, seed: int, split: str) -> dict[str, Any]:
    ct = test_ct if test_ct.rows else train_ct
    ct_split = split if test_ct.rows else "train"
    if not test_mr.rows:
        return {"details": {}, "subjects": []}
    values = {f"proxy_{name}": value for name, value in unpaired_proxy(model, test_mr, ct).items()}
    details = {
        name: {
            "value": value,
            "low": None,
            "high": None,
            "n": len(test_mr.rows) if name == "proxy_histogram_hu" else len(ct.rows),
            "split": split,
            "seeds": [seed],
            "definition": f"{PROXIES[name]}; CTs of the {ct_split} split",
        }
        for name, value in values.items()
    }
    return {**values, "details": details, "subjects": []}
