"""What one user takes of SAM leaves enough for the others, and nothing that a client sends raises."""

import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rondo.config.node import SamSettings
from rondo.protocol.codes import Code
from rondo.protocol.envelope import pack
from rondo.protocol.sam_gateway import Op
from services.sam import application as limits
from services.sam import quotas, requests
from services.sam.application import HISTORY_MAX, End, Owner
from services.sam.clock import AwakeClock
from services.sam.health import HealthPipes
from services.sam.hearing import WORDS_SAVED_S
from services.sam.keeper.output import make_fifo
from services.sam.keeper_link import KeeperLink
from services.sam.loop import Loop
from services.sam.manager import Manager
from services.sam.quotas import Quotas
from services.sam.requests import HISTORY_LISTED_ALL, HISTORY_LISTED_MIN, Asker, Requests
from services.sam.signals import start_time_of
from services.sam.spec import Places
from services.sam.table import Table

MIB = 1024 * 1024
SETTINGS = SamSettings(applications_per_user_max=8, table_bytes_per_user_max=4 * MIB, table_bytes_max=16 * MIB)
ROOT, ALICE, BOB, CAROL, DAVE = (Owner(uid, uid, (uid,)) for uid in (0, 12345, 12346, 12347, 12348))


class Sam:
    """Manager and requests as in the process, with a keeper that is not there: what is started waits for it."""

    def __init__(
        self,
        directory: Path,
        settings: SamSettings = SETTINGS,
        favoured: int = 0,
        own: Owner = ROOT,
        *,
        has_quorum_provider: bool = True,
    ) -> None:
        self.clock = AwakeClock(0.0)
        self.poll = select.epoll()
        self.loop = Loop(self.poll)
        self.pipes = HealthPipes()
        self.table = Table(directory)
        self.manager = Manager(
            self.table, KeeperLink(directory, self.loop, settings), self.pipes, self.loop, self.clock,
            Places(directory, f"ipc://{directory}/gateway.sock"), Quotas(settings, frozenset((favoured,))),
            has_quorum_provider=has_quorum_provider,
        )  # fmt: skip
        self.requests = Requests(self.manager, own)
        self.answers: list[tuple[Code, Any]] = []

    def ask(self, op: int, owner: Owner, arguments: Any, pid: int = os.getpid()) -> tuple[Code, Any] | None:
        """The answer, if there is one at once."""
        before = len(self.answers)
        asker = Asker(pid, start_time_of(pid), owner)
        self.requests.ask(op, asker, arguments, lambda code, result: self.answers.append((code, result)))
        return self.answers[-1] if len(self.answers) > before else None

    def run(self, owner: Owner, size: int = 0, **changes: Any) -> tuple[Code, Any] | None:
        """Run something with so much in its environment."""
        arguments = {
            "key": os.urandom(16), "program": b"sh", "arguments": [b"sh"], "directory": b"/",
            "environment": [b"X=" + b"x" * 1000] * (size // 1000), "umask": 0,
        }  # fmt: skip
        return self.ask(Op.RUN, owner, arguments | changes)

    def end(self, application_id: str) -> None:
        """It has run, and has ended with 0 after two seconds."""
        application = self.manager.applications[application_id]
        self.manager.on_spawned(application_id, application.instance, 2**22 + 1, 1)
        application.started_unix_time -= 2.0
        self.manager.on_ended(application_id, application.instance, [0, False, "", 0, 0.0])

    def newest(self) -> str:
        return list(self.manager.applications)[-1]


@pytest.fixture(autouse=True)
def _nobody_is_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    """All users here are made up, and it is always this process that asks. What shuts in is tested for itself."""
    monkeypatch.setattr(requests, "confinement_of", lambda *_process: "")


@pytest.fixture(name="sam")
def _sam(tmp_path: Path) -> Iterator[Sam]:
    made = Sam(tmp_path)
    yield made
    made.pipes.close_all()
    made.poll.close()


def code_of(answer: tuple[Code, Any] | None) -> Code | None:
    return None if answer is None else answer[0]


def test_applications_of_one_user_are_bounded_and_those_of_root_are_not(sam: Sam) -> None:
    for _ in range(SETTINGS.applications_per_user_max):
        assert sam.run(ALICE) is None
    refused = sam.run(ALICE)
    assert refused is not None
    assert refused[0] == Code.NO_RESOURCES
    assert "applications_per_user_max" in refused[1]
    assert sam.run(BOB) is None
    for _ in range(20):
        assert sam.run(ROOT) is None


def test_all_users_together_leave_room_for_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "APPLICATIONS_MAX", 16)
    sam = Sam(tmp_path)
    answers = [sam.run(owner) for owner in (ALICE, BOB, CAROL, DAVE) for _ in range(8)]
    assert [code_of(each) for each in answers] == [None] * 12 + [Code.NO_RESOURCES] * 20
    assert [code_of(sam.run(ROOT)) for _ in range(5)] == [None] * 4 + [Code.NO_RESOURCES]


