"""Progress for people: a bar with the remaining time on a terminal, one line a piece of work elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")


def track(items: Iterable[Item], what: str, total: int | None = None, unit: str = "items") -> Iterator[Item]:
    """Yield `items`, showing how far the work is.

    Parameters
    ----------
    what
        What is being done, e.g. ``"preparing X-rays"``.
    total
        Number of items where `items` has no length.
    unit
        The noun for the closing line, e.g. ``"images"``.
    """
    if total is None:
        total = len(items) if hasattr(items, "__len__") else None  # type: ignore[arg-type]
    start, done = time.monotonic(), 0
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(what, total=total)
            for item in items:
                yield item
                done += 1
                bar.update(task, completed=done)
    else:
        for item in items:
            yield item
            done += 1
    print(f"{what}: {done} {unit} in {time.monotonic() - start:.1f} s", file=sys.stderr)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


class Meter:
    """Progress of work that counts itself, for example a training in images seen.

    Use as a context manager and call `advance`. A bar on a terminal; elsewhere one line at the end.
    """

    def __init__(self, what: str, total: int, done: int = 0, unit: str = "images") -> None:
        self.what, self.total, self.done, self.unit = what, total, done, unit
        self._bar = self._task = None

    def __enter__(self) -> Meter:
        self._start, self._first = time.monotonic(), self.done
        if sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=self.total, completed=self.done)
        return self

    def advance(self, by: int) -> None:
        """Count `by` more."""
        self.done += by
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)

    def __exit__(self, *exception: object) -> None:
        seconds = time.monotonic() - self._start
        if self._bar is not None:
            self._bar.stop()
        rate = (self.done - self._first) / max(seconds, 1e-9)
        print(f"{self.what}: {self.done} {self.unit} in {seconds:.1f} s ({rate:.1f} a second)", file=sys.stderr)
