"""New data against what the champion learned from, found by digest."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from radsynth.cli import cli
from radsynth.errors import RadsynthError
from radsynth.radiographs.prepare import prepare_all, read_image
from radsynth.reports.parse import parse_reports
from radsynth.schemas import CHEST, VOLUMES, XRAYS
from radsynth.sources.chest_folder import read_chest_folder
from radsynth.splits import chest_manifest
from radsynth.tracking import drift as drift_of
from radsynth.tracking import registry
from radsynth.tracking.drift import drift, kept_file
from radsynth.tracking.dvc_files import object_path
from radsynth.tracking.registry import Version
from radsynth.volumes.io import source_sha256

ROOT = Path(__file__).resolve().parents[2]
NORMAL = "The heart is normal in size. The lungs are clear. No effusion, case {n}."
ILL = "There is a large left pleural effusion. The heart is enlarged, case {n}."


def write_folder(folder: Path, count: int, seed: int, ill: float, brightness: float = 0.5) -> Path:
    """A folder of reports and noisy pictures; `ill` is the share with an effusion and a large heart."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    lines = ["image,findings,impression,view"]
    for number in range(count):
        text = (ILL if rng.random() < ill else NORMAL).format(n=seed * 1000 + number)
        lines.append(f'{number}.png,"{text}",,PA')
        ramp = np.linspace(0, 1, 48) ** (1 / brightness + rng.normal(0, 0.1))
        picture = np.clip(ramp[None] * 255 + rng.normal(0, 5, (48, 48)), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder


def cached(root: Path, path: Path) -> str:
    """Put a file, or a folder with its list, into DVC's cache; returns its digest."""
    if path.is_dir():
        entries = [{"md5": cached(root, file), "relpath": file.name} for file in sorted(path.iterdir())]
        content = json.dumps(entries).encode()
    else:
        content = path.read_bytes()
    digest = hashlib.md5(content).hexdigest()
    target = object_path(root / ".dvc/cache", digest, path.is_dir())
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return digest


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A checkout whose cache has the data of a training, and nothing else does; and their digests."""
    root = tmp_path_factory.mktemp("trained")
    raw = read_chest_folder(write_folder(root / "old", 120, seed=1, ill=0.2))
    reports, _ = parse_reports(raw.reports)
    store = root / "xrays"
    store.mkdir()
    files = ((image.image_id, read_image(Path(image.container, image.member))) for image in raw.images.itertuples())
    hints = dict(zip(raw.images["image_id"], raw.images["view_hint"], strict=True))
    xrays, _ = prepare_all(files, list(raw.images["image_id"]), store / "pixels.npy", 32, view_hints=hints)
    XRAYS.write(xrays, store / "xrays.parquet")
    CHEST.write(chest_manifest(reports, xrays, validation=0.1, test=0.1, seed=1), root / "manifest.parquet")
    digests = {
        "data/chest/manifest.parquet": cached(root, root / "manifest.parquet"),
        "data/chest/xrays": cached(root, store),
    }
    shutil.rmtree(store)
    (root / "manifest.parquet").unlink()
    shutil.copy(ROOT / "params.yaml", root)
    return root, digests


@pytest.fixture
def champion(trained, monkeypatch) -> Path:
    """The checkout with a champion that was trained on these data."""
    root, digests = trained
    tags = {"radsynth.data": json.dumps(digests)}
    found = Version("report-to-xray", 3, ("champion",), tags, "", "", root)
    monkeypatch.setattr(registry, "find", lambda *_: found)
    return root


def drifted(found) -> set[str]:
    return {measure.name for measure in found.measures if measure.drifted}


def test_more_of_the_same_is_no_drift(champion, tmp_path):
    found = drift(champion, "report-to-xray", write_folder(tmp_path / "new", 60, seed=2, ill=0.2))
    assert drifted(found) == set()
    assert found.champion == "report-to-xray v3"
    assert {m.incoming_count for m in found.measures} == {60}


def test_sicker_patients_and_darker_pictures_are_told_by_name(champion, tmp_path):
    found = drift(champion, "report-to-xray", write_folder(tmp_path / "new", 60, seed=3, ill=0.9, brightness=0.3))
    assert {"effusion (share)", "cardiomegaly (share)", "picture mean (0..1)"} <= drifted(found)
    assert "nodule (share)" not in drifted(found)
    assert "picture rows (px)" not in drifted(found)


def with_more(champion: Path, folder: Path, more: Path) -> Path:
    """The folder that was learned from, and in it the pictures and reports of another one."""
    shutil.copytree(champion / "old", folder)
    shutil.copytree(more, folder / "more")
    lines = (folder / "more/table.csv").read_text().splitlines()[1:]
    (folder / "more/table.csv").unlink()
    with open(folder / "table.csv", "a") as table:
        table.write("".join(f"\nmore/{line}" for line in lines))
    return folder


def test_what_was_learned_from_does_not_hide_what_is_new_beside_it(champion, tmp_path):
    more = write_folder(tmp_path / "more", 15, seed=6, ill=1.0, brightness=0.3)
    found = drift(champion, "report-to-xray", with_more(champion, tmp_path / "watched", more))
    assert {"effusion (share)", "picture mean (0..1)"} <= drifted(found)
    assert {m.incoming_count for m in found.measures} == {15}
    assert found.known == 120


def test_nothing_new_is_no_drift_and_no_error(champion, tmp_path, monkeypatch):
    monkeypatch.chdir(champion)
    done = CliRunner().invoke(cli, ["drift", "report-to-xray", "old"])
    assert (done.exit_code, done.stdout.splitlines()[1:]) == (0, ["nothing new"])
    assert done.stdout.startswith("old against the training data of report-to-xray v3; 0 refused, 120 known")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/0.png").write_bytes(b"no picture")
    (tmp_path / "broken/table.csv").write_text("image,findings,impression\n0.png,Clear lungs.,")
    found = drift(champion, "report-to-xray", with_more(champion, tmp_path / "watched", tmp_path / "broken"))
    assert (found.refused, found.measures) == (1, ())


def test_known_volumes_are_not_compared(tmp_path, monkeypatch):
    """The reference's own files need not even be there."""
    for modality in ("mr", "ct"):
        (tmp_path / "new" / modality).mkdir(parents=True)
        (tmp_path / "new" / modality / "a.nii.gz").write_bytes(modality.encode())
    files = [str(tmp_path / "new" / modality / "a.nii.gz") for modality in ("mr", "ct")]
    frame = pd.DataFrame({"source_sha256": map(source_sha256, files), "split": ["train", "test"], "paired": False})
    for name, kind in VOLUMES.columns.items():
        if name not in frame:
            frame[name] = [[]] * 2 if "list" in str(kind) else "" if str(kind) == "string" else 0.0
    (tmp_path / "aligned").mkdir()
    for path in (tmp_path / "manifest.parquet", tmp_path / "aligned/volumes.parquet"):
        VOLUMES.write(frame, path)
    digests = {
        "data/brain/manifest.parquet": cached(tmp_path, tmp_path / "manifest.parquet"),
        "data/brain/aligned": cached(tmp_path, tmp_path / "aligned"),
    }
    shutil.copy(ROOT / "params.yaml", tmp_path)
    tags = {"radsynth.data": json.dumps(digests)}
    monkeypatch.setattr(registry, "find", lambda *_: Version("mri-to-ct", 3, ("champion",), tags, "", "", tmp_path))
    found = drift(tmp_path, "mri-to-ct", tmp_path / "new")
    assert (found.known, found.measures, found.drifted) == (2, (), False)


def test_the_command_says_by_its_status_whether_data_drifted(champion, tmp_path, monkeypatch):
    monkeypatch.chdir(champion)
    folders = [write_folder(tmp_path / "same", 60, 4, 0.2), write_folder(tmp_path / "other", 60, 5, 0.9)]
    runs = [CliRunner().invoke(cli, ["drift", "report-to-xray", str(folder), "--json"]) for folder in folders]
    assert [run.exit_code for run in runs] == [0, 3]
    measures = json.loads(runs[1].stdout)["measures"]
    assert any(measure["drifted"] and measure["name"] == "effusion (share)" for measure in measures)
    shown = CliRunner().invoke(cli, ["drift", "report-to-xray", str(folders[1])]).stdout
    assert "DRIFTED    effusion (share): 0." in shown


def test_data_that_left_the_cache_are_named_with_what_to_do(trained):
    root, digests = trained
    assert kept_file(root, digests, "data/chest/xrays", "pixels.npy").is_file()
    with pytest.raises(RadsynthError, match=r"data/chest/xrays/masks.npy.*no longer in DVC's cache.*dvc fetch"):
        kept_file(root, digests, "data/chest/xrays", "masks.npy")
    with pytest.raises(RadsynthError, match="no longer in DVC's cache"):
        kept_file(root, {"data/chest/manifest.parquet": "0" * 32}, "data/chest/manifest.parquet")


def test_data_are_found_in_the_cache_that_dvc_is_configured_to_use(trained, tmp_path):
    root, digests = trained
    shutil.copytree(root / ".dvc/cache", tmp_path / "shared")
    checkout = tmp_path / "checkout"
    (checkout / ".dvc").mkdir(parents=True)
    (checkout / ".dvc/config").write_text("[cache]\n    dir = ../../shared\n")
    found = kept_file(checkout, digests, "data/chest/xrays", "pixels.npy")
    assert found.resolve().is_relative_to(tmp_path / "shared")


def test_a_header_with_its_voxels_beside_is_one_volume(tmp_path):
    import SimpleITK as sitk

    (tmp_path / "mr").mkdir()
    z, y, x = np.indices((40, 50, 44)) - np.reshape([19.5, 24.5, 21.5], (3, 1, 1, 1))
    head = sitk.GetImageFromArray(np.float32(100) * ((x / 16) ** 2 + (y / 20) ** 2 + (z / 16) ** 2 < 1))
    head.SetSpacing([5.0, 5.0, 5.0])
    sitk.WriteImage(head, str(tmp_path / "mr" / "head.mhd"))
    assert (tmp_path / "mr" / "head.raw").is_file()
    measures, refused = drift_of._volumes(drift_of._new_volumes(tmp_path))
    assert refused == 0
    assert {len(values) for values in measures.values()} == {1}