def test_bytes_of_the_table_are_bounded_for_a_user_and_for_all_users(sam: Sam) -> None:
    answers = [sam.run(ALICE, 900_000) for _ in range(6)]
    assert [code_of(each) for each in answers] == [None] * 4 + [Code.NO_RESOURCES] * 2
    for owner in (BOB, CAROL, DAVE):
        answers = [sam.run(owner, 900_000) for _ in range(4)]
    assert [code_of(each) for each in answers] == [None, Code.NO_RESOURCES, Code.NO_RESOURCES, Code.NO_RESOURCES]
    assert sam.run(ROOT, 900_000) is None


def test_many_small_variables_count_for_what_they_take_in_memory(sam: Sam) -> None:
    answers = [sam.run(ALICE, environment=[b""] * 30_000) for _ in range(4)]
    assert [code_of(each) for each in answers] == [None, None, Code.NO_RESOURCES, Code.NO_RESOURCES]
    assert code_of(sam.run(ALICE, environment=[b""] * 40_000)) == Code.TOO_BIG


def test_what_is_over_makes_room_for_its_owner_alone(sam: Sam) -> None:
    """And of that the oldest."""
    for _ in range(4):
        sam.run(ALICE, 900_000, policy="quit")
        sam.end(sam.newest())
    sam.run(ROOT, policy="quit")
    sam.end("sh-5")
    assert sam.run(ALICE, 900_000) is None
    assert list(sam.manager.applications) == ["sh-2", "sh-3", "sh-4", "sh-5", "sh-6"]


