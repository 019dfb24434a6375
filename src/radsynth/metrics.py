"""One shape for every `metrics/<stage>.json`: figures, tables, notes, and a flat copy for `dvc metrics diff`.

A figure is what `radsynth.evaluation.entries.entry` makes: a value with its 95 % interval, on how many patients, of
which split, with its floor (real against real, or perfect) and its worst case beside it. Other keys at the top, such
as verdicts and what the gate reads, may stand there in any form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from radsynth.errors import RadsynthError
from radsynth.files import write_json

_number: dict[str, Any] = {"type": ["number", "null"]}
_count: dict[str, Any] = {"type": ["integer", "null"], "minimum": 0}
_text: dict[str, Any] = {"type": ["string", "null"]}
_interval: dict[str, Any] = {
    "type": "object",
    "properties": {"value": _number, "low": _number, "high": _number, "n": _count, "split": _text},
    "required": ["value"],
    "additionalProperties": False,
}
_bound: dict[str, Any] = {"anyOf": [_number, _interval]}
_figure: dict[str, Any] = {
    "type": "object",
    "properties": {
        "value": _number,
        "low": _number,
        "high": _number,
        "n": _count,
        "split": {"type": "string", "minLength": 1},
        "seeds": {"type": "array", "items": {"type": "integer"}},
        "feature_space": _text,
        "floor": _bound,
        "worst_case": _bound,
        "definition": _text,
        "reason": _text,
    },
    "required": ["value", "low", "high", "n", "split", "seeds", "feature_space", "floor", "worst_case", "definition"],
    "additionalProperties": False,
}
_cell: dict[str, Any] = {"anyOf": [{"type": ["number", "string", "boolean", "null"]}, _interval]}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "metrics/<stage>.json",
    "type": "object",
    "properties": {
        "figures": {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9_. -]*$"},
            "additionalProperties": _figure,
        },
        "tables": {
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "items": {"type": "object", "additionalProperties": _cell},
            },
        },
        "notes": {"type": "array", "items": {"type": "string", "minLength": 1}},
    },
    "required": ["figures"],
}
"""What every metrics file obeys, as a JSON Schema; the names of figures are such as MLflow takes."""


def write_figures(
    path: str | Path,
    figures: Mapping[str, Mapping[str, Any]],
    *,
    tables: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    notes: Iterable[str] = (),
    flat: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `metrics/<stage>.json`, or nothing where it would not obey `SCHEMA`.

    Parameters
    ----------
    figures
        Name -> entry. Each value stands at the top of the file as well, under the same name.
    tables
        Name -> rows: one row a patient, volume or finding.
    notes
        What these figures do not show, in whole sentences.
    flat
        Further keys of the top: counts, verdicts, whatever other programs read. A figure of the same name wins.

    Returns
    -------
    dict
        What was written.

    Raises
    ------
    RadsynthError
        Where something does not fit, with its place in the file.
    """
    top = dict(flat or {}) | {name: figure.get("value") for name, figure in figures.items()}
    taken = sorted({"figures", "tables", "notes"} & top.keys())
    if taken:
        raise RadsynthError("a figure has the name of a part of the file", where=path, got=", ".join(taken))
    content = top | {"figures": dict(figures), "tables": dict(tables or {}), "notes": list(notes)}
    write_metrics(path, content)
    return content


def write_metrics(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write the finished content of `metrics/<stage>.json`, or nothing where it does not obey `SCHEMA`.

    Raises
    ------
    RadsynthError
        Where something does not fit, with its place in the file.
    """
    check_metrics(content, path)
    write_json(path, content)


def check_metrics(content: Any, where: str | Path) -> None:
    """Compare the content of a metrics file with `SCHEMA`, and the ends of every interval with each other.

    Raises
    ------
    RadsynthError
        At the first thing that does not fit.
    """
    import jsonschema

    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(SCHEMA).iter_errors(content))
    if error is not None:
        place = ".".join(str(step) for step in error.absolute_path)
        raise RadsynthError(f"not a metrics file: {place or 'the whole'}: {error.message}", where=where)
    for name, figure in content["figures"].items():
        low, high = figure["low"], figure["high"]
        if (low is None) != (high is None) or (low is not None and low > high):
            raise RadsynthError(
                f"the figure {name} has no proper interval", where=where, got=f"{low} to {high}", expected="low <= high"
            )
