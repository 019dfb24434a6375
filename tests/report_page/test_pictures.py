"""Pictures inside the page."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from radsynth.errors import RadsynthError
from radsynth.report_page.pictures import STEPS, embed_all, first_rows


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,"))))


def noise(path, width=200, height=100):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def test_wide_pictures_are_reduced_and_keep_their_shape(tmp_path):
    wide, small = noise(tmp_path / "wide.png", 2560, 100), noise(tmp_path / "small.png", 50, 30)
    album = embed_all([wide, small, small])
    assert (album.width, album.quality) == STEPS[0]
    assert opened(album.pictures[wide].uri).size == (1280, 50)
    assert (album.pictures[small].width, album.pictures[small].height) == (50, 30)


def test_pictures_that_are_too_much_together_are_reduced_further(tmp_path):
    paths = [noise(tmp_path / f"{k}.png", 1200, 300) for k in range(3)]
    first = sum(len(p.uri) for p in embed_all(paths).pictures.values()) * 3 // 4
    album = embed_all(paths, limit=int(0.9 * first))
    assert album.width < STEPS[0][0]
    assert sum(len(p.uri) for p in album.pictures.values()) * 3 // 4 <= 0.9 * first
    assert set(album.pictures) == set(paths)


def test_nothing_is_left_out_where_even_the_smallest_do_not_fit(tmp_path):
    paths = [noise(tmp_path / f"{k}.png") for k in range(2)]
    assert set(embed_all(paths, limit=1).pictures) == set(paths)


def test_what_is_transparent_becomes_white(tmp_path):
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    album = embed_all([tmp_path / "clear.png"])
    assert np.asarray(opened(album.pictures[tmp_path / "clear.png"].uri).convert("L")).min() > 250


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "broken.png").write_text("nothing")
    with pytest.raises(RadsynthError, match="not a picture"):
        embed_all([tmp_path / "broken.png"])


def test_the_first_rows_of_a_grid_end_in_the_gap_below_them(tmp_path):
    pixels = np.full((400, 100), 255, np.uint8)
    for row in range(3):
        pixels[20 + 120 * row : 120 + 120 * row, 10:90] = 50
    pixels[5:10, 40:60] = 0  # a title
    Image.fromarray(pixels).save(tmp_path / "grid.png")
    cut = Image.open(first_rows(tmp_path / "grid.png", 2, tmp_path / "cut.png"))
    assert cut.size == (100, 250)


def test_a_picture_without_gaps_stays_whole(tmp_path):
    path = noise(tmp_path / "whole.png")
    assert first_rows(path, 2, tmp_path / "cut.png") == path
    assert not (tmp_path / "cut.png").exists()
