"""A checkout with small, untrained models in the very form in which the training stages leave them."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
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
from radsynth.reports.encode import TextEncoder, encode_reports, load_encoder
from radsynth.schemas import CHEST, VOLUMES
from radsynth.tracking.dvc_files import md5_of_folder
from radsynth.tracking.publish import publish
from radsynth.tracking.registry import REGISTERED, promote
from radsynth.training.cyclegan import GEOMETRY, load_mri_to_ct, translate_volume
from radsynth.training.device import pick_device
from radsynth.training.loop import Outcome
from radsynth.training.models import load_model, save_model, write_history
from radsynth.training.report_gan import ReportGan, generate, load_report_gan
from radsynth.vocabulary import FINDINGS
from radsynth.volumes.common_grid import FILE, CommonGrid, write_common_grid
from radsynth.volumes.registration import Head

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
    head = Head(np.zeros((4, 4, 4), np.float32), np.diag([2.5, 2.5, 2.5, 1.0]), *[np.ones((4, 4, 4), bool)] * 2, "CT")
    write_common_grid(CommonGrid(head, **GRID, n4=False), root / "data/brain/aligned" / FILE)
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
        [root / "data/brain/aligned" / FILE],
    )
    for name, network, mark in (("classifier", classifier, "3" * 16), ("perceptual", vgg, "4" * 16)):
        described = {"settings": {}, "fingerprint": mark, "network": {"findings": len(FINDINGS), "width": 2}}
        save_model(root / "models" / name, network.state_dict(), common | described)
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
    shutil.copy(ROOT / "params.yaml", root)
    _write_lock(root)
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
    return _moved(published_once, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def judged_once(published_once: Path, encoder: TextEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published checkout with a test set, on which its own two models are perfect: the truth is what they draw."""
    root = tmp_path_factory.mktemp("judged") / "checkout"
    _copy(published_once, root)
    _write_chest(root, encoder)
    _write_brain(root)
    write_json(root / "metrics/audit_report_gan.json", {"report_to_xray_passed": True})
    write_json(root / "metrics/audit_mri_to_ct.json", {"mri_to_ct_passed": True})
    for name in ("validate_chest", "validate_brain"):
        write_json(root / f"metrics/{name}.json", {"success": True, "critical_failed": 0})
    settings = yaml.safe_load((root / "params.yaml").read_text())
    settings["gate"] = yaml.safe_load((ROOT / "conf/profile/smoke.yaml").read_text())["gate"]
    settings["gate"]["repetitions"] = 20
    settings["evaluate_report_gan"]["samples_per_report"] = 1
    (root / "params.yaml").write_text(yaml.safe_dump(settings))
    publish(root)
    _forget_folders()
    return root


