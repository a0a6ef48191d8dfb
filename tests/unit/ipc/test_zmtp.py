"""ZeroMQ's protocol without libzmq: frames cut anywhere, what is refused, and libzmq itself at the other end."""

from __future__ import annotations

import gc
import os
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils.monitor import recv_monitor_message

from rondo.ipc import endpoints, zmq_sockets, zmtp
from rondo.ipc.endpoints import SocketError
from rondo.ipc.local_dealer import LocalDealer
from rondo.ipc.local_router import Credentials, LocalRouter
from rondo.node.process_watch import start_time_of

Context = zmq.Context[zmq.Socket[bytes]]
LARGE = 3_000_000


@pytest.fixture
def context() -> Iterator[Context]:
    context: Context = zmq.Context()
    yield context
    context.destroy(linger=0)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def arrived(ours: LocalRouter | LocalDealer) -> list[tuple[bytes | None, bytes | None]]:
    """The next envelopes, once the descriptor is readable."""
    found: list[tuple[bytes | None, bytes | None]] = []
    poll = select.poll()
    poll.register(ours.fileno(), select.POLLIN)
    while not found:
        assert poll.poll(20_000)
        if isinstance(ours, LocalRouter):
            found.extend(ours.receive())
        else:
            found.extend((None, envelope) for envelope in ours.receive())
    return found


def connect(dealer: LocalDealer) -> None:
    """Let the dealer connect to its router."""

    def connected() -> bool:
        dealer.tend(time.monotonic())
        return dealer.retry_at_s is None

    until(connected)


def greet(router: LocalRouter, dealer: LocalDealer) -> list[tuple[bytes, bytes | None]]:
    """Let both read until the first envelope of the dealer has come."""
    found: list[tuple[bytes, bytes | None]] = []
    end = time.monotonic() + 20
    while not found:
        assert time.monotonic() < end
        found += router.receive()
        assert dealer.receive() == []
    return found


def lowest_free_descriptor() -> int:
    """All below it are in use, and no garbage will give one of them back."""
    gc.collect()
    found = os.dup(0)
    os.close(found)
    return found


@given(st.lists(st.binary(max_size=600), max_size=6), st.lists(st.integers(0, 2000), max_size=12))
def test_frames_may_be_cut_anywhere(payloads: list[bytes], cuts: list[int]) -> None:
    stream = zmtp.GREETING + zmtp.ready(b"DEALER")
    stream += b"".join(zmtp.header(len(each)) + each for each in payloads)
    reader = zmtp.Reader(1 << 20)
    found: list[bytes | None] = []
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for first, last in pairwise(edges):
        found += reader.feed(stream[first:last])
    assert found == payloads
    assert reader.is_ready


@given(st.binary(max_size=200))
def test_nonsense_ends_the_connection_and_nothing_else(data: bytes) -> None:
    for begin in (b"", zmtp.GREETING, zmtp.GREETING + zmtp.ready(b"DEALER")):
        reader = zmtp.Reader(1000)
        try:
            for at in range(0, len(begin + data), 7):
                assert sum(len(each or b"") for each in reader.feed((begin + data)[at : at + 7])) <= 2000
        except zmtp.ProtocolError:
            continue


def test_what_is_refused() -> None:
    reader = zmtp.Reader(1000)
    reader.feed(zmtp.GREETING)
    with pytest.raises(zmtp.ProtocolError, match="handshake"):
        reader.feed(zmtp.header(3) + b"abc")
    reader = zmtp.Reader(1000)
    reader.feed(zmtp.GREETING + zmtp.ready(b"DEALER"))
    with pytest.raises(zmtp.ProtocolError, match="1001"):
        reader.feed(zmtp.header(1001))
    with pytest.raises(zmtp.ProtocolError, match="greeting"):
        zmtp.Reader(1000).feed(b"GET / HTTP/1.1\r\n".ljust(64))


def test_libzmq_connects_to_ours(context: Context, tmp_path: Path) -> None:
    """A DEALER may be there first, may use heartbeats, and may send what is none of ours."""
    endpoint = f"ipc://{tmp_path / 'a.sock'}"
    theirs = zmq_sockets.connect_dealer(context, endpoint)
    theirs.setsockopt(zmq.HEARTBEAT_IVL, 10)
    assert zmq_sockets.send(theirs, b"early")
    ours = LocalRouter(endpoint)
    ((identity, envelope),) = arrived(ours)
    assert identity is not None
    assert envelope == b"early"
    known = Credentials(os.getpid(), os.geteuid(), os.getegid(), start_time_of(os.getpid()))
    assert ours.credentials(identity) == known
    assert ours.send(identity, bytes(LARGE))
    until(lambda: ours.receive() or theirs.poll(0))
    assert zmq_sockets.receive_all(theirs).__next__() == bytes(LARGE)
    theirs.send_multipart([b"two", b"frames"])
    theirs.send(bytes(LARGE))
    found: list[tuple[bytes | None, bytes | None]] = []
    while len(found) < 2:
        found += arrived(ours)
    assert found == [(identity, None), (identity, bytes(LARGE))]
    theirs.close()
    until(lambda: ours.receive() or ours.has_gone)
    assert ours.take_gone() == [identity]
    assert ours.send(identity, b"x") is None
    ours.close()


