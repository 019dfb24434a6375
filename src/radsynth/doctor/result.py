"""What one check found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from radsynth.errors import RadsynthError


@dataclass(frozen=True)
class Result:
    """One line of the doctor.

    Attributes
    ----------
    check
        What was looked at, in one word.
    status
        ok | warning | problem. With a warning the work can be done, but not as well, as fast or as safely as it could.
    found
        What was found.
    advice
        What to do; "" where there is nothing to do.
    """

    check: str
    status: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


def guarded(name: str, check: Callable[[], Iterable[Result]]) -> Iterator[Result]:
    """The results of `check`; whatever it raises becomes a problem in one line."""
    try:
        yield from check()
    except RadsynthError as error:
        told = RadsynthError(error.what, where=error.where, got=error.got, expected=error.expected)
        yield Result(name, "problem", str(told), error.next_step or "")
    except (Exception, SystemExit) as error:
        first = next(iter(str(error).split("\n")), "")
        yield Result(name, "problem", f"the check itself failed ({type(error).__name__}: {first[:200]})")
