"""The shape of a figure, and intervals over patients."""

from __future__ import annotations

import json

import numpy as np
import pytest

from radsynth.evaluation.entries import entry, over_patients
from radsynth.evaluation.intervals import Interval

KEYS = {
    "value", "low", "high", "n", "split", "seeds", "feature_space", "floor", "worst_case", "definition",
}  # fmt: skip


def test_a_figure_has_every_key_and_is_json_also_where_nothing_is_known():
    found = entry(Interval(np.float64(0.5), 0.4, float("nan"), 3), split="test", seeds=[1], worst_case=float("nan"))
    assert found.keys() == KEYS
    assert (found["value"], found["high"], found["worst_case"], found["n"]) == (0.5, None, None, 3)
    json.dumps(found, allow_nan=False)


def test_an_interval_over_patients_draws_all_pictures_of_a_patient_together():
    """Ten patients with a hundred equal pictures each know no more than ten pictures."""
    values = np.random.default_rng(0).normal(size=10)
    repeated, owners = np.repeat(values, 100), np.repeat(np.arange(10), 100)
    one = over_patients(lambda i: float(values[i].mean()), [np.arange(10)], 500, 0)
    many = over_patients(lambda i: float(repeated[i].mean()), [owners], 500, 0)
    assert many.n == 10
    assert (many.low, many.high) == pytest.approx((one.low, one.high))


def test_groups_are_drawn_independently():
    a, b = np.zeros(5), np.arange(5.0)
    found = over_patients(lambda i, j: float(b[j].mean() - a[i].mean()), [np.arange(5), np.arange(5)], 200, 0)
    assert found.value == 2
    assert found.low < 2 < found.high
