"""Facts about telling frontal from lateral."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest

from radsynth.radiographs.decode import decode
from radsynth.radiographs.prepare import prepare
from radsynth.radiographs.radiograph import Radiograph
from radsynth.radiographs.view import body_width, estimate_view, lung_symmetry

Y, X = np.mgrid[0:1:256j, 0:1:256j]


def blob(x, y, width, height):
    return np.exp(-(((X - x) / width) ** 4) - ((Y - y) / height) ** 4)


def frontal(axis=0.5, right=1.0, left=1.0):
    lungs = right * blob(axis - 0.2, 0.45, 0.14, 0.3) + left * blob(axis + 0.2, 0.45, 0.14, 0.3)
    return (0.85 * blob(axis, 0.5, 0.5, 0.7) - 0.6 * lungs + 0.2 * blob(axis + 0.05, 0.6, 0.12, 0.12)).clip(0)


def lateral(depth=0.28):
    """One lung, the heart before it and the spine behind it, in a body twice `depth` deep."""
    body, lung = blob(0.5, 0.5, depth, 0.7), blob(0.5 + 0.3 * depth, 0.4, 0.4 * depth, 0.25)
    spine, heart = blob(0.5 + 0.8 * depth, 0.5, 0.2 * depth, 0.6), blob(0.5 - 0.3 * depth, 0.5, 0.35 * depth, 0.2)
    return (0.6 * body - 0.4 * lung + 0.4 * spine + 0.3 * heart).clip(0)


@pytest.mark.parametrize("axis", [0.42, 0.5, 0.58])
def test_two_lungs_beside_a_spine_are_frontal_even_off_centre(axis):
    assert estimate_view(frontal(axis)) == "frontal"


def test_one_lung_half_as_dark_is_still_frontal():
    assert estimate_view(frontal(left=0.5)) == "frontal"


def test_a_body_with_air_before_and_behind_is_lateral():
    assert estimate_view(lateral()) == "lateral"
    assert estimate_view(lateral()[:, ::-1]) == "lateral"
    assert body_width(lateral()) < 0.7 < body_width(frontal())


def test_a_full_picture_whose_sides_do_not_match_is_lateral():
    ramp = 0.2 + X
    assert body_width(ramp) == 1
    assert estimate_view(ramp) == "lateral"


def test_brightness_and_mirroring_do_not_matter():
    picture = frontal(0.45, left=0.7)
    assert lung_symmetry(300 * picture) == pytest.approx(lung_symmetry(picture), abs=1e-4)
    assert body_width(300 * picture) == body_width(picture)
    assert lung_symmetry(picture[:, ::-1]) == pytest.approx(lung_symmetry(picture), abs=0.03)


@pytest.mark.realdata
def test_real_frontals_are_frontal(realdata):
    paths = sorted((realdata / "nih" / "images").glob("*.png"))[:100]
    views = [estimate_view(prepare(decode(path.read_bytes(), path.name), 256)[0]) for path in paths]
    assert views.count("frontal") >= 97


@pytest.mark.realdata
def test_a_real_lateral_is_lateral_even_cut_close_to_the_body(realdata):
    with tarfile.open(realdata / "openi" / "NLMCXR_png.tgz") as archive:
        name = "CXR54_IM-2145-1002.png"
        pixels = decode(archive.extractfile(name).read(), name).pixels
    for columns in (slice(None), slice(60, 370)):
        cut = Radiograph(pixels[:, columns], 8, "MONOCHROME2", "unknown", "PNG")
        assert estimate_view(prepare(cut, 256)[0]) == "lateral"
