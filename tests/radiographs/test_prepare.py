"""Facts about bringing radiographs to one size and range, and packing them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radsynth import schemas
from radsynth.errors import InputQuarantined
from radsynth.radiographs.decode import decode
from radsynth.radiographs.prepare import prepare, prepare_all
from radsynth.radiographs.radiograph import Radiograph
from radsynth.radiographs.resample import resize


def radiograph(pixels, **window) -> Radiograph:
    return Radiograph(pixels, 16, "MONOCHROME2", "unknown", "PNG", **window)


def noisy(rows=80, columns=60, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(np.uint8)


def as_png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


# ---- resampling ----


@pytest.mark.parametrize("shape", [(64, 64), (100, 37), (31, 90), (300, 40)])
def test_the_filter_is_pillows_lanczos_up_and_down(shape):
    pixels = noisy(90, 75)
    expected = Image.fromarray(pixels.astype(np.float32)).resize(shape[::-1], Image.Resampling.LANCZOS)
    np.testing.assert_allclose(resize(pixels, *shape), np.asarray(expected), atol=2e-3)


@pytest.mark.parametrize("period", [2.0, 2.3, 2.9, 3.7, 5.0, 6.0])
def test_a_grid_too_fine_for_the_new_size_vanishes_and_makes_no_moire(period):
    grid = np.cos(2 * np.pi * np.arange(512) / period)
    for pixels in (np.tile(grid, (512, 1)), np.tile(grid[:, None], (1, 512))):
        inner = resize(pixels.astype(np.float32), 128, 128)[8:-8, 8:-8]
        taken_as_is = pixels[::4, ::4]
        assert np.abs(inner).max() < 0.06
        assert np.abs(taken_as_is).max() > 0.9


def test_what_the_new_size_can_show_is_kept():
    wave = np.cos(2 * np.pi * (np.arange(512) + 0.5) / 32)
    small = resize(np.tile(wave, (512, 1)).astype(np.float32), 128, 128)
    np.testing.assert_allclose(small[64, 8:-8], np.cos(2 * np.pi * (np.arange(128) + 0.5) / 8)[8:-8], atol=0.03)


# ---- geometry and intensity ----


@pytest.mark.parametrize(("shape", "box"), [
    ((80, 60), (0, 4, 32, 24)), ((60, 80), (4, 0, 24, 32)), ((50, 50), (0, 0, 32, 32)), ((2000, 33), (0, 15, 32, 1)),
])  # fmt: skip
def test_the_picture_keeps_its_aspect_and_lies_centred_in_black(shape, box):
    square, geometry = prepare(radiograph(noisy(*shape)), 32)
    assert square.shape == (32, 32)
    assert square.dtype == np.uint16
    assert geometry[:4] == box
    top, left, rows, columns = box
    outside = np.ones((32, 32), bool)
    outside[top : top + rows, left : left + columns] = False
    assert not square[outside].any()
    assert square[~outside].any()


def test_a_full_range_8_bit_picture_hardly_changes():
    pixels = np.tile(np.linspace(0, 255, 256).round().astype(np.uint8), (256, 1))
    square, geometry = prepare(radiograph(pixels), 256)
    assert np.abs(square / 257.0 - pixels).max() <= 2.5
    assert (geometry.window_low, geometry.window_high) == (1, 254)


def test_a_flat_exposure_is_stretched_and_a_few_wild_pixels_do_not_matter():
    pixels = (1000 + 10 * np.add.outer(np.arange(64), np.arange(64))).astype(np.uint16)
    pixels[3, 3] = 65535
    square, geometry = prepare(radiograph(pixels), 64)
    assert geometry.window_high < 2300
    assert (square[0, 0], square[-1, -1]) == (0, 65535)
    assert 0.4 < square[32, 32] / 65535 < 0.6


def test_the_window_stays_within_the_stored_values():
    pixels = np.zeros((256, 256), np.uint8)
    pixels[:, 100:] = 200
    geometry = prepare(radiograph(pixels), 64)[1]
    assert resize(pixels, 64, 64).min() < 0
    assert (geometry.window_low, geometry.window_high) == (0, 200)


def test_the_window_of_the_file_decides_where_there_is_one():
    pixels = np.tile(np.arange(64, dtype=np.float32) * 100, (64, 1))
    square, geometry = prepare(radiograph(pixels, window_low=1000.0, window_high=3000.0), 64)
    np.testing.assert_allclose(square[0] / 65535, np.clip((pixels[0] - 1000) / 2000, 0, 1), atol=1e-5)
    assert geometry.window_low + 0.25 * (geometry.window_high - geometry.window_low) == 1500


def test_a_picture_of_one_value_but_for_a_label_is_set_aside():
    pixels = np.zeros((256, 256), np.uint8)
    pixels[5, 5] = 255
    with pytest.raises(InputQuarantined, match=r"film\.png") as caught:
        prepare(radiograph(pixels), 64, "film.png")
    assert caught.value.reason == "image_constant"


# ---- many ----


@pytest.fixture
def files() -> dict[str, bytes]:
    files = {f"image{n}": as_png(noisy(40 + n, 50, seed=n)) for n in range(12)}
    files["image3"] = files["image3"][:100]
    files["image7"] = as_png(np.zeros((40, 40), np.uint8))
    return files


def run(files, tmp_path, order=None, **options):
    ids = [f"image{n}" for n in range(12)]
    items = [(name, files[name]) for name in (order or ids) if name in files]
    xrays, refused = prepare_all(items, ids, tmp_path / "pixels.npy", 32, **options)
    return xrays, refused, (tmp_path / "pixels.npy").read_bytes()


def test_rows_follow_the_list_whatever_the_order_and_the_workers(files, tmp_path):
    one = run(files, tmp_path, workers=1)
    other = run(files, tmp_path, order=sorted(files, reverse=True), workers=3)
    assert one[0].equals(other[0])
    assert one[1].equals(other[1])
    assert one[2] == other[2]
    assert list(one[0]["row"]) == list(range(10))
    assert list(one[0]["image_id"]) == [f"image{n}" for n in range(12) if n not in (3, 7)]


def test_processes_give_what_threads_give(files, tmp_path, monkeypatch):
    threads = run(files, tmp_path, workers=2)
    monkeypatch.setattr("radsynth.radiographs.prepare.MANY", 1)
    monkeypatch.setattr("radsynth.radiographs.prepare.TOGETHER", 3)
    processes = run(files, tmp_path, workers=2)
    assert threads[0].equals(processes[0])
    assert threads[1].equals(processes[1])
    assert threads[2] == processes[2]


def test_large_files_are_not_sent_together(monkeypatch):
    from radsynth.radiographs.prepare import _parts

    monkeypatch.setattr("radsynth.radiographs.prepare.PART_BYTES", 100)
    items = [(str(n), b"x" * size) for n, size in enumerate((10, 10, 10, 10, 500, 90, 20, 1))]
    assert [len(part) for part in _parts(items, 3)] == [3, 2, 2, 1]
    assert [item for part in _parts(items, 3) for item in part] == items


def test_every_row_is_its_own_image(files, tmp_path):
    xrays, _, _ = run(files, tmp_path)
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    assert pixels.shape == (10, 32, 32)
    for row, image_id, digest in zip(xrays["row"], xrays["image_id"], xrays["source_sha256"], strict=True):
        np.testing.assert_array_equal(pixels[row], prepare(decode(files[image_id], image_id), 32)[0])
        assert digest == hashlib.sha256(files[image_id]).hexdigest()


def test_refused_and_missing_images_are_listed_and_the_others_are_unharmed(files, tmp_path):
    del files["image9"]
    xrays, refused, _ = run(files, tmp_path)
    assert len(xrays) == 9
    assert list(zip(refused["path"], refused["verdict"], refused["reason"], strict=True)) == [
        ("image3", "refused", "image_truncated"),
        ("image7", "quarantined", "image_constant"),
        ("image9", "refused", "image_missing"),
    ]
    assert refused["message"].str.startswith(refused["path"].iloc[0][:5]).all()


def test_the_tables_fit_their_schemas(files, tmp_path):
    xrays, refused, _ = run(files, tmp_path)
    schemas.XRAYS.write(xrays, tmp_path / "xrays.parquet")
    schemas.QUARANTINE.write(refused, tmp_path / "quarantine.parquet")
    assert schemas.XRAYS.read(tmp_path / "xrays.parquet")["content_rows"].tolist() == xrays["content_rows"].tolist()


def test_a_source_without_images_makes_an_empty_array(tmp_path):
    xrays, refused = prepare_all([], [], tmp_path / "pixels.npy", 32)
    assert (len(xrays), len(refused)) == (0, 0)
    assert np.load(tmp_path / "pixels.npy").shape == (0, 32, 32)


def test_the_sources_word_on_the_view_goes_before_the_guess(files, tmp_path):
    hints = {"image0": "lateral", "image1": "frontal", "image2": "unknown"}
    views = run(files, tmp_path, view_hints=hints)[0]["view_position"].tolist()
    assert views[:2] == ["lateral", "frontal"]
    assert set(views) <= {"frontal", "lateral"}


def test_only_a_few_files_are_read_ahead(files, tmp_path):
    taken, finished = [], []

    def items():
        for n in range(60):
            taken.append(n)
            yield f"image{n}", files["image0"]

    import radsynth.radiographs.prepare as module

    original, module.track = module.track, lambda done, *_: (finished.append(len(taken)) or one for one in done)
    try:
        prepare_all(items(), [f"image{n}" for n in range(60)], tmp_path / "pixels.npy", 16, workers=2)
    finally:
        module.track = original
    assert max(ahead - n for n, ahead in enumerate(finished)) <= 8


def test_an_error_in_the_source_leaves_no_file(files, tmp_path):
    def items():
        yield "image0", files["image0"]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        prepare_all(items(), ["image0", "image1"], tmp_path / "pixels.npy", 16)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.realdata
def test_the_real_open_i_images_are_prepared(realdata, tmp_path):
    with tarfile.open(realdata / "openi" / "NLMCXR_png.tgz") as archive:
        items = [(Path(m.name).stem, archive.extractfile(m).read()) for m in archive if m.isfile()]
    xrays, refused = prepare_all(items, sorted(name for name, _ in items), tmp_path / "pixels.npy", 256)
    assert refused.empty
    assert dict(zip(xrays["image_id"], xrays["view_position"], strict=True)) == {
        "CXR25_IM-1024-2001": "frontal",
        "CXR303_IM-1404-1001": "frontal",
        "CXR54_IM-2145-1001": "frontal",
        "CXR54_IM-2145-1002": "lateral",
    }
    pixels = np.load(tmp_path / "pixels.npy") / 65535
    assert ((pixels.mean((1, 2)) > 0.2) & (pixels.mean((1, 2)) < 0.7)).all()
