"""The socket that clients connect to: whose connection it is, and that its end is reported."""

import os
from pathlib import Path

import zmq

from services.ipc_gateway.credentials import Access, Doorkeeper, Peer, peer_of_stamp
from services.ipc_gateway.front import Front, Received
from tests.unit.gateway.conftest import eventually


def client(context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str) -> "zmq.Socket[bytes]":
    """A client that has said something."""
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(endpoint)
    socket.send(b"hello")
    return socket


def test_an_end_that_was_seen_while_another_said_hello_is_reported_too(run_dir: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    doorkeeper = Doorkeeper(context, Access((), ()))
    endpoint = f"ipc://{run_dir / 'front.sock'}"
    front = Front(context, endpoint, 1024, open_to_others=False)
    received: list[Received] = []

    def arrived(count: int) -> bool:
        doorkeeper.serve()
        received.extend(front.receive())
        return len(received) == count

    first = client(context, endpoint)
    eventually(lambda: arrived(1))
    assert peer_of_stamp(received[0].stamp) == Peer(os.geteuid(), os.getegid(), os.getpid())
    front.note(received[0])
    assert front.gone() == []
    first.close()
    eventually(lambda: front.monitor.poll(0))
    second = client(context, endpoint)
    eventually(lambda: arrived(2))
    assert received[0].stamp != received[1].stamp
    front.note(received[1])
    # The descriptor of the monitor has nothing more to say now.
    assert front.has_gone
    assert front.gone() == [received[0].connection]
    second.close()
    front.close()
    doorkeeper.socket.close()
    context.term()
