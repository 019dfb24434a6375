"""Stage publish: mirror every finished training into MLflow, so that a run restored from the cache is there as well."""

from __future__ import annotations

from radsynth.errors import one_line_errors
from radsynth.tracking.publish import publish


@one_line_errors
def main() -> None:
    """Publish what is not published yet."""
    for stage, marks in publish().items():
        print(f"{stage}: run {marks['fingerprint']} is in MLflow")


if __name__ == "__main__":
    main()
