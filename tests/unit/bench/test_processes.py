"""What processes use, by this process and by a text of /proc/stat."""

import os
import time

import pytest

from bench.lab.processes import ELSEWHERE, TICKS_PER_S, Meter, busy_cpu_seconds, cpu_seconds, pss_mib


def test_a_meter_sees_the_work_of_a_process() -> None:
    meter = Meter({"me": os.getpid()})
    end_s = time.process_time() + 0.2
    while time.process_time() < end_s:
        pass
    shares, memory = meter.read()
    assert 0 < shares["me"] <= 1.5
    assert shares[ELSEWHERE] >= 0
    assert memory["me"] > 5


def test_processor_time_is_that_of_the_process_clock() -> None:
    before = time.process_time()
    assert before <= cpu_seconds(os.getpid()) <= time.process_time()


def test_a_process_that_is_not_there() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_seconds(2**22 + 1)
    with pytest.raises(OSError, match="No such file"):
        pss_mib(2**22 + 1)


def test_idle_time_is_not_busy_time() -> None:
    stat = "cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n"
    assert busy_cpu_seconds(stat) == (100 + 20 + 30 + 6 + 7 + 8) / TICKS_PER_S
