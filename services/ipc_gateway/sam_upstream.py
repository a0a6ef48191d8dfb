"""The connection to SAM. Each request is sent with the identity of the asking process. All may be repeated if their
answer was lost."""

from pathlib import Path

from rondo.protocol import sam_gateway as bus
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError
from services.ipc_gateway.asking import Answer, Asking
from services.ipc_gateway.credentials import Identity


def _answer_of(frame: bytes) -> bus.Answer:
    answer = bus.decode(frame)
    if not isinstance(answer, bus.Answer):
        raise BusError("not an answer")
    return answer


class SamUpstream(Asking):
    """Requests to SAM, and its answers."""

    def __init__(self, run_dir: Path, answer: Answer) -> None:
        super().__init__(run_dir / bus.SOCKET, "SAM", bus.REQUEST_BYTES_MAX, _answer_of, answer)

    def ask(self, connection: bytes, number: int, who: Identity | None, blob: bytes) -> None:
        """Forward a client's request. `who` is None if its process is gone or not visible."""
        if who is None:
            self.refuse(connection, number, Code.ACCESS, "the process that asks cannot be seen by this node")
            return
        ask = bus.Ask(0, connection, number, who.pid, who.start_time, who.uid, who.gid, list(who.groups), blob)
        self.send(connection, number, who.uid, blob, lambda: bus.encode(ask))
