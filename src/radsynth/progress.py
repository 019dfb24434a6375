"""Progress for people: a bar with the remaining time on a terminal, one line a piece of work elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

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
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
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