@pytest.fixture
def judged(judged_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`judged_once`, moved, for one test alone."""
    return _moved(judged_once, tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def two_once(judged_once: Path, train_again: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion of each kind, v1, and the finished trainings of better models, published."""
    root = tmp_path_factory.mktemp("two") / "checkout"
    _copy(judged_once, root)
    for name in REGISTERED:
        train_again(root, name, 0.05, "a" * 16)
    for name in REGISTERED:
        assert promote(root, name).outcome == "promoted"
    for name in REGISTERED:
        train_again(root, name, 0.0, "b" * 16)
    publish(root)
    _forget_folders()
    return root


@pytest.fixture
def two(two_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`two_once`, moved, for one test alone."""
    return _moved(two_once, tmp_path, monkeypatch)


def _moved(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from mlflow.tracking._tracking_service import utils

    # see _forget_folders
    monkeypatch.setattr(utils, "_artifact_repos_cache", OrderedDict())
    root = tmp_path / "moved"
    shutil.copytree(once, root)
    return root


def _copy(once: Path, root: Path) -> None:
    """A copy that may be written to: what is published there stays there."""
    shutil.copytree(once, root)
    _forget_folders()


def _forget_folders() -> None:
    """Within one process MLflow remembers the folder of a run by its id, which is the same in every copy."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


@pytest.fixture(scope="session")
def train_again(judged_once: Path) -> Callable[..., None]:
    """Put another training's result in place of the finished one: true weights moved, the more `noise` the further.

    All weights of the CycleGAN. Of an untrained report GAN's, which may draw more truly by chance, the pictures' mean.
    """

    def put(root: Path, name: str, noise: float, mark: str) -> None:
        folder = {"report-to-xray": "report_gan", "mri-to-ct": "mri_to_ct"}[name]
        weights, description = load_model(judged_once / "models" / folder)
        torch.manual_seed(1)
        for key, value in weights.items():
            if folder == "report_gan":
                weights[key] = value + noise * (key == "generator.to_picture.bias")
            elif not key.startswith("atlases"):
                weights[key] = value + noise * torch.randn_like(value)
        files = (judged_once / "models" / folder).glob("common_grid*")
        save_model(root / "models" / folder, weights, description | {"fingerprint": mark}, list(files))
        lock = yaml.safe_load((root / "dvc.lock").read_text())
        lock["stages"][REGISTERED[name]]["outs"] = [_model_out(root, folder)]
        (root / "dvc.lock").write_text(yaml.safe_dump(lock))

    return put


def _write_lock(root: Path) -> None:
    """A lock with both GANs and, in place of all stages before them, one that made the manifest of each."""
    settings = yaml.safe_load((root / "params.yaml").read_text())
    stages = {}
    for data, training, model, digest in (
        ("chest", "train_report_gan", "report_gan", "f" * 32),
        ("brain", "train_cyclegan", "mri_to_ct", "d" * 32),
    ):
        manifest = {"path": f"data/{data}/manifest.parquet", "hash": "md5", "md5": digest, "size": 34}
        params = {name: {"params.yaml": {name: settings[name]}} for name in (f"acquire_{data}", training)}
        stages[f"acquire_{data}"] = {"params": params[f"acquire_{data}"], "outs": [manifest]}
        stages[training] = {"params": params[training], "deps": [dict(manifest)], "outs": [_model_out(root, model)]}
    stages["train_report_gan"]["deps"] += [
        {"path": "data/chest/embeddings", "hash": "md5", "md5": "0" * 32 + ".dir", "size": 12, "nfiles": 4},
        {"path": "src/radsynth/errors.py", "hash": "md5", "md5": "e" * 32, "size": 56},
    ]
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def _model_out(root: Path, model: str) -> dict[str, str]:
    digest = md5_of_folder(root / "models" / model)
    return {"path": f"models/{model}", "hash": "md5", "md5": f"{digest}.dir"}


def _write_chest(root: Path, encoder: TextEncoder) -> None:
    """Twelve patients, half of them for the test, whose X-rays are what the report GAN draws for them."""
    count, folder = 12, root / "data/chest"
    gan, _ = load_report_gan(root / "models/report_gan")
    prompts = [f"Report number {i}. {'Large effusion.' if i % 2 else 'Clear lungs.'}" for i in range(count)]
    reports = encode_reports(prompts, encoder)
    tokens, lengths = reports.tokens(reports.reports)
    frame = pd.DataFrame(
        {
            "subject_id": [f"s{i}" for i in range(count)],
            "image_row": np.arange(count),
            "report_row": np.arange(count),
            "view_position": "frontal",
            "prompt": prompts,
            "split": ["test" if i < count // 2 else "train" for i in range(count)],
        }
    )
    for name in ("study_id", "image_id", "findings", "impression", "source_sha256"):
        frame[name] = frame["subject_id"]
    for finding in FINDINGS:
        frame[f"label_{finding}"] = np.int8(0) if finding != "effusion" else np.arange(count, dtype=np.int8) % 2
    for name in CHEST.columns:
        if name not in frame:
            frame[name] = ""
    folder.mkdir(parents=True)
    CHEST.write(frame, folder / "manifest.parquet")
    seed = yaml.safe_load((root / "params.yaml").read_text())["seed"]
    mask = torch.arange(tokens.shape[1])[None] < torch.from_numpy(lengths.astype(np.int64))[:, None]
    text = torch.from_numpy(tokens.astype(np.float32)), mask, torch.zeros(count, dtype=torch.int64)
    drawn = generate(gan, *(t[: count // 2] for t in text), seed=seed, device=pick_device())
    (folder / "xrays").mkdir()
    (folder / "embeddings").mkdir()
    pixels = np.rint((np.concatenate([drawn, drawn]).astype(np.float64) + 1) * 32767.5).astype(np.uint16)
    np.save(folder / "xrays/pixels.npy", pixels)
    reports.save(folder / "embeddings")
    write_json(folder / "embeddings/encoder.json", {"digest": encoder.digest, "max_tokens": encoder.max_tokens})


def _write_brain(root: Path) -> None:
    """Three test heads whose true CT is what the model makes of their MR."""
    folder, shape, count = root / "data/brain/aligned", (20, 28, 24), 3
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    depth = np.repeat(np.where(radius < 0.9, (0.9 - radius) * 90, 0).astype(np.float16)[None], count, 0)
    noise = np.random.default_rng(0).random((count, *shape))
    mr = np.where(depth > 0, 0.2 + 0.6 * noise, 0).astype(np.float32)
    model, _ = load_mri_to_ct(root / "models/mri_to_ct")
    ct = np.stack([np.rint(translate_volume(model, v, d)) for v, d in zip(mr, depth, strict=True)]).astype(np.int16)
    for name, array in {"mr": mr, "ct": ct, "mr_depth_mm": depth, "ct_depth_mm": depth}.items():
        np.save(folder / f"{name}.npy", array)
    rows = [(modality, row) for modality in ("MR", "CT") for row in range(count)]
    frame = pd.DataFrame(
        {
            "row": [row for _, row in rows],
            "subject_id": [f"p{row}" for _, row in rows],
            "modality": [modality for modality, _ in rows],
            "paired": True,
            "split": "test",
        }
    )
    for name, kind in VOLUMES.columns.items():
        if name not in frame:
            frame[name] = [[]] * len(frame) if "list" in str(kind) else "" if str(kind) == "string" else 0.0
    VOLUMES.write(frame, root / "data/brain/manifest.parquet")


def _write_history(folder: Path, stage: str) -> None:
    """By the function with which the training stages write it."""
    curves = [{"images_seen": 100, "loss": 1.5}, {"images_seen": 200, "loss": 1.25, "validation_score": 0.5}]
    speeds = [{"images_seen": 100, "images_per_second": 50.0}, {"images_seen": 200, "images_per_second": 25.0}]
    write_history(Outcome(curves, speeds, 200, 200, 0.5, {}), folder / stage)


def _write_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 32), dtype=np.uint8)).save(path)
