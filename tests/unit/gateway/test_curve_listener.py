"""The socket for clients on other hosts: whose connection it is, and that its end is reported."""

import select
from pathlib import Path

import zmq

from rondo import curve
from rondo.config.node import RemoteSettings
from rondo.protocol.cpg_gateway import REMOTE_UID
from services.ipc_gateway.credentials import Access, Doorkeeper, Peer, peer_of_stamp
from services.ipc_gateway.curve_listener import CurveListener
from services.ipc_gateway.listener import Received
from services.ipc_gateway.remote import short
from tests.ports import free_tcp_port
from tests.unit.gateway.conftest import eventually


def client(
    context: "zmq.Context[zmq.Socket[bytes]]", port: int, server: bytes, own: curve.KeyPair
) -> "zmq.Socket[bytes]":
    """A client that has said something."""
    dealer: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.setsockopt(zmq.CURVE_SERVERKEY, server)
    dealer.setsockopt(zmq.CURVE_PUBLICKEY, own.public)
    dealer.setsockopt(zmq.CURVE_SECRETKEY, own.secret)
    dealer.connect(f"tcp://127.0.0.1:{port}")
    dealer.send(b"hello")
    return dealer


def has_word(listener: CurveListener) -> bool:
    """Whether libzmq's monitor has something to say."""
    return bool(select.select(listener.monitor_filenos(), [], [], 0)[0])


def test_an_end_that_was_seen_while_another_said_hello_is_reported_too(run_dir: Path) -> None:
    port = free_tcp_port()
    server, own = curve.make_key_pair(), curve.make_key_pair()
    curve.write_key_pair(run_dir / "key", server)
    (run_dir / "clients").write_text(f"{own.public.hex()} one\n")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    settings = RemoteSettings("127.0.0.1", port, str(run_dir / "key"), str(run_dir / "clients"))
    listener = CurveListener(run_dir, 1024, settings, Doorkeeper(Access((), ())))
    received: list[Received] = []

    def arrived(count: int) -> bool:
        listener.relay.serve(0.0)
        listener.zap.serve()
        received.extend(listener.receive())
        return len(received) == count

    first = client(context, port, server.public, own)
    eventually(lambda: arrived(1))
    assert peer_of_stamp(received[0].stamp) == Peer(REMOTE_UID, REMOTE_UID, 0, short(own.public))
    assert listener.gone() == []
    first.close()
    eventually(lambda: arrived(1) and has_word(listener))
    second = client(context, port, server.public, own)
    eventually(lambda: arrived(2))
    assert received[0].stamp != received[1].stamp
    # The descriptor of the monitor has nothing more to say now.
    assert listener.has_gone
    assert listener.gone() == [received[0].connection]
    second.close()
    listener.close()
    context.term()
