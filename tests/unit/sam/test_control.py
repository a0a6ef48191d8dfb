"""What SAM learns of control, and shows there: without sockets, control's answers are given by hand."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rondo.node.control_link import Answer, ControlLink, OnEvents
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.sam import process_keys
from services.sam.application import Application, Command, End, Owner, Phase, Policy, State
from services.sam.process_keys import ASKED_MAX, HEARD_S, PREFIX, PROCESSES_MAX, ProcessKeys
from services.sam.quorum_watch import QuorumWatch

NOBODY_PID = 2**22 + 1


class Link(ControlLink):
    """A connection on which a test answers."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.asked: list[tuple[Op, dict[str, Any], Answer]] = []
        self.events: list[OnEvents] = []

    def ask(self, op: Op, arguments: dict[str, Any], answer: Answer, whose: bytes = b"") -> None:
        self.asked.append((op, arguments, answer))

    def watch(self, of: str, on_events: OnEvents) -> None:
        self.events.append(on_events)

    def answer(self, result: Any, code: Code = Code.OK) -> tuple[Op, dict[str, Any]]:
        op, arguments, answer = self.asked.pop(0)
        answer(code, result)
        return op, arguments


@pytest.fixture
def link() -> Link:
    return Link()


def quorum(quorate: bool) -> dict[str, Any]:
    return {"event": "quorum", "quorate": quorate}


def test_the_truth_is_asked_whenever_something_may_have_been_missed(link: Link) -> None:
    news: list[bool] = []
    watch = QuorumWatch(link, news.append)
    (told,) = link.events
    assert not link.asked, "nobody is asked before the watch has begun"
    told([], False)
    assert link.answer({"provider": "corosync_votequorum", "quorate": True})[0] is Op.QUORUM
    told([quorum(False), {"event": "votes", "quorate": True}, quorum(True)], False)
    assert news == [True, False, True]
    watch.tend()
    assert not link.asked
    told([quorum(True)], True)
    assert len(link.asked) == 1, "events were left out"
    link.breaks += 1
    watch.tend()
    assert len(link.asked) == 1, "one question at a time"
    link.answer({"provider": "corosync_votequorum", "quorate": False})
    link.breaks += 1
    watch.tend()
    link.answer("it is not there", Code.FAILED_OPERATION)
    assert news == [True, False, True, True, False], "no answer is no news"


def test_nobody_vouches_for_quorum_without_a_provider(link: Link) -> None:
    news: list[bool] = []
    QuorumWatch(link, news.append)
    link.events[0]([], False)
    link.answer({"provider": None, "quorate": True})
    assert news == [False]


def application(pid: int, policy: Policy = Policy.RESTART, state: State = State.STARTED) -> Application:
    made = Application(f"a-{pid}", Owner(0, 0, ()), Command(b"a", [b"a"], b"/", []), policy, interval_ms=1000)
    made.runs(pid, 1, 0.0)
    made.state = state
    return made


class Shown:
    """The keys as a control would have them."""

    def __init__(self, link: Link, *applications: Application) -> None:
        self.applications = {each.id: each for each in applications}
        self.counters: Counter[str] = Counter()
        self.keys = ProcessKeys(self.applications, link, self.counters)
        self.map: dict[str, Any] = {}
        self.link = link
        self.now_s = 1000.0

    def settle(self) -> int:
        """Look until nothing is asked any more; how many changes there were."""
        changes = 0
        while True:
            self.now_s += process_keys.LOOK_S
            self.keys.tend(self.now_s)
            if not self.link.asked:
                return changes
            assert len(self.link.asked) <= ASKED_MAX
            while self.link.asked:
                op, arguments, answer = self.link.asked.pop(0)
                changes += op is not Op.KEYS
                if op is Op.SET:
                    self.map[arguments["key"]] = (arguments["type"], arguments["value"])
                elif op is Op.DELETE:
                    del self.map[arguments["key"]]
                answer(Code.OK, [[key, *value] for key, value in self.map.items()])


def test_a_process_in_cmap(link: Link) -> None:
    one = application(77, Policy.QUORUM_QUIT)
    shown = Shown(link, one)
    assert shown.settle() == 4
    below = f"{PREFIX}77."
    assert shown.map[f"{below}recovery"] == (11, "quit")
    assert shown.map[f"{below}poll_period"] == (8, 1000)
    assert shown.map[f"{below}state"] == (11, "running")
    kind, heard_ns = shown.map[f"{below}last_updated"]
    assert kind == 8
    assert 1000 * 10**9 < heard_ns < 1001 * 10**9
    for state, text in ((State.REGISTERED, "stopped"), (State.WAITING_FOR_QUORUM, "waiting for quorum")):
        one.state = state
        assert shown.settle() == 2, "the state, and when it changed"
        assert shown.map[f"{below}state"] == (11, text)
    one.ended(End(0, 77, 0, "", "", 1, 1.0))
    one.phase = Phase.IDLE
    assert shown.settle() == 4
    assert shown.map == {}


def test_what_is_heard_is_shown_now_and_then(link: Link) -> None:
    one = application(77)
    shown = Shown(link, one)
    shown.settle()
    one.heard_at_s = 1.0
    assert shown.settle() == 0
    shown.now_s += HEARD_S
    assert shown.settle() == 1
    shown.now_s += HEARD_S
    assert shown.settle() == 0


def test_only_so_many_are_shown(link: Link) -> None:
    shown = Shown(link, *(application(pid) for pid in range(1, PROCESSES_MAX + 4)))
    assert shown.settle() == 4 * PROCESSES_MAX
    assert shown.keys.left_out == 3


def test_keys_of_a_predecessor_go_and_those_of_c_programs_stay(link: Link) -> None:
    one = application(os.getpid())
    one.history.append(End(0, NOBODY_PID, 0, "", "", 1, 1.0))
    one.history.append(End(0, os.getppid(), 0, "", "", 1, 1.0))
    shown = Shown(link, one)
    theirs = {f"{PREFIX}{pid}.state": (11, "running") for pid in (os.getppid(), 4711)}
    shown.map = {f"{PREFIX}{NOBODY_PID}.state": (11, "running"), f"{PREFIX}x.state": (11, "running"), **theirs}
    shown.settle()
    assert f"{PREFIX}{NOBODY_PID}.state" not in shown.map
    assert theirs.items() <= shown.map.items()
    assert f"{PREFIX}x.state" in shown.map
    # control has died, and its successor has lost one.
    del shown.map[f"{PREFIX}{os.getpid()}.state"]
    link.breaks += 1
    assert shown.settle() == 1
    assert f"{PREFIX}{os.getpid()}.state" in shown.map


def test_a_key_that_is_refused_is_counted_and_not_asked_for_again(link: Link) -> None:
    shown = Shown(link, application(77))
    shown.keys.tend(1.0)
    link.answer([])
    shown.keys.tend(2.0)
    for _ in range(4):
        link.answer("the map is full", Code.NO_SPACE)
    assert shown.counters["keys_refused"] == 4
    assert shown.settle() == 0
