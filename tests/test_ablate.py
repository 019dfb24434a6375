"""The rows of the ablations can be trained, and the table says what their records hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from benchmarks import ablate
from radsynth.configure import configure

ROOT = Path(__file__).parents[1]
PARTS = yaml.safe_load((ROOT / ablate.ROWS).read_text(encoding="utf-8"))
ASKED = sorted({tuple(asked) for about in PARTS.values() for asked in [about["sample"], *about["rows"].values()]})


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: " ".join(asked) or "default")
def test_every_row_is_valid_settings(asked, tmp_path):
    configure(list(asked), ROOT / "conf", tmp_path / "params.yaml")


def test_a_patch_is_a_row_of_its_name():
    patches = {path.stem for path in (ROOT / ablate.PATCHES).glob("*.patch")}
    assert patches
    assert patches <= {row for about in PARTS.values() for row in about["rows"]}


@pytest.mark.parametrize("patch", sorted((ROOT / ablate.PATCHES).glob("*.patch")), ids=lambda path: path.stem)
def test_a_patch_fits_the_code(patch):
    subprocess.run(["git", "apply", "--check", str(patch)], cwd=ROOT, check=True)


def test_every_record_is_of_a_row_and_has_the_figures_of_the_table():
    for part, about in PARTS.items():
        for path in (ROOT / ablate.RECORDS / part).glob("*.json"):
            record = ablate.read_json(path)
            assert path.stem == f"{record['row']}_{record['seed']}"
            assert record["row"] in about["rows"] or record["row"].startswith("adr_")
            assert set(ablate.FIGURES[about["target"]]) <= set(record["figures"])


def test_the_table_gives_the_mean_and_the_ends_of_the_seeds():
    names = ablate.FIGURES["evaluate_report_gan"]
    records = [
        {"row": row, "seed": seed, "figures": {name: {"value": value} for name in names}}
        for row, seed, value in (("default", 1, 0.2), ("default", 2, 0.4), ("plain", 1, 0.9))
    ]
    told = ablate.table("evaluate_report_gan", records).splitlines()
    assert told[2].startswith("| `default` | 2 | 0.3 (0.2 to 0.4) |")
    assert told[3].startswith("| `plain` | 1 | 0.9 |")
