"""What a validation leaves behind: a JSON file for machines, a page for people, and a stop where it must be."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from radsynth.errors import RadsynthError
from radsynth.files import atomic_path, write_json
from radsynth.metrics import check_metrics
from radsynth.validation.page import render
from radsynth.validation.run import Outcome, Report


def as_json(report: Report) -> dict[str, Any]:
    """The report as `metrics/validate_<data>.json` holds it; it counts, so that it has no figures with intervals."""
    return {
        "success": not report.critical,
        "critical_failed": len(report.critical),
        "warnings": len(report.warnings),
        "skipped": len(report.skipped),
        "judged": len(report.outcomes) - len(report.skipped),
        "expectations": [asdict(outcome) for outcome in report.outcomes],
        "figures": {},
        "tables": report.tables,
        "notes": [],
    }


def describe(outcome: Outcome) -> str:
    """One line: the expectation, what was observed, and the offending rows."""
    rows = f"; rows {', '.join(outcome.offending)}" if outcome.offending else ""
    return f"{outcome.name} ({outcome.column or outcome.suite}): {outcome.observed}, expected {outcome.expected}{rows}"


def finish(report: Report, metrics: str | Path, page: str | Path) -> None:
    """Write the JSON and the page, list the warnings on stderr, and stop where the data must not be used.

    Raises
    ------
    RadsynthError
        Where a critical expectation failed; names it and at most ten offending rows.
    """
    content = as_json(report)
    check_metrics(content, metrics)
    write_json(metrics, content)
    with atomic_path(page) as temporary:
        temporary.write_text(render(report), encoding="utf-8")
    for outcome in report.warnings:
        print(f"warning: {report.title}: {describe(outcome)}", file=sys.stderr)
    for outcome in report.skipped:
        print(f"skipped: {report.title}: {outcome.name}: {outcome.skipped}", file=sys.stderr)
    if report.critical:
        first, others = report.critical[0], len(report.critical) - 1
        more = f" and {others} more critical expectation{'s' if others > 1 else ''}" if others else ""
        raise RadsynthError(
            f"the data must not be used: {describe(first)}{more}",
            where=report.title,
            next_step=f"see {page}",
        )
