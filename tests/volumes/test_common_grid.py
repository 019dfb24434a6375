"""What brings a new volume on a model's grid survives the file, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.errors import RadsynthError
from radsynth.volumes import common_grid
from radsynth.volumes.common_grid import FILE, CommonGrid, read_common_grid, write_common_grid
from radsynth.volumes.registration import Head


@pytest.fixture
def common() -> CommonGrid:
    random = np.random.default_rng(0)
    image = random.normal(0, 500, (5, 7, 6)).astype(np.float32)
    head = Head(image, np.diag([2.5, 2.5, 2.5, 1.0]), image > 0, image > -700, "CT")
    return CommonGrid(head, (48, 48, 24), (4.6, 4.6, 9.0), True)


def test_it_comes_back_as_it_was(common, tmp_path):
    write_common_grid(common, tmp_path / FILE)
    found = read_common_grid(tmp_path / FILE)
    for name in ("image", "affine", "mask", "seen"):
        np.testing.assert_array_equal(getattr(found.head, name), getattr(common.head, name))
        assert getattr(found.head, name).dtype == getattr(common.head, name).dtype
    assert (found.grid_size, found.spacing_mm, found.n4) == (common.grid_size, common.spacing_mm, common.n4)
    assert found.head.modality == "CT"


def test_equal_ones_give_equal_bytes(common, tmp_path):
    for name in ("a", "b"):
        write_common_grid(common, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_model_without_it_is_told_in_one_line(tmp_path):
    with pytest.raises(RadsynthError, match=r"no reference head.*dvc repro train_cyclegan"):
        read_common_grid(tmp_path / FILE)


@pytest.mark.parametrize("content", [b"", b"not a safetensors file, but long enough to be read"])
def test_a_damaged_one_is_told_in_one_line(content, tmp_path):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RadsynthError, match="not a readable reference head"):
        read_common_grid(tmp_path / FILE)


def test_one_of_heads_of_their_own_size_is_refused(common, tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(common_grid, "PLACED_BY", "pose")
        write_common_grid(common, tmp_path / FILE)
    with pytest.raises(RadsynthError, match=r"of another version.*train again"):
        read_common_grid(tmp_path / FILE)


def test_the_training_stage_keeps_it_under_its_name():
    from stages.train_cyclegan import COMMON_GRID

    assert COMMON_GRID == FILE
