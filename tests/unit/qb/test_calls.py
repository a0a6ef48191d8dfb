"""C programs that ask and do not wait for answers: what is open at control is bounded, and so are their handles."""

import struct
from collections.abc import Callable
from typing import Any, cast

import pytest

from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from services.qb_gateway.calls import OPEN_MAX
from services.qb_gateway.cmap import HANDLES_MAX, CmapService
from services.qb_gateway.wire import cmap

ITERATE = struct.pack("<iiiiH6s256s", cmap.ITERATE, 0, 280, 0, 0, bytes(6), b"")
CHOOSE_STATISTICS = struct.pack("<iiiii", cmap.CHOOSE, 0, 20, 0, 1)
TRACK = struct.pack("<iiiiH6s256si4xQ", cmap.TRACK, 0, 296, 0, 0, bytes(6), b"", cmap.CHANGED, 0)


class Control:
    """Keeps what is asked until the test answers."""

    def __init__(self) -> None:
        self.open: dict[int, tuple[bytes, Callable[[int, Any], None]]] = {}
        self._count = 0

    def watch(self, _of: str, _on_events: object) -> None:
        """Of keys: nothing changes here."""

    def ask(self, _op: Op, _arguments: object, answer: Callable[[int, Any], None], whose: bytes = b"") -> None:
        self._count += 1
        self.open[self._count] = whose, answer

    def forget(self, whose: bytes) -> None:
        self.open = {number: each for number, each in self.open.items() if each[0] != whose}


class Connection:
    """A program, as its service sees it."""

    def __init__(self) -> None:
        self.whose = b"1"
        self.state: Any = None
        self.requests_open = 0
        self.replies: list[bytes] = []

    def reply(self, data: bytes) -> None:
        self.replies.append(data)


def test_few_requests_of_a_program_are_open_and_none_outlives_it() -> None:
    control, program = Control(), Connection()
    service = CmapService(cast(Any, control), lambda _key, _new: None)
    service.opened(cast(Any, program))
    for is_last in (False, True):
        program.requests_open = OPEN_MAX - 1
        assert service.has_room(cast(Any, program), is_last=is_last)
        program.requests_open = OPEN_MAX
        assert not service.has_room(cast(Any, program), is_last=is_last)
    service.request(cast(Any, program), cmap.ITERATE, ITERATE)
    assert len(control.open) == 1
    service.closed(cast(Any, program))
    assert control.open == {}


@pytest.mark.parametrize(("ident", "message"), [(cmap.ITERATE, ITERATE), (cmap.TRACK, TRACK)])
def test_the_bound_of_handles_holds_for_what_is_asked_at_once(ident: int, message: bytes) -> None:
    control, program = Control(), Connection()
    service = CmapService(cast(Any, control), lambda _key, _new: None)
    service.opened(cast(Any, program))
    service.request(cast(Any, program), cmap.CHOOSE, CHOOSE_STATISTICS)
    program.replies.clear()
    for _ in range(HANDLES_MAX + 20):
        service.request(cast(Any, program), ident, message)
    for _, answer in list(control.open.values()):
        answer(Code.OK, [])
    codes = [struct.unpack_from("<i4xi4xi", reply)[2] for reply in program.replies]
    assert codes == [Code.OK] * HANDLES_MAX + [Code.NO_RESOURCES] * 20
