"""What studies bring home, and which of many are shown."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.explain.found import Found
from radsynth.explain.study import spread


def gain(low: float | None) -> dict[str, float | None]:
    return {"value": 0.1, "low": low, "high": 0.3}


def test_what_is_added_stands_beside_what_was_there() -> None:
    found = Found({"a": 1}, {"rows": [1]}, ["first"], {"layer": "x"})
    found += Found({"b": 2}, {}, ["second"], {"layer": "y"})
    assert (found.figures, found.tables, found.notes) == ({"a": 1, "b": 2}, {"rows": [1]}, ["first", "second"])
    assert found.facts == {"layer": "y"}


def test_two_finds_share_nothing() -> None:
    one, other = Found(), Found()
    one.notes.append("mine")
    assert other.notes == []


@pytest.mark.parametrize(("low", "noted"), [(-0.01, True), (0.0, True), (0.01, False), (None, False)])
def test_a_gain_is_noted_where_its_interval_reaches_zero(low: float | None, noted: bool) -> None:
    found = Found({"gain": gain(low)})
    found.note_if_no_better("gain", "no better")
    assert found.notes == (["no better"] if noted else [])


def test_a_gain_that_was_not_measured_is_not_noted() -> None:
    found = Found()
    found.note_if_no_better("gain", "no better")
    assert found.notes == []


@pytest.mark.parametrize(
    ("count", "most", "places"), [(10, 4, [0, 3, 6, 9]), (3, 8, [0, 1, 2]), (1, 5, [0]), (0, 5, [])]
)
def test_what_is_shown_is_evenly_spaced(count: int, most: int, places: list[int]) -> None:
    assert np.array_equal(spread(count, most), places)
