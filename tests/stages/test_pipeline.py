"""Every stage after the other, on real files, in the smallest profile; `test_story.py` runs them on the sample."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from radsynth.configure import configure
from radsynth.files import read_json
from radsynth.schemas import CHEST, VOLUMES

ROOT = Path(__file__).resolve().parents[2]


def run_pipeline(*overrides: str) -> None:
    """All stages in the order of dvc.yaml, in the folder that the process is in."""
    configure(["profile=smoke", *overrides], str(ROOT / "conf"), "params.yaml")
    for name in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]:
        importlib.import_module(f"stages.{name}").main()


def drawn(folder: Path) -> set[str]:
    """Names of the pictures in a folder."""
    return {path.name for path in folder.glob("*.png")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the process is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.realdata
def test_real_x_rays_and_real_heads_go_all_the_way(folder: Path, realdata: Path) -> None:
    run_pipeline(
        "chest=nih",
        f"acquire_chest.path={realdata / 'nih'}",
        "brain=folder",
        f"acquire_brain.path={realdata / 'brain'}",
    )
    chest = CHEST.read("data/chest/manifest.parquet")
    assert len(chest) == 589
    assert set(chest["split"]) == {"train", "validation", "test"}
    volumes = VOLUMES.read("data/brain/manifest.parquet")
    assert sorted(volumes["modality"]) == ["CT", "MR", "MR", "MR", "MR"]
    figures = read_json("metrics/evaluate_mri_to_ct.json")
    assert "mae_hu" not in figures, "nobody has both: no error in HU can be known"
    assert len(drawn(folder / "plots/evaluate_mri_to_ct")) == 4, "one picture an MR, of the training split"
    assert read_json("metrics/evaluate_report_gan.json")["reports"] > 0
    assert {"classifier_real.png", "ct_discriminator_synthetic.png"} <= drawn(folder / "plots/explain")
