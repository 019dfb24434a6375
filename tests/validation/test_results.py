"""What a validation writes, and when it stops the pipeline."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from radsynth.errors import RadsynthError
from radsynth.files import read_json
from radsynth.validation.accept import accept, read_accepted
from radsynth.validation.chest import label_rates
from radsynth.validation.page import render
from radsynth.validation.results import as_json, finish
from radsynth.vocabulary import FINDINGS

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)> XXXX'


class Tags(HTMLParser):
    """Every tag and attribute of a page, and what is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


@pytest.fixture(scope="module")
def good_report(chest):
    return chest.judge()


@pytest.fixture(scope="module")
def hostile_report(chest):
    return (
        chest.edited("manifest", 5, prompt=HOSTILE)
        .edited("manifest", 6, image_id="<script>id</script>", split="</td><script>")
        .judge()
    )


def test_a_script_in_a_prompt_or_an_id_is_shown_as_text(hostile_report):
    page = render(hostile_report)
    tags = parsed(page)
    assert "script" not in tags.tags
    assert "img" not in tags.tags
    assert "&lt;script&gt;alert(&quot;x&quot;)" in page
    assert "&lt;script&gt;id" in page


def test_the_page_asks_for_nothing_from_outside(hostile_report):
    page = render(hostile_report)
    tags = parsed(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(tags.tags)
    assert not [name for name, _ in tags.attributes if name.startswith("on") or name in ("src", "href", "srcset")]
    assert not re.search(r"url\(|@import|https?://", page)


def test_the_page_is_well_formed_and_the_same_every_time(chest, good_report):
    page = render(good_report)
    assert parsed(page).open == []
    assert page == render(chest.judge())


def test_a_critical_failure_stops_in_one_line_after_both_files_are_written(hostile_report, tmp_path):
    with pytest.raises(RadsynthError) as stop:
        finish(hostile_report, tmp_path / "m.json", tmp_path / "p.html")
    message = str(stop.value)
    assert stop.value.exit_code == 2
    assert "\n" not in message
    first = hostile_report.critical[0]
    assert first.name in message
    assert first.offending[0] in message
    assert read_json(tmp_path / "m.json")["critical_failed"] == len(hostile_report.critical)
    assert "must not be used" in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_warnings_are_listed_and_do_not_stop(chest, tmp_path, capsys):
    report = chest.with_(reports=chest.reports.assign(mentions_prior=True)).judge()
    finish(report, tmp_path / "m.json", tmp_path / "p.html")
    listed = capsys.readouterr().err
    assert "warning: chest: few reports speak of prior studies" in listed
    assert "skipped: chest: label rates" in listed


def test_the_json_lists_every_expectation_with_its_severity_and_its_offending_rows(chest):
    result = as_json(chest.edited("manifest", 5, prompt="XXXX seen.").judge())
    assert (result["success"], result["critical_failed"], result["warnings"]) == (False, 2, 0)
    by_name = {e["name"]: e for e in result["expectations"]}
    entry = by_name["no XXXX is left in a prompt"]
    assert {"name", "column", "severity", "success", "observed", "offending"} <= set(entry)
    assert (entry["column"], entry["severity"], entry["success"]) == ("prompt", "critical", False)
    assert entry["offending"] == ["CXR6_IM-1"]
    drift = by_name["label rates are those of the last accepted data"]
    assert (drift["success"], bool(drift["skipped"])) == (None, True)


def test_accepted_data_become_the_reference(chest, good_report, tmp_path):
    finish(good_report, tmp_path / "m.json", tmp_path / "p.html")
    accepted = tmp_path / "accepted" / "rates.json"
    assert read_accepted(accepted) is None
    accept(tmp_path / "m.json", accepted)
    reference = read_accepted(accepted)
    assert reference == pytest.approx(label_rates(chest.manifest))
    report = chest.with_(reference=reference).judge()
    assert not report.skipped
    assert not report.warnings
    assert "The upright mark" in render(report)


def test_data_that_failed_or_were_never_judged_are_not_accepted(hostile_report, tmp_path):
    with pytest.raises(RadsynthError, match="not been validated"):
        accept(tmp_path / "m.json", tmp_path / "rates.json")
    with pytest.raises(RadsynthError):
        finish(hostile_report, tmp_path / "m.json", tmp_path / "p.html")
    with pytest.raises(RadsynthError, match="cannot be accepted"):
        accept(tmp_path / "m.json", tmp_path / "rates.json")
    assert not (tmp_path / "rates.json").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"edema": 2}', "\xff"])
def test_a_broken_reference_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "rates.json").write_text(text, encoding="latin-1")
    with pytest.raises(RadsynthError, match="not a file of label rates"):
        read_accepted(tmp_path / "rates.json")


def test_the_reference_names_every_finding(tmp_path, good_report):
    finish(good_report, tmp_path / "m.json", tmp_path / "p.html")
    assert set(accept(tmp_path / "m.json", tmp_path / "r.json")) == set(FINDINGS)
