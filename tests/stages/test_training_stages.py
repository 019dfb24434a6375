"""What the stages that train leave where they are killed and started again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from radsynth.files import write_json
from radsynth.schemas import VOLUMES
from radsynth.training.loop import Outcome
from stages import train_cyclegan, train_perceptual, train_report_gan

ROOT = Path(__file__).resolve().parents[2]
OUTCOME = Outcome([], [], 200, 200, 0.0, {"weight": torch.zeros(1)})


class Killed(BaseException):
    """Nothing of the process runs after it."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the repository's settings, in which the process is."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed_and_resumed(monkeypatch: pytest.MonkeyPatch, stage: object, training: str, result: object) -> None:
    """Run a stage whose training draws at 100 images and is killed, then draws at 200 and ends."""

    def first(show: Callable[[int], None]) -> None:
        show(100)
        raise Killed

    def second(show: Callable[[int], None]) -> object:
        show(200)
        return result

    for run in (first, second):
        shutil.rmtree("plots", ignore_errors=True)  # as DVC does with a stage's outputs before it runs
        monkeypatch.setattr(stage, training, lambda *given, run=run, **named: run(shower(given, named)))
        try:
            stage.main()
        except Killed:
            continue


def shower(given: tuple, named: dict) -> Callable[[int], None]:
    """The function that draws at so many images, of `train_report_gan` or `train_cyclegan`."""
    show = named.get("show")
    return (lambda seen: show(seen, None)) if show else lambda seen: given[-1](None, seen)


def test_grids_drawn_before_a_kill_stand_beside_the_later_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shown:
        frame = pd.DataFrame({"prompt": ["clear lungs"]})
        text = staticmethod(lambda rows: ())
        pictures = staticmethod(lambda rows: torch.zeros(len(rows), 1, 8, 8))

        def __len__(self) -> int:
            return 1

    write_json("data/chest/embeddings/encoder.json", {})
    gan = nn.Linear(1, 1)
    gan.arguments = {"size": 8}
    for name, value in {
        "load_chest": {"train": Shown()},
        "load_perceptual": (None, "pipeline"),
        "fingerprint": "mark",
        "generate": np.zeros((1, 8, 8), np.float32),
    }.items():
        monkeypatch.setattr(train_report_gan, name, lambda *_, value=value, **__: value)
    killed_and_resumed(monkeypatch, train_report_gan, "train_report_gan", (gan, OUTCOME))
    assert names(folder / "plots") == ["train_report_gan"]
    assert names(folder / "plots/train_report_gan") == ["0000100.png", "0000200.png"]
    assert not (folder / "checkpoints/train_report_gan/mark").exists()


def test_slices_drawn_before_a_kill_stand_beside_the_later_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((8, 8), np.float32)
    for name, value in {
        "read_heads": SimpleNamespace(rows=()),
        "registered_pairs": None,
        "fingerprint": "mark",
        "middle_slices": (["MR"], [[picture]]),
        "describe": {},
        "save_model": None,
    }.items():
        monkeypatch.setattr(train_cyclegan, name, lambda *_, value=value, **__: value)
    monkeypatch.setattr(type(VOLUMES), "read", lambda *_: None)
    killed_and_resumed(monkeypatch, train_cyclegan, "train_cyclegan", (OUTCOME, None))
    assert names(folder / "plots/train_cyclegan") == ["images-0000100.png", "images-0000200.png"]
    assert not (folder / "checkpoints/train_cyclegan/mark").exists()


def test_checkpoints_of_the_perceptual_network_are_kept_until_it_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = folder / "checkpoints/train_perceptual/mark/images-100.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()

    def full_disk(*_: object) -> None:
        raise Killed

    write, trained = train_perceptual.save_model, (nn.Linear(1, 1), OUTCOME)
    for name, value in {
        "cached_imagenet_weights": None,
        "load_chest": {},
        "fingerprint": "mark",
        "train_findings": trained,
    }.items():
        monkeypatch.setattr(train_perceptual, name, lambda *_, value=value, **__: value)
    monkeypatch.setattr(train_perceptual, "save_model", full_disk)
    with pytest.raises(Killed):
        train_perceptual.main()
    assert checkpoint.exists()
    monkeypatch.setattr(train_perceptual, "save_model", write)
    train_perceptual.main()
    assert not checkpoint.parent.exists()
