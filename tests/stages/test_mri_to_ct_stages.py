"""The stages that measure a trained MRI to CT model use the device that there is."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from radsynth.networks.atlas import Atlas
from radsynth.schemas import VOLUMES
from radsynth.training.cyclegan import MriToCt
from radsynth.training.device import Device
from stages import audit_mri_to_ct, evaluate_mri_to_ct

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = Device(torch.device("meta"), "32-true")
"""Stands for a GPU on machines without one."""


class Reached(Exception):
    """The stage begins to measure; carries the model."""


@pytest.mark.parametrize(
    ("stage", "model_of"),
    [(evaluate_mri_to_ct, lambda model: model), (audit_mri_to_ct, lambda synthesize: synthesize.args[0])],
)
def test_the_model_is_measured_on_the_gpu(
    stage: ModuleType, model_of: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    model = MriToCt(
        nn.ModuleDict({"mr_to_ct": nn.Linear(1, 1)}), (-1024.0, 1650.0), True, nn.ModuleDict({"ct": Atlas((2, 4, 4))})
    )

    def measure(first: object, *_: object, **__: object) -> None:
        raise Reached(model_of(first))

    manifest = pd.DataFrame({"subject_id": ["p"], "split": ["test"], "native_to_reference": [np.eye(4).ravel()]})
    monkeypatch.setattr(type(VOLUMES), "read", lambda *_: manifest)
    for name, value in {
        "load_mri_to_ct": (model, {}),
        "pick_device": ELSEWHERE,
        "read_heads": SimpleNamespace(rows=(0,)),
        "train_textbook": None,
        "imagenet_space": None,
    }.items():
        monkeypatch.setattr(stage, name, lambda *_, value=value, **__: value, raising=False)
    monkeypatch.setattr(stage, stage.__name__.rpartition(".")[2], measure)
    with pytest.raises(Reached) as reached:
        stage.main()
    (measured,) = reached.value.args
    tensors = [*measured.networks.parameters(), *measured.atlases.parameters(), *measured.atlases.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
