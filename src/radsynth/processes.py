"""Work over several processes, in the order of the work."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any


@contextmanager
def mapper(
    processes: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
    chunksize: int = 1,
) -> Iterator[Callable]:
    """`map`, over fresh processes where there are several.

    They are spawned and not forked: forking a program that runs threads, of ITK's or of torch's, can hang.

    Parameters
    ----------
    processes
        At most one works in this process.
    initializer, initargs
        What each process calls first.
    chunksize
        Items that a process takes at a time.
    """
    if processes <= 1:
        if initializer:
            initializer(*initargs)
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer, initargs) as pool:
        yield partial(pool.map, chunksize=chunksize)
