"""Bring the tables of docs to what `dvc repro` measured: ``python docs/make_results.py``, in the repository's root.

A row says in a comment which figures of `metrics/` it shows, and only its cells are written anew; words stay. Either
one figure, ``<!-- stage.figure -->``, in a table with the columns value (or here), floor and worst case; or one for
each cell after the first, ``<!-- stage.figure, -, stage/table/column=key/column -->``, a dash for a cell that stays.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from radsynth.files import read_json
from radsynth.report_page.words import cell

PAGES = [Path("docs/results.md"), Path("docs/audit.md"), Path("docs/utility.md")]
BOUNDS = {"value": "value", "here": "value", "floor": "floor", "worst case": "worst_case"}
COMMENT = re.compile(r"<!-- (.+?) -->")


@cache
def measured(stage: str) -> dict[str, Any]:
    """The metrics of a stage."""
    return read_json(Path("metrics") / f"{stage}.json")


def found(path: str) -> Any:
    """What a row's comment names; None for a row that its table lacks this time.

    Raises
    ------
    SystemExit
        Where it was not measured.
    """
    try:
        if "/" not in path:
            stage, figure = path.split(".")
            return measured(stage)["figures"][figure]
        stage, table, row, column = path.split("/")
        wanted = dict(condition.split("=") for condition in row.split("&"))
        rows = measured(stage)["tables"][table]
        one = next((row for row in rows if all(str(row[key]) == value for key, value in wanted.items())), None)
        if one is None:
            return None
        ends = {end: one.get(f"{column}_{end}") for end in ("low", "high")}
        return {"value": one[column], **ends}
    except (KeyError, ValueError):
        sys.exit(f"error: metrics do not hold {path}; run: make repro")


def renewed(row: str, header: list[str]) -> str:
    """A row of a table with the figures that its comment names."""
    comment = COMMENT.search(row)
    if comment is None:
        return row
    cells = [one.strip() for one in row.strip().strip("|").split("|")]
    paths = [path.strip() for path in comment[1].split(",")]
    if BOUNDS.keys() & set(header):
        entry = found(paths[0])
        for at, name in enumerate(header):
            if BOUNDS.get(name) == "value":
                cells[at] = cell(entry)
            elif name in BOUNDS:
                cells[at] = cell(entry.get(BOUNDS[name]))
    else:
        for at, path in enumerate(paths, start=1):
            if path != "-":
                cells[at] = cell(found(path))
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Write the rows that name their figures."""
    for page in PAGES:
        lines, header = page.read_text(encoding="utf-8").splitlines(), []
        for at, line in enumerate(lines):
            if not line.startswith("|"):
                header = []
            elif not header:
                header = [name.strip() for name in line.strip("|").split("|")]
            else:
                lines[at] = renewed(line, header)
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
