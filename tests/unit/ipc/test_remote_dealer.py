"""The client's end of a connection to another host: it is closed once, whoever closes it, and says what may have been
heard."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import pytest
import zmq

from rondo.ipc.remote_dealer import CurveKeys, RemoteDealer

ROUNDS = 200
JOIN_S = 20.0


def test_two_threads_close_it_at_once() -> None:
    server, _ = zmq.curve_keypair()
    public, secret = zmq.curve_keypair()
    for number in range(ROUNDS):
        dealer = RemoteDealer("tcp://127.0.0.1:9", CurveKeys(server, public, secret))
        meet = threading.Barrier(2)

        def close(dealer: RemoteDealer = dealer, meet: threading.Barrier = meet) -> None:
            meet.wait()
            dealer.close()

        threads = [threading.Thread(target=close, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(JOIN_S)
            assert not thread.is_alive(), f"it hangs in round {number}"


@pytest.fixture(name="server")
def _server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def until_broken(dealer: RemoteDealer, server: socket.socket | None = None) -> None:
    """`server` accepts whatever comes, and closes it. On a busy machine there may be one more connection of a socket
    that is gone: libzmq connects again by itself until it is told that the first one broke."""
    end_s = time.monotonic() + JOIN_S
    while not dealer.is_broken:
        assert time.monotonic() < end_s, "it does not notice"
        if server is not None:
            with suppress(BlockingIOError):
                server.accept()[0].close()
        dealer.receive()
        time.sleep(0.001)


def test_one_that_broke_is_renewed_before_the_next_was_due(server: socket.socket) -> None:
    keys = CurveKeys(*3 * [zmq.curve_keypair()[0]])
    with closing(RemoteDealer(f"tcp://127.0.0.1:{server.getsockname()[1]}", keys)) as dealer:
        for _ in range(3):
            until_broken(dealer, server)
            assert dealer.retry_at_s is not None
            assert not dealer.was_ready, "nobody has said hello"
            dealer.renew()
            assert not dealer.is_broken


def test_of_one_that_broke_after_the_handshake_nobody_knows_what_was_heard() -> None:
    (public, secret), (own_public, own_secret) = zmq.curve_keypair(), zmq.curve_keypair()
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        with context.socket(zmq.ROUTER) as router:
            router.setsockopt(zmq.CURVE_SERVER, 1)
            router.setsockopt(zmq.CURVE_SECRETKEY, secret)
            router.linger = 0
            port = router.bind_to_random_port("tcp://127.0.0.1")
            keys = CurveKeys(public, own_public, own_secret)
            dealer = stack.enter_context(closing(RemoteDealer(f"tcp://127.0.0.1:{port}", keys)))
            dealer.send(b"hello")
            assert router.poll(int(JOIN_S * 1000))
            assert router.recv_multipart()[1:] == [b"hello"]
        until_broken(dealer)
        assert dealer.was_ready
