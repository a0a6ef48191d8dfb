"""What the users who may connect cost a router: connections, half frames, and what they do not read."""

import os
import select
import socket
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rondo.ipc import bounds as bounds_module
from rondo.ipc import local_router, zmtp
from rondo.ipc.bounds import STALL_S, Accounts, Bounds
from rondo.ipc.local_router import LocalRouter

MIB = 1 << 20
ROOT, ALICE, BOB = 0, 1000, 1001
SMALL = Bounds(
    connections_max=10,
    connections_kept=2,
    connections_per_user_max=6,
    silent_per_user_max=4,
    read_bytes_per_user_max=MIB,
    read_bytes_of_others_max=MIB + MIB // 2,
    unread_bytes_per_connection_max=MIB,
    unread_bytes_per_user_max=2 * MIB,
    unread_bytes_of_others_max=3 * MIB,
    favoured=frozenset((ROOT,)),
)


class Wire:
    """A client whose bytes the test writes itself."""

    def __init__(self, path: Path) -> None:
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.connect(str(path))
        self.stream.sendall(zmtp.GREETING + zmtp.ready(b"DEALER"))
        self.stream.setblocking(False)

    def half(self, router: LocalRouter, size: int, sent: int) -> None:
        """Announce a frame of `size` bytes and send `sent` of them, as far as they are read."""
        self.push(router, struct.pack("!BQ", zmtp.Flag.LONG, size) + bytes(sent))

    def push(self, router: LocalRouter, data: bytes) -> list[bytes | None]:
        """Send, while the router reads; gives the envelopes that it took meanwhile."""
        left, quiet = memoryview(data), 0
        found = [envelope for _, envelope in router.receive()]
        while left and quiet < 3:
            try:
                left = left[self.stream.send(left) :]
                quiet = 0
            except BlockingIOError:
                quiet += 1
            found += [envelope for _, envelope in router.receive()]
        return found + [envelope for _, envelope in router.receive()]

    def is_over(self) -> bool:
        """True if the router has ended the connection."""
        try:
            while self.stream.recv(MIB):
                pass
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True


@pytest.fixture
def router(tmp_path: Path) -> Iterator[LocalRouter]:
    """One whose users are nobody special: neither is the one who runs the tests."""
    made = LocalRouter(f"ipc://{tmp_path / 's'}", bounds=SMALL._replace(favoured=frozenset()))
    yield made
    made.close()


Connect = Callable[[int], list[Wire]]


@pytest.fixture
def connect(router: LocalRouter, tmp_path: Path) -> Iterator[Connect]:
    """Gives so many clients that the router knows."""
    wires: list[Wire] = []

    def make(count: int) -> list[Wire]:
        for _ in range(count):
            wires.append(Wire(tmp_path / "s"))
            router.receive()
        return wires[-count:]

    yield make
    for wire in wires:
        wire.stream.close()


