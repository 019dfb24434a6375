"""What the documents point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_to_one(document: Path):
    links = [link for link in LINK.findall(document.read_text(encoding="utf-8")) if not link.startswith("http")]
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_every_picture_of_the_gallery_is_shown():
    shown = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    packed = [path.name for path in (ROOT / "docs/images/gallery").iterdir()]
    assert packed
    assert [name for name in packed if name not in shown] == []
