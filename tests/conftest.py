"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from radsynth.settings import TrainCyclegan

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of small real data (Open-i, NIH, brain); skips where it is absent."""
    folder = Path(os.environ.get("RADSYNTH_REALDATA", ROOT.parent / "shared" / "data"))
    if not (folder / "openi").is_dir():
        pytest.skip(f"no real data at {folder}: set RADSYNTH_REALDATA")
    return folder


@pytest.fixture(scope="session")
def dicom_errors() -> Callable[[Path], list[str]]:
    """A function that gives the errors that dciodvfy finds in a DICOM file; skips where it is not installed.

    Releases before SyntheticData (0008,001C) became part of the standard do not know it: that one line is left out.
    """
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed: `apt-get install dicom3tools`")

    def errors(path: Path) -> list[str]:
        run = subprocess.run([program, str(path)], capture_output=True, text=True)
        said = (run.stdout + run.stderr).splitlines()
        assert any(line.endswith("Image") for line in said), said
        unknown = "not a recognized standard attribute - (0x0008,0x001c)"
        return [line for line in said if line.startswith("Error") and unknown not in line]

    return errors


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    """A Prefect server of its own, with an empty database."""
    from prefect.testing.utilities import prefect_test_harness

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        with prefect_test_harness(server_startup_timeout=240):
            yield


@pytest.fixture
def small_cyclegan() -> TrainCyclegan:
    """Settings of a CycleGAN that trains in a second, every loss in it."""
    return TrainCyclegan(
        images_seen=8,
        simulated_images=0,
        batch_size=2,
        width=4,
        blocks=1,
        skip_connections=True,
        end_kernel=3,
        hu_window=(-1024.0, 2000.0),
        head_channels=True,
        discriminator_layers=1,
        discriminator_norm=True,
        slice_reach=1,
        learning_rate=0.001,
        discriminator_learning_rate=0.001,
        pool_size=3,
        ema_half_life_images=4,
        weight_adversarial=1.0,
        weight_cycle=10.0,
        weight_identity=5.0,
        weight_anatomy=2.0,
        anatomy_floor=0.25,
        weight_simulated=1.5,
        weight_flaws=0.5,
        atlas_slices=16,
        few_pairs=0,
        few_pairs_images=8,
        few_pairs_learning_rate=0.001,
        checkpoint_images=4,
        validate_images=4,
        precision="32-true",
    )