def as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the router's own process is not known as such: its clients in this process are anybody's."""
    real = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: real + 1)


def test_a_users_connections_are_bounded_and_some_are_kept_for_root() -> None:
    accounts = Accounts(SMALL)

    def open_some(uid: int, count: int) -> int:
        done = 0
        while done < count and accounts.admits(uid):
            identity = b"%d-%d" % (uid, len(accounts.totals) + accounts.totals["connections"])
            accounts.open(identity, uid, 0.0)
            accounts.has_spoken(identity)
            done += 1
        return done

    assert open_some(ALICE, 100) == SMALL.connections_per_user_max
    assert open_some(BOB, 100) == SMALL.connections_max - SMALL.connections_kept - SMALL.connections_per_user_max
    assert open_some(ROOT, 100) == SMALL.connections_kept
    assert accounts.counters["connections_refused"] == 3
    assert {hit.uid for hit in accounts.take_hits()} == {ALICE, BOB, ROOT}
    assert accounts.take_hits() == {}


def test_who_says_nothing_for_three_seconds_loses_the_connection(
    router: LocalRouter, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_others(monkeypatch)
    began_s = time.monotonic()
    silent, speaks, again = connect(3)
    identities: dict[bytes, bytes] = {}
    for wire, word in ((speaks, b"s"), (again, b"a")):
        wire.stream.send(zmtp.header(1) + word)
    while len(identities) < 2:
        identities.update({envelope or b"": identity for identity, envelope in router.receive()})
    for identity in identities.values():
        router.has_spoken(identity)
    router.must_speak(identities[b"a"])
    router.tend(began_s + 2.9)
    assert not silent.is_over()
    router.tend(time.monotonic() + 3.1)
    assert silent.is_over()
    assert again.is_over(), "what it wanted was over"
    assert not speaks.is_over()
    assert router.accounts is not None
    assert router.accounts.counters["silent_ended"] == 2
    assert router.accounts.totals["connections"] == 1


def test_no_more_silent_connections_than_a_few(
    router: LocalRouter, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_others(monkeypatch)
    wires = connect(SMALL.silent_per_user_max + 1)
    assert [wire.is_over() for wire in wires] == [False] * SMALL.silent_per_user_max + [True]


def test_half_frames_of_a_user_are_bounded_and_the_first_goes_on(router: LocalRouter, connect: Connect) -> None:
    first, *others = connect(5)
    first.half(router, 2 * MIB, MIB)
    for wire in others:
        wire.half(router, 2 * MIB, 2 * MIB - 1)
    assert router.accounts is not None
    held = router.accounts.totals["half_frame_bytes"]
    assert held <= 2 * MIB, "a user's bytes and one chunk of each who found room"
    assert router.accounts.counters["half_frames_held"] >= 3
    # What the first one has begun it may end, and then it is the next one's turn.
    found = first.push(router, bytes(MIB))
    assert [len(each or b"") for each in found] == [2 * MIB]
    others[0].push(router, b"")
    assert router.accounts.counters["half_frames_ended"] == 0
    assert not first.is_over()


def test_who_stands_still_with_half_a_frame_while_others_wait_for_it_loses_its_place(
    router: LocalRouter, connect: Connect
) -> None:
    stuck, honest = connect(2)
    stuck.half(router, 4 * MIB, 2 * MIB)
    whole = zmtp.header(5) + b"hello"
    honest.stream.send(whole)
    assert router.receive() == [], "there is no room"
    now_s = time.monotonic()
    router.tend(now_s)
    router.tend(now_s + STALL_S - 0.1)
    assert not stuck.is_over()
    router.tend(now_s + STALL_S + 0.1)
    assert stuck.is_over()
    assert [envelope for _, envelope in router.receive()] == [b"hello"]


def test_who_stands_still_alone_may_go_on(router: LocalRouter, connect: Connect) -> None:
    (slow,) = connect(1)
    slow.half(router, 2 * MIB, MIB)
    now_s = time.monotonic()
    for seconds in (0, 10, 100):
        router.tend(now_s + seconds)
    assert not slow.is_over()


def test_who_hangs_up_while_it_is_held_is_let_go_and_nothing_spins(router: LocalRouter, connect: Connect) -> None:
    first, second = connect(2)
    first.half(router, 4 * MIB, 2 * MIB)
    second.half(router, MIB, MIB // 2)
    second.stream.close()
    router.receive()
    assert len(router.take_gone()) == 1
    assert select.select([router.fileno()], [], [], 0)[0] == []


def test_what_waits_of_a_connection_that_is_ended_is_dropped(
    router: LocalRouter, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever fetched it could not find out whose it is: it ended the gateway."""
    monkeypatch.setattr(local_router, "PENDING_BYTES_MAX", MIB)
    ended, other = connect(2)
    for wire in (ended, other):
        wire.stream.sendall((zmtp.header(0) + zmtp.header(5) + b"hello") * 100)
    (identity, _), *_ = router.receive(1)
    router.end(identity)
    assert router.take_gone() == [identity]
    rest = router.receive(1000)
    assert len(rest) == 200
    assert identity not in [of for of, _ in rest]
    assert not router.has_pending
    assert ended.is_over()
    # What was dropped does not count any more.
    for _ in range(3 * MIB // 100_000):
        assert len(other.push(router, zmtp.header(100_000) + bytes(100_000))) == 1


def test_a_user_does_not_take_what_is_anothers() -> None:
    accounts = Accounts(SMALL)
    for identity, uid in ((b"a", ALICE), (b"b", BOB), (b"r", ROOT)):
        accounts.open(identity, uid, 0.0)
    accounts.note_half(b"a", MIB)
    assert accounts.may_read(b"a"), "the first goes on"
    accounts.open(b"a2", ALICE, 0.0)
    assert not accounts.may_read(b"a2")
    assert accounts.may_read(b"b")
    accounts.note_half(b"b", MIB // 2)
    assert not accounts.may_read(b"b"), "both together have what all users may have"
    assert accounts.may_read(b"r"), "root's is its own"
    accounts.note_half(b"a", 0)
    assert set(accounts.released()) == {b"a2", b"b"}


def test_a_frame_that_comes_byte_by_byte_takes_its_bytes() -> None:
    """An object for each of them would be forty times as much."""
    reader = zmtp.Reader(4 * MIB)
    reader.feed(zmtp.GREETING + zmtp.ready(b"DEALER"))
    payload = os.urandom(256 * 1024)
    frame = zmtp.header(len(payload)) + payload
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(len(frame) - 1):
            assert reader.feed(frame[number : number + 1]) == []
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < 1.5 * len(payload)
    assert reader.held_bytes == len(payload) - 1, "the header is not kept"
    assert reader.feed(frame[-1:]) == [payload]
    assert reader.held_bytes == 0


def test_what_is_not_read_is_bounded_by_its_bytes_for_each_connection(router: LocalRouter, connect: Connect) -> None:
    (wire,) = connect(1)
    wire.stream.send(zmtp.header(1) + b"x")
    ((identity, _),) = router.receive()
    sent = 0
    while router.send(identity, bytes(64 * 1024)):
        sent += 1
        assert sent < 1000
    assert router.accounts is not None
    assert router.accounts.totals["unread_bytes"] <= SMALL.unread_bytes_per_connection_max
    for _ in range(100):
        router.receive()
        try:
            wire.stream.recv(16 * MIB)
        except BlockingIOError:
            break
    assert router.accounts.totals["unread_bytes"] < SMALL.unread_bytes_per_connection_max
    assert router.send(identity, b"there is room again")


def test_what_the_kernel_has_for_who_does_not_read_counts_as_not_sent(router: LocalRouter, connect: Connect) -> None:
    (wire,) = connect(1)
    wire.stream.send(zmtp.header(1) + b"x")
    ((identity, _),) = router.receive()
    while not wire.is_over() and router.unsent_bytes(identity):
        pass
    assert router.send(identity, bytes(50_000))
    assert router.unsent_bytes(identity) >= 50_000
    assert not wire.is_over()
    assert router.unsent_bytes(identity) == 0


def test_who_reads_least_of_a_user_goes_when_it_is_too_much(router: LocalRouter, connect: Connect) -> None:
    wires = connect(4)
    identities = []
    for wire in wires:
        wire.stream.send(zmtp.header(1) + b"x")
        ((identity, _),) = router.receive()
        identities.append(identity)
    # The kernel takes the first megabytes of each; what a connection does not take at once may wait, whatever its size.
    for identity in identities[:3]:
        while router.send(identity, bytes(64 * 1024)):
            pass
    assert router.accounts is not None
    assert router.accounts.totals["unread_bytes"] <= SMALL.unread_bytes_per_user_max
    assert router.accounts.counters["unread_ended"] >= 1
    assert router.has_gone
    assert router.send(identities[0], b"x") is not None, "the first that waits may go on"
    assert router.send(identities[3], b"for who reads") is True


def test_bounds_are_told_of_once_for_many() -> None:
    accounts = Accounts(SMALL)
    for uid in range(5000, 5000 + 2 * bounds_module.HITS_REMEMBERED_MAX):
        accounts.hit("connections_refused", uid)
        accounts.hit("connections_refused", 5000)
    hits = accounts.take_hits()
    assert len(hits) == bounds_module.HITS_REMEMBERED_MAX
    assert hits[bounds_module.Hit("connections_refused", 5000)] == 2 * bounds_module.HITS_REMEMBERED_MAX + 1
