"""What a client that keeps to no window costs the gateway, and the limit of open files."""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import threading

import pytest

from rondo._client.control import ControlLink
from rondo._client.endpoint import endpoint_of
from rondo.ipc import zmtp
from rondo.ipc.control import ask
from rondo.ipc.local_router import LocalRouter
from rondo.protocol import control_gateway as control
from rondo.protocol.client_gateway import Kind
from rondo.protocol.codes import Code
from rondo.protocol.cpg_gateway import CloseReason
from rondo.protocol.envelope import pack
from rondo.protocol.requests import Op
from services.ipc_gateway import limits
from services.ipc_gateway.gateway import IN_FLIGHT_BYTES_MAX
from services.ipc_gateway.hits import INTERVAL_S, HitLog
from tests.unit.gateway.conftest import GatewayProcess, eventually
from tests.unit.gateway.loopback import Loopback
from tests.unit.gateway.raw import RawClient

MIB = 1 << 20
BUSY_S = 60.0


def test_a_client_that_goes_on_sending_is_cut_off_and_nobody_else(loopback: Loopback, gateway: GatewayProcess) -> None:
    """Nothing is settled meanwhile, as if totem gave no credit."""
    with gateway.connect() as cluster, RawClient(gateway.endpoint) as greedy:
        group = cluster.cpg.join("g")
        greedy.hello()
        loopback.stall(True)
        sent_max = IN_FLIGHT_BYTES_MAX // MIB + 2
        for number in range(1, sent_max + 1):
            greedy.requests([number, int(Op.MCAST), b"h", 2, bytes(MIB)])
        assert greedy.receive_kind(Kind.BYE) == [
            Code.QUEUE_FULL, f"cut off: its client goes on sending beyond {IN_FLIGHT_BYTES_MAX // 2} bytes",
        ]  # fmt: skip
        loopback.stall(False)
        group.mcast(b"still here").ordered(60)
    eventually(lambda: [reason for _, reason in loopback.closed].count(CloseReason.CUT) == 1)


def test_who_announces_more_requests_than_a_blob_can_have_is_cut_off(
    gateway: GatewayProcess, loopback: Loopback
) -> None:
    """Their number was counted as it was announced, until the status did not fit into its answer: that ended the
    gateway."""
    for _ in range(2):
        with RawClient(gateway.endpoint) as client:
            client.hello()
            client.send(Kind.REQUEST, 1, 2**64 - 1, b"x")
            assert client.receive_kind(Kind.BYE)[0] == Code.MESSAGE_ERROR
    assert ask(gateway.run_dir, "ipc_gateway", "status", BUSY_S)["counters"].get("requests", 0) == 0


