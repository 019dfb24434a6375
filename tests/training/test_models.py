"""Models on disk, and the fingerprint that says whether a training may go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from radsynth.training import models
from radsynth.training.models import fingerprint


@pytest.mark.parametrize(
    ("file", "decides"),
    [
        ("training/mixed_reports.py", True),
        ("reports/findings.py", True),
        ("reports/vectors.py", True),
        ("vocabulary.py", True),
        ("report_page/words.py", False),
    ],
)
def test_a_change_of_the_code_that_decides_a_training_changes_its_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, decides: bool
) -> None:
    code = tmp_path / "radsynth"
    shutil.copytree(Path(models.__file__).parents[1], code, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(models, "_CODE", code)
    before = fingerprint({"seed": 1}, [])
    assert fingerprint({"seed": 1}, []) == before
    with open(code / file, "a") as changed:
        changed.write("\nMORE = 1\n")
    assert (fingerprint({"seed": 1}, []) != before) == decides
