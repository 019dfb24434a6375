"""A model is followed back to the raw files, and what is missing or has changed since is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from radsynth.cli import cli
from radsynth.errors import RadsynthError
from radsynth.tracking.facts import raw_digests
from radsynth.tracking.trace import OTHER, lines, parse, trace

STAGES = {
    "acquire_chest": (["/data/openi", "src/radsynth/errors.py"], ["data/raw/chest"]),
    "parse_reports": (["data/raw/chest"], ["data/chest/reports.parquet"]),
    "split_chest": (["data/chest/reports.parquet"], ["data/chest/manifest.parquet"]),
    "acquire_brain": (["/data/brain"], ["data/raw/brain"]),
}


def write_lock(path: Path, **changed: str) -> None:
    """A lock in which the digest of every path is its length, but for those that were changed."""

    def entries(paths: list[str]) -> list[dict[str, str]]:
        return [{"path": p, "md5": changed.get(p.replace("/", "_").strip("_"), str(len(p)))} for p in paths]

    stages = {name: {"deps": entries(deps), "outs": entries(outs)} for name, (deps, outs) in STAGES.items()}
    path.write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def test_raw_data_are_what_no_stage_makes_and_what_lies_below_data_raw(tmp_path: Path) -> None:
    write_lock(tmp_path / "dvc.lock")
    found = raw_digests(tmp_path / "dvc.lock", ["data/chest/manifest.parquet"])
    assert found == {"/data/openi": "11", "data/raw/chest": "14"}
    assert raw_digests(tmp_path / "no.lock", ["data/chest/manifest.parquet"]) == {}


def test_the_chain_says_what_is_missing_and_what_has_changed(two: Path) -> None:
    steps = {step.what: step for step in trace(two, "report-to-xray", "champion")}
    assert steps["version"].value == "report-to-xray v1"
    assert steps["data data/chest/manifest.parquet"].value == "f" * 32
    assert (steps["commit"].value, steps["raw"].value) == (None, None)
    assert lines(list(steps.values()))[-1] == "missing: commit, raw"
    assert steps["settings"].note == OTHER


def test_the_command_prints_one_line_a_step(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two)
    done = CliRunner().invoke(cli, ["trace", "report-to-xray@1"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].split()[:2] == ["alias", "champion"]


def test_a_model_is_named_with_or_without_an_alias() -> None:
    assert parse("mri-to-ct@3") == ("mri-to-ct", "3")
    assert parse("mri-to-ct") == ("mri-to-ct", "champion")
    with pytest.raises(RadsynthError, match="expected report-to-xray@ALIAS or mri-to-ct@ALIAS"):
        parse("ct-to-mri@champion")