def test_a_window_full_is_not_too_much(loopback: Loopback, gateway: GatewayProcess) -> None:
    """What is on its way counts, not what was sent in all."""
    with gateway.connect() as cluster, RawClient(gateway.endpoint) as patient:
        cluster.cpg.join("g")
        patient.hello()
        patient.requests([1, int(Op.JOIN), b"h"])
        for number in range(2, 2 + 2 * IN_FLIGHT_BYTES_MAX // MIB):
            patient.requests([number, int(Op.MCAST), b"h", 2, bytes(MIB)])
            settled = 0
            while settled < number:
                kind, fields = patient.receive()
                if kind == Kind.SETTLED:
                    settled = fields[0]
                elif kind == Kind.EVENTS:
                    patient.send(Kind.ACK, fields[1])
                else:
                    assert kind != Kind.BYE, fields
    assert CloseReason.CUT not in [reason for _, reason in loopback.closed]


@pytest.mark.parametrize(
    ("soft", "hard", "wanted"),
    [
        (1024, resource.RLIM_INFINITY, limits.DESCRIPTORS_WANTED),
        (1024, 4096, 4096),
        (1 << 20, resource.RLIM_INFINITY, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_the_limit_of_open_files_is_raised_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, wanted: int | None
) -> None:
    assert limits.DESCRIPTORS_WANTED < 1 << 20
    changes: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, values: changes.append(values))
    limits.raise_descriptor_limit()
    assert changes == ([] if wanted is None else [(wanted, hard)])


def test_who_connects_and_says_nothing_is_gone_after_three_seconds(gateway: GatewayProcess, loopback: Loopback) -> None:
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(gateway.connect())
        group = cluster.cpg.join("g")
        silent = []
        for words in (b"", zmtp.GREETING[:20], zmtp.GREETING + zmtp.ready(b"DEALER") + zmtp.header(1) + b"x"):
            stream = stack.enter_context(socket.socket(socket.AF_UNIX))
            stream.connect(gateway.endpoint.removeprefix("ipc://"))
            stream.settimeout(60)
            with contextlib.suppress(ConnectionError):  # held for so long that the three seconds are over
                stream.sendall(words)
            silent.append(stream)
        for stream in silent:
            with contextlib.suppress(ConnectionResetError):
                while stream.recv(4096):
                    pass
        counters = ask(gateway.run_dir, "ipc_gateway", "status", timeout=20)["counters"]
        assert counters["silent_ended"] == 3
        assert counters["silent_connections"] == 0
        assert counters["connections"] == 1
        group.mcast(b"still here").ordered(60)
    eventually(lambda: "said nothing for three seconds" in gateway.log.read_text())


@pytest.mark.parametrize("serving", [True, False], ids=["cpg serves", "cpg is away"])
def test_who_floods_with_what_is_no_hello_is_ended_and_the_gateway_goes_on(
    gateway: GatewayProcess, loopback: Loopback, serving: bool
) -> None:
    """After three seconds its connection is ended, while much of what it sent waits to be looked at."""
    with gateway.connect() as cluster:
        if not serving:
            loopback.stop_serving()
        with socket.socket(socket.AF_UNIX) as flood, contextlib.suppress(OSError):
            flood.connect(gateway.endpoint.removeprefix("ipc://"))
            flood.settimeout(BUSY_S)
            flood.sendall(zmtp.GREETING + zmtp.ready(b"DEALER"))
            while True:
                flood.send(bytes(100_000))
        counters = ask(gateway.run_dir, "ipc_gateway", "status", BUSY_S)["counters"]
        assert counters["silent_ended"] == 1
        assert gateway.process.poll() is None
        if serving:
            cluster.cpg.join("g").mcast(b"still here").ordered(BUSY_S)


def test_what_asks_without_a_session_may_be_idle_before_its_first_question(
    gateway: GatewayProcess, loopback: Loopback
) -> None:
    """Its connection was ended; what must not be asked twice is asked all the same, and once."""
    router, over = LocalRouter(f"ipc://{gateway.run_dir / control.SOCKET}"), threading.Event()
    asked: list[bytes] = []

    def answer() -> None:
        while not over.is_set():
            for identity, frame in router.receive():
                ask_of = control.decode(frame or b"")
                if not isinstance(ask_of, control.Ask):
                    continue  # a client that is gone
                asked.append(ask_of.blob)
                reply = control.Answer(0, ask_of.connection, ask_of.number, int(Code.OK), pack(7))
                router.send(identity, control.encode(reply))
            over.wait(0.005)

    thread = threading.Thread(target=answer)
    thread.start()
    link = ControlLink(endpoint_of(gateway.endpoint))
    try:
        eventually(
            lambda: ask(gateway.run_dir, "ipc_gateway", "status", timeout=20)["counters"].get("silent_ended") == 1
        )
        assert link.ask(control.Op.QUORUM, {}, may_repeat=False) == 7
        assert len(asked) == 1
    finally:
        link.close()
        over.set()
        thread.join()
        router.close()


def test_bounds_stand_in_the_log_once_and_then_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    said = HitLog()
    key = ("half_frames_held", "user 1000")
    with caplog.at_level(logging.WARNING, "IPC_GATEWAY"):
        said.note({key: 3}, 0.0)
        for second in range(1, 60):
            said.note({key: 2}, float(second))
        assert len(caplog.records) == 1
        said.note({}, INTERVAL_S)
        said.note({}, INTERVAL_S + 1)
    first, second_line = [record.getMessage() for record in caplog.records]
    assert first.startswith("user 1000 has half-sent envelopes")
    assert first.endswith("(half_frames_held, 3 times)")
    assert second_line.endswith("(half_frames_held, 118 times)")
