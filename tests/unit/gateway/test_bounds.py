"""What a client that keeps to no window costs the gateway, and the limit of open files."""

from __future__ import annotations

import resource

import pytest

from rondo.protocol.client_gateway import Kind
from rondo.protocol.codes import Code
from rondo.protocol.cpg_gateway import CloseReason
from rondo.protocol.requests import Op
from services.ipc_gateway import limits
from services.ipc_gateway.gateway import IN_FLIGHT_BYTES_MAX
from tests.unit.gateway.conftest import GatewayProcess, eventually
from tests.unit.gateway.loopback import Loopback
from tests.unit.gateway.raw import RawClient

MIB = 1 << 20


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
