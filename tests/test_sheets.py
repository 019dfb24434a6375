"""Sheets of pictures: every pixel where it belongs, nothing smoothed, weak evidence weak."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from radsynth.figures import counterfactual_pairs, evidence_table, explanation_overlays, picture_grid
from radsynth.sheets import CELL, GAP, LESION, fitted, grey, outlined, wrapped


def chest(side: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (side, side)).astype(np.float32)


def read(path) -> np.ndarray:
    with Image.open(path) as page:
        return np.asarray(page)


def test_a_picture_of_the_cells_size_stands_on_the_sheet_pixel_by_pixel(tmp_path):
    rows = [[chest(seed=0), chest(seed=1)], [chest(seed=2)]]
    picture_grid(rows, tmp_path / "grid.png", row_titles=["No effusion.", "Large effusion."], column_titles=["real"])
    page = read(tmp_path / "grid.png")
    left, top = page.shape[1] - 2 * (CELL + GAP), page.shape[0] - 2 * (CELL + GAP)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            y, x = top + r * (CELL + GAP), left + c * (CELL + GAP)
            assert np.array_equal(page[y : y + CELL, x : x + CELL], grey(picture))
    assert (page[:top] < 128).any(), "the column's title"
    assert (page[top:, :left] < 128).any(), "the rows' titles"


@pytest.mark.parametrize(("given", "seen"), [((64, 64), (256, 256)), ((512, 512), (256, 256)), ((128, 64), (256, 128))])
def test_pictures_of_other_sizes_keep_their_shape(given, seen):
    assert fitted(np.zeros(given, np.uint8)).shape == seen


def test_enlarging_repeats_and_reducing_averages():
    small = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    assert np.array_equal(fitted(small), small.repeat(4, 0).repeat(4, 1))
    stripes = np.tile(np.array([0, 200], np.uint8), (512, 256))
    assert (fitted(stripes) == 100).all()


def test_an_outline_lies_on_the_masks_own_edge():
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:30] = True
    drawn = outlined(np.zeros((40, 40, 3), np.uint8), mask)
    marked = (drawn == LESION).all(-1)
    assert marked.sum() == 2 * 10 + 2 * 20 - 4
    assert not (marked & ~mask).any()
    assert not marked[12:18, 12:28].any()
    nothing = np.zeros((40, 40, 3), np.uint8)
    assert outlined(nothing, None) is nothing
    assert outlined(nothing, np.zeros((40, 40), bool)) is nothing


def test_evidence_is_red_for_blue_against_and_as_strong_as_beside_the_strongest_of_all_maps(tmp_path):
    pictures, maps = np.zeros((3, 256, 256), np.float32), np.zeros((3, 256, 256), np.float32)
    maps[0], maps[1], maps[2, :, :128] = 1.0, -1.0, 0.1
    explanation_overlays(pictures, maps, tmp_path / "maps.png", titles=["for", "against", "weak"])
    page = read(tmp_path / "maps.png").astype(int)
    below = page[-(CELL // 2 + 2 * GAP)]
    strong, against, weak, none = (below[GAP + k * (CELL + GAP) + x] for k, x in ((0, 99), (1, 99), (2, 60), (2, 190)))
    assert strong[0] - strong[2] > 40
    assert against[2] - against[0] > 50
    assert 0 <= weak[0] - weak[2] < 10
    assert none.tolist() == [128, 128, 128]


def test_equal_pictures_are_equal_bytes(tmp_path):
    for name in ("one", "other"):
        texts = [("No effusion.", "Large effusion. $x$")]
        counterfactual_pairs(
            chest()[None], chest(seed=3)[None], tmp_path / f"pairs_{name}.png", texts=texts, titles=["a"]
        )
        mask = chest() > 0.9
        rows = [[("picture", chest(), None, None), ("map", chest(), chest(seed=4), mask)]]
        evidence_table(rows, tmp_path / f"table_{name}.png", row_titles=["mass"], note="red: evidence for")
    for kind in ("pairs", "table"):
        one, other = ((tmp_path / f"{kind}_{name}.png").read_bytes() for name in ("one", "other"))
        assert one == other


def test_long_words_are_cut_into_lines_and_then_off():
    text = wrapped("There is a nodule. " * 30, 40, 190)
    assert max(map(len, text.split("\n"))) <= 40
    assert text.endswith("...")
    assert len(text) <= 195
