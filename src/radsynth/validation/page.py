"""One HTML page for a validation report: no script, no request, every value escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from radsynth.validation.run import Outcome, Report

STYLE = """
:root { --ink: #1c2430; --soft: #5b6676; --line: #dfe4ea; --paper: #ffffff; --back: #f4f6f8;
        --good: #1f7a4d; --warn: #9a6700; --bad: #b42318; --skip: #5b6676; --bar: #3b6ea8; --mark: #1c2430; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #9aa6b5; --line: #2c3541; --paper: #161c24; --back: #0e1319;
          --good: #5cc48d; --warn: #e0b341; --bad: #f5796d; --skip: #9aa6b5; --bar: #6ea3e0; --mark: #e6eaf0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 40px 0 12px; }
p { margin: 0 0 8px; }
.verdict { border-left: 6px solid; background: var(--paper); padding: 16px 20px; margin: 20px 0; border-radius: 4px; }
.verdict strong { display: block; font-size: 18px; }
.verdict.good { border-color: var(--good); } .verdict.good strong { color: var(--good); }
.verdict.bad { border-color: var(--bad); } .verdict.bad strong { color: var(--bad); }
.counts { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; padding: 0; margin: 0; list-style: none; }
.counts li { background: var(--paper); border: 1px solid var(--line); border-radius: 4px; padding: 10px 14px; }
.counts b { display: block; font-size: 24px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.counts span { color: var(--soft); }
.block { background: var(--paper); border: 1px solid var(--line); border-radius: 4px; overflow-x: auto; }
.block:focus { outline: 2px solid var(--bar); }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; white-space: nowrap; }
th, td { padding: 8px 14px; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
.results { table-layout: fixed; } .results th:nth-child(1) { width: 108px; }
.results th:nth-child(3) { width: 25%; } .results th:nth-child(4) { width: 16%; }
.results td { overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.tag { display: inline-block; min-width: 72px; text-align: center; border: 1px solid; border-radius: 3px;
       font-size: 12px; font-weight: 600; padding: 1px 8px; }
.critical { color: var(--bad); } .warning { color: var(--warn); } .passed { color: var(--good); }
.skipped { color: var(--skip); }
.where { color: var(--soft); font-size: 13px; }
dl.rows { margin: 6px 0 0; font-size: 13px; display: grid; grid-template-columns: minmax(8em, max-content) 1fr;
          gap: 2px 12px; }
dl.rows dt { font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
dl.rows dd { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
.rate { display: grid; grid-template-columns: 10.5em 1fr 4.5em 8em; gap: 4px 12px; align-items: center;
        padding: 5px 14px; border-bottom: 1px solid var(--line); }
.rate:last-child { border-bottom: 0; }
.rate .number { text-align: right; font-variant-numeric: tabular-nums; }
.rate .head { color: var(--soft); font-size: 13px; font-weight: 600; }
.track { position: relative; height: 12px; background: var(--back); }
.track i { position: absolute; left: 0; top: 0; bottom: 0; background: var(--bar); }
.track u { position: absolute; top: -3px; bottom: -3px; width: 2px; background: var(--mark); }
footer { margin-top: 48px; color: var(--soft); font-size: 13px; }
@media (max-width: 640px) {
  main { padding: 20px 12px 40px; } h1 { font-size: 22px; }
  .counts { grid-template-columns: repeat(2, 1fr); }
  .results thead { display: none; }
  .results, .results tbody, .results tr, .results td { display: block; }
  .results td { border: 0; padding: 2px 12px; }
  .results tr { border-bottom: 1px solid var(--line); padding: 10px 0; }
  .results tr:last-child { border-bottom: 0; }
  .results td[data-label]::before { content: attr(data-label) " "; color: var(--soft); font-size: 13px; }
  dl.rows { grid-template-columns: 1fr; } dl.rows dd { margin-bottom: 4px; }
  .rate { grid-template-columns: 8.5em 1fr 3.6em; padding: 5px 10px; } .rate .optional { display: none; }
}
@media print { body { background: #fff; } .block { overflow: visible; } }
"""


def render(report: Report) -> str:
    """The page as a string of HTML; the same report gives the same page."""
    data = f"{report.title} data"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{_text(f'Validation of the {data}')}</title>",
            f"<style>{STYLE}</style></head><body><main>",
            f"<h1>{_text(f'Validation of the {data}')}</h1>",
            _verdict(report),
            _counts(report),
            _section("Failed: the data must not be used", report.critical),
            _section("Warnings", report.warnings),
            _section("Skipped", report.skipped),
            *(_table(name, rows) for name, rows in report.tables.items()),
            _section("Passed", [o for o in report.outcomes if o.success]),
            "<footer>radsynth: for research, not for clinical use.</footer>",
            "</main></body></html>",
            "",
        ]
    )


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _verdict(report: Report) -> str:
    if report.critical:
        return (
            '<div class="verdict bad"><strong>The data must not be used.</strong>'
            "<p>A critical expectation failed, so the pipeline stopped here.</p></div>"
        )
    advice = "Read the warnings first." if report.warnings else "Nothing to look at."
    return f'<div class="verdict good"><strong>The data may be used.</strong><p>{advice}</p></div>'


def _counts(report: Report) -> str:
    passed = sum(1 for o in report.outcomes if o.success)
    numbers = (
        (len(report.critical), "critical failed"),
        (len(report.warnings), "warning" if len(report.warnings) == 1 else "warnings"),
        (len(report.skipped), "skipped"),
        (passed, "passed"),
    )
    return '<ul class="counts">' + "".join(f"<li><b>{n}</b><span>{what}</span></li>" for n, what in numbers) + "</ul>"


def _section(title: str, outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return ""
    rows = "".join(_outcome_row(outcome) for outcome in outcomes)
    head = "<thead><tr><th>Result</th><th>Expectation</th><th>Expected</th><th>Observed</th></tr></thead>"
    return f'<h2>{_text(title)}</h2><div class="block"><table class="results">{head}<tbody>{rows}</tbody></table></div>'


def _outcome_row(outcome: Outcome) -> str:
    state = {None: "skipped", True: "passed", False: outcome.severity}[outcome.success]
    where = f"{outcome.suite}.{outcome.column}" if outcome.column else outcome.suite
    rows = "".join(
        f"<dt>{_text(row)}</dt><dd>{_text(value)}</dd>"
        for row, value in zip(outcome.offending, outcome.values, strict=True)
    )
    details = f'<dl class="rows">{rows}</dl>' if rows else ""
    return (
        f'<tr><td><span class="tag {state}">{state}</span></td>'
        f'<td>{_text(outcome.name)}<div class="where">{_text(where)}</div>{details}</td>'
        f'<td data-label="expected">{_text(outcome.expected)}</td>'
        f'<td data-label="observed">{_text(outcome.skipped or outcome.observed)}</td></tr>'
    )


def _table(name: str, rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return ""
    if name == "Findings":
        return f"<h2>{_text(name)}</h2>" + _rates(rows)
    columns = list(rows[0])
    numeric = {c for c in columns if all(isinstance(r[c], (int, float)) for r in rows)}
    kind = {c: ' class="number"' if c in numeric else "" for c in columns}
    head = "".join(f"<th{kind[c]}>{_text(c.replace('_', ' '))}</th>" for c in columns)
    body = "".join("<tr>" + "".join(f"<td{kind[c]}>{_value(row[c])}</td>" for c in columns) + "</tr>" for row in rows)
    return (
        f'<h2>{_text(name)}</h2><div class="block" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _rates(rows: Iterable[dict[str, Any]]) -> str:
    """Share of studies with each finding as bars; a mark shows the rate in the last accepted data."""
    rows = list(rows)
    widest = max([row["rate"] for row in rows] + [row["accepted rate"] or 0 for row in rows] + [0.01])
    lines = [
        '<div class="rate"><span class="head">finding</span><span class="head">share of studies</span>'
        '<span></span><span class="head number optional">positive in train</span></div>'
    ]
    for row in rows:
        accepted = row["accepted rate"]
        mark = "" if accepted is None else f'<u style="left:{100 * accepted / widest:.2f}%"></u>'
        lines.append(
            f'<div class="rate"><span>{_text(row["finding"].replace("_", " "))}</span>'
            f'<span class="track"><i style="width:{100 * row["rate"] / widest:.2f}%"></i>{mark}</span>'
            f'<span class="number">{100 * row["rate"]:.1f} %</span>'
            f'<span class="number optional">{_text(row["positive in train"])}</span></div>'
        )
    note = '<p class="where">The upright mark is the rate in the last accepted data.</p>'
    return (note if any(row["accepted rate"] is not None for row in rows) else "") + (
        '<div class="block">' + "".join(lines) + "</div>"
    )


def _value(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, float):
        return _text(f"{value:.4g}")
    return _text(value)
