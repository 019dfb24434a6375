import json

import numpy as np
import pytest
import torch
from torch import nn

from radsynth.evaluation.features import FeatureSpace
from radsynth.evaluation.middle_slices import middle_slices
from radsynth.evaluation.mri_to_ct import PAIRED, best_median_worst, evaluate_mri_to_ct, expected_ct
from radsynth.networks.atlas import Atlas
from radsynth.training.cyclegan import MriToCt
from radsynth.training.device import cpu_device
from radsynth.training.slices import Heads

WINDOW = (-1000.0, 1000.0)


@pytest.fixture
def model(copying_generator):
    generators = nn.ModuleDict({"mr_to_ct": copying_generator(), "ct_to_mr": copying_generator()})
    return MriToCt(generators, WINDOW, True, nn.ModuleDict())


def make_heads(modality, subjects, error=0.0):
    truth = np.random.default_rng(0).integers(-900, 900, (len(subjects), 8, 12, 12))
    depth = np.zeros(truth.shape, np.float16)
    depth[:, :, 2:10, 2:10] = 9
    images = truth.astype(np.int16) if modality == "CT" else ((truth + error + 1000) / 2000).astype(np.float32)
    return Heads(modality, images, depth, tuple(range(len(subjects))), tuple(subjects))


SPACE = FeatureSpace("means of quarters", "none", 4, lambda p: nn.functional.avg_pool2d(p, p.shape[-1] // 2).flatten(1))


def measure(model, mr, ct, train_ct, repetitions=20, **more):
    return evaluate_mri_to_ct(
        model,
        mr,
        ct,
        train_ct,
        repetitions,
        seed=3,
        spacing_mm=(1.0, 1.0, 2.0),
        space=SPACE,
        device=cpu_device(),
        **more,
    )


def test_the_figures_are_those_of_the_held_out_pairs(model):
    mr, ct = make_heads("MR", ["p", "q", "r"], error=30), make_heads("CT", ["p", "q", "r"])
    found = measure(model, mr, ct, make_heads("CT", ["a", "b"]))
    metrics = found.metrics
    assert metrics["mae_hu"] == pytest.approx(30, abs=0.1)
    assert metrics["me_hu"] == pytest.approx(30, abs=0.1)
    assert metrics["mae_hu_soft"] == metrics["me_hu_bone"] == pytest.approx(30, abs=0.1)
    assert metrics["mae_hu"] < min(metrics[f"mae_hu_{b}"] for b in ("mean_ct", "median_ct"))
    gain = metrics["figures"]["mae_hu_gain_on_mean_ct"]
    assert gain["value"] == pytest.approx(metrics["mae_hu_mean_ct"] - metrics["mae_hu"], rel=1e-4)
    assert 0 < gain["low"] <= gain["value"] <= gain["high"]
    volumes = metrics["tables"]["volumes"]
    assert [row["subject_id"] for row in volumes if row["method"] == "cyclegan"] == ["p", "q", "r"]
    assert len({(row["subject_id"], row["method"]) for row in volumes}) == len(volumes) == 3 * 5
    assert [case.subject for case in found.cases] == ["p", "q", "r"]
    assert any("3 heads" in note for note in metrics["notes"])


def test_every_figure_says_what_it_is(model):
    mr, ct = make_heads("MR", ["p", "q"]), make_heads("CT", ["q", "p"])
    metrics = measure(model, mr, ct, make_heads("CT", ["a"])).metrics
    flat = {name for name in metrics if name not in ("figures", "tables", "notes")}
    assert flat == set(metrics["figures"])
    assert set(PAIRED) <= flat
    for name, figure in metrics["figures"].items():
        assert metrics[name] == figure["value"]
        assert (figure["split"], figure["seeds"]) == ("test", [3]), name
        assert figure["definition"]
        assert ("proxy" in name) == ("proxy" in figure["definition"]), name
        if figure["low"] is not None:
            assert figure["low"] <= figure["value"] <= figure["high"], name
    assert metrics["figures"]["mae_hu"]["worst_case"]["value"] == metrics["mae_hu_mean_ct"]
    assert metrics["figures"]["proxy_kid"]["value"] is None, "one training CT"
    json.dumps(metrics, allow_nan=False)


def test_the_heads_may_come_in_any_order(model):
    def figures(order):
        mr, ct = make_heads("MR", ["p", "q", "r"], error=30), make_heads("CT", ["p", "q", "r"])
        picked = [Heads(h.modality, h.images, h.depth_mm, order, tuple(h.subjects[i] for i in order)) for h in (mr, ct)]
        found = measure(model, *picked, make_heads("CT", ["a", "b"])).metrics
        return {name: found[name] for name in (*PAIRED, "proxy_histogram_hu", "proxy_kid", "proxy_cycle_mr")}

    assert figures((2, 0, 1)) == pytest.approx(figures((0, 1, 2)), rel=1e-4, nan_ok=True)


def test_the_best_the_median_and_the_worst_head_are_told_by_their_error(model):
    mr, ct = make_heads("MR", ["p", "q", "r"]), make_heads("CT", ["p", "q", "r"])
    for row, error in enumerate((200, 0, 50)):
        mr.images[row] = np.clip(mr.images[row] + error / 2000, 0, 1)
    chosen = best_median_worst(measure(model, mr, ct, make_heads("CT", ["a"])).cases)
    assert {name: case.subject for name, case in chosen.items()} == {"best": "q", "median": "r", "worst": "p"}


def test_what_is_measured_in_mm_is_in_the_size_of_the_head(model):
    mr, ct = make_heads("MR", ["p", "q"], error=30), make_heads("CT", ["p", "q"])

    def surface_mm(**more):
        volumes = measure(model, mr, ct, make_heads("CT", ["a", "b"]), **more).metrics["tables"]["volumes"]
        return {row["subject_id"]: row["bone_hd95_mm"] for row in volumes if row["method"] == "mean_ct"}

    on_grid, own = surface_mm(), surface_mm(sizes={"p": np.full(3, 1.1), "q": np.ones(3)})
    assert on_grid["p"] > 0
    assert own == pytest.approx({"p": 1.1 * on_grid["p"], "q": on_grid["q"]}, rel=1e-3)


def test_a_textbook_model_is_a_baseline_and_says_how_much_it_saw(model):
    mr, ct = make_heads("MR", ["p", "q"], error=10), make_heads("CT", ["p", "q"])
    plain = MriToCt(model.networks, WINDOW, False, nn.ModuleDict())
    metrics = measure(model, mr, ct, ct, textbook=plain, textbook_pairs=7).metrics
    assert metrics["mae_hu_textbook"] == pytest.approx(metrics["mae_hu"], abs=0.1)
    assert metrics["figures"]["mae_hu_textbook"]["definition"].endswith("7 pairs of slices")
    assert any("is not shown to be better" in n or "is no better" in n for n in metrics["notes"])
    without = measure(model, mr, ct, ct).metrics
    assert "mae_hu_textbook" not in without
    assert any("textbook" in note for note in without["notes"])


def test_the_true_ct_stands_beside_the_proxies_as_their_floor(model):
    mr, ct = make_heads("MR", ["p", "q", "r"]), make_heads("CT", ["p", "q", "r"])
    metrics = measure(model, mr, ct, make_heads("CT", ["a", "b", "c"])).metrics
    for name in ("proxy_histogram_hu", "proxy_mutual_information", "proxy_kid"):
        figure = metrics["figures"][name]
        floor = figure["floor"]["value"] if isinstance(figure["floor"], dict) else figure["floor"]
        assert figure["value"] == pytest.approx(floor, abs=0.05), "the model is a copy of the true CT"
    told = {row["proxy"]: row for row in metrics["tables"]["proxies"]}
    assert told["proxy_histogram_hu"]["best_by_mae_hu"] == "cyclegan"
    assert told["proxy_histogram_hu"]["methods"] == 4


def test_the_floor_of_the_proxies_is_taken_inside_the_same_head_masks_as_the_model(model):
    mr, ct = make_heads("MR", ["p", "q", "r"]), make_heads("CT", ["p", "q", "r"])
    ct.depth_mm[:, :, :, 6:] = 0
    mr.images[:, :, :, 6:] = 0
    metrics = measure(model, mr, ct, make_heads("CT", ["a", "b", "c"])).metrics
    for name in ("proxy_histogram_hu", "proxy_mutual_information", "proxy_kid"):
        figure = metrics["figures"][name]
        floor = figure["floor"]["value"] if isinstance(figure["floor"], dict) else figure["floor"]
        assert figure["value"] == pytest.approx(floor, rel=1e-3), "the model is a copy of the true CT, air around it"


def test_the_atlas_is_a_baseline_where_there_is_one_with_and_without_the_grey_values_of_the_mr(model):
    mr, ct = make_heads("MR", ["p", "q"]), make_heads("CT", ["p", "q"])
    assert "mae_hu_atlas" not in measure(model, mr, ct, ct).metrics
    model.atlases["ct"] = Atlas((8, 12, 12))
    model.atlases["ct"].likelihood[:] = torch.rand_like(model.atlases["ct"].likelihood)
    metrics = measure(model, mr, ct, ct).metrics
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
    metrics = measure(model, mr, ct, make_heads("CT", ["a"])).metrics
    assert metrics["mae_hu"] < 0.1


def test_without_pairs_all_figures_are_marked_as_proxies(model):
    mr, ct = make_heads("MR", ["p"]), make_heads("CT", [])
    found = measure(model, mr, ct, make_heads("CT", ["a"]))
    metrics = found.metrics
    flat = {name for name in metrics if name not in ("figures", "tables", "notes")}
    assert flat == set(metrics["figures"])
    assert {name for name in flat if not name.startswith("proxy_")} == {"uncertainty_hu"}
    assert {"proxy_histogram_hu", "proxy_cycle_hu", "proxy_cycle_mr", "proxy_mutual_information"} <= flat
    assert "train split" in metrics["figures"]["proxy_histogram_hu"]["definition"]
    cycle = metrics["figures"]["proxy_cycle_hu"]
    assert ("train split" in cycle["definition"], cycle["split"]) == (True, "train")
    assert any("no error in HU can be known" in note for note in metrics["notes"])
    assert found.cases[0].true is None
    assert best_median_worst(found.cases) == found.curves == {}
    json.dumps(metrics, allow_nan=False)


def test_held_out_cts_of_people_without_an_mr_are_told_by_their_own_split(model):
    given = make_heads("MR", ["p"]), make_heads("CT", ["t"]), make_heads("CT", ["a"])
    figures = measure(model, *given, split="train", ct_split="test").metrics["figures"]
    cycle = figures["proxy_cycle_hu"]
    assert ("CTs of the test split" in cycle["definition"], cycle["split"]) == (True, "test")
    assert figures["proxy_cycle_mr"]["split"] == "train"


def test_without_any_head_there_is_no_figure_but_a_reason(model):
    found = measure(model, make_heads("MR", []), make_heads("CT", []), make_heads("CT", ["a"]))
    assert found.metrics["figures"] == {}
    assert found.metrics["notes"]


def test_cases_and_middle_slices_are_there_with_a_true_ct(model):
    mr, ct = make_heads("MR", ["p", "q"]), make_heads("CT", ["q"])
    (case,) = measure(model, mr, ct, make_heads("CT", ["a"])).cases
    assert case.subject == "q"
    assert (case.true[:, 0] == -1024).all()
    titles, rows = middle_slices(model, mr, ct)
    assert titles == ["MR", "synthetic CT", "true CT"]
    assert [len(row) for row in rows] == [2, 3]
    assert max(np.abs(picture).max() for row in rows for picture in row) <= 1
