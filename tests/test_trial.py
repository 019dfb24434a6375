"""A trial of settings: what is refused before hours are spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import trial

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["new", "widht=3"], "widht"),
        (["new", "width=-1"], "width"),
        (["new", "width"], "width"),
        (["old", "width=8"], "name another"),
    ],
)
def test_what_cannot_be_tried_is_told_in_one_line(asked, told, tmp_path, monkeypatch, capsys):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "trials" / "old").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["trial", *asked])
    monkeypatch.setattr(trial, "try_out", lambda *_: pytest.fail("training began"))
    with pytest.raises(SystemExit):
        trial.main()
    error = capsys.readouterr().err
    assert told in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "trials" / "new").exists()
