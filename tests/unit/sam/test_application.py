"""When something is due for an application, and how long it waits after ends."""

import itertools

import pytest

from services.sam.application import (
    BACK_OFF_MS_MAX,
    QUICK_ENDS_MAX,
    Application,
    Command,
    Due,
    End,
    Owner,
    Phase,
    Policy,
    State,
    ending_text,
)


@pytest.fixture
def application() -> Application:
    command = Command(b"/bin/true", [b"true"], b"/", [b"A=1"])
    made = Application("true-1", Owner(0, 0, ()), command, interval_ms=1000)
    made.runs(pid=7, start_time=8, now_s=10.0)
    return made


def test_only_its_end_counts_until_it_says_that_it_is_healthy(application: Application) -> None:
    assert application.state is State.STARTED
    assert application.due_at_s() == float("inf")
    assert application.due(1e9) is Due.NOTHING


def test_silence_longer_than_the_interval(application: Application) -> None:
    application.is_watched = True
    assert application.due_at_s() == 11.0
    assert application.due(11.0) is Due.NOTHING
    assert application.due(11.001) is Due.WARN
    application.kill_at_s = 12.001
    assert application.due(12.0) is Due.NOTHING
    assert application.due(12.001) is Due.KILL


def test_no_interval_is_no_limit(application: Application) -> None:
    application.is_watched, application.interval_ms = True, 0
    assert application.due(1e9) is Due.NOTHING


def test_a_check_is_asked_every_interval_and_has_one_to_answer(application: Application) -> None:
    application.check = b"/check"
    assert application.due(10.9) is Due.NOTHING
    assert application.due(11.0) is Due.CHECK
    application.check_at_s, application.check_is_running = 11.0, True
    assert application.due(11.9) is Due.NOTHING
    assert application.due(12.0) is Due.CHECK_LATE
    application.check_is_running = False
    assert application.due(12.0) is Due.CHECK


def test_it_waits_longer_each_time_and_not_beyond_a_limit(application: Application) -> None:
    waits = []
    for application.quick_ends in range(QUICK_ENDS_MAX + 5):
        waits.append(application.back_off_s())
    assert waits[0] == 0.0
    assert waits[1] == 0.1
    assert all(earlier <= later for earlier, later in itertools.pairwise(waits))
    assert waits[-1] == BACK_OFF_MS_MAX / 1000
    application.phase, application.restart_at_s = Phase.WAITING, 5.0
    assert (application.due(4.9), application.due(5.0)) == (Due.NOTHING, Due.RESTART)


def test_an_end_leaves_nothing_of_the_instance(application: Application) -> None:
    application.is_watched, application.kill_at_s, application.verdict = True, 3.0, "hung"
    application.ended(End(0, 7, -9, "hung", "was ended by SIGKILL", 5, 1.0))
    left: list[object] = [application.pid, application.is_watched, application.kill_at_s, application.verdict]
    assert left == [0, False, None, ""]
    told = application.history[-1].as_json()
    assert (told["signal"], told["why"], told["time"], told["started"]) == (9, "hung", 1.0, 0.995)
    assert application.as_json()["pid"] is None


@pytest.mark.parametrize(
    ("status", "left_behind", "text"),
    [
        (0, False, "exited with 0"),
        (3, True, "exited with 3"),
        (-9, False, "was ended by SIGKILL"),
        (-64, False, "was ended by SIGRTMAX"),
        (None, False, "ended"),
    ],
)
def test_words_for_ends(status: int | None, left_behind: bool, text: str) -> None:
    assert ending_text(status, left_behind) == text


def test_a_program_that_goes_into_the_background_is_told_so() -> None:
    assert "keep it in the foreground" in ending_text(0, True)


def test_the_first_instance_of_what_registers_is_registered(application: Application) -> None:
    application.registers = True
    application.runs(9, 10, 0.0)
    assert application.state is State.REGISTERED
    assert application.policy is Policy.RESTART
