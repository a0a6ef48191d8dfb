"""When supervisord's plugin has a dead service started again at once, and when at supervisord's own pace."""

import dataclasses
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from supervisor import events
from supervisor.states import ProcessStates, SupervisorStates

from rondo.config import Config, Loaded, LogSettings, resolve
from rondo.node.supervision import RESOLVED_CONFIGURATION, record
from rondo.node.supervision.plugin import AT_ONCE_AFTER_SECONDS, AT_ONCE_MAX, QUICK_EXITS_MAX, Watch

KILLED, FAILED = -1, 1
"""As supervisord has them: which signal it was, it does not say."""
SHORT, LONG = -60.0, AT_ONCE_AFTER_SECONDS + 1
"""A short life begins in the future here, so that it stays short where this process is held up."""


class Bell:
    """A bell that counts how often it was rung."""

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
        watch.remembering(partial(divmod, signal.SIGKILL if status < 0 else status << 8, 1 << 32))()
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


def configured(run_dir: Path, logfile: Path) -> None:
    """A resolved configuration with this log file, as `rondo start` leaves it."""
    node = dataclasses.replace(
        resolve(Loaded(Config(), file=""), state_dir=run_dir),
        logging={"": LogSettings(to_stderr=False, to_logfile=True, logfile=str(logfile))},
    )
    node.save(run_dir / RESOLVED_CONFIGURATION)


def test_what_ends_a_service_is_in_the_configured_log_and_in_the_record(tmp_path: Path) -> None:
    configured(tmp_path, tmp_path / "node.log")
    (tmp_path / "cpg.log").write_text("cpg: no room; make some\nbye\n")
    lives(tmp_path, (LONG, KILLED), (LONG, 15))
    first, second = (tmp_path / "node.log").read_text().splitlines()
    assert first.endswith("error   [SUPERV] cpg was killed by SIGKILL")
    assert second.endswith("error   [SUPERV] cpg exited with 15: no room; make some")
    assert record.read(tmp_path).ends["cpg"].endswith(" exited with 15: no room; make some")


def test_without_a_configuration_or_a_directory_for_the_log_supervision_goes_on(tmp_path: Path) -> None:
    assert lives(tmp_path, (LONG, KILLED)) == [True]
    configured(tmp_path, tmp_path / "missing" / "node.log")
    assert lives(tmp_path, (LONG, KILLED)) == [True]


def test_what_only_looks_is_given_up_without_the_node(tmp_path: Path) -> None:
    daemon = SimpleNamespace(options=SimpleNamespace(mood=SupervisorStates.RUNNING))
    watch = Watch(daemon, tmp_path, Bell())  # type: ignore[arg-type]
    config = SimpleNamespace(name="web", stdout_logfile=str(tmp_path / "web.log"))
    process = SimpleNamespace(config=config, exitstatus=8, laststart=time.time(), pid=1, backoff=0)
    watch.on_event(events.ProcessStateExitedEvent(process, ProcessStates.RUNNING))
    assert record.read(tmp_path).given_up == ["web"]
    assert (record.read(tmp_path).failure, daemon.options.mood) == ("", SupervisorStates.RUNNING)
    watch.on_event(events.ProcessStateStartingEvent(process, ProcessStates.EXITED))
    assert record.read(tmp_path).given_up == []


def test_programs_wait_for_no_gateway_that_never_comes_back(tmp_path: Path) -> None:
    released: list[str] = []
    daemon = SimpleNamespace(options=SimpleNamespace(release_c_sockets=lambda: released.append("all")))
    watch = Watch(daemon, tmp_path, Bell())  # type: ignore[arg-type]
    config = SimpleNamespace(name="qb_gateway", stdout_logfile=str(tmp_path / "qb_gateway.log"))
    process = SimpleNamespace(config=config, laststart=time.time(), pid=1, backoff=0)
    for status in (KILLED, *[FAILED] * (QUICK_EXITS_MAX + 1)):
        process.exitstatus = status
        watch.on_event(events.ProcessStateExitedEvent(process, ProcessStates.RUNNING))
    assert released == [], "it is started again"
    process.exitstatus = 8
    watch.on_event(events.ProcessStateExitedEvent(process, ProcessStates.RUNNING))
    assert released == ["all"]


def test_why_the_node_stops_is_in_the_configured_log(tmp_path: Path) -> None:
    configured(tmp_path, tmp_path / "node.log")
    (tmp_path / "totem.log").write_text("totem: others have a newer configuration\nLeft the ring.\n")
    logger = SimpleNamespace(critical=lambda _text: None, error=lambda _text: None)
    daemon = SimpleNamespace(options=SimpleNamespace(logger=logger, mood=SupervisorStates.RUNNING))
    watch = Watch(daemon, tmp_path, Bell())  # type: ignore[arg-type]
    process = SimpleNamespace(
        config=SimpleNamespace(name="totem", stdout_logfile=str(tmp_path / "totem.log")),
        exitstatus=8, laststart=time.time(), pid=1,
    )  # fmt: skip
    watch.on_event(events.ProcessStateExitedEvent(process, ProcessStates.RUNNING))
    assert daemon.options.mood == SupervisorStates.SHUTDOWN
    why = "totem exited with 8: others have a newer configuration"
    assert record.read(tmp_path).failure == why
    assert (tmp_path / "node.log").read_text().rstrip().endswith(f"crit    [SUPERV] {why}; the node stops")
