"""Work over processes: in order, and a death is told."""

from __future__ import annotations

import os
import signal

import pytest

from radsynth.errors import RadsynthError
from radsynth.processes import fresh_processes, mapper


def twice(number: int) -> int:
    return 2 * number


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_work(processes):
    with mapper(processes) as over:
        assert list(over(twice, range(5))) == [0, 2, 4, 6, 8]


def test_a_process_that_is_killed_is_one_plain_line():
    with pytest.raises(RadsynthError, match=r"a process died at its work.*memory"), mapper(2) as over:
        list(over(die, range(4)))


def test_an_error_of_the_work_itself_is_passed_on():
    with pytest.raises(TypeError), fresh_processes(1) as pool:
        pool.submit(twice).result()
