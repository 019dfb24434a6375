"""Facts about the stage that prepares X-rays, from raw table to packed array."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radsynth.schemas import QUARANTINE, RAW_IMAGES, XRAYS
from stages import prepare_xrays

ROOT = Path(__file__).resolve().parents[2]


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (50, 40)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def raw(tmp_path, monkeypatch) -> pd.DataFrame:
    """Six images: three in a folder, three in an archive that also holds a stranger; one of them is cut short."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    files = {f"sub/image{n}.png": png(n) for n in range(6)}
    files["sub/image4.png"] = files["sub/image4.png"][:200]
    for name in list(files)[:3]:
        path = tmp_path / "films" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
    with tarfile.open(tmp_path / "films.tgz", "w:gz") as archive:
        for name in ["sub/image5.png", "sub/image4.png", "sub/image3.png"]:
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            archive.addfile(info, io.BytesIO(files[name]))
        archive.addfile(tarfile.TarInfo("stranger.png"), io.BytesIO())
    return pd.DataFrame(
        {
            "image_id": [f"image{n}" for n in range(6)],
            "container": ["films"] * 3 + ["films.tgz"] * 3,
            "member": list(files),
            "view_hint": ["frontal", "lateral"] + ["unknown"] * 4,
        }
    )


def set_max_refused(share: float) -> None:
    text = Path("params.yaml").read_text()
    before = text.index("max_refused", text.index("prepare_xrays"))
    end = text.index("\n", before)
    Path("params.yaml").write_text(f"{text[:before]}max_refused: {share}{text[end:]}")


def test_folders_and_archives_become_one_array_in_the_tables_order(raw):
    set_max_refused(0.2)
    RAW_IMAGES.write(raw, "data/raw/chest/images.parquet")
    prepare_xrays.main()
    xrays = XRAYS.read("data/chest/xrays/xrays.parquet")
    assert xrays["image_id"].tolist() == ["image0", "image1", "image2", "image3", "image5"]
    assert xrays["view_position"].tolist()[:2] == ["frontal", "lateral"]
    pixels = np.load("data/chest/xrays/pixels.npy", mmap_mode="r")
    assert (pixels.shape, pixels.dtype) == ((5, 256, 256), np.uint16)
    refused = QUARANTINE.read("data/chest/xrays/quarantine.parquet")
    assert refused[["path", "reason"]].to_numpy().tolist() == [["image4", "image_truncated"]]
    first = Path("data/chest/xrays/pixels.npy").read_bytes()
    prepare_xrays.main()
    assert Path("data/chest/xrays/pixels.npy").read_bytes() == first


def test_too_many_refusals_stop_the_stage_and_leave_nothing(raw, capsys):
    set_max_refused(0.1)
    RAW_IMAGES.write(raw, "data/raw/chest/images.parquet")
    with pytest.raises(SystemExit) as stopped:
        prepare_xrays.main()
    assert stopped.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "1 of 6 images cannot be used" in message
    assert "image4" in message
    assert not Path("data/chest/xrays").exists()


def test_a_missing_image_is_listed_not_fatal(raw):
    set_max_refused(0.5)
    Path("films/sub/image1.png").unlink()
    RAW_IMAGES.write(raw, "data/raw/chest/images.parquet")
    prepare_xrays.main()
    refused = QUARANTINE.read("data/chest/xrays/quarantine.parquet")
    assert refused["reason"].tolist() == ["image_missing", "image_truncated"]
