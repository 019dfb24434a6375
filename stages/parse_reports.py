"""Parse, clean and label the reports: data/chest/reports."""

from __future__ import annotations

from pathlib import Path

from radsynth import settings
from radsynth.errors import RadsynthError, one_line_errors
from radsynth.files import atomic_folder
from radsynth.reports.parse import parse_reports
from radsynth.schemas import QUARANTINE, RAW_REPORTS, REPORTS

RAW = Path("data/raw/chest/reports.parquet")
OUT = Path("data/chest/reports")


@one_line_errors
def main() -> None:
    """Run the stage; where too many reports are refused nothing is written."""
    ours = settings.load().parse_reports
    raw = RAW_REPORTS.read(RAW)
    reports, quarantine = parse_reports(raw)
    refused = quarantine[quarantine["verdict"] == "refused"]
    if len(refused) > ours.max_refused * len(raw):
        raise RadsynthError(
            f"{len(refused)} of {len(raw)} reports are refused; the first: {refused['message'].iloc[0]}",
            where=RAW,
            expected=f"at most {ours.max_refused} of them (parse_reports.max_refused)",
        )
    if reports.empty:
        raise RadsynthError("no report can be used", where=RAW, next_step="see the source, acquire_chest.path")
    with atomic_folder(OUT) as folder:
        REPORTS.write(reports, folder / "reports.parquet")
        QUARANTINE.write(quarantine, folder / "quarantine.parquet")


if __name__ == "__main__":
    main()