def test_what_is_over_of_others_is_remembered_whatever_one_user_does(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.sam.past.OVER_PER_USER_MAX", 3)
    monkeypatch.setattr("services.sam.past.OVER_MAX", 5)
    monkeypatch.setattr(quotas, "STARTS_MAX", 1000.0)
    for owner, count in ((ROOT, 2), (BOB, 1), (CAROL, 1), (ALICE, 50), (DAVE, 3)):
        for _ in range(count):
            sam.run(owner, policy="quit")
            sam.end(sam.newest())
    left = [each.owner.uid for each in sam.manager.applications.values()]
    assert [left.count(owner.uid) for owner in (ROOT, BOB, CAROL, ALICE, DAVE)] == [2, 1, 1, 1, 2]


def test_stored_data_counts(tmp_path: Path) -> None:
    """Of an application that was adopted: this process."""
    me = Owner(os.getuid(), os.getgid(), ())
    sam = Sam(tmp_path, favoured=me.uid + 1, own=me)
    assert code_of(sam.ask(Op.REGISTER, me, {"policy": "quit"}, os.getpid())) == Code.OK
    (application,) = sam.manager.applications.values()
    assert code_of(sam.ask(Op.STORE, me, {"data": b"x" * MIB}, os.getpid())) == Code.OK
    assert code_of(sam.ask(Op.STORE, me, {"data": b"x" * MIB}, os.getpid())) == Code.OK, "instead of the first"
    assert application.table_bytes - application.command_bytes == MIB
    application.command_bytes = 3 * MIB + MIB // 2
    assert code_of(sam.ask(Op.STORE, me, {"data": b"x" * MIB}, os.getpid())) == Code.NO_RESOURCES
    sam.manager.adoptions.release(application)


def test_starts_of_one_user_are_paced(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "STARTS_MAX", 3.0)
    assert [code_of(sam.run(ALICE)) for _ in range(4)] == [None, None, None, Code.TRY_AGAIN]
    assert sam.run(BOB) is None
    assert all(sam.run(ROOT) is None for _ in range(20))
    sam.end("sh-1")  # its successor has to wait, too
    assert sam.manager.applications["sh-1"].state == "waiting"
    sam.clock.now_s += 1.0
    sam.manager.see_to_time()
    assert sam.manager.applications["sh-1"].phase.name == "STARTING"
    assert sam.manager.counters["starts_postponed"] == 1


def test_a_large_environment_counts_for_more_than_one_start(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is handed to the keeper with each start."""
    monkeypatch.setattr(quotas, "STARTS_MAX", 20.0)
    assert [code_of(sam.run(ALICE, 900_000)) for _ in range(2)] == [None, Code.TRY_AGAIN]
    assert sam.run(ALICE) is None


def test_those_who_wait_for_an_end_are_bounded(sam: Sam) -> None:
    """Of 1,000 requests to stop what does not end, the latest wait, and the others are told to ask again."""
    sam.run(ALICE)
    for _ in range(1000):
        sam.ask(Op.STOP, ALICE, {"id": "sh-1"})
    assert [code for code, _ in sam.answers] == [Code.TRY_AGAIN] * (1000 - limits.WAITING_MAX)
    sam.answers.clear()
    sam.end("sh-1")
    stops = [result for code, result in sam.answers if isinstance(result, dict) and "state" in result]
    assert len(stops) == limits.WAITING_MAX


def test_those_who_wait_for_a_start_are_bounded(sam: Sam) -> None:
    for _ in range(100):
        sam.run(ALICE, key=b"the same")
    assert [code for code, _ in sam.answers] == [Code.TRY_AGAIN] * (100 - limits.WAITING_MAX)
    assert list(sam.manager.applications) == ["sh-1"]


def test_a_key_is_its_users_alone(sam: Sam) -> None:
    sam.run(ALICE, key=b"guessed")
    sam.run(BOB, key=b"guessed")
    assert [each.owner for each in sam.manager.applications.values()] == [ALICE, BOB]


def test_a_list_of_all_is_short_however_long_their_command_lines_are(tmp_path: Path) -> None:
    sam = Sam(tmp_path, SamSettings())
    for _ in range(100):
        assert sam.run(ROOT, arguments=[b"x" * 100_000] * 2, check=b"/" + b"c" * 90_000, interval_ms=9) is None
    answer = sam.ask(Op.STATUS, BOB, {})
    assert answer is not None
    assert len(pack(answer[1])) < 100 * 8192
    assert answer[1][0]["command"][-1] == "..."
    whole = sam.ask(Op.STATUS, BOB, {"id": "x" * 32 + "-1"})
    assert whole is not None
    assert [len(each) for each in whole[1][0]["command"]] == [100_000, 100_000]


def test_the_list_has_the_whole_history_of_a_few_and_the_end_of_that_of_many(sam: Sam) -> None:
    for number in range(40):
        sam.run(ROOT)
        application = sam.manager.applications[f"sh-{number + 1}"]
        for instance in range(HISTORY_MAX + 5):
            application.history.append(End(instance, 7, 0, "", "exited with 0", 5, 1.0))
        answer = sam.ask(Op.STATUS, BOB, {})
        assert answer is not None
        listed = [[end["instance"] for end in each["history"]] for each in answer[1]]
        each_max = max(HISTORY_LISTED_MIN, min(HISTORY_MAX, HISTORY_LISTED_ALL // (number + 1)))
        assert listed == [list(range(HISTORY_MAX + 5 - each_max, HISTORY_MAX + 5))] * (number + 1)


def test_what_cannot_be_executed_is_told_briefly(sam: Sam) -> None:
    """A path of a megabyte is not repeated in each message and each end of the history."""
    sam.run(ALICE, program=b"/" + b"p" * 900_000)
    sam.manager.on_ended("sh-1", 0, [127, False, "program", 2, 0.0])
    application = sam.manager.applications["sh-1"]
    assert len(application.message) < 1000
    assert len(pack([each.as_json() for each in application.history])) < 1000


def test_words_are_written_down_once_in_a_while(sam: Sam, tmp_path: Path) -> None:
    """An application changes its mind about its health as often as it likes; its file is written once a second."""
    sam.run(ROOT)
    make_fifo(sam.manager.places.health_of("sh-1"), os.geteuid())
    sam.manager.on_spawned("sh-1", 0, 2**22 + 1, 1)
    file = tmp_path / "sam" / "sh-1.app"
    written: set[tuple[int, int]] = set()
    with open(sam.manager.places.health_of("sh-1"), "r+b", buffering=0) as fifo:
        for turn in range(100):
            fifo.write(b"start\n" if turn % 2 else b"stop\nok\nstop\n")
            sam.manager.hearing.hear()
            assert sam.manager.applications["sh-1"].is_watched == bool(turn % 2)
            written.add((file.stat().st_ino, file.stat().st_mtime_ns))
        assert len(written) <= 2
        sam.clock.now_s += WORDS_SAVED_S
        sam.manager.hearing.hear()
    (loaded,) = Table(tmp_path).load()
    assert loaded.is_watched == sam.manager.applications["sh-1"].is_watched


def test_a_command_is_written_once(sam: Sam, tmp_path: Path) -> None:
    sam.run(ROOT, 900_000)
    file = tmp_path / "sam" / "sh-1.command"
    first = file.stat().st_ino
    sam.end("sh-1")
    assert file.stat().st_ino == first
    assert (tmp_path / "sam" / "sh-1.app").stat().st_size < 4096


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=40)
    | st.sampled_from(["sh-1", "restart", b"\0", b"sh", -1, 2**63, 2**64 - 1]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    "key", "program", "arguments", "directory", "environment", "umask", "policy", "interval_ms", "signal", "check",
    "id", "inode", "offset", "data",
)  # fmt: skip
GOOD: dict[str, Any] = {
    "key": b"k", "program": b"sh", "arguments": [b"sh"], "directory": b"/", "environment": [b"A=b"], "umask": 0,
    "id": "sh-1", "inode": 0, "offset": 0, "data": b"d",
}  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(op=st.integers(0, 30), changes=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=4))
def test_nothing_that_a_client_sends_raises(sam: Sam, op: int, changes: dict[str, Any]) -> None:
    """Nor does it get as far as the fence that would catch it."""
    sam.run(ALICE, key=b"first")
    Path(sam.manager.places.log_of("sh-1")).write_bytes(b"output")
    sam.ask(op, ALICE, GOOD | changes)
    assert sam.manager.counters["requests_failed"] == 0


@pytest.mark.parametrize("offset", [-1, -(2**63), 2**63, 2**64 - 1, 2**63 - 1, 7])
def test_any_place_in_an_output_may_be_asked_for(sam: Sam, offset: int) -> None:
    sam.run(ALICE)
    path = Path(sam.manager.places.log_of("sh-1"))
    path.write_bytes(b"output")
    answer = sam.ask(Op.LOGS, ALICE, {"id": "sh-1", "inode": path.stat().st_ino, "offset": offset})
    assert answer is not None
    assert answer[0] in (Code.OK, Code.INVALID_PARAM, Code.FAILED_OPERATION)
    assert sam.manager.counters["requests_failed"] == 0


def test_a_fault_of_ours_is_the_askers_alone(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam.manager, "stop", lambda *_: 1 / 0)
    sam.run(ALICE)
    assert code_of(sam.ask(Op.STOP, ALICE, {"id": "sh-1"})) == Code.FAILED_OPERATION
    assert sam.manager.counters["requests_failed"] == 1
    assert code_of(sam.ask(Op.STATUS, ALICE, {})) == Code.OK
