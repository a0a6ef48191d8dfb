"""The quorum policies: each transition, with the manager as it is and without a process."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from rondo import InvalidParameter, sam
from rondo.protocol.codes import Code
from rondo.protocol.sam_gateway import Op
from services.sam.application import Application, Owner, Phase, Policy, State
from services.sam.quorum_policy import WAITS_PER_USER_MAX
from services.sam.signals import start_time_of
from tests.unit.sam.test_quotas import Sam

OWN = Owner(os.geteuid(), os.getegid(), tuple(sorted(os.getgroups())))
NOBODY_PID = 2**22 + 1
"""No process has this number."""
REGISTER = {"policy": "quorum-restart", "interval_ms": 0, "signal": int(signal.SIGWINCH)}
"""A signal that does nothing: this process is what would be warned."""


@pytest.fixture
def managed(tmp_path: Path) -> Sam:
    return Sam(tmp_path, favoured=OWN.uid, own=OWN)


def run(managed: Sam, policy: str = "quorum-restart") -> Application:
    answer = managed.run(OWN, policy=policy)
    if answer is not None:
        assert answer[0] == Code.OK
    return [*managed.manager.applications.values()][-1]


def running(managed: Sam, policy: str = "quorum-restart") -> Application:
    managed.manager.quorum.news(True)
    application = run(managed, policy)
    managed.manager.on_spawned(application.id, 0, NOBODY_PID, 1)
    return application


def ends(managed: Sam, application: Application, status: int = -15) -> None:
    managed.manager.on_ended(application.id, application.instance, [status, False, "", 0, 0.0])


def seen(application: Application) -> tuple[Phase, State]:
    return application.phase, application.state


def registered(managed: Sam, **changes: Any) -> Application:
    """This process, as an application that SAM did not start."""
    answer = managed.ask(Op.REGISTER, OWN, REGISTER | changes)
    assert answer is not None
    assert answer[0] == Code.OK, answer
    return managed.manager.applications[answer[1]["id"]]


@pytest.mark.parametrize("policy", ["quorum-quit", "quorum-restart"])
@pytest.mark.parametrize("known", [None, False])
def test_a_start_waits_for_quorum(managed: Sam, policy: str, known: bool | None) -> None:
    if known is not None:
        managed.manager.quorum.news(known)
    application = run(managed, policy)
    assert seen(application) == (Phase.WAITING, State.WAITING_FOR_QUORUM)
    assert application.as_json()["state"] == "waiting for quorum"
    managed.manager.see_to_time()
    assert application.phase is Phase.WAITING
    managed.manager.quorum.news(True)
    managed.manager.see_to_time()
    assert seen(application) == (Phase.STARTING, State.WAITING)


def test_with_quorum_it_starts_at_once_and_other_policies_always(managed: Sam) -> None:
    assert run(managed, "restart").phase is Phase.STARTING
    assert run(managed, "quit").phase is Phase.STARTING
    managed.manager.quorum.news(True)
    assert run(managed).phase is Phase.STARTING


def test_a_loss_restarts(managed: Sam) -> None:
    application = running(managed)
    managed.manager.quorum.news(False)
    assert application.verdict == "quorum was lost"
    assert application.kill_at_s is not None
    ends(managed, application)
    assert seen(application) == (Phase.WAITING, State.WAITING_FOR_QUORUM)
    assert (application.instance, application.quick_ends) == (1, 0)
    managed.manager.quorum.news(True)
    managed.manager.see_to_time()
    assert seen(application) == (Phase.STARTING, State.WAITING)
    assert application.history[-1].why == "quorum was lost"


def test_a_loss_quits(managed: Sam) -> None:
    application = running(managed, "quorum-quit")
    managed.manager.quorum.news(False)
    assert application.kill_at_s is not None
    ends(managed, application)
    assert seen(application) == (Phase.IDLE, State.STOPPED)
    assert "the loss of quorum" in application.history[-1].why
    managed.manager.quorum.news(True)
    managed.manager.see_to_time()
    assert application.is_over


def test_a_loss_that_is_over_at_once_is_one(managed: Sam) -> None:
    application = running(managed)
    managed.manager.quorum.news(False)
    managed.manager.quorum.news(True)
    assert application.verdict == "quorum was lost"
    ends(managed, application)
    assert seen(application) == (Phase.STARTING, State.WAITING)


def test_other_policies_have_nothing_to_do_with_it(managed: Sam) -> None:
    applications = [running(managed, policy) for policy in ("restart", "quit")]
    managed.manager.quorum.news(False)
    assert [each.kill_at_s for each in applications] == [None, None]


def test_an_end_without_quorum_is_followed_by_waiting(managed: Sam) -> None:
    application = running(managed)
    application.started_unix_time -= 2.0
    managed.manager.quorum.quorate = None  # no news: control has died, and a successor of SAM has not heard of it
    ends(managed, application, 0)
    assert seen(application) == (Phase.WAITING, State.WAITING_FOR_QUORUM)


def test_a_pause_after_a_quick_end_is_kept_while_there_is_no_quorum(managed: Sam) -> None:
    application = running(managed)
    application.started_unix_time += 60.0  # its end is quick, also where this process is held up
    ends(managed, application, 1)
    assert seen(application) == (Phase.WAITING, State.WAITING)
    managed.manager.quorum.news(False)
    managed.clock.advance(10.0)
    application.restart_at_s = managed.clock.now_s
    managed.manager.see_to_time()
    assert seen(application) == (Phase.WAITING, State.WAITING_FOR_QUORUM)


def test_what_was_being_started_when_quorum_was_lost_is_ended(managed: Sam) -> None:
    managed.manager.quorum.news(True)
    application = run(managed)
    managed.manager.quorum.news(False)
    managed.manager.on_spawned(application.id, 0, NOBODY_PID, 1)
    managed.manager.see_to_time()
    assert application.verdict == "quorum was lost"


def test_one_that_waits_can_be_stopped(managed: Sam) -> None:
    application = run(managed)
    assert managed.ask(Op.STOP, OWN, {"id": application.id}) is not None
    assert seen(application) == (Phase.IDLE, State.STOPPED)
    managed.manager.quorum.news(True)
    assert application.is_over


def test_a_successor_of_sam_waits_and_ends_as_well(managed: Sam, tmp_path: Path) -> None:
    waiting = run(managed)
    started = running(managed)
    managed.table.save(started)
    successor = Sam(tmp_path, favoured=OWN.uid, own=OWN)
    successor.manager.load()
    first, second = (successor.manager.applications[each.id] for each in (waiting, started))
    second.phase, second.state = Phase.RUNNING, State.STARTED
    successor.manager.see_to_time()
    assert second.kill_at_s is None, "no news is no loss"
    successor.manager.quorum.news(False)
    assert second.verdict == "quorum was lost"
    assert first.state in (State.WAITING_FOR_QUORUM, State.WAITING)


@pytest.mark.parametrize("policy", ["quorum-quit", "quorum-restart"])
def test_without_a_provider_it_is_refused(tmp_path: Path, policy: str) -> None:
    managed = Sam(tmp_path, favoured=OWN.uid, own=OWN, has_quorum_provider=False)
    for answer in (managed.run(OWN, policy=policy), managed.ask(Op.REGISTER, OWN, REGISTER | {"policy": policy})):
        assert answer is not None
        assert answer[0] == Code.NOT_EXIST
        assert "no quorum.provider" in answer[1]
    assert not managed.manager.applications


def test_start_of_one_that_has_registered(managed: Sam) -> None:
    application = registered(managed)
    managed.manager.quorum.news(False)
    assert application.kill_at_s is None, "it has not started"
    assert managed.ask(Op.START, OWN, {}) is None, "it waits"
    assert seen(application) == (Phase.RUNNING, State.WAITING_FOR_QUORUM)
    managed.manager.quorum.news(True)
    assert managed.answers[-1] == (Code.OK, None)
    assert (application.state, application.is_watched) == (State.STARTED, True)
    assert managed.ask(Op.STOP_CHECKS, OWN, {}) == (Code.OK, None)
    managed.manager.quorum.news(False)
    assert application.kill_at_s is None, "it has stopped"


@pytest.mark.parametrize("op", [Op.START, Op.STOP_CHECKS, Op.FINALIZE])
def test_who_waits_for_a_start_is_told_when_it_will_not_come(managed: Sam, op: Op) -> None:
    application = registered(managed)
    assert managed.ask(Op.START, OWN, {}) is None
    managed.ask(op, OWN, {})
    assert managed.answers[1][0] == Code.TRY_AGAIN
    managed.manager.quorum.news(True)
    assert application.is_watched == (op is Op.START)


def test_so_many_starts_of_a_user_wait(managed: Sam) -> None:
    told: list[object] = []
    for number in range(WAITS_PER_USER_MAX + 1):
        application = run(managed)
        application.phase, application.state = Phase.RUNNING, State.REGISTERED
        managed.manager.quorum.start(application, lambda what, number=number: told.append((number, what)))  # type: ignore[misc]
    assert told == [(0, None)]
    assert managed.manager.counters["waits_given_up"] == 1


def test_policies_of_applications() -> None:
    assert sam.Policy.RESTART | sam.Policy.QUORUM is sam.Policy.QUORUM_RESTART
    assert sam.Policy.QUORUM | sam.Policy.QUIT is sam.Policy.QUORUM_QUIT
    assert {each.value for each in sam.Policy} - {"quorum"} == {each.value for each in Policy}
    with pytest.raises(InvalidParameter):
        sam.Policy.RESTART | sam.Policy.QUIT
    with pytest.raises(InvalidParameter, match="QUORUM_QUIT"):
        sam.initialize(1000, sam.Policy.QUORUM)


def test_this_process_is_there() -> None:
    """Tests above register it."""
    assert start_time_of(os.getpid())
    assert not start_time_of(NOBODY_PID)
