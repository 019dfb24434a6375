"""Running suites of expectations on frames, and what comes out of it.

A suite is a list of `Expect`, plain values that name a Great Expectations class; the library itself is imported only
when a suite is run, because that takes seconds. Its own HTML pages load scripts from the network and execute markup
found in cell values, so `radsynth.validation.page` renders the results instead.

References
----------
https://docs.greatexpectations.io/docs/core/introduction/
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Severity = Literal["critical", "warning"]
MAX_OFFENDING = 10
MAX_VALUE_CHARACTERS = 160


@dataclass(frozen=True)
class Expect:
    """One expectation: `kind` is the name of a class of ``great_expectations.expectations``, `kwargs` its arguments.

    `name` is the sentence that people read; it is unique in its suite.
    """

    name: str
    kind: str
    severity: Severity
    kwargs: dict[str, Any]
    skipped: str = ""
    """Why the expectation cannot be judged; then it is reported and not run."""


@dataclass(frozen=True)
class Suite:
    """Expectations on one frame, whose `id_column` names the rows in messages."""

    name: str
    frame: pd.DataFrame
    id_column: str
    expectations: Sequence[Expect]


@dataclass(frozen=True)
class Outcome:
    """How one expectation turned out; `success` is None where it was skipped.

    `offending` holds the ids of at most ten rows and `values` what was found in them.
    """

    suite: str
    name: str
    column: str
    severity: Severity
    success: bool | None
    expected: str
    observed: str
    offending: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    skipped: str = ""


@dataclass(frozen=True)
class Report:
    """All outcomes on a data set, and the `tables` of facts about it that the page shows beside them."""

    title: str
    outcomes: list[Outcome]
    tables: dict[str, list[dict[str, Any]]]

    @property
    def critical(self) -> list[Outcome]:
        """Failed expectations that forbid the use of the data."""
        return [o for o in self.outcomes if o.success is False and o.severity == "critical"]

    @property
    def warnings(self) -> list[Outcome]:
        """Failed expectations that somebody should look at."""
        return [o for o in self.outcomes if o.success is False and o.severity == "warning"]

    @property
    def skipped(self) -> list[Outcome]:
        """Expectations that could not be judged."""
        return [o for o in self.outcomes if o.success is None]


def between(
    column: str, low: float | None, high: float | None, name: str, severity: Severity = "critical", **kwargs: Any
) -> list[Expect]:
    """Every value of `column` is there and lies in [`low`, `high`]; a NaN is a missing value, never a passing one."""
    bounds = {"column": column, "min_value": low, "max_value": high} | kwargs
    return [
        Expect(f"{name}: known for every row", "ExpectColumnValuesToNotBeNull", severity, {"column": column}),
        Expect(name, "ExpectColumnValuesToBeBetween", severity, bounds),
    ]


def all_true(column: str, name: str, severity: Severity = "critical") -> list[Expect]:
    """Every value of the boolean `column` is true."""
    return [Expect(name, "ExpectColumnValuesToBeInSet", severity, {"column": column, "value_set": [True]})]


def complete(columns: Sequence[str], severity: Severity = "critical") -> list[Expect]:
    """No value is missing and no text is empty in any of `columns`."""
    missing = [
        Expect(f"{c} is never missing", "ExpectColumnValuesToNotBeNull", severity, {"column": c}) for c in columns
    ]
    empty = [
        Expect(f"{c} is never empty", "ExpectColumnValueLengthsToBeBetween", severity, {"column": c, "min_value": 1})
        for c in columns
    ]
    return [expectation for pair in zip(missing, empty, strict=True) for expectation in pair]


def unique(column: str, name: str, severity: Severity = "critical") -> list[Expect]:
    """No value of `column` appears twice."""
    return [Expect(name, "ExpectColumnValuesToBeUnique", severity, {"column": column})]


def in_set(column: str, values: Sequence[Any], name: str, severity: Severity = "critical") -> list[Expect]:
    """Every value of `column` is one of `values`; a missing value is not."""
    return [
        Expect(f"{name}: known for every row", "ExpectColumnValuesToNotBeNull", severity, {"column": column}),
        Expect(name, "ExpectColumnValuesToBeInSet", severity, {"column": column, "value_set": list(values)}),
    ]


def without(column: str, pattern: str, name: str, severity: Severity = "critical") -> list[Expect]:
    """No text of `column` matches the regular expression `pattern` anywhere."""
    return [Expect(name, "ExpectColumnValuesToNotMatchRegex", severity, {"column": column, "regex": pattern})]


def matching(column: str, pattern: str, name: str, severity: Severity = "critical") -> list[Expect]:
    """Every text of `column` matches the regular expression `pattern`."""
    return [Expect(name, "ExpectColumnValuesToMatchRegex", severity, {"column": column, "regex": pattern})]


def mean_between(
    column: str, low: float | None, high: float | None, name: str, severity: Severity = "critical"
) -> list[Expect]:
    """The mean of `column` lies in [`low`, `high`]."""
    bounds = {"column": column, "min_value": low, "max_value": high}
    return [Expect(name, "ExpectColumnMeanToBeBetween", severity, bounds)]


def rows_between(low: int | None, high: int | None, name: str, severity: Severity = "critical") -> list[Expect]:
    """The number of rows lies in [`low`, `high`]."""
    return [Expect(name, "ExpectTableRowCountToBeBetween", severity, {"min_value": low, "max_value": high})]


def run_suites(title: str, suites: Sequence[Suite], tables: dict[str, list[dict[str, Any]]]) -> Report:
    """Judge every suite with Great Expectations, in memory and without any request to the network.

    Parameters
    ----------
    title
        What is judged, for people.
    suites
        Their names differ, and so do the names of the expectations of one suite.
    tables
        Facts for the page, as lists of rows.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
        ),
    )
    source = context.data_sources.add_pandas("radsynth")
    outcomes: list[Outcome] = []
    for suite in suites:
        names = [expect.name for expect in suite.expectations]
        assert len(set(names)) == len(names), f"two expectations of {suite.name} have the same name"
        judged = [expect for expect in suite.expectations if not expect.skipped]
        batch = (
            source.add_dataframe_asset(suite.name)
            .add_batch_definition_whole_dataframe("all")
            .get_batch({"dataframe": suite.frame})
        )
        expectations = [
            getattr(gxe, e.kind)(severity=e.severity, meta={"name": e.name}, **_without_none(e.kwargs)) for e in judged
        ]
        validation = batch.validate(
            gx.ExpectationSuite(name=suite.name, expectations=expectations),
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": [suite.id_column],
                "partial_unexpected_count": MAX_OFFENDING,
            },
        )
        results = {result.expectation_config.meta["name"]: result for result in validation.results}
        outcomes += [_outcome(suite, expect, results.get(expect.name)) for expect in suite.expectations]
    return Report(title, outcomes, tables)


