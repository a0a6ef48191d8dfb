"""The connection to control, for requests about quorum, keys and nodes. Every client may send all of them, as with
Corosync, except that clients on other hosts may neither stop nodes nor change their configuration."""

from pathlib import Path

from rondo.protocol import control_gateway as bus
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from rondo.protocol.cpg_gateway import REMOTE_UID
from rondo.protocol.envelope import BusError
from services.ipc_gateway.asking import Answer, Asking

OF_THE_NODE = (Op.KILL, Op.RELOAD, Op.REOPEN_LOGS, Op.SHUTDOWN, Op.TRACK_SHUTDOWN, Op.VOTE_ON_SHUTDOWN)


def _is_of_the_node(blob: bytes) -> bool:
    try:
        return bus.decode_request(blob)[0] in OF_THE_NODE
    except BusError:
        return False  # control reports the error


def _answer_of(frame: bytes) -> bus.Answer:
    answer = bus.decode(frame)
    if not isinstance(answer, bus.Answer):
        raise BusError("not an answer")
    return answer


class ControlUpstream(Asking):
    """Requests to control, and its answers."""

    def __init__(self, run_dir: Path, answer: Answer) -> None:
        super().__init__(run_dir / bus.SOCKET, "control", bus.REQUEST_BYTES_MAX, _answer_of, answer)
        self._askers: set[bytes] = set()
        """Connections that have asked something. There are no more of them than clients."""

    def ask(self, connection: bytes, number: int, uid: int, blob: bytes) -> None:
        """Forward a request of a client of this user."""
        if uid == REMOTE_UID and _is_of_the_node(blob):
            self.refuse(connection, number, Code.ACCESS, "this can be asked on the node itself only")
            return
        self._askers.add(connection)
        self.send(connection, number, uid, blob, lambda: bus.encode(bus.Ask(0, connection, number, blob)))

    def forget(self, connection: bytes) -> None:
        """A connection is gone: drop its requests, and tell control to forget them."""
        super().forget(connection)
        if connection in self._askers:
            self._askers.discard(connection)
            self.socket.send(bus.encode(bus.Forget(0, connection)))
