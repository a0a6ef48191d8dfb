"""What waits for SAM is bounded for each user, and never takes what is kept for root and the node's own user."""

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.ipc.local_router import LocalRouter
from rondo.protocol import sam_gateway as bus
from rondo.protocol.codes import Code
from services.ipc_gateway import asking
from services.ipc_gateway.credentials import Identity
from services.ipc_gateway.sam_upstream import SamUpstream

PATIENCE_S = 30.0
ROOT = 0


class Between:
    """The gateway's way to SAM, and SAM's end of it."""

    def __init__(self, run_dir: Path) -> None:
        self.answers: list[tuple[bytes, int, int]] = []
        self.sam = LocalRouter(f"ipc://{run_dir / bus.SOCKET}", high_water=4096)
        self.upstream = SamUpstream(run_dir, lambda *answer: self.answers.append(answer[:3]))
        self.number = 0
        self.asked: list[tuple[bytes, bus.Ask]] = []

    def ask(self, uid: int, connection: bytes = b"c", count: int = 1) -> list[int]:
        """Ask so often; the codes of those that are answered at once, refusals."""
        before = len(self.answers)
        for _ in range(count):
            self.number += 1
            self.upstream.ask(connection, self.number, Identity(os.getpid(), 1, uid, uid, ()), b"")
            self.deliver()
        return [code for _, _, code in self.answers[before:]]

    def deliver(self) -> None:
        """Let SAM have what is under way, and the gateway its answers."""
        for end in (self.sam, self.upstream.socket):
            select.select([end.fileno()], [], [], 0.001)
        self.asked += [(identity, bus.decode(each)) for identity, each in self.sam.receive() if each]  # type: ignore[misc]
        self.upstream.receive()

    def answer(self) -> None:
        """SAM answers all that it was asked."""
        for identity, ask in self.asked:
            self.sam.send(identity, bus.encode(bus.Answer(0, ask.connection, ask.number, Code.OK, b"")))
        self.asked.clear()


@pytest.fixture(name="between")
def _between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Between]:
    monkeypatch.setattr(asking, "WAITING_MAX", 40)
    monkeypatch.setattr(asking, "WAITING_OF_OTHERS_MAX", 30)
    monkeypatch.setattr(asking, "WAITING_PER_USER_MAX", 8)
    made = Between(tmp_path)
    while made.upstream.socket.retry_at_s is not None:
        made.deliver()
    made.deliver()
    yield made
    made.upstream.close()
    made.sam.close()


def test_one_user_takes_his_share_and_no_more(between: Between) -> None:
    assert between.ask(12345, count=20) == [Code.TRY_AGAIN] * 12
    assert between.ask(12346, count=8) == []
    assert between.upstream.refused == 12


def test_all_users_together_leave_room_for_root(between: Between) -> None:
    refused = [len(between.ask(uid, count=8)) for uid in range(12345, 12351)]
    assert refused == [0, 0, 0, 2, 8, 8]
    assert between.ask(ROOT, count=12) == [Code.TRY_AGAIN] * 2
    between.upstream.forget(b"c")
    assert between.ask(os.geteuid(), count=3) == []


def test_who_has_gone_waits_no_longer(between: Between) -> None:
    """Whether or not SAM has answered: what it says then is for nobody."""
    assert between.ask(12345, b"first", count=8) == []
    assert between.ask(12345, b"second") == [Code.TRY_AGAIN]
    between.upstream.forget(b"first")
    assert between.ask(12345, b"second", count=8) == []
    between.answers.clear()
    while len(between.answers) < 8:
        between.deliver()
        between.answer()
    assert {connection for connection, _, _ in between.answers} == {b"second"}
    assert between.ask(12345, b"third", count=8) == []


def test_a_number_that_waits_is_not_asked_twice(between: Between) -> None:
    who = Identity(os.getpid(), 1, 12345, 12345, ())
    for _ in range(3):
        between.upstream.ask(b"c", 7, who, b"")
    assert between.answers == [(b"c", 7, Code.INVALID_PARAM)] * 2
