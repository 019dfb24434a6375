"""Make the one page of figures and pictures: reports/index.html."""

from __future__ import annotations

from radsynth.errors import one_line_errors
from radsynth.report_page.evidence import collect
from radsynth.report_page.render import write_page
from radsynth.settings import load


@one_line_errors
def main() -> None:
    """Run the stage."""
    write_page(collect(load()), "reports/index.html")


if __name__ == "__main__":
    main()
