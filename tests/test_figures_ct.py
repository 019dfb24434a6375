import numpy as np
import pytest
from PIL import Image

from radsynth.figures import ct_error_and_doubt, risk_coverage_plot, slice_strip


@pytest.fixture
def head():
    true = np.full((6, 10, 12), 40, np.int16)
    inside = np.zeros(true.shape, bool)
    inside[1:5, 2:8, 3:9] = True
    return np.full(true.shape, 0.5, np.float32), true + np.int16(600), true, inside


def test_a_strip_shows_four_panels_and_the_error_in_colour(tmp_path, head):
    mr, synthetic, true, inside = (volume[2] for volume in head)
    slice_strip(mr, synthetic, true, inside, 1.0, tmp_path / "strip.png")
    picture = np.asarray(Image.open(tmp_path / "strip.png"))
    assert picture.shape == (20, 2 * (4 * 12 + 3 * 3), 3)
    panels = [picture[:, 2 * start + 8 : 2 * start + 16] for start in (0, 15, 30, 45)]
    for panel in panels[:3]:
        assert (panel == panel[..., :1]).all(), "grey"
    red, green, blue = panels[3][10, 4].astype(int)
    assert red > max(green, blue) + 50, "600 HU too dense is red"
    assert (picture[1, -3] == 255).all(), "white outside the mask"
    slice_strip(mr, synthetic, true, inside, 1.5, tmp_path / "tall.png")
    assert Image.open(tmp_path / "tall.png").size[1] == 30


def test_equal_pictures_are_equal_bytes(tmp_path, head):
    mr, synthetic, true, inside = head
    places, doubt = np.array([1, 4]), np.random.default_rng(0).random((2, 10, 12)).astype(np.float32)
    for name in ("a.png", "b.png"):
        seen = (mr, synthetic, true, inside, inside, places, doubt)
        ct_error_and_doubt(*seen, (1.0, 1.0, 2.0), "a head", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    curves = {name: np.linspace(1, 5, 100) for name in ("both", "oracle", "random")}
    risk_coverage_plot(curves, tmp_path / "risk.png")
    assert Image.open(tmp_path / "risk.png").size[0] > 300
