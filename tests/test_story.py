"""The whole story of the models on the smoke profile, by the real programs in a checkout of its own: `make story`.

Made and promoted, left alone, made worse and refused, killed at the worst moments, made better and promoted, rolled
back, used. `make test` runs its first act. Nothing is faked; that a schedule makes runs by itself is seen in
`pipelines/test_two_ways_to_run.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image

from radsynth.files import read_json
from radsynth.metrics import check_metrics
from radsynth.tracking.registry import REGISTERED, versions

ROOT = Path(__file__).resolve().parents[1]
WORSE, BETTER = "train_cyclegan.images_seen=2", "train_cyclegan.images_seen=96"
"""Fewer and more steps than the smoke profile has. One of the two models is enough to see the gate at work."""
MODEL = "mri-to-ct"
WHOLE = "RADSYNTH_WHOLE_STORY"

# In the middle of the upload of a model's files; after the registration, before the aliases move.
KILLED_WHILE_PUBLISHING = """
import os, signal
from mlflow import MlflowClient
MlflowClient.finalize_logged_model = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
from radsynth.tracking.publish import publish
publish(".")
"""
KILLED_BEFORE_THE_ALIASES_MOVE = """
import os, signal
from radsynth.tracking import registry
registry.move = lambda *given, **named: os.kill(os.getpid(), signal.SIGKILL)
registry.promote(".", "mri-to-ct")
"""


class Checkout:
    """A clone of the repository, with what is changed here, in which the programs run as a user runs them."""

    def __init__(self, root: Path) -> None:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], check=True)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
            else:
                (root / name).unlink(missing_ok=True)
        self.root = root

    def run(self, *command: str, ends_with: int = 0) -> str:
        """What a program said, its standard output first; it must end with this status."""
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert done.returncode == ends_with, f"{' '.join(command)} ended with {done.returncode}:\n{said}"
        return said

    def radsynth(self, *arguments: str, ends_with: int = 0) -> str:
        return self.run("radsynth", *arguments, ends_with=ends_with)

    def configure(self, *overrides: str) -> None:
        self.radsynth("configure", "profile=smoke", *overrides)

    def killed_at(self, program: str) -> None:
        """Run Python code that kills itself."""
        self.run(sys.executable, "-c", program, ends_with=-signal.SIGKILL)

    def retrain(self, **parameters: object) -> tuple[str, str]:
        """Name and message of the state in which the flow ends."""
        from pipelines.retrain import retrain

        state = retrain(root=str(self.root), return_state=True, **parameters)
        return state.name, state.message

    def aliases(self, name: str) -> dict[str, int]:
        return {alias: version.version for version in versions(self.root, name) for alias in version.aliases}

    def results(self, name: str) -> list[tuple[str, str]]:
        """What each version was made of and holds."""
        return [(v.tags["radsynth.fingerprint"], v.tags["radsynth.trained"]) for v in versions(self.root, name)]


@pytest.fixture
def checkout(prefect: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    made = Checkout(tmp_path / "radsynth")
    programs = Path(sys.executable).parent
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(made.root / "src"), str(made.root)]))
    for name in ("DVC_NO_ANALYTICS", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "false")
    return made


@pytest.mark.slow
def test_the_whole_story(checkout: Checkout) -> None:
    first_retraining_promotes_both(checkout)
    every_stage_left_its_figures_and_pictures(checkout.root)
    an_identical_retraining_is_skipped(checkout)
    if WHOLE not in os.environ:
        return  # its first act; the others take minutes more: `make story`
    a_worse_model_is_refused_with_the_reason(checkout)
    killed_at_the_worst_moments_nothing_is_lost_or_doubled(checkout)
    rollback_restores_and_lasts(checkout)
    pictures_are_drawn_and_explained(checkout)
    a_ct_lies_where_its_mr_lies(checkout)
    the_checkout_explains_itself(checkout)


def first_retraining_promotes_both(checkout: Checkout) -> None:
    checkout.configure()
    name, message = checkout.retrain()
    assert name == "Promoted", message
    for model in REGISTERED:
        assert f"{model}: promoted: {model} v1 is the champion" in message
        assert checkout.aliases(model) == {"champion": 1}


def every_stage_left_its_figures_and_pictures(root: Path) -> None:
    def drawn(stage: str) -> set[str]:
        return {path.name for path in (root / "plots" / stage).glob("*.png")}

    metrics = {path.stem: read_json(path) for path in (root / "metrics").glob("*.json")}
    assert metrics["evaluate_report_gan"]["reports"] > 0
    baselines = {"mae_hu_mean_ct", "mae_hu_median_ct", "mae_hu_histogram_matching"}
    assert {"mae_hu", *baselines} <= metrics["evaluate_mri_to_ct"].keys()
    assert "classifier_hit_rate" in metrics["explain"]
    assert metrics["audit_report_gan"]["report_to_xray_passed"] is True
    assert metrics["audit_report_gan"]["control_flagged_share"] > 0
    assert metrics["audit_mri_to_ct"]["mri_to_ct_passed"] is True
    assert "six_reports.png" in drawn("evaluate_report_gan")
    assert {"classifier_real.png", "discriminator_drawn.png", "ct_discriminator_real.png"} <= drawn("explain")
    assert {"similarity.png", "planted.png", "nearest.png"} <= drawn("audit_report_gan")
    assert "nearest_ct.png" in drawn("audit_mri_to_ct")
    assert {"counterfactual_negated.png", "counterfactual_side.png"} <= drawn("evaluate_report_gan")
    assert {"methods.png", "randomisation.png", "planted.png"} <= drawn("explain")
    assert "utility.png" in drawn("evaluate_utility")
    assert len(read_json(root / "mlruns/published.json")) == 4
    for name, content in metrics.items():
        check_metrics(content, name)
    page = (root / "reports/index.html").read_text(encoding="utf-8")
    assert page.count("<section") == 10
    assert "data:image/webp;base64," in page
    assert "has not run" not in page


def an_identical_retraining_is_skipped(checkout: Checkout) -> None:
    before = (checkout.root / "dvc.lock").read_bytes()
    assert checkout.retrain()[0] == "NothingStale"
    assert (checkout.root / "dvc.lock").read_bytes() == before
    assert [len(versions(checkout.root, model)) for model in REGISTERED] == [1, 1]


def a_worse_model_is_refused_with_the_reason(checkout: Checkout) -> None:
    checkout.configure(WORSE)
    name, message = checkout.retrain(models=(MODEL,))
    assert name == "NotPromoted", message
    assert f"{MODEL}: refused: " in message
    assert "mae_hu: gain -" in message
    assert checkout.aliases(MODEL) == {"champion": 1, "challenger": 2}
    decision = read_json(checkout.root / f"mlruns/decisions/{MODEL}-v2.json")
    assert (decision["outcome"], decision["champion"]) == ("refused", 1)


def killed_at_the_worst_moments_nothing_is_lost_or_doubled(checkout: Checkout) -> None:
    checkout.configure(BETTER)
    table = checkout.radsynth("models")
    kill_a_retraining_at_work(checkout)
    assert checkout.radsynth("models") == table
    said = checkout.run("dvc", "repro", "evaluate_mri_to_ct", "audit_mri_to_ct")
    assert "training the MRI to CT CycleGAN: continuing after" in said
    assert "Stage 'align_volumes' didn't change, skipping" in said
    checkout.killed_at(KILLED_WHILE_PUBLISHING)
    assert checkout.radsynth("models") == table
    checkout.killed_at(KILLED_BEFORE_THE_ALIASES_MOVE)
    assert checkout.aliases(MODEL) == {"champion": 1, "challenger": 3}

    name, message = checkout.retrain()
    assert name == "Promoted", message
    assert f"{MODEL}: promoted: {MODEL} v3 is the champion" in message
    assert checkout.aliases(MODEL) == {"champion": 3, "previous": 1}
    assert len(set(checkout.results(MODEL))) == len(checkout.results(MODEL)) == 3
    assert checkout.aliases("report-to-xray") == {"champion": 1}


def kill_a_retraining_at_work(checkout: Checkout) -> None:
    """Start the flow in a process of its own, and end it with SIGKILL once its training has written a checkpoint."""
    from prefect.settings import PREFECT_API_URL

    before = set((checkout.root / "checkpoints/train_cyclegan").rglob("*.pt"))
    flow = subprocess.Popen(
        [sys.executable, "-c", "from pipelines.retrain import retrain; retrain(models=['mri-to-ct'])"],
        cwd=checkout.root,
        env=os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pause = threading.Event()
        while not set((checkout.root / "checkpoints/train_cyclegan").rglob("*.pt")) - before:
            assert flow.poll() is None, "the flow ended before it could be killed"
            pause.wait(0.02)
        programs = psutil.Process(flow.pid).children(recursive=True)
    finally:
        flow.kill()
        flow.wait()
    assert programs
    _, alive = psutil.wait_procs(programs, timeout=60)
    assert alive == []


def rollback_restores_and_lasts(checkout: Checkout) -> None:
    assert f"{MODEL} v1 is the champion again" in checkout.radsynth("rollback", MODEL)
    assert checkout.retrain()[0] == "NothingStale"
    assert checkout.aliases(MODEL) == {"champion": 1, "previous": 3}


def pictures_are_drawn_and_explained(checkout: Checkout) -> None:
    root = checkout.root
    report = ("--report", "Large left pleural effusion.", "--seed", "7")
    said = checkout.radsynth("generate", *report, "--n", "2", "-o", "pictures")
    assert "2 pictures by report-to-xray v1" in said
    about = read_json(root / "pictures/report_0001_02.json")
    assert (about["model"]["version"], about["seed"]) == (1, 8)
    with Image.open(root / "pictures/report_0001_02.png") as picture:
        assert (picture.size, picture.mode) == ((128, 128), "I;16")
    checkout.radsynth("generate", *report, "-o", "pictures", ends_with=2)
    checkout.radsynth("generate", *report, "--format", "dicom", "-o", "pictures_dicom")
    (drawn,) = (root / "pictures_dicom").glob("*.dcm")
    assert pydicom.dcmread(drawn).SyntheticData == "YES"
    checkout.radsynth("explain", "pictures/report_0001_01.png", "--finding", "effusion", "-o", "why")
    assert (root / "why/classifier_overlay.png").is_file()
    (root / "plan.csv").write_text("finding,side,count\neffusion,left,2\nnormal,,2\n")
    checkout.radsynth("dataset", "--plan", "plan.csv", "-o", "synthetic")
    tables = [root / "synthetic" / name for name in ("images/labels.csv", "rejected/rejected.csv")]
    assert sum(len(table.read_text().splitlines()) - 1 for table in tables) == 4


def a_ct_lies_where_its_mr_lies(checkout: Checkout) -> None:
    root = checkout.root
    mr = sorted((root / "data/raw/brain/mr").glob("*.nii.gz"))[0]
    checkout.radsynth("translate", str(mr), "-o", "ct.nii.gz")
    checkout.radsynth("translate", str(mr), "--format", "dicom", "-o", "ct")
    given, nifti = sitk.ReadImage(str(mr)), sitk.ReadImage(str(root / "ct.nii.gz"))
    for ask in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(nifti, ask)(), getattr(given, ask)(), atol=1e-4)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(root / "ct")))
    series = sitk.Resample(reader.Execute(), nifti, sitk.Transform(), sitk.sitkNearestNeighbor, -1024)
    same = sitk.GetArrayFromImage(series) == sitk.GetArrayFromImage(nifti)
    assert same.mean() > 0.999


def the_checkout_explains_itself(checkout: Checkout) -> None:
    commit = checkout.run("git", "rev-parse", "HEAD").strip()
    said = checkout.radsynth("trace", f"{MODEL}@champion")
    assert commit in said
    assert "nothing is missing" in said
    table = checkout.radsynth("models").splitlines()
    assert sum("champion" in line for line in table) == 2
    assert sum("rolled back" in line for line in table) == 1
    results = json.JSONDecoder().raw_decode(checkout.radsynth("doctor", "--json"))[0]
    assert {result["check"]: result["status"] for result in results}.get("store") == "ok"
