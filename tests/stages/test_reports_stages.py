"""The stages from raw reports to their embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from radsynth.files import read_json, sha256_of
from radsynth.reports.vectors import load_vectors
from radsynth.schemas import FINDING_TRUTH, QUARANTINE, RAW_IMAGES, RAW_REPORTS, REPORTS
from radsynth.sources.ids import id_of
from radsynth.sources.openi_xml import write_openi_xml
from stages import acquire_chest, parse_reports, tokenize_reports

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run stages in, with the repository's settings and a table of three X-rays as the source."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings["acquire_chest"] = {"source": "folder", "path": "incoming", "studies": 4}
    settings["tokenize_reports"] |= {"encoder": "minilm", "max_tokens": 24}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "incoming").mkdir()
    for name in "abc":
        (tmp_path / f"incoming/{name}.png").write_bytes(b"x")
    (tmp_path / "incoming/reports.csv").write_text(
        "image,findings,impression\na.png,Small left effusion.,Effusion.\nb.png,Clear XXXX lungs.,\nc.png,,\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(folder: Path, **sections: dict[str, object]) -> None:
    settings = yaml.safe_load((folder / "params.yaml").read_text())
    for section, values in sections.items():
        settings[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))


def test_raw_reports_become_labels_and_embeddings(workspace: Path) -> None:
    acquire_chest.main()
    parse_reports.main()
    tokenize_reports.main()
    raw, out = workspace / "data/raw/chest", workspace / "data/chest"
    images = RAW_IMAGES.read(raw / "images.parquet")
    assert set(images["image_id"]) == {id_of(f"{name}.png", "i") for name in "abc"}
    assert FINDING_TRUTH.read(raw / "truth.parquet").empty
    assert np.load(raw / "masks.npy").shape == (0, 256, 32)
    assert QUARANTINE.read(raw / "quarantine.parquet").empty
    reports = REPORTS.read(out / "reports/reports.parquet")
    assert set(reports["report_id"]) == {id_of(f"{name}.png", "r") for name in "ab"}
    assert list(QUARANTINE.read(out / "reports/quarantine.parquet")["reason"]) == ["report_empty"]
    found = load_vectors(out / "embeddings")
    tokens, lengths = found.tokens(found.reports)
    pooled = np.load(out / "embeddings/pooled.npy")
    assert (tokens.dtype, lengths.dtype, pooled.dtype) == (np.float16, np.int16, np.float32)
    assert tokens.shape == (2, lengths.max(), 384)
    assert pooled.shape == (2, 384)
    sided = found.switched != np.arange(len(found.switched))
    assert sided.sum() == 2, "small left effusion, and small right effusion for it"
    facts = read_json(out / "embeddings/encoder.json")
    assert (facts["encoder"], facts["max_tokens"], facts["width"], len(facts["digest"])) == ("minilm", 24, 384, 64)


def test_running_again_writes_the_same_bytes(workspace: Path) -> None:
    digests = []
    for _ in range(2):
        acquire_chest.main()
        parse_reports.main()
        tokenize_reports.main()
        digests.append(sha256_of(workspace / "data"))
    assert digests[0] == digests[1]


def test_too_many_refused_reports_stop_the_stage_with_one_line(workspace: Path, capsys) -> None:
    good = write_openi_xml("CXR0", findings="Clear.", impression="", image_ids=["a"])
    rows = [("CXR0", "S", "0.xml", good), ("CXR1", "S", "1.xml", b"<broken")]
    RAW_REPORTS.write(
        pd.DataFrame(rows, columns=list(RAW_REPORTS.columns)), workspace / "data/raw/chest/reports.parquet"
    )
    change(workspace, parse_reports={"max_refused": 0.4})
    with pytest.raises(SystemExit) as exit_:
        parse_reports.main()
    assert exit_.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "1 of 2 reports are refused" in lines[0]
    assert not (workspace / "data/chest/reports").exists()
    change(workspace, parse_reports={"max_refused": 0.5})
    parse_reports.main()
    assert len(REPORTS.read(workspace / "data/chest/reports/reports.parquet")) == 1


def test_an_absent_source_stops_the_stage_with_one_line(workspace: Path, capsys) -> None:
    change(workspace, acquire_chest={"source": "openi", "path": "nowhere"})
    with pytest.raises(SystemExit):
        acquire_chest.main()
    assert "error: nowhere: no such folder" in capsys.readouterr().err


@pytest.mark.slow
def test_the_phantom_is_read_through_the_open_i_reader(workspace: Path) -> None:
    change(workspace, acquire_chest={"source": "phantom", "studies": 4})
    acquire_chest.main()
    parse_reports.main()
    raw = workspace / "data/raw/chest"
    images, truth = RAW_IMAGES.read(raw / "images.parquet"), FINDING_TRUTH.read(raw / "truth.parquet")
    assert set(images["container"]) == {"data/raw/chest/NLMCXR_png.tgz"}
    assert len(np.load(raw / "masks.npy")) == len(truth)
    assert set(truth["image_id"]) <= set(images["image_id"])
    assert len(RAW_REPORTS.read(raw / "reports.parquet")) == 4
