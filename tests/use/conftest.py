"""Small models that draw and translate, and a head to translate, on a grid of 8 mm."""

from __future__ import annotations

import functools
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from radsynth.networks.classifier import FindingsClassifier
from radsynth.networks.cyclegan import cyclegan_networks
from radsynth.reports.encode import load_encoder
from radsynth.training.cyclegan import GEOMETRY
from radsynth.training.models import save_model
from radsynth.training.report_gan import ReportGan
from radsynth.vocabulary import FINDINGS
from radsynth.volumes.common_grid import FILE, CommonGrid, write_common_grid
from radsynth.volumes.geometry import Volume, apply
from radsynth.volumes.registration import working_head

GRID = {"grid_size": (24, 28, 24), "spacing_mm": (8.0, 8.0, 8.0)}
LEARNED = ["cardiomegaly", "effusion", "pneumothorax"]
THRESHOLDS = {"cardiomegaly": 0.75, "effusion": 0.2}
"""Probabilities; too few pictures of a pneumothorax for one of its own."""


@pytest.fixture(scope="session", autouse=True)
def one_encoder() -> Iterator[None]:
    """The text encoder is loaded once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("radsynth.training.drawing.load_encoder", functools.cache(load_encoder))
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with report_gan, classifier and mri_to_ct, untrained."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    gan = ReportGan(size=32, width=4, subpixel=2, noise_size=8, token_width=384).eval()
    digest = load_encoder("minilm").digest
    encoder = {"encoder": "minilm", "digest": digest, "max_tokens": 64, "width": 384}
    described = {"network": gan.arguments, "encoder": encoder, "views": ["frontal"]}
    save_model(folder / "report_gan", gan.state_dict(), described)
    classifier = {"findings": len(FINDINGS), "width": 2}
    described = {
        "network": classifier,
        "learned": LEARNED,
        "thresholds": {finding: math.log(at / (1 - at)) for finding, at in THRESHOLDS.items()},
        "input": {"shape": [-1, 1, 32, 32]},
        "fingerprint": "f" * 16,
    }
    save_model(folder / "classifier", FindingsClassifier(**classifier).state_dict(), described)
    network = {
        "generator_channels": 2 + GEOMETRY,
        "discriminator_channels": 1 + GEOMETRY,
        "width": 4,
        "blocks": 1,
        "discriminator_layers": 2,
    }
    heads = nn.ModuleDict({**cyclegan_networks(**network, seed=0), "atlases": nn.ModuleDict()})
    described = {"network": network, "hu_window": [-1024.0, 2000.0], "head_channels": True, "atlases": {}}
    reference = head("CT", (0, 0, -95))
    common = working_head(reference.voxels, reference.affine, "CT", "")
    write_common_grid(CommonGrid(common, **GRID, n4=False), folder / FILE)
    save_model(folder / "mri_to_ct", heads.state_dict(), described, [folder / FILE])
    return folder


@pytest.fixture
def large_judge(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier, trained on pictures of 64 pixels where the generator draws 32."""
    folder = tmp_path_factory.mktemp("large") / "classifier"
    shutil.copytree(models / "classifier", folder)
    said = json.loads((folder / "model.json").read_text())
    said["input"]["shape"] = [-1, 1, 64, 64]
    (folder / "model.json").write_text(json.dumps(said))
    return folder


def head(
    modality: str, shift_mm: tuple[float, float, float], turn: np.ndarray | None = None, spacing: float = 4.0
) -> Volume:
    """A head of ellipsoids with a nose and a ball in its right hemisphere, in a field of view that holds it whole.

    Parameters
    ----------
    shift_mm
        Where the middle of the head lies in the volume's world.
    turn
        (3, 3): how the voxel axes lie in it; L, P, S by default.
    """
    turn = np.diag([-1.0, -1.0, 1.0]) if turn is None else turn
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    shape = np.array((54, 62, 60))
    affine[:3, 3] = np.array(shift_mm) - affine[:3, :3] @ (shape - 1) / 2
    points = apply(affine, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)) - shift_mm

    def inside(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        return (1 - np.sqrt((((points - centre) / np.array(radii)) ** 2).sum(axis=-1))) * min(radii)

    skin = np.maximum(inside((0, 0, 0), (76, 98, 95)), inside((0, 97, -35), (14, 20, 24)))
    layers = [
        (skin, 20.0, 420.0),
        (skin - 6, 1000.0, 30.0),
        (inside((0, 2, 8), (63, 83, 74)), 38.0, 300.0),
        (inside((-12, 5, 12), (6, 26, 9)), 5.0, 60.0),
        (inside((32, 20, 25), (16, 16, 16)), 75.0, 480.0),
    ]
    values = np.full(tuple(shape), -1000.0 if modality == "CT" else 3.0)
    for depth, hu, signal in layers:
        alpha = np.clip(depth / 2 + 0.5, 0, 1)
        values = values * (1 - alpha) + (hu if modality == "CT" else signal) * alpha
    noisy = values + np.random.default_rng(5).normal(0, 3, values.shape)
    dtype = np.int16
    return Volume((np.abs(noisy) if modality == "MR" else noisy).astype(dtype), affine, modality)


@pytest.fixture(scope="session")
def make_head():
    return head


@pytest.fixture(scope="session")
def oblique() -> np.ndarray:
    """Directions (3, 3) of a tilted grid whose axes point to about P, I and R."""
    a, b = np.radians((12.0, -7.0))
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return tilt @ turn @ np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
