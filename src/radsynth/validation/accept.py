"""Making the present chest data the reference that later data are compared with.

The reference is a small file of its own, written only when somebody accepts the data: a stage that updated it by
itself would depend on how often it had run.
"""

from __future__ import annotations

from pathlib import Path

from radsynth.errors import RadsynthError
from radsynth.files import read_json, write_json
from radsynth.vocabulary import FINDINGS

ACCEPTED = Path("data/accepted/chest_label_rates.json")
METRICS = Path("metrics/validate_chest.json")


def read_accepted(path: str | Path = ACCEPTED) -> dict[str, float] | None:
    """Share of studies with each finding in the last accepted data; None where none has been accepted.

    Raises
    ------
    RadsynthError
        Where the file is there but holds something else.
    """
    if not Path(path).exists():
        return None
    try:
        rates = read_json(path)
        valid = isinstance(rates, dict) and all(
            isinstance(rates.get(f), int | float) and 0 <= rates[f] <= 1 for f in FINDINGS
        )
    except (ValueError, OSError):
        valid = False
    if not valid:
        raise RadsynthError(
            "not a file of label rates", where=path, next_step="run `radsynth accept-data` again or remove the file"
        )
    return {finding: float(rates[finding]) for finding in FINDINGS}


def accept(metrics: str | Path = METRICS, path: str | Path = ACCEPTED) -> dict[str, float]:
    """Write the label rates of the data that the last validation passed, and return them.

    Raises
    ------
    RadsynthError
        Where there is no validation, or it failed.
    """
    if not Path(metrics).is_file():
        raise RadsynthError(
            "the data has not been validated", where=metrics, next_step="run `dvc repro validate_chest`"
        )
    results = read_json(metrics)
    if not results["success"]:
        raise RadsynthError(
            "the data failed its validation and cannot be accepted",
            where=metrics,
            got=f"{results['critical_failed']} critical expectations failed",
        )
    rates = {row["finding"]: row["rate"] for row in results["tables"]["Findings"]}
    write_json(path, rates)
    return rates
