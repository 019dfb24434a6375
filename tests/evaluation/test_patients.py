"""Means with intervals over patients."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.evaluation.patients import mean_over_patients


def test_means_are_over_patients_and_ignore_order_and_gaps() -> None:
    values = np.array([1.0, 1.0, 0.0, np.nan])
    patients = np.array(["a", "a", "b", "c"])
    found = mean_over_patients(values, patients, 200, seed=0)
    assert found.value == pytest.approx(2 / 3)
    assert found.n == 2
    assert mean_over_patients(values[::-1], patients[::-1], 200, seed=0).value == found.value
    assert mean_over_patients(np.array([np.nan]), patients[:1], 10, seed=0).n == 0
