"""The shape of metrics files, and the door that they are written through."""

from __future__ import annotations

import copy

import pytest

from radsynth.errors import RadsynthError
from radsynth.evaluation.entries import entry
from radsynth.evaluation.intervals import Interval
from radsynth.files import read_json
from radsynth.metrics import check_metrics, write_figures

KID = entry(Interval(0.7, 0.6, 0.8, 96), split="test", seeds=[23], floor=0.0, worst_case=Interval(1.4, 1.3, 1.5, 96))


def test_a_file_holds_figures_tables_and_notes_and_each_value_once_more_at_the_top(tmp_path):
    path = tmp_path / "metrics.json"
    write_figures(
        path,
        {"kid": KID, "auroc": entry(None, split="test", seeds=[])},
        tables={"per_finding": [{"finding": "mass", "auroc": {"value": 0.8, "low": 0.7, "high": 0.9}, "n": 7}]},
        notes=["Nothing is known of patients."],
        flat={"reports": 103, "kid": -1.0, "details": {"kept": [1, 2]}},
    )
    found = read_json(path)
    assert found["kid"] == 0.7, "the figure wins"
    assert found["auroc"] is None
    assert found["reports"] == 103
    assert found["figures"]["kid"] == KID
    assert found["tables"]["per_finding"][0]["n"] == 7
    assert found["notes"] == ["Nothing is known of patients."]
    check_metrics(found, path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": "0.7"}, "value"),
        ({"seeds": [1.5]}, "seeds"),
        ({"split": ""}, "split"),
        ({"n": -1}, "n"),
        ({"floor": {"low": 0.1}}, "floor"),
        ({"colour": "red"}, "colour"),
        ({"low": 0.9, "high": 0.8}, "no proper interval"),
        ({"low": None}, "no proper interval"),
    ],
)
def test_a_figure_of_another_shape_is_refused_by_name_and_nothing_is_written(tmp_path, change, said):
    path = tmp_path / "metrics.json"
    with pytest.raises(RadsynthError, match="kid") as raised:
        write_figures(path, {"kid": KID | change})
    assert said in str(raised.value)
    assert not path.exists()


def test_a_figure_that_lacks_its_bounds_is_refused(tmp_path):
    for key in ("floor", "worst_case", "definition", "split", "n", "low"):
        figure = copy.deepcopy(KID)
        del figure[key]
        with pytest.raises(RadsynthError, match=key):
            write_figures(tmp_path / "metrics.json", {"kid": figure})


@pytest.mark.parametrize("name", ["figures", "tables", "notes"])
def test_a_figure_may_not_take_the_name_of_a_part(tmp_path, name):
    with pytest.raises(RadsynthError, match=name):
        write_figures(tmp_path / "metrics.json", {name: KID})


def test_names_that_mlflow_does_not_take_are_refused(tmp_path):
    with pytest.raises(RadsynthError, match="figures"):
        write_figures(tmp_path / "metrics.json", {"<b>kid</b>": KID})
