"""Drawings that are text: safe to stand inside a page."""

from __future__ import annotations

from xml.etree import ElementTree

from radsynth.figures import curves_svg

LINES = {"loss": ([1, 2, 3], [1.0, 0.5, 0.25]), "other <script>alert(1)</script>": ([1, 3], [2.0, 1.0])}


def test_curves_are_one_svg_element_with_every_line_in_the_colour_of_the_text():
    svg = curves_svg(LINES, "images seen", "value")
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "currentColor" in svg
    text = "".join(root.itertext())
    assert all(name in text for name in (*LINES, "images seen", "value"))


def test_names_of_curves_are_escaped():
    svg = curves_svg(LINES, "images seen", "value")
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


def test_the_same_curves_give_the_same_text():
    assert curves_svg(LINES, "x", "y") == curves_svg(LINES, "x", "y")


def test_dollars_and_backslashes_in_a_name_are_no_formulas():
    text = "".join(ElementTree.fromstring(curves_svg({r"a $\frac$ b": ([1], [1.0])}, "x", "y")).itertext())
    assert r"a $\frac$ b" in text
