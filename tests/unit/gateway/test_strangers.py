"""What does not belong here: garbage, half envelopes, giant frames, other users, clients beyond their limits."""

import contextlib
import os
import random
import socket
import struct
import threading
import time

import pytest

import rondo
from rondo.ipc import zmtp
from rondo.protocol.client_gateway import VERSION, VERSION_MIN, Kind, encode
from rondo.protocol.codes import Code
from rondo.protocol.cpg_gateway import CloseReason
from services.ipc_gateway.session_registry import SESSIONS_PER_PROCESS_MAX
from tests.unit.gateway.conftest import GatewayProcess, StartGateway, connect_as, eventually
from tests.unit.gateway.loopback import Loopback
from tests.unit.gateway.raw import RawClient, greeted

NOBODY = 65534


def test_garbage_is_its_senders_own_error(loopback: Loopback, gateway: GatewayProcess) -> None:
    numbers = random.Random(7)
    with gateway.connect() as cluster, RawClient(gateway.endpoint) as raw:
        group = cluster.cpg.join("g")
        raw.hello()
        garbage = [b"", b"\xc1", b"\x93\x22", b"\xdd\xff\xff\xff\xff", b"\x91" * 5000, encode(Kind(99 - 57), 0, 1, "")]
        garbage += [numbers.randbytes(numbers.randrange(1, 200)) for _ in range(200)]
        for each in garbage:
            raw.socket.send(each)
            assert raw.receive_kind(Kind.ERROR)[0] == Code.MESSAGE_ERROR
        raw.socket.send_multipart([b"a", b"b", b"c"])
        assert raw.receive_kind(Kind.ERROR)[0] == Code.MESSAGE_ERROR
        # Its session goes on all the same, and so does everybody else's.
        raw.requests([1, 1, b"other"])
        raw.receive_kind(Kind.SETTLED)
        group.mcast(b"fine").ordered(60)


def test_every_half_of_a_hello_is_an_error_and_nothing_more(loopback: Loopback, gateway: GatewayProcess) -> None:
    whole = encode(Kind.HELLO, 0, VERSION, 0, "half", [1, b"secret", 2, 3, 4])
    with RawClient(gateway.endpoint) as raw:
        for length in range(len(whole)):
            raw.socket.send(whole[:length])
            assert raw.receive()[0] == Kind.ERROR
        raw.requests([1, 1, b"g"])
        assert raw.receive()[1][0] == Code.BAD_HANDLE
        raw.socket.send(encode(Kind.HELLO, 0, VERSION_MIN - 1, 0, "older", None))
        said = f"this node speaks version {VERSION_MIN} at least, not {VERSION_MIN - 1}"
        assert raw.receive() == (Kind.BYE, [Code.VERSION, said])
        raw.hello()
    assert "Traceback" not in gateway.log.read_text()


def test_a_frame_of_two_gigabytes_ends_that_connection_alone(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        with greeted(gateway.run_dir / "gateway.sock") as connection:
            connection.sendall(b"\x02" + struct.pack(">Q", 2 << 30) + b"x" * 4096)
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b""
        with socket.socket(socket.AF_UNIX) as noise:
            noise.connect(str(gateway.run_dir / "gateway.sock"))
            noise.settimeout(60)
            noise.sendall(bytes(range(256)) * 4)
            with contextlib.suppress(ConnectionError):
                while noise.recv(4096):
                    pass
        group.mcast(b"fine").ordered(60)


def test_requests_out_of_turn_cut_their_session(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster, RawClient(gateway.endpoint) as raw:
        raw.hello()
        raw.requests([1, 1, b"g"])
        raw.receive_kind(Kind.SETTLED)
        raw.requests([7, 3, b"g", 2, b"too far"])
        code, reason = raw.receive_kind(Kind.BYE)
        assert code == Code.MESSAGE_ERROR
        assert "request 7 where 2 was due" in reason
        assert cluster.cpg.groups() == []
    assert loopback.closed[0][1] == CloseReason.CUT


def test_sessions_of_a_process_are_bounded(loopback: Loopback, gateway: GatewayProcess) -> None:
    with contextlib.ExitStack() as stack:
        raws = [stack.enter_context(RawClient(gateway.endpoint)) for _ in range(SESSIONS_PER_PROCESS_MAX)]
        for raw in raws:
            raw.hello()
        with pytest.raises(rondo.NoResources, match="close some"):
            gateway.connect()
        raws[0].send(Kind.BYE, 1, "")
        raws[0].receive_kind(Kind.BYE)
        gateway.connect().close()


def test_a_session_is_not_given_to_who_does_not_know_its_secret(loopback: Loopback, gateway: GatewayProcess) -> None:
    with RawClient(gateway.endpoint) as owner, RawClient(gateway.endpoint) as thief:
        welcome = owner.hello()
        number, secret = welcome[3], welcome[4]
        other = thief.hello([number, bytes(len(secret)), owner.epoch, 0, 0])
        assert other[3] != number
        with RawClient(gateway.endpoint) as heir:
            again = heir.hello([number, secret, owner.epoch, 0, 0])
            assert again[3] == number


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_other_users_are_refused_unless_uidgid_names_them(
    run_dir: object, loopback: Loopback, start_gateway: StartGateway
) -> None:
    private = start_gateway()
    private.connect().close()
    assert connect_as(NOBODY, private.endpoint) == "AccessDenied 11"
    private.close()
    # The file lets everybody in now; who may connect is judged by the credentials.
    others = start_gateway(allowed_uids=(12345,))
    others.connect().close()
    assert connect_as(NOBODY, others.endpoint) == "AccessDenied 11"
    assert connect_as(12345, others.endpoint) == "node 1"
    eventually(lambda: f"uid {NOBODY}, group" in others.log.read_text())
    others.close()
    group = start_gateway(allowed_gids=(NOBODY,))
    group.connect().close()
    assert connect_as(NOBODY, group.endpoint) == "node 1"


def test_who_floods_does_not_keep_the_gateway_from_finding_cpg_again(
    loopback: Loopback, gateway: GatewayProcess
) -> None:
    gateway.connect().close()
    loopback.stop_serving()
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            # The gateway ends a connection that has said nothing of sense for three seconds. The next one goes on.
            with contextlib.suppress(ConnectionError), socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(gateway.endpoint.removeprefix("ipc://"))
                stranger.settimeout(0.2)
                stranger.sendall(zmtp.GREETING + zmtp.ready(b"DEALER"))
                while not stop.is_set():
                    with contextlib.suppress(TimeoutError):
                        stranger.send(bytes(100_000))

    threads = [threading.Thread(target=flood, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.5)  # until the gateway has something of all of them
        loopback.serve_again()
        gateway.connect(60).close()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
