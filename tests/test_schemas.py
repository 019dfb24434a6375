"""Tables between stages are read and written through their schema alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from radsynth import schemas
from radsynth.errors import RadsynthError
from radsynth.schemas import Table
from radsynth.vocabulary import FINDINGS

TABLES = [value for value in vars(schemas).values() if isinstance(value, Table)]
SMALL = Table("small", {"row": pa.int32(), "name": pa.string(), "words": pa.list_(pa.string())}, {"row": "a count"})


def frame(**changes: object) -> pd.DataFrame:
    return pd.DataFrame({"row": [0, 1], "name": ["a", ""], "words": [["x", "y"], []]} | changes)


def test_a_table_comes_back_as_it_was_written(tmp_path):
    SMALL.write(frame(), tmp_path / "t.parquet")
    back = SMALL.read(tmp_path / "t.parquet")
    assert list(back["row"]) == [0, 1]
    assert back["row"].dtype == np.int32
    assert list(back["name"]) == ["a", ""]
    assert [list(words) for words in back["words"]] == [["x", "y"], []]


def test_the_same_table_gives_the_same_bytes_whatever_the_order_of_its_columns(tmp_path):
    SMALL.write(frame(), tmp_path / "a.parquet")
    SMALL.write(frame()[["words", "row", "name"]], tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_the_index_of_a_frame_is_not_written(tmp_path):
    SMALL.write(frame().set_index(pd.Index([7, 8])), tmp_path / "t.parquet")
    assert list(SMALL.read(tmp_path / "t.parquet").index) == [0, 1]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_can_be_empty(table, tmp_path):
    table.write(table.empty(), tmp_path / "t.parquet")
    back = table.read(tmp_path / "t.parquet")
    assert list(back.columns) == list(table.columns)
    assert len(back) == 0


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_units_are_of_columns_that_there_are_and_travel_with_the_file(table, tmp_path):
    assert set(table.units) <= set(table.columns)
    table.write(table.empty(), tmp_path / "t.parquet")
    stored = pq.read_schema(tmp_path / "t.parquet")
    assert {f.name: f.metadata[b"unit"].decode() for f in stored} == {c: table.units.get(c, "") for c in table.columns}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (frame().drop(columns="name"), "missing .'name'."),
        (frame().assign(more=1), "extra .'more'."),
        (frame(row=["one", "two"]), "small"),
        (frame(row=[0, 2**40]), "small"),
        (frame(row=[0.5, 1.0]), "small"),
        (frame(name=[1, 2]), "small"),
    ],
    ids=["missing column", "extra column", "text for a number", "too large", "a fraction", "number for a text"],
)
def test_a_frame_that_does_not_fit_is_a_plain_error_and_nothing_is_written(tmp_path, changed, named):
    with pytest.raises(RadsynthError, match=named):
        SMALL.write(changed, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_table_says_how_to_make_it(tmp_path):
    with pytest.raises(RadsynthError, match="dvc repro"):
        SMALL.read(tmp_path / "t.parquet")


def test_another_table_or_no_table_at_all_is_a_plain_error(tmp_path):
    schemas.QUARANTINE.write(schemas.QUARANTINE.empty(), tmp_path / "other.parquet")
    (tmp_path / "noise.parquet").write_bytes(b"PAR1 not really")
    for name in ("other", "noise"):
        with pytest.raises(RadsynthError, match="small"):
            SMALL.read(tmp_path / f"{name}.parquet")


def test_a_column_of_another_type_is_a_plain_error(tmp_path):
    pq.write_table(pa.table({"row": ["x"], "name": ["a"], "words": [["b"]]}), tmp_path / "t.parquet")
    with pytest.raises(RadsynthError, match="small"):
        SMALL.read(tmp_path / "t.parquet")


def test_both_chest_tables_have_a_label_and_a_side_for_every_finding():
    for table in (schemas.REPORTS, schemas.CHEST):
        assert {f"{kind}_{finding}" for kind in ("label", "side") for finding in FINDINGS} <= set(table.columns)
