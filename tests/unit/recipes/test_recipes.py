"""Each recipe does what it promises: alone, with others, and when somebody dies or is cut off."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from typing import Any

import pytest

import rondo
from rondo.recipes import (
    Barrier,
    Counter,
    Dict,
    Election,
    Lock,
    Once,
    Queue,
    Refused,
    Replicated,
    Semaphore,
    StateMachine,
    replicated,
)
from rondo.recipes.desk import Desk
from rondo.recipes.machines import pack
from rondo.testing import Loopback
from tests.unit.recipes.conftest import WAIT_S, cluster_on, eventually


class Bank(StateMachine):
    """Commands add to a balance."""

    def __init__(self, cluster: rondo.Cluster, name: str = "bank") -> None:
        self.balance = 0
        self.lost: list[bytes] = []
        self.merges = False
        super().__init__(cluster, name)

    def apply(self, command: bytes) -> bytes:
        amount = int(command)
        if self.balance + amount < 0:
            raise ValueError("not enough")
        self.balance += amount
        return b"%d" % self.balance

    def snapshot(self) -> Iterable[bytes]:
        return [json.dumps(self.balance).encode()]

    def restore(self, pieces: Iterable[bytes]) -> None:
        self.balance = json.loads(b"".join(pieces))

    def lost_commands(self, commands: list[bytes]) -> None:
        self.lost += commands

    def merge(self, command: bytes) -> bytes | None:
        return command if self.merges else None


def test_a_state_machine(loopback: Loopback) -> None:
    with Bank(cluster_on(loopback)) as one:
        assert one.do(b"10") == b"10"
        with Bank(cluster_on(loopback, 2)) as two:
            assert two.local(lambda: two.balance) == 10
            assert two.do(b"-3") == b"7"
            assert one.read(lambda: one.balance) == 7
            with pytest.raises(Refused, match="not enough"):
                one.do(b"-100")
            assert (one.state, one.name) == ("ready", "state:bank")


@pytest.mark.parametrize("merges", [False, True])
def test_what_a_lost_history_had_is_told_or_merged(
    merges: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING, "rondo.recipes")
    loopback = Loopback(nodes=2, provider=False)
    connection = cluster_on(loopback)
    with Bank(connection) as one, Bank(cluster_on(loopback, 2)) as two, Bank(connection, "other"):
        assert caplog.text.count("counts no votes") == 2, "once for each connection"
        one.merges = two.merges = merges
        loopback.partition({1}, {2})
        assert one.do(b"5") == b"5"
        for _ in range(4):
            two.do(b"1")
        loopback.heal()
        eventually(lambda: one.is_ready and two.is_ready and one.local(lambda: one.balance) == (9 if merges else 4))
        eventually(lambda: two.local(lambda: two.balance) == (9 if merges else 4))
        eventually(lambda: one.lost == ([] if merges else [b"5"]))


def test_without_quorum_commands_are_refused_and_reads_are_local(loopback: Loopback) -> None:
    with Dict(cluster_on(loopback), "settings") as one, Dict(cluster_on(loopback, 2), "settings") as two:
        one["colour"] = "blue"
        loopback.partition({1}, {2, 3})
        eventually(lambda: not one.is_ready)
        with pytest.raises(rondo.NoQuorum):
            one["colour"] = "red"
        with pytest.raises(rondo.NoQuorum):
            one.get("colour", linearizable=True)
        with pytest.raises(rondo.NoQuorum):
            Lock(cluster_on(loopback, 1), "backup")
        assert one["colour"] == "blue"
        two["colour"] = "green"
        loopback.heal()
        eventually(lambda: one.is_ready)
        assert one.get("colour", linearizable=True) == "green"


def test_a_dict(loopback: Loopback) -> None:
    with Dict(cluster_on(loopback), "d") as one, Dict(cluster_on(loopback, 2), "d") as two:
        seen: list[tuple[Any, Any, Any]] = []
        two.watch(lambda *change: seen.append(change))
        one["a"] = [1, 2]
        one["b"] = None
        assert two.get("a", linearizable=True) == [1, 2]
        two["a"].append(3)
        assert two["a"] == [1, 2]
        assert one.put_if("c", None, 1)
        assert not one.put_if("c", None, 2)
        del two["a"]
        with pytest.raises(KeyError):
            del two["a"]
        assert list(two) == ["b", "c"]
        assert one.get("a", "none", linearizable=True) == "none"
        assert ("a" in one, len(one), one.items()) == (False, 2, [("b", None), ("c", 1)])
        one.clear()
        eventually(lambda: ("a", None, [1, 2]) in seen and ("a", [1, 2], None) in seen and ("c", 1, None) in seen)
        for n in range(600):
            one[n] = n
        with Dict(cluster_on(loopback, 3), "d") as late:
            assert late.items() == [(n, n) for n in range(600)]


def test_a_counter_counts_every_step_once(loopback: Loopback) -> None:
    counters = [Counter(cluster_on(loopback, node), "c") for node in (1, 2, 3)]
    values: list[int] = []

    def count(counter: Counter) -> None:
        values.extend(counter.add() for _ in range(50))

    threads = [threading.Thread(target=count, args=(counter,)) for counter in counters for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sorted(values) == list(range(1, 301))
    assert counters[0].get() == 300
    assert counters[1].set(5) == 300
    assert counters[2].get() == 5
    eventually(lambda: counters[1].value == 5)


def test_a_lock_goes_to_the_next_when_its_process_dies(loopback: Loopback) -> None:
    first, second = cluster_on(loopback), cluster_on(loopback, 2)
    held, waiting = Lock(first, "l"), Lock(second, "l")
    permit = held.acquire()
    assert permit is not None
    assert waiting.acquire(blocking=False) is None
    with pytest.raises(rondo.Timeout):
        waiting.acquire(timeout=0.1)
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(waiting.acquire()))
    thread.start()
    before = permit.is_held
    loopback.kill(first)
    thread.join(WAIT_S)
    assert got[0].fencing > permit.fencing
    assert got[0].is_held
    assert before
    eventually(lambda: not permit.is_held)  # a thread of the dead process is told
    assert waiting.release()
    with Lock(cluster_on(loopback, 3), "l") as third:
        assert third.fencing > got[0].fencing


def test_a_lock_is_lost_on_the_side_without_quorum(loopback: Loopback) -> None:
    held, waiting = Lock(cluster_on(loopback), "l"), Lock(cluster_on(loopback, 2), "l")
    permit = held.acquire()
    assert permit is not None
    loopback.partition({1}, {2, 3})
    other = waiting.acquire()
    assert other is not None
    assert other.fencing > permit.fencing
    eventually(lambda: not permit.is_held)
    loopback.heal()
    eventually(lambda: held.is_ready)
    assert not permit.is_held
    assert not held.release()


@pytest.mark.parametrize("clock_ms", [0, 65_000])
def test_a_fencing_token_is_never_given_twice_though_who_has_the_state_is_cut_off_alone(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch, clock_ms: int
) -> None:
    """The others cannot know of that state, and begin a new one. The ring shows that theirs is later, though their
    clock is a minute behind."""
    held = Lock(cluster_on(loopback), "l")
    monkeypatch.setattr(Desk, "clock_ms", staticmethod(lambda: clock_ms))
    tokens = []
    for _ in range(3):
        permit = held.acquire()
        assert permit is not None
        tokens.append(permit.fencing)
        held.release()
    monkeypatch.setattr(Desk, "clock_ms", staticmethod(lambda: 0))
    loopback.partition({1}, {2, 3})
    with Lock(cluster_on(loopback, 2), "l") as other:
        assert other.fencing > max(tokens)


def test_a_fencing_token_is_never_given_twice_though_all_processes_have_ended(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(Desk, "clock_ms", staticmethod(lambda: next(clock)))
    tokens = []
    for node in (1, 2, 1):
        with Lock(cluster_on(loopback, node), "l") as token:
            tokens.append(token.fencing)
    assert tokens == sorted(set(tokens))


def test_a_group_begins_with_processes_on_as_many_nodes_as_is_asked_for(loopback: Loopback) -> None:
    """Nobody begins alone a state that is lost if it is cut off; once there is one, anybody may join."""
    with pytest.raises(rondo.Timeout, match="it begins once 2 more nodes have a process of the group"):
        Counter(cluster_on(loopback, 1), "c", nodes_min=3, timeout=2)
    made: list[Counter] = []
    first, second, third = (
        threading.Thread(target=lambda node=node: made.append(Counter(cluster_on(loopback, node), "c", nodes_min=2)))
        for node in (1, 1, 3)
    )
    first.start()
    second.start()
    with pytest.raises(rondo.Timeout, match="it begins once 1 more node has a process of the group"):
        Counter(cluster_on(loopback, 1), "c", nodes_min=2, timeout=2)
    assert not made, "three processes on one node are not two nodes"
    third.start()
    for thread in (first, second, third):
        thread.join(WAIT_S)
    assert [counter.add() for counter in made] == [1, 2, 3]
    made[2].close()
    assert Counter(cluster_on(loopback, 1), "c", nodes_min=9).add() == 4, "there is a state"


def test_what_is_given_back_while_nobody_has_quorum_is_given_on_later(loopback: Loopback) -> None:
    """All nodes are alone, so nobody can say that the process is gone, which then lives on in the group."""
    one, two = cluster_on(loopback), cluster_on(loopback, 2)
    with (
        Queue(one, "jobs") as jobs,
        Queue(two, "jobs") as others,
        Once(one, "set-up") as once,
        Once(two, "set-up") as late,
    ):
        lock, other, election = Lock(one, "backup"), Lock(two, "backup"), Election(one, "leader")
        lock.acquire()
        election.lead()
        for value in ("back", "done"):
            jobs.put(value)
        first, second = jobs.get(), jobs.get()
        assert first is not None
        assert second is not None

        def cut_off() -> str:
            loopback.partition({1}, {2}, {3})
            eventually(lambda: not any(each.is_ready for each in (lock, election, jobs, once)))
            for give_back in (lock.release, election.resign, first.back, second.done):
                with pytest.raises(rondo.NoQuorum):
                    give_back(timeout=0.2)
            return "by me"

        with pytest.raises(rondo.NoQuorum):
            once.run(cut_off, timeout=0.2)
        loopback.heal()
        eventually(lambda: other.is_ready and others.is_ready and late.is_ready and election.is_ready)
        assert other.acquire() is not None
        eventually(lambda: election.leader is None)
        again = others.get()
        assert again is not None
        assert (again.value, len(others)) == ("back", 0)
        assert late.run(lambda: "by the other") == "by me"
        for recipe in (lock, other, election):
            recipe.close()


def test_a_semaphore(loopback: Loopback) -> None:
    one, two = (Semaphore(cluster_on(loopback, node), "s", 2) for node in (1, 2))
    with one as first, two as second:
        assert second.fencing > first.fencing
        assert one.acquire(blocking=False) is None
    assert one.acquire(blocking=False) is not None


def test_an_election(loopback: Loopback) -> None:
    first = cluster_on(loopback)
    one, two = Election(first, "e"), Election(cluster_on(loopback, 2), "e")
    lead = one.lead("one")
    elected = threading.Thread(target=lambda: two.lead("two"))
    elected.start()
    eventually(lambda: two.leader == (lead.fencing, "one"))
    loopback.kill(first)
    elected.join(WAIT_S)
    leader = two.leader
    assert leader is not None
    assert leader[0] > lead.fencing
    assert leader[1] == "two"
    assert two.resign()
    assert two.leader is None


def test_who_does_not_wait_any_longer_is_not_at_the_barrier(loopback: Loopback) -> None:
    alone = Barrier(cluster_on(loopback, 1), "alone", 2)
    for _ in range(2):
        with pytest.raises(rondo.Timeout):
            alone.wait(timeout=0.1)


def test_a_barrier(loopback: Loopback) -> None:
    barriers = [Barrier(cluster_on(loopback, node), "b", 3) for node in (1, 2, 3)]
    passed: list[int] = []

    def wait(number: int) -> None:
        for _ in range(3):
            barriers[number].wait()
            passed.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(passed) == 9


def test_a_state_that_cannot_be_restored_ends_that_process_alone(
    loopback: Loopback, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Bank):
        def restore(self, pieces: Iterable[bytes]) -> None:
            raise RuntimeError("no room")

    with Bank(cluster_on(loopback)) as one:
        one.do(b"10")
        with pytest.raises(rondo.FailedOperation, match="no room"):
            Broken(cluster_on(loopback, 2))
        assert "this replica has failed" in caplog.text
        assert one.do(b"1") == b"11"


def test_a_queue_gives_each_item_to_one_and_again_if_that_dies(loopback: Loopback) -> None:
    first = cluster_on(loopback)
    one, two = Queue(first, "q", items_max=3), Queue(cluster_on(loopback, 2), "q", items_max=3)
    assert [two.put(each) for each in ("a", "b", "c")] == [1, 2, 3]
    with pytest.raises(rondo.QueueFull):
        two.put("d")
    job = one.get()
    assert job is not None
    assert job.value == "a"
    eventually(lambda: len(two) == 2)
    loopback.kill(first)
    eventually(lambda: len(two) == 3)
    for expected in ("a", "b"):
        again = two.get()
        assert again is not None
        with again as value:
            assert value == expected
    failed = two.get()
    assert failed is not None
    with pytest.raises(ZeroDivisionError), failed:
        raise ZeroDivisionError
    last = two.get()
    assert last is not None
    last.done()
    with pytest.raises(rondo.NotExist):
        last.done()
    assert two.get(blocking=False) is None
    with pytest.raises(rondo.Timeout):
        two.get(timeout=0.1)


def test_only_who_has_an_item_can_say_that_it_is_done_or_not(loopback: Loopback) -> None:
    with Queue(cluster_on(loopback), "jobs") as one, Queue(cluster_on(loopback, 2), "jobs") as two:
        one.put("job")
        job = one.get()
        assert job is not None
        with pytest.raises(rondo.NotExist, match="not this worker's"):
            two.done(job.item)
        assert not two.back(job.item)
        job.done()
        assert not one.back(job.item)


def test_once(loopback: Loopback) -> None:
    one, two = Once(cluster_on(loopback), "o"), Once(cluster_on(loopback, 2), "o")
    with pytest.raises(ZeroDivisionError):
        one.run(lambda: 1 // 0)
    assert not two.is_done
    assert two.run(lambda: "done") == "done"
    assert one.run(lambda: pytest.fail("again")) == "done"


class Basket(Replicated):
    """Things, by methods."""

    def __init__(self, cluster: rondo.Cluster, name: str) -> None:
        self.things: list[str] = []
        super().__init__(cluster, name)

    @replicated
    def put(self, thing: str, *, at: int = 0) -> int:
        self.things.insert(at, thing)
        return len(self.things)


def test_replicated_methods(loopback: Loopback) -> None:
    with Basket(cluster_on(loopback), "x") as one:
        assert one.put("a") == 1
        assert one.put("b", at=1) == 2
        with Basket(cluster_on(loopback, 2), "x") as two:
            assert two.things == ["a", "b"]
            with pytest.raises(Refused, match="TypeError"):
                two.put()  # type: ignore[call-arg]
            with pytest.raises(Refused, match="no replicated method"):
                two.do(pack(["close", [], {}]))


def test_a_lost_session_is_not_noticed_by_who_waits(loopback: Loopback) -> None:
    process = cluster_on(loopback)
    with Counter(process, "c") as one, Counter(cluster_on(loopback, 2), "c") as two:
        loopback.disconnect(process)
        got: list[int] = []
        thread = threading.Thread(target=lambda: got.append(one.add(5)))
        thread.start()
        loopback.reconnect(process)
        thread.join(WAIT_S)
        assert got == [5]
        assert two.get() == 5


def test_closing_ends_who_waits(loopback: Loopback) -> None:
    lock, other = Lock(cluster_on(loopback), "l"), Lock(cluster_on(loopback, 2), "l")
    lock.acquire()
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            other.acquire()
        except rondo.Error as error:
            failed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    other.close()
    thread.join(WAIT_S)
    assert isinstance(failed[0], rondo.Disconnected)
    with pytest.raises(rondo.Disconnected):
        other.acquire()


def test_a_callback_that_would_wait_for_itself_is_told_so(loopback: Loopback) -> None:
    with Dict(cluster_on(loopback), "d") as one:
        raised: list[BaseException] = []

        def watcher(key: Any, old: Any, new: Any) -> None:
            try:
                one["other"] = 1
            except rondo.Error as error:
                raised.append(error)

        one.watch(watcher)
        one["key"] = 1
        eventually(lambda: bool(raised))
        assert isinstance(raised[0], rondo.BadOperation)
