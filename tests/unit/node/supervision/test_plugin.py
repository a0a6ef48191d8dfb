"""When supervisord's plugin has a dead service started again at once, and when at supervisord's own pace."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from supervisor import events
from supervisor.states import ProcessStates

from rondo.node.supervision.plugin import AT_ONCE_AFTER_SECONDS, AT_ONCE_MAX, Watch

KILLED, FAILED = -9, 1
SHORT, LONG = 0.0, AT_ONCE_AFTER_SECONDS + 1


class Bell:
    """An alarm that counts."""

    def __init__(self) -> None:
        self.rung = 0

    def ring(self) -> None:
        self.rung += 1


def lives(directory: Path, *deaths: tuple[float, int]) -> list[bool]:
    """For each death of a service, after so many seconds and with such a status: whether it is started at once."""
    bell = Bell()
    watch = Watch(SimpleNamespace(), directory, bell)  # type: ignore[arg-type]
    at_once = []
    for seconds, status in deaths:
        config = SimpleNamespace(name="cpg", stdout_logfile=str(directory / "cpg.log"))
        process = SimpleNamespace(config=config, exitstatus=status, laststart=time.time() - seconds, pid=1)
        before = bell.rung
        watch.on_event(events.ProcessStateExitedEvent(process, ProcessStates.RUNNING))
        at_once.append(bell.rung > before)
    return at_once


@pytest.mark.parametrize("status", [KILLED, FAILED])
def test_what_has_lived_a_while_is_started_at_once(tmp_path: Path, status: int) -> None:
    assert lives(tmp_path, *[(LONG, status)] * 2) == [True] * 2


def test_what_is_killed_soon_again_is_started_at_once_but_not_for_ever(tmp_path: Path) -> None:
    short = lives(tmp_path, *[(SHORT, KILLED)] * (AT_ONCE_MAX + 2))
    assert short == [True] * AT_ONCE_MAX + [False] * 2
    assert lives(tmp_path, *[(SHORT, KILLED)] * AT_ONCE_MAX, (LONG, KILLED), (SHORT, KILLED))[-1]


def test_what_ends_by_itself_soon_waits(tmp_path: Path) -> None:
    assert lives(tmp_path, (SHORT, FAILED)) == [False]
