"""The card of a promoted version says what was recorded, and nothing else."""

from __future__ import annotations

from pathlib import Path

from radsynth.tracking.gate import shown
from radsynth.tracking.registry import find, promote


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
    assert "The commit of the code was not recorded" in limits
