import json

import numpy as np
import pytest
import torch
from torch import nn

from radsynth.evaluation.mri_to_ct import evaluate_mri_to_ct, examples, expected_ct, middle_slices
from radsynth.networks.atlas import Atlas
from radsynth.training.cyclegan import MriToCt
from radsynth.training.slices import Heads

WINDOW = (-1000.0, 1000.0)


class Copy(nn.Module):
    """A generator that hands its picture through: HU = 2000 MR - 1000."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, image):
        return image[:, :1]


@pytest.fixture
def model():
    return MriToCt(nn.ModuleDict({"mr_to_ct": Copy(), "ct_to_mr": Copy()}), WINDOW, True, nn.ModuleDict())


def make_heads(modality, subjects, error=0.0):
    truth = np.random.default_rng(0).integers(-900, 900, (len(subjects), 8, 12, 12))
    depth = np.zeros(truth.shape, np.float16)
    depth[:, :, 2:10, 2:10] = 9
    images = truth.astype(np.int16) if modality == "CT" else ((truth + error + 1000) / 2000).astype(np.float32)
    return Heads(modality, images, depth, tuple(range(len(subjects))), tuple(subjects))


def test_the_figures_are_those_of_the_held_out_pairs(model):
    mr, ct = make_heads("MR", ["p", "q", "r"], error=30), make_heads("CT", ["p", "q", "r"])
    metrics = evaluate_mri_to_ct(model, mr, ct, make_heads("CT", ["a", "b"]), repetitions=50, seed=3)
    assert metrics["mae_hu"] == pytest.approx(30, abs=0.1)
    assert metrics["me_hu"] == pytest.approx(30, abs=0.1)
    assert metrics["mae_hu"] < min(metrics[f"mae_hu_{b}"] for b in ("mean_ct", "median_ct"))
    assert [row["subject_id"] for row in metrics["subjects"]] == ["p", "q", "r"]


def test_every_figure_says_what_it_is(model):
    mr, ct = make_heads("MR", ["p", "q"]), make_heads("CT", ["q", "p"])
    metrics = evaluate_mri_to_ct(model, mr, ct, make_heads("CT", ["a"]), repetitions=50, seed=3)
    flat = {name for name, value in metrics.items() if isinstance(value, float)}
    assert flat <= set(metrics["details"])
    for name, detail in metrics["details"].items():
        assert detail["low"] <= detail["value"] <= detail["high"], name
        assert (detail["n"], detail["split"], detail["seeds"]) == (2, "test", [3])
        assert detail["definition"]
    json.dumps(metrics, allow_nan=False)


def test_the_atlas_is_a_baseline_where_there_is_one_with_and_without_the_grey_values_of_the_mr(model):
    mr, ct = make_heads("MR", ["p", "q"]), make_heads("CT", ["p", "q"])
    assert "mae_hu_atlas" not in evaluate_mri_to_ct(model, mr, ct, ct, repetitions=10, seed=0)
    model.atlases["ct"] = Atlas((8, 12, 12))
    model.atlases["ct"].likelihood[:] = torch.rand_like(model.atlases["ct"].likelihood)
    metrics = evaluate_mri_to_ct(model, mr, ct, ct, repetitions=10, seed=0)
    inside = ct.depth_mm[0] > 0

    def error(subject, with_mr):
        image, depth = mr.of(subject)
        expected = expected_ct(model, depth, image if with_mr else None)
        return np.abs(expected - ct.of(subject)[0])[inside].mean()

    assert metrics["mae_hu_place"] == pytest.approx(np.mean([error(s, False) for s in ("p", "q")]), rel=1e-4)
    assert metrics["mae_hu_atlas"] == pytest.approx(np.mean([error(s, True) for s in ("p", "q")]), rel=1e-4)
    assert metrics["mae_hu_atlas"] != metrics["mae_hu_place"]


def test_a_subject_is_compared_with_his_own_ct(model):
    mr, ct = make_heads("MR", ["p", "q"]), make_heads("CT", ["q", "p"])
    ct.images[:] = ct.images[::-1].copy()
    metrics = evaluate_mri_to_ct(model, mr, ct, make_heads("CT", ["a"]), repetitions=10, seed=0)
    assert metrics["mae_hu"] < 0.1


def test_without_pairs_all_figures_are_marked_as_proxies(model):
    mr, ct = make_heads("MR", ["p"]), make_heads("CT", [])
    metrics = evaluate_mri_to_ct(model, mr, ct, make_heads("CT", ["a"]), repetitions=10, seed=0)
    flat = {name for name in metrics if name not in ("details", "subjects")}
    assert flat == set(metrics["details"]) == {"proxy_histogram_hu", "proxy_cycle_hu"}
    assert "train split" in metrics["details"]["proxy_histogram_hu"]["definition"]
    json.dumps(metrics, allow_nan=False)


def test_examples_are_made_with_and_without_a_true_ct(model):
    mr, ct = make_heads("MR", ["p", "q"]), make_heads("CT", ["q"])
    made = {subject: (synthetic, true) for subject, _, synthetic, true in examples(model, mr, ct)}
    assert made["p"][1] is None
    assert (made["q"][1][:, 0] == -1024).all()
    titles, rows = middle_slices(model, mr, ct)
    assert titles == ["MR", "synthetic CT", "true CT"]
    assert [len(row) for row in rows] == [2, 3]
    assert max(np.abs(picture).max() for row in rows for picture in row) <= 1