def test_ours_connects_to_libzmq(context: Context, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path / 'a.sock'}"
    ours = LocalDealer(endpoint)
    assert ours.send(b"early")
    theirs = zmq_sockets.bind_router(context, endpoint)
    connect(ours)
    until(lambda: ours.receive() or theirs.poll(0))
    ((identity, frame),) = zmq_sockets.receive_all_routed(theirs)
    assert frame == b"early"
    theirs.setsockopt(zmq.HEARTBEAT_IVL, 10)
    assert zmq_sockets.send(theirs, bytes(LARGE), identity)
    assert arrived(ours) == [(None, bytes(LARGE))]
    theirs.close()
    until(lambda: ours.receive() or ours.is_broken)
    ours.close()


def test_whom_we_do_not_let_in_hears_of_it(context: Context, tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path / 'a.sock'}"
    ours = LocalRouter(endpoint, admit=lambda _: False)
    dealer = LocalDealer(endpoint)
    until(lambda: ours.receive() or dealer.receive() or dealer.is_denied)
    theirs: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    monitor = theirs.get_monitor_socket(zmq.Event.HANDSHAKE_FAILED_AUTH)
    theirs.connect(endpoint)
    until(lambda: ours.receive() or monitor.poll(0))
    assert recv_monitor_message(monitor)["value"] == 400
    theirs.disable_monitor()
    monitor.close()
    theirs.close()
    dealer.close()
    ours.close()


def test_who_does_not_read_costs_a_bounded_queue(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path / 'a.sock'}"
    router, dealer = LocalRouter(endpoint, high_water=4), LocalDealer(endpoint, high_water=4)
    dealer.send(b"hello")
    ((identity, _),) = greet(router, dealer)
    assert identity is not None
    sent = 0
    while router.send(identity, bytes(1 << 20)):
        sent += 1
        assert sent < 50
    back = 0
    while dealer.send(bytes(1 << 20)):
        back += 1
        assert back < 50
    got: list[bytes] = []

    def both_read() -> bool:
        router.receive()
        got.extend(dealer.receive())
        return len(got) == sent

    until(both_read)
    assert router.send(identity, b"there is room again")
    assert arrived(dealer) == [(None, b"there is room again")]
    router.close()
    dealer.close()


def test_a_dealer_finds_the_next_router(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path / 'a.sock'}"
    first, dealer = LocalRouter(endpoint), LocalDealer(endpoint)
    dealer.send(b"1")
    assert greet(first, dealer)[0][1] == b"1"
    first.close()
    endpoints.remove_stale(endpoint)
    until(lambda: dealer.receive() or dealer.is_broken)
    assert dealer.send(b"2")
    second = LocalRouter(endpoint)
    connect(dealer)
    ((_, envelope),) = greet(second, dealer)
    assert envelope == b"2"
    second.close()
    dealer.close()


def test_strangers_do_no_harm(tmp_path: Path) -> None:
    router = LocalRouter(f"ipc://{tmp_path / 'a.sock'}")
    for words in (b"", b"nonsense" * 20, zmtp.GREETING + zmtp.header(5) + b"abcde", zmtp.GREETING[:30]):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(tmp_path / "a.sock"))
            stranger.sendall(words)
            router.receive()
    gone: list[bytes] = []

    def all_gone() -> bool:
        assert router.receive() == []
        gone.extend(router.take_gone())
        return len(gone) == 4

    until(all_gone)
    dealer = LocalDealer(f"ipc://{tmp_path / 'a.sock'}")
    dealer.send(b"hello")
    assert greet(router, dealer)[0][1] == b"hello"
    dealer.close()
    router.close()


