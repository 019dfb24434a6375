"""A checkout with small, untrained models in the very form in which the training stages leave them."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from radsynth.files import write_json
from radsynth.networks.atlas import Atlas
from radsynth.networks.classifier import FindingsClassifier
from radsynth.networks.cyclegan import cyclegan_networks
from radsynth.networks.vgg import Vgg
from radsynth.reports.encode import TextEncoder, load_encoder
from radsynth.tracking.publish import publish
from radsynth.training.cyclegan import GEOMETRY
from radsynth.training.models import save_model
from radsynth.training.report_gan import ReportGan
from radsynth.vocabulary import FINDINGS

ROOT = Path(__file__).resolve().parents[2]
GRID = {"grid_size": [24, 28, 20], "spacing_mm": [8.0, 8.0, 8.0]}


@pytest.fixture(scope="session")
def encoder() -> TextEncoder:
    """The default text encoder."""
    return load_encoder("minilm")


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory, encoder: TextEncoder) -> Path:
    """A checkout after all trainings and evaluations, before anything was published."""
    root = tmp_path_factory.mktemp("outputs")
    torch.manual_seed(0)
    gan = ReportGan(size=32, width=4, subpixel=2, noise_size=8, token_width=384).eval()
    classifier, vgg = FindingsClassifier(len(FINDINGS), width=2), Vgg(((2,), (4,)), classes=len(FINDINGS))
    heads = cyclegan_networks(2 + GEOMETRY, 1 + GEOMETRY, width=4, blocks=1, discriminator_layers=2, seed=0)
    atlases = nn.ModuleDict({"ct": Atlas((20, 28, 24)), "mr": Atlas((20, 28, 24))})
    common = {"seed": 7, "images_seen": 200}
    save_model(
        root / "models/report_gan",
        gan.state_dict(),
        common
        | {
            "network": gan.arguments,
            "encoder": {"encoder": "minilm", "digest": encoder.digest, "max_tokens": 160, "width": 384},
            "views": ["frontal"],
            "settings": {"learning_rate": 0.0005, "views": ["frontal"], "weight_l1": 10.0},
            "fingerprint": "1111111111111111",
            "chosen_by": "kernel distance",
        },
    )
    save_model(
        root / "models/mri_to_ct",
        nn.ModuleDict({**heads, "atlases": atlases}).state_dict(),
        common
        | {
            "network": {
                "generator_channels": 2 + GEOMETRY,
                "discriminator_channels": 1 + GEOMETRY,
                "width": 4,
                "blocks": 1,
                "discriminator_layers": 2,
            },
            "hu_window": [-1024.0, 2000.0],
            "head_channels": True,
            "atlases": {"ct": [20, 28, 24], "mr": [20, 28, 24]},
            "settings": {"learning_rate": 0.0004},
            "fingerprint": "2222222222222222",
        },
    )
    for name, network, mark in (("classifier", classifier, "3" * 16), ("perceptual", vgg, "4" * 16)):
        save_model(root / "models" / name, network.state_dict(), common | {"settings": {}, "fingerprint": mark})
    for stage in ("train_classifier", "train_report_gan", "train_cyclegan"):
        _write_history(root / "history", stage)
    for stage in ("train_report_gan", "train_cyclegan"):
        for seen in (100, 200):
            _write_picture(root / f"plots/{stage}/images-{seen:07d}.png", seen)
    _write_picture(root / "plots/evaluate_report_gan/six_reports.png", 5)
    figures = {"label_auroc_share": 0.75, "n": 40, "extractor": "vgg", "unknown": None}
    details = {"details": {"label_auroc_share": {"value": 0.75, "split": "test"}}, "subjects": [1, 2]}
    write_json(root / "metrics/evaluate_report_gan.json", figures | details)
    write_json(root / "metrics/train_classifier.json", {"mean_auroc": 0.9, "auroc": {"nodule": 0.8, "mass": None}})
    write_json(root / "metrics/evaluate_mri_to_ct.json", {"mae_hu": 150.5})
    write_json(root / "metrics/explain.json", {"pointing_game": 0.4})
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings["align_volumes"] |= GRID
    (root / "params.yaml").write_text(yaml.safe_dump(settings))
    lock = {"schema": "2.0", "stages": {"train_report_gan": {"cmd": "python -m stages.train_report_gan", "deps": []}}}
    lock["stages"]["train_report_gan"]["deps"] = [
        {"path": "data/chest/embeddings", "hash": "md5", "md5": "0" * 32 + ".dir", "size": 12, "nfiles": 4},
        {"path": "data/chest/manifest.parquet", "hash": "md5", "md5": "f" * 32, "size": 34},
        {"path": "src/radsynth/errors.py", "hash": "md5", "md5": "e" * 32, "size": 56},
    ]
    (root / "dvc.lock").write_text(yaml.safe_dump(lock))
    (root / "requirements.lock").write_text("torch==0\n")
    return root


@pytest.fixture(scope="session")
def published_once(outputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that was published, only to be read."""
    root = tmp_path_factory.mktemp("published") / "checkout"
    shutil.copytree(outputs, root)
    publish(root)
    return root


@pytest.fixture
def published(published_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that was published and then moved, for one test alone."""
    from mlflow.tracking._tracking_service import utils

    # within one process MLflow remembers the folder of a run by its id, which is the same in every copy
    monkeypatch.setattr(utils, "_artifact_repos_cache", OrderedDict())
    root = tmp_path / "moved"
    shutil.copytree(published_once, root)
    return root


def _write_history(folder: Path, stage: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{stage}.csv").write_text("images_seen,loss,validation_score\n100,1.5,\n200,1.25,0.5\n")
    (folder / f"{stage}.system.csv").write_text("images_seen,images_per_second\n100,50\n200,25\n")


def _write_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 32), dtype=np.uint8)).save(path)
