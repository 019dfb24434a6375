"""The command line: what it prints, with which exit status, and how fast it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from radsynth.cli import cli
from radsynth.sources.openi_xml import write_openi_xml

HEAVY = {
    "torch",
    "pandas",
    "numpy",
    "transformers",
    "great_expectations",
    "mlflow",
    "rich",
    "pydantic",
    "yaml",
    "hydra",
}


def radsynth(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    program = "import sys; from radsynth.cli import main; sys.argv[0] = 'radsynth'; main()"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> Path:
    """One report to accept, one to quarantine and one to refuse, in folders of those names."""
    folder = tmp_path_factory.mktemp("reports")
    content = {
        "accepted": write_openi_xml("CXR1", findings="Clear lungs.", impression="Normal."),
        "quarantined": write_openi_xml("CXR2", findings="", impression=""),
        "refused": b"<!DOCTYPE a><a/>",
    }
    for name, xml in content.items():
        (folder / name).mkdir()
        (folder / name / "report.xml").write_bytes(xml)
    return folder


@pytest.mark.parametrize(
    ("folders", "status"),
    [
        (["accepted"], 0),
        (["accepted", "quarantined"], 3),
        (["accepted", "quarantined", "refused"], 2),
        (["refused"], 2),
        (["not-there"], 2),
    ],
)
def test_the_exit_status_of_check_is_that_of_the_worst_verdict(reports, folders, status):
    result = CliRunner().invoke(cli, ["check", *[str(reports / folder) for folder in folders]])
    assert result.exit_code == status


def test_check_prints_one_line_an_input_with_verdict_kind_and_reason(reports):
    result = CliRunner().invoke(cli, ["check", str(reports)])
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["accepted", "report"],
        ["quarantined", "report"],
        ["refused", "report"],
    ]
    assert lines[1].endswith("[report_empty]")
    assert lines[2].endswith("[xml_doctype]")


def test_check_json_prints_one_array_and_nothing_else(reports):
    result = radsynth("check", "--json", str(reports))
    verdicts = json.loads(result.stdout)
    assert result.returncode == 2
    assert [set(verdict) for verdict in verdicts] == [{"path", "kind", "verdict", "reason", "message"}] * 3
    assert [verdict["verdict"] for verdict in verdicts] == ["accepted", "quarantined", "refused"]


def test_a_file_name_that_is_not_utf8_can_be_printed(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\x1b[2J.xml"
    Path(os.fsdecode(path)).write_bytes(write_openi_xml("CXR1", findings="Clear.", impression=""))
    for arguments in (["check"], ["check", "--json"]):
        result = radsynth(*arguments, str(tmp_path))
        assert (result.returncode, "\x1b" in result.stdout) == (0, False)


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_the_help_of_every_command_shows_an_example(command):
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"radsynth {command}" in result.output


def test_a_user_error_is_one_line_without_a_traceback(tmp_path):
    result = radsynth("accept-data", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "--n", "two", "-o", "out"], "'two' is not a valid integer"),
        (["generate", "--report", "a"], "Missing option '-o'"),
        (["translate", "-o", "ct.nii"], "Missing argument 'MR'"),
        (["dataset", "--colour", "red"], "No such option"),
        (["paint"], "No such command 'paint'"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line_that_names_the_help(arguments, said):
    result = radsynth(*arguments)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert "--help`" in result.stderr


def test_without_a_command_the_help_is_shown_as_it_is():
    result = radsynth()
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.rstrip() == radsynth("--help").stdout.rstrip()


def test_version_is_that_of_the_package():
    assert CliRunner().invoke(cli, ["--version"]).output.startswith("radsynth, version ")


def test_nothing_heavy_is_imported_for_the_help():
    program = "import sys; from radsynth.cli import cli; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_the_openi_archives_are_downloaded_where_the_user_says(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr("radsynth.sources.download.openi_download", asked.append)
    result = CliRunner().invoke(cli, ["download-openi", str(tmp_path / "openi")])
    assert result.exit_code == 0
    assert asked == [str(tmp_path / "openi")]