def test_what_was_sent_before_the_end_counts(tmp_path: Path) -> None:
    router = LocalRouter(f"ipc://{tmp_path / 'a.sock'}", high_water=4)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "a.sock"))
        client.sendall(zmtp.GREETING + zmtp.ready(b"DEALER") + zmtp.header(1) + b"1")
        ((identity, envelope),) = arrived(router)
        assert identity is not None
        assert envelope == b"1"
        while router.send(identity, bytes(1 << 20)):
            pass
        client.sendall(zmtp.header(1) + b"2")
    # It is closed while much waits for it: that cannot be written, and what it has sent is there all the same.
    assert arrived(router) == [(identity, b"2")]
    until(lambda: router.receive() == [] and router.has_gone)
    assert router.take_gone() == [identity]
    assert router.send(identity, b"to nobody") is None
    router.close()


def test_without_descriptors_the_next_is_turned_away(tmp_path: Path) -> None:
    router = LocalRouter(f"ipc://{tmp_path / 'a.sock'}")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as client:
        # None above those that are open now.
        lowest_free = lowest_free_descriptor()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        try:
            client.connect(str(tmp_path / "a.sock"))
            assert router.receive() == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert client.recv(1) == b"", "closed, not left to wait"
    assert select.select([router.fileno()], [], [], 0)[0] == [], "and it does not spin for it"
    dealer = LocalDealer(f"ipc://{tmp_path / 'a.sock'}")
    dealer.send(b"hello")
    assert greet(router, dealer)[0][1] == b"hello"
    dealer.close()
    router.close()


def test_what_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(SocketError, match="missing"):
        LocalRouter(f"ipc://{tmp_path}/missing/a.sock")
    with pytest.raises(SocketError, match="endpoint"):
        LocalDealer("tcp://127.0.0.1:1")


def test_without_descriptors_a_dealer_goes_on_trying(tmp_path: Path) -> None:
    """What ends a service or a session must not be that its application has files open while the other side is gone."""
    endpoint = f"ipc://{tmp_path / 's'}"
    dealer, router = LocalDealer(endpoint), None
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = lowest_free_descriptor()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        dealer.tend(time.monotonic() + 1)
        assert dealer.retry_at_s is not None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    router = LocalRouter(endpoint)
    connect(dealer)
    dealer.send(b"x")
    assert greet(router, dealer)[0][1] == b"x"
    dealer.close()
    router.close()


def test_what_waited_for_the_handshake_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """More than the kernel takes at once, given to a dealer before there is anybody: nothing else will come to push."""
    endpoint = f"ipc://{tmp_path / 's'}"
    dealer = LocalDealer(endpoint)
    large = bytes(3 * LARGE)
    assert dealer.send(large)
    router = LocalRouter(endpoint)
    connect(dealer)
    found: list[tuple[bytes, bytes | None]] = []
    poll = select.epoll()
    for each in (dealer, router):
        poll.register(each.fileno(), select.EPOLLIN)
    while not found:
        ready = [number for number, _ in poll.poll(20)]
        assert ready
        if dealer.fileno() in ready:
            assert dealer.receive() == []
        if router.fileno() in ready:
            found += router.receive()
    assert found[0][1] == large
    poll.close()
    dealer.close()
    router.close()


def test_one_that_floods_with_tiny_envelopes_does_not_keep_others_waiting(tmp_path: Path) -> None:
    router = LocalRouter(f"ipc://{tmp_path / 's'}")
    flood = socket.socket(socket.AF_UNIX)
    flood.connect(str(tmp_path / "s"))
    flood.sendall(zmtp.GREETING + zmtp.ready(b"DEALER"))
    flood.setblocking(False)
    router.receive()
    with_room = flood.send(bytes(400_000))
    assert with_room > 100_000
    router.receive()
    dealer = LocalDealer(f"ipc://{tmp_path / 's'}")
    dealer.send(b"x")
    before = 0
    for _ in range(1000):
        dealer.receive()
        found = router.receive()
        if any(envelope == b"x" for _, envelope in found):
            break
        before += len(found)
    assert before < 2000
    flood.close()
    dealer.close()
    router.close()


def test_a_spare_descriptor_that_another_thread_takes_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = LocalRouter(f"ipc://{tmp_path / 's'}")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as client:
        lowest_free = lowest_free_descriptor()
        taken: list[int] = []
        close = os.close

        def close_and_take(descriptor: int) -> None:
            close(descriptor)
            taken.append(os.dup(0))

        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        try:
            client.connect(str(tmp_path / "s"))
            with monkeypatch.context() as patch:
                patch.setattr(os, "close", close_and_take)
                assert router.receive() == []
            assert router.receive() == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        os.close(taken[0])
        dealer = LocalDealer(f"ipc://{tmp_path / 's'}")
        dealer.send(b"hello")
        assert greet(router, dealer)[0][1] == b"hello"
        dealer.close()
    router.close()