def _without_none(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if value is not None}


def _outcome(suite: Suite, expect: Expect, validated: Any) -> Outcome:
    column = expect.kwargs.get("column", "")
    expected = _expected(expect)
    if validated is None:
        return Outcome(
            suite.name, expect.name, column, expect.severity, None, expected, "skipped", skipped=expect.skipped
        )
    result = validated.result or {}
    if "unexpected_count" in result:
        failing, rows = result["unexpected_count"], result["element_count"]
        observed = f"{failing} of {rows} rows fail" if failing else f"all {rows} rows fit"
    elif "observed_value" in result:
        observed = _number(result["observed_value"])
    else:
        observed = "could not be judged"
    rows = result.get("partial_unexpected_index_list") or []
    return Outcome(
        suite=suite.name,
        name=expect.name,
        column=column,
        severity=expect.severity,
        success=bool(validated.success),
        expected=expected,
        observed=observed,
        offending=[str(row[suite.id_column]) for row in rows],
        values=[_number(row.get(column, ""))[:MAX_VALUE_CHARACTERS] for row in rows],
    )


def _expected(expect: Expect) -> str:
    kwargs = expect.kwargs
    if "value_set" in kwargs:
        if len(kwargs["value_set"]) == 1:
            return str(kwargs["value_set"][0])
        return "one of " + ", ".join(repr(value) for value in kwargs["value_set"])
    if expect.kind == "ExpectColumnValuesToBeUnique":
        return "no value twice"
    if expect.kind == "ExpectColumnValuesToNotBeNull":
        return "a value in every row"
    if "regex" in kwargs:
        return (
            "a text that matches "
            if expect.kind.endswith("ToMatchRegex") and "Not" not in expect.kind
            else "no text that matches "
        ) + kwargs["regex"]
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    noun = {"ExpectTableRowCountToBeBetween": " row", "ExpectColumnValueLengthsToBeBetween": " character"}
    if low is None:
        bounds = f"at most {_number(high)}"
    elif high is None:
        bounds = f"at least {_number(low)}"
    else:
        bounds = _number(low) if low == high else f"{_number(low)} to {_number(high)}"
    mean = "mean " if expect.kind == "ExpectColumnMeanToBeBetween" else ""
    unit = noun.get(expect.kind, "")
    return mean + bounds + (f"{unit}s" if unit and not bounds.endswith(" 1") else unit)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
