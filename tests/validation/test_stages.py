"""The two stages: they read through the schemas, write both files in any case, and stop with status 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radsynth import schemas
from radsynth.configure import configure
from radsynth.files import read_json
from stages import validate_brain, validate_chest

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configure(["profile=smoke"], CONF, "params.yaml")
    return tmp_path


def write_chest(data) -> None:
    folder = Path("data/chest")
    schemas.REPORTS.write(data.reports, folder / "reports/reports.parquet")
    schemas.XRAYS.write(data.xrays, folder / "xrays/xrays.parquet")
    schemas.CHEST.write(data.manifest, folder / "manifest.parquet")
    for part in ("data/raw/chest", folder / "reports", folder / "xrays"):
        schemas.QUARANTINE.write(data.quarantine, Path(part) / "quarantine.parquet")
    np.save(folder / "xrays/pixels.npy", data.pixels)


def write_brain(data) -> None:
    folder = Path("data/brain")
    schemas.VOLUMES.write(data.volumes, folder / "manifest.parquet")
    for part in (Path("data/raw/brain"), folder / "aligned"):
        schemas.QUARANTINE.write(data.quarantine, part / "quarantine.parquet")
    for name in ("mr", "ct", "mr_depth_mm", "ct_depth_mm"):
        np.save(folder / f"aligned/{name}.npy", getattr(data, name))


def test_validate_chest_lets_good_data_pass_the_same_way_every_time(chest, workplace):
    write_chest(chest)
    validate_chest.main()
    first = {path: path.read_bytes() for path in (Path(validate_chest.METRICS), Path(validate_chest.PAGE))}
    assert read_json(validate_chest.METRICS)["success"] is True
    validate_chest.main()
    assert first == {path: path.read_bytes() for path in first}


def test_validate_brain_stops_on_a_flaw_after_it_has_written_both_files(brain, workplace, capsys):
    write_brain(brain.edited(5, paired=True))
    with pytest.raises(SystemExit) as stop:
        validate_brain.main()
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "subjects with both modalities are never trained on" in line
    assert "ct1" in line
    assert read_json(validate_brain.METRICS)["critical_failed"] == 1
    assert "ct1" in Path(validate_brain.PAGE).read_text(encoding="utf-8")


def test_what_a_source_set_aside_counts_too(chest, workplace, capsys):
    write_chest(chest)
    validate_chest.main()
    assert "few files" not in capsys.readouterr().err
    lost = [(f"{i}.png", "image", "quarantined", "image_missing", "not in the folder") for i in range(95)]
    table = pd.DataFrame(lost, columns=list(schemas.QUARANTINE.columns))
    schemas.QUARANTINE.write(table, Path("data/raw/chest/quarantine.parquet"))
    validate_chest.main()
    assert "few files were set aside" in capsys.readouterr().err
