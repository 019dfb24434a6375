"""Work over several processes, in the order of the work."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any

from radsynth.errors import RadsynthError


@contextmanager
def fresh_processes(
    count: int, initializer: Callable[..., None] | None = None, initargs: tuple[Any, ...] = ()
) -> Iterator[Executor]:
    """An executor of so many processes of its own.

    They are spawned and not forked: forking a program that runs threads, of ITK's or of torch's, can hang.

    Parameters
    ----------
    initializer, initargs
        What each process calls first.

    Raises
    ------
    RadsynthError
        Where one of them dies.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(count, context, initializer, initargs) as pool:
            yield pool
    except BrokenProcessPool:
        raise RadsynthError(
            "a process died at its work",
            got="killed from outside, most often for want of memory",
            next_step="see that memory is free, and run it again",
        ) from None


@contextmanager
def mapper(
    processes: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
    chunksize: int = 1,
) -> Iterator[Callable]:
    """`map`, over `fresh_processes` where there are several.

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
    with fresh_processes(processes, initializer, initargs) as pool:
        yield partial(pool.map, chunksize=chunksize)
