"""Programs that track shutdowns at the socket `cfg`: one question is open at control, however often they begin anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from rondo import config
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.qb_gateway.cfg import CfgService
from services.qb_gateway.wire import cfg
from tests.unit.gateway.conftest import CONFIGURATION

NOTHING = {"number": 7, "event": "nothing", "flags": 0}
Answer = Callable[[int, Any], None]


class Control:
    """Keeps what is asked until the test answers."""

    def __init__(self) -> None:
        self.open: list[tuple[Op, Answer]] = []

    def ask(self, op: Op, _arguments: dict[str, Any], answer: Answer, _whose: bytes) -> None:
        self.open.append((op, answer))

    def forget(self, _whose: bytes) -> None:
        """A program is gone."""

    def answer_all(self) -> None:
        asked, self.open = self.open, []
        for _, answer in asked:
            answer(Code.OK, NOTHING)


class Connection:
    """A program; what it is told does not matter here."""

    def reply(self, _data: bytes) -> None:
        """An answer."""


@pytest.mark.parametrize("count", [1, 2, 10])
def test_who_begins_to_track_again_and_again_is_waited_for_once(tmp_path: Path, count: int) -> None:
    (tmp_path / "corosync.conf").write_text(CONFIGURATION)
    control, program = Control(), cast(Any, Connection())
    service = CfgService(config.resolve(config.load(tmp_path / "corosync.conf")), cast(Any, control))
    service.opened(program)
    service.request(program, cfg.TRACK, b"")
    for _ in range(count):
        service.request(program, cfg.UNTRACK, b"")
        service.request(program, cfg.TRACK, b"")
    for _ in range(3):
        control.answer_all()
        assert [op for op, _ in control.open] == [Op.TRACK_SHUTDOWN]
    service.request(program, cfg.UNTRACK, b"")
    control.answer_all()
    assert control.open == []
