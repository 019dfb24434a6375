"""The card of a promoted version says what was recorded, and nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from radsynth.tracking.card import card
from radsynth.tracking.gate import Decision, shown
from radsynth.tracking.registry import find, promote
from radsynth.volumes.common_grid import FILE


def test_card_holds_use_data_figures_limits_and_lineage(two: Path) -> None:
    decision = promote(two, "report-to-xray")
    version = find(two, "report-to-xray", 2)
    text = (two / "mlruns/cards/report-to-xray-v2.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Intended use",
        "## Data",
        "## Figures",
        "## Known limits",
        "## Lineage",
    ]
    assert "not for diagnosis" in text
    layout = next(check for check in decision.checks if check.name == "layout_error")
    assert f"| layout_error | {shown(layout.challenger)} | {shown(layout.champion)} | mean \\|drawn" in text
    for fact in (version.run_id, version.tags["radsynth.model_sha256"], "f" * 32, "against v1"):
        assert fact in text


def test_limits_follow_from_the_facts(two: Path) -> None:
    promote(two, "report-to-xray")
    limits = (two / "mlruns/cards/report-to-xray-v2.md").read_text().split("## Known limits")[1].split("## Lineage")[0]
    assert "Trained on drawn phantoms" in limits
    assert "The figures come from 6 patients" in limits
    assert "label_auroc_share could not be measured" in limits
    assert "The commit of the code that trained it is unknown" in limits


@pytest.mark.parametrize(
    ("source", "whose"),
    [
        ("phantom", "The heads are phantoms, of no person"),
        ("folder", "The heads are people"),
        ("unknown", "Whether the heads are people is unknown"),
    ],
)
def test_card_says_whose_heads_travel_with_the_model(source: str, whose: str, two: Path, tmp_path: Path) -> None:
    version, decided = find(two, "mri-to-ct", 1), Decision("mri-to-ct", 1, None, "disabled", "promoted", True)
    source_folder = tmp_path / "logged"
    shutil.copytree(version.source, source_folder)
    version = replace(version, source=source_folder, tags=version.tags | {"radsynth.brain_source": source})
    text = card(version, decided).split("## What it carries of its data")[1].split("## Figures")[0]
    assert (
        "common_grid.safetensors: the CT of one head of the data set, perhaps a held-out one, at 2.5 x 2.5 x 2.5 mm"
        in text
    )
    assert "an atlas of the training CT heads, at each of 20 x 28 x 24 voxels" in text
    assert whose in text
    (version.folder / FILE).unlink()
    assert "common_grid" not in card(version, decided)
