"""Ids in place of names of files and people: names of files are often names of patients."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

_OPENI = re.compile(r"CXR[1-9]\d{0,3}(?:_\d)?(?:_IM-\d{4}-\d{4,8}(?:-\d{4})?)?")
"""All names of the collection's 3,955 reports and 7,470 images; an accession number is longer."""


def id_of(name: str, kind: str = "s") -> str:
    """An id that does not tell the name it stands for: `kind` (s subject, r report, i image) and a digest."""
    return kind + hashlib.sha256(name.encode()).hexdigest()[:12]


def is_utf8(text: str) -> bool:
    """Whether it can be written; bytes of a file's name or a command line that are no UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown_name(path: str | Path) -> str | None:
    """For a name that is not UTF-8, which no table can hold, one with the other bytes escaped; None for any other."""
    return None if is_utf8(str(path)) else os.fsencode(path).decode(errors="backslashreplace")


def openi_id(name: str, kind: str) -> str:
    """A number of the Open-i collection (``CXR1``, ``CXR1_1_IM-0001-3001``) as it is, `id_of` any other name."""
    return name if _OPENI.fullmatch(name) else id_of(name, kind)
