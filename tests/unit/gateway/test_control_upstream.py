"""The gateway's way to control: who may ask what, and that control hears of clients that are gone."""

from __future__ import annotations

import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.ipc.local_router import LocalRouter
from rondo.protocol import control_gateway as bus
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from rondo.protocol.cpg_gateway import REMOTE_UID
from services.ipc_gateway.control_upstream import OF_THE_NODE, ControlUpstream


class Between:
    """The gateway's end, and control's."""

    def __init__(self, run_dir: Path) -> None:
        self.answers: list[tuple[bytes, int, int]] = []
        self.control = LocalRouter(f"ipc://{run_dir / bus.SOCKET}")
        self.upstream = ControlUpstream(run_dir, lambda *answer: self.answers.append(answer[:3]))

    def heard(self, count: int) -> list[bus.Ask | bus.Answer | bus.Forget]:
        """So many envelopes that reach control."""
        found: list[bus.Ask | bus.Answer | bus.Forget] = []
        while len(found) < count:
            assert select.select([self.control.fileno()], [], [], 10.0)[0]
            found += [bus.decode(frame) for _, frame in self.control.receive() if frame]
            self.upstream.receive()
        return found


@pytest.fixture
def between(tmp_path: Path) -> Iterator[Between]:
    made = Between(tmp_path)
    yield made
    made.upstream.close()
    made.control.close()


@pytest.mark.parametrize("op", OF_THE_NODE)
def test_whether_nodes_run_is_not_for_clients_on_other_hosts(between: Between, op: Op) -> None:
    blob = bus.encode_request(op, {})
    between.upstream.ask(b"c", 1, REMOTE_UID, blob)
    assert between.answers == [(b"c", 1, Code.ACCESS)]
    between.upstream.ask(b"c", 2, 1000, blob)
    between.upstream.ask(b"c", 3, REMOTE_UID, bus.encode_request(Op.QUORUM, {}))
    between.upstream.ask(b"c", 4, REMOTE_UID, b"nonsense")
    assert [each.number for each in between.heard(3) if isinstance(each, bus.Ask)] == [2, 3, 4]


def test_control_hears_of_clients_that_are_gone_if_they_have_asked(between: Between) -> None:
    between.upstream.ask(b"one", 1, 1000, bus.encode_request(Op.QUORUM, {}))
    between.upstream.forget(b"two")
    between.upstream.forget(b"one")
    between.upstream.forget(b"one")
    between.upstream.ask(b"three", 2, 1000, b"")
    assert [type(each) for each in between.heard(3)] == [bus.Ask, bus.Forget, bus.Ask]
