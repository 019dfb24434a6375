"""The commands do what the functions of the same names do."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import radsynth.use
from radsynth.cli import cli
from radsynth.volumes.geometry import Volume


def run(*arguments) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_generate_explain_and_dataset_run_as_a_user_would(models, tmp_path):
    gan, judge = models / "report_gan", ("--judge", models / "classifier")
    said = run("generate", "--report", "Effusion.", "--n", 2, "--seed", 7, "--model", gan, "-o", tmp_path / "a")
    assert "2 pictures by report-to-xray" in said
    picture = tmp_path / "a" / "report_0001_02.png"
    said = run("explain", picture, "--finding", "effusion", *judge, "-o", tmp_path / "b")
    assert "effusion, probability 0." in said
    (tmp_path / "plan.csv").write_text("finding,side,count\nnodule,left,2\n")
    said = run("dataset", "--plan", tmp_path / "plan.csv", "--model", gan, *judge, "-o", tmp_path / "c")
    assert "left nodule: 2 of 2 accepted, not judged: the judge has not learned it" in said


def test_translate_hands_on_what_it_was_given(monkeypatch, tmp_path):
    asked = []

    def fake(*given, **named):
        asked.append((given, named))
        return Volume(np.array([[[-1024, 40, 900]]], np.int16), np.eye(4), "CT")

    monkeypatch.setattr("radsynth.use.head_ct.translate", fake)
    assert "CT of 1 x 1 x 3 voxels, -1024 to 900 HU" in run(
        "translate", "mr", "-o", "ct", "--format", "dicom", "--force"
    )
    assert asked == [(("mr", "ct"), {"form": "dicom", "model": "champion", "force": True})]


def test_the_verbs_can_be_imported_more_than_once_and_stay_functions():
    for _ in range(2):
        from radsynth.use import dataset, explain, generate, translate

        assert all(callable(verb) for verb in (dataset, explain, generate, translate))
    with pytest.raises(AttributeError, match="no attribute 'paint'"):
        _ = radsynth.use.paint


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys, radsynth.use; print(*[m for m in ('torch', 'numpy', 'mlflow', 'pydicom') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"
