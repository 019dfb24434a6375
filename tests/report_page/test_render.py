"""The page as a browser sees it: whole, quiet, safe, usable by keys."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from radsynth.report_page.evidence import Evidence
from radsynth.report_page.render import policy, render, write_page

LINKS = ("src", "href", "xlink:href", "action", "srcset", "poster", "data")
EMPTY = Evidence({}, "", {}, {}, {}, {}, {}, [])


class Reader(HTMLParser):
    """Collects tags with their attributes, and the text of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and self.lasttag == "script":
            self.scripts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_markup_from_outside_is_text_everywhere(evidence):
    page = render(evidence)
    assert "document.title=&#39;taken&#39;" in page
    read = Reader(page)
    assert len(read.of("script")) == 1
    assert not [attributes for _, attributes in read.tags if any(name.startswith("on") for name in attributes)]
    assert all(attributes["src"].startswith("data:image/webp;base64,") for attributes in read.of("img"))


def test_the_policy_lets_in_this_script_and_pictures_of_the_page_alone(evidence):
    read = Reader(render(evidence))
    told = next(m["content"] for m in read.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert told == policy("".join(read.scripts))
    assert told.startswith("default-src 'none'; img-src data:; ")
    assert [tag for tag, _ in read.tags].index("meta") < [tag for tag, _ in read.tags].index("style")
    assert policy("other") != told


def test_nothing_in_the_page_names_another_host(evidence):
    page = render(evidence)
    given = [value for _, attributes in Reader(page).tags for name, value in attributes.items() if name in LINKS]
    outside = [link for link in given if not link.startswith(("#", "data:", "validation_"))]
    assert len(given) > 20
    assert outside == []
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_every_picture_has_words_and_every_slider_a_label(evidence):
    read = Reader(render(evidence))
    assert all(attributes["alt"] for attributes in read.of("img"))
    sliders = {attributes["id"] for attributes in read.of("input")}
    assert len(sliders) == 3, "findings, slices, time"
    assert sliders == {attributes["for"] for attributes in read.of("label")}


def test_a_figure_stands_with_its_interval_its_bounds_and_its_definition(evidence):
    page = render(evidence)
    row = next(r for r in re.findall(r"<tr>.*?</tr>", page, re.S) if "<summary>Label AUROC drawn" in r)
    text = re.sub(r"<[^>]+>", " ", row)
    for part in ("0.8", "0.7 to 0.9", "10", "0.5", "0.9", "test", "75 % of the way"):
        assert part in text, part
    assert "&lt;script&gt;" in row, "its definition"


def test_a_checkout_in_which_nothing_was_made_names_every_missing_part():
    page = render(EMPTY)
    missing = re.findall(r'<p class="missing">(.*?)</p>', page)
    for stage in (
        "evaluate_report_gan",
        "evaluate_mri_to_ct",
        "explain",
        "audit_report_gan",
        "audit_mri_to_ct",
        "evaluate_utility",
    ):
        assert any(f"the stage {stage} has not run" in line for line in missing), stage
    assert any("data manifests" in line for line in missing)


def test_the_same_evidence_gives_the_same_page(evidence):
    assert render(evidence) == render(evidence)


@pytest.mark.slow
def test_a_browser_opens_the_page_without_a_complaint_or_a_request(evidence, browser, tmp_path):
    write_page(evidence, tmp_path / "index.html")
    browser.open(tmp_path / "index.html")
    assert browser.evaluate("document.title") == "radsynth: what was trained and how good it is"
    shown = "Array.from(document.querySelectorAll('.slider')[2].querySelectorAll('.frame')).map(f => f.hidden)"
    assert browser.evaluate(shown) == [True, True, False, True, True], "the middle slice first"
    browser.evaluate("document.querySelectorAll('.slider')[2].querySelector('input').focus()")
    browser.press("ArrowRight", 39)
    assert browser.evaluate(shown) == [True, True, True, False, True]
    browser.press("Home", 36)
    assert browser.evaluate(shown) == [False, True, True, True, True]
    assert (
        browser.evaluate("document.querySelectorAll('.slider')[2].querySelector('output').textContent") == "slice 000"
    )
    assert browser.evaluate("Array.from(document.images).every(i => i.complete && i.naturalWidth > 0)")
    for width in (1400, 400):
        browser.width(width)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, "wide things scroll in their boxes"
    assert browser.complaints == []
    outside = [url for url in browser.requests if not url.startswith("data:")]
    assert outside == [(tmp_path / "index.html").as_uri()]


@pytest.mark.slow
def test_the_browser_complains_of_a_script_that_the_policy_does_not_know(evidence, browser, tmp_path):
    """What the test above relies on."""
    page = render(dataclasses.replace(evidence, curves={}))
    (tmp_path / "index.html").write_text(
        page.replace("<main>", "<main><script>document.title='taken'</script><img src='https://example.org/a.png'>")
    )
    browser.open(tmp_path / "index.html")
    assert browser.evaluate("document.title") != "taken"
    assert any("script" in complaint for complaint in browser.complaints)
    assert any("example.org" in complaint for complaint in browser.complaints)
