"""Every stage after the other, on the embedded sample and on real files, in the smallest profile."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from radsynth.configure import configure
from radsynth.files import read_json
from radsynth.metrics import check_metrics
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
def test_the_embedded_sample_goes_all_the_way(folder: Path) -> None:
    (folder / "conf").symlink_to(ROOT / "conf")
    run_pipeline()
    assert read_json("metrics/evaluate_report_gan.json")["reports"] > 0
    figures = read_json("metrics/evaluate_mri_to_ct.json")
    assert {"mae_hu", "mae_hu_mean_ct", "mae_hu_median_ct", "mae_hu_histogram_matching"} <= figures.keys()
    assert "classifier_hit_rate" in read_json("metrics/explain.json")
    assert {"six_reports.png"} <= drawn(folder / "plots/evaluate_report_gan")
    assert {"classifier_real.png", "discriminator_drawn.png", "ct_discriminator_real.png"} <= drawn(
        folder / "plots/explain"
    )
    audit = read_json("metrics/audit_memorisation.json")
    assert audit["report_to_xray_passed"] is not True, "64 pixels are too few for the audit to find resampled copies"
    assert audit["control_flagged_share"] > 0
    assert audit["mri_to_ct_passed"] is None, "three training CTs"
    assert {"similarity.png", "planted.png", "nearest.png"} <= drawn(folder / "plots/audit_memorisation")
    assert len(read_json("mlruns/published.json")) == 4
    not_kept = {"evaluate_mri_to_ct", "explain"}
    judged = [path for path in (folder / "metrics").glob("*.json") if path.stem not in not_kept]
    assert {"validate_chest", "train_classifier", "evaluate_report_gan", "audit_memorisation"} <= {
        path.stem for path in judged
    }
    for path in judged:
        check_metrics(read_json(path), path)
    page = (folder / "reports/index.html").read_text(encoding="utf-8")
    assert page.count("<section") == 10
    assert "data:image/webp;base64," in page
    assert len(page) < 25_000_000


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
