"""The page as one string of HTML: every value escaped, every picture inside, nothing asked of any network.

References
----------
Content Security Policy Level 3, https://www.w3.org/TR/CSP3/
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from radsynth.files import atomic_path
from radsynth.report_page.evidence import Evidence
from radsynth.report_page.pictures import embed_all, first_rows
from radsynth.report_page.sections import Headline, Section, Slider, headline, sections
from radsynth.validation.page import STYLE

_HERE = Path(__file__).resolve().parent
_PARTS = {"template": "page.html", "style": "page.css", "script": "page.js"}
TOP_ROWS = 2
"""Rows of the grid of reports that stand at the top."""


def write_page(evidence: Evidence, path: str | Path) -> None:
    """Write the page, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(render(evidence), encoding="utf-8")


def render(evidence: Evidence) -> str:
    """Make the page; the same evidence gives the same page."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    parts = sections(evidence)
    with tempfile.TemporaryDirectory() as folder:
        grids = {picture.stem: picture for picture in evidence.pictures.get("evaluate_report_gan", [])}
        cut = grids.get("six_reports")
        top = headline(evidence, first_rows(cut, TOP_ROWS, Path(folder) / "top.png") if cut else None)
        album = embed_all(_paths(top, parts))
    script, style = _read("script"), STYLE + _read("style")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_read("template")).render(
        policy=policy(script),
        style=Markup(style),
        script=Markup(script),
        top=top,
        parts=parts,
        album=album,
        weak=len(parts[-1].notes),
    )


def policy(script: str) -> str:
    """What the browser may load: pictures inside the page, its own styles, and this one script."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _read(part: str) -> str:
    return (_HERE / _PARTS[part]).read_text(encoding="utf-8")


def _paths(top: Headline, parts: list[Section]) -> Iterator[Path]:
    for picture in (*top.pictures, *(picture for part in parts for picture in part.pictures)):
        if isinstance(picture, Slider):
            yield from (path for _, path in picture.frames)
        elif picture.path is not None:
            yield picture.path
