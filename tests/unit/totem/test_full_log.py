"""When a full log has the node leave the ring: it depends on whether cpg is there, and reads what it is sent."""

from dataclasses import dataclass

import pytest

from services.totem.full_log import (
    OVERFULL,
    PATIENT_NS_MAX,
    READS_NS,
    SILENT_NS_MAX,
    FullLog,
    FullLogError,
    check_control,
)  # fmt: skip

STEP_NS = 50_000_000
MINUTE_NS = 60_000_000_000


@dataclass
class Log:
    """The figures of a log."""

    pressure: float = 1.0
    head: int = 1000
    sent: int = 1000
    acked: int = 100
    bytes_max: int = 8 << 20


@dataclass
class Reader:
    """The figures of the way to cpg; some envelopes wait because cpg does not read."""

    has_cpg: bool = True
    waiting: int = 5
    taken: int = 50


def time_until_left(log: Log, reader: Reader, *, taken: int = 0, acked: int = 0) -> int | None:
    """Nanoseconds until the node leaves; None: not within a minute. `taken`, `acked`: what is added in a step."""
    full_log = FullLog(log)
    for now_ns in range(0, MINUTE_NS, STEP_NS):
        try:
            full_log.check(reader, now_ns)
        except FullLogError:
            return now_ns
        reader.taken += taken
        log.acked += acked
    return None


def test_a_cpg_that_reads_nothing_has_a_second() -> None:
    assert time_until_left(Log(), Reader()) == SILENT_NS_MAX
    assert time_until_left(Log(sent=900), Reader(waiting=0)) == SILENT_NS_MAX


def test_one_that_has_read_everything_has_longer() -> None:
    assert time_until_left(Log(), Reader(waiting=0)) == PATIENT_NS_MAX


def test_one_that_is_being_started_again_has_longer() -> None:
    assert time_until_left(Log(), Reader(has_cpg=False)) == PATIENT_NS_MAX


def test_one_that_is_slow_has_for_ever_as_long_as_the_bound_holds() -> None:
    assert time_until_left(Log(pressure=1.9), Reader(), acked=1) is None
    assert time_until_left(Log(pressure=1.9), Reader(), taken=1) is None
    assert time_until_left(Log(pressure=OVERFULL), Reader(), acked=1) == 0


def test_a_log_that_is_not_full_is_no_reason() -> None:
    assert time_until_left(Log(pressure=0.99), Reader()) is None


def test_when_the_log_becomes_full_the_time_before_that_counts() -> None:
    log, reader = Log(pressure=0.5), Reader()
    full_log = FullLog(log)
    for now_ns in (0, SILENT_NS_MAX - 1):
        full_log.check(reader, now_ns)
    log.pressure = 1.0
    full_log.check(reader, SILENT_NS_MAX - 1)
    with pytest.raises(FullLogError, match=r"cpg takes nothing any more.*8388608 bytes"):
        full_log.check(reader, SILENT_NS_MAX)


def test_the_ring_is_not_braked_for_a_cpg_that_does_not_read() -> None:
    full_log = FullLog(Log(pressure=0.5))
    assert full_log.check(Reader(), 0)
    assert full_log.check(Reader(), READS_NS - 1)
    assert not full_log.check(Reader(), READS_NS)
    assert not FullLog(Log(pressure=0.5)).check(Reader(has_cpg=False), 0)
    idle = FullLog(Log(pressure=0.5))
    assert all(idle.check(Reader(waiting=0), now_ns) for now_ns in (0, 2 * READS_NS))


def test_the_node_leaves_when_control_has_left_as_much_as_it_may() -> None:
    check_control(0.99, 8 << 20)
    with pytest.raises(FullLogError, match=r"control takes nothing any more, .* its bound \(8388608 bytes\)\."):
        check_control(1.0, 8 << 20)
