"""Ids in place of names of files and people: names of files are often names of patients."""

from __future__ import annotations

import hashlib
import re

_OPENI = re.compile(r"CXR\d+(?:_\d+)?(?:_IM(?:-\d+)+)?")


def id_of(name: str, kind: str = "s") -> str:
    """An id that does not tell the name it stands for: `kind` (s subject, r report, i image) and a digest."""
    return kind + hashlib.sha256(name.encode()).hexdigest()[:12]


def openi_id(name: str, kind: str) -> str:
    """A number of the Open-i collection (``CXR1``, ``CXR1_1_IM-0001-3001``) as it is, `id_of` any other name."""
    return name if _OPENI.fullmatch(name) else id_of(name, kind)
