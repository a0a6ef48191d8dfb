"""Keeps the path of a message warm while clients use this node (system.low_latency).

Code that runs every few milliseconds finds itself and its data in the processor's caches. After ten or twenty idle
milliseconds other programs (or other guests, on a virtual machine) have displaced them, and the same work takes three
to four times as long. C Corosync's token always rotates, which warms its path. Here the token rests. So from a client's
request until a second after it, the gateway sends a message of its own whenever nothing has been sent for two
milliseconds. It takes the whole way through cpg and the ring and back, to a group that has no other member.

The gateway is its own client for that, by docs/PROTOCOL-CLIENT.md; `rondo cpg groups --all` shows the group. If this
session fails, nothing else is affected: it is started again a second later.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from rondo.ipc.local_dealer import LocalDealer
from rondo.protocol import events
from rondo.protocol.client_gateway import FROM_GATEWAY, VERSION, Kind, decode, encode
from rondo.protocol.envelope import BusError
from rondo.protocol.requests import HIDDEN_PREFIX, Guarantee, Op, encode_requests

INTERVAL_S: Final = 0.002
"""The pause after the last message before a warm-up message is sent. After three milliseconds a message is nearly as
fast as one of many; after five it takes half as long again."""
WARM_S: Final = 0.006
"""No warm-up message is sent while clients send at shorter intervals than this. It would delay the client's next
request. An interval may be half as long again as the one before."""
AFTER_S: Final = 1.0
"""Warm-up messages are sent until this time after a client's last request."""
RETRY_S: Final = 1.0
"""A warm-up message that does not come back is given up after this time. A session that has ended is started again
after it."""
ACK_S: Final = 0.02
"""A warm-up message is acknowledged with the next one, or after this time. What is not acknowledged keeps the node's
log from being freed."""
PAYLOAD: Final = bytes(64)
NAME: Final = "rondo lap"
"""The session's name in `rondo status`."""
NEVER_S: Final = float("inf")

log = logging.getLogger("IPC_GATEWAY")


def group_of(node: int) -> bytes:
    """The group of a node's warm-up messages."""
    return HIDDEN_PREFIX + b"%d" % node


class KeepWarm:
    """The gateway's own client, which sends warm-up messages. Its descriptor is polled with the others."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: the socket of this gateway."""
        self._warm_up_due_s = self._ack_due_s = NEVER_S
        self.warm_ups = 0
        """Warm-up messages that have come back."""
        self._socket = LocalDealer(endpoint)
        self._others = 0
        """Requests of other clients at the last look."""
        self._own = 0
        """Requests that this client has sent."""
        self._until_s = 0.0
        """The time until which clients count as using the node."""
        self._last_s = 0.0
        """The time of the last request of other clients."""
        self._not_before_s = 0.0
        """The earliest time at which a new session may begin."""
        self._epoch = 0
        self._group = b""
        self._is_greeted = False
        """HELLO was sent, and its session has not ended."""
        self._is_welcomed = False
        self._is_member = False
        self._number = 0
        """The number of the last request of this session."""
        self._sent_at_s: float | None = None
        """When the request on its way was sent; None if there is none."""
        self._position = 0

    @property
    def due_s(self) -> float:
        """The time.monotonic() by which `turn` has to be called."""
        return min(self._warm_up_due_s, self._ack_due_s)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._socket.fileno()

    def note(self, requests: int, now_s: float) -> None:
        """`requests`: how many the gateway has forwarded, those of this client included."""
        others = requests - self._own
        if others > self._others:
            self._until_s = now_s + AFTER_S
            gap_s, self._last_s = now_s - self._last_s, now_s
            wait_s = max(INTERVAL_S, 1.5 * gap_s) if gap_s < WARM_S else INTERVAL_S
            self._warm_up_due_s = max(now_s + wait_s, self._not_before_s)
        if others > self._others or self._sent_at_s is None:
            # Otherwise our own request may not have been forwarded yet, and must not count as another client's later.
            self._others = others

    def turn(self, now_s: float) -> None:
        """Process what has come, and send what is due."""
        self._socket.tend(now_s)
        for envelope in self._socket.receive():
            self._hear(envelope, now_s)
            self._warm_up_due_s = max(now_s + INTERVAL_S, self._not_before_s)
        if self._socket.is_broken:
            self._socket.is_broken = False
            self._begin_anew(now_s)
        if now_s >= self._ack_due_s:
            self._acknowledge()
        if now_s < self._warm_up_due_s:
            return
        if now_s >= self._until_s:
            self._warm_up_due_s = NEVER_S
        elif self._sent_at_s is None:
            self._send(now_s)
        elif now_s >= self._sent_at_s + RETRY_S:
            self._give_up(now_s)
        else:
            self._warm_up_due_s = self._sent_at_s + RETRY_S

    def _send(self, now_s: float) -> None:
        self._sent_at_s = now_s
        self._warm_up_due_s = now_s + RETRY_S
        if not self._is_greeted:
            self._is_greeted = True
            self._say(Kind.HELLO, VERSION, 0, NAME, None)
        elif self._is_welcomed:
            if self._ack_due_s < NEVER_S:
                self._acknowledge()
            self._number += 1
            self._own += 1
            what = [Op.MCAST, self._group, Guarantee.AGREED, PAYLOAD] if self._is_member else [Op.JOIN, self._group]
            blob = encode_requests([[self._number, *what]])
            self._say(Kind.REQUEST, self._number, self._number, blob)

    def _acknowledge(self) -> None:
        self._ack_due_s = NEVER_S
        self._say(Kind.ACK, self._position)

    def _say(self, kind: Kind, *fields: object) -> None:
        self._socket.send(encode(kind, self._epoch, *fields))

    def _give_up(self, now_s: float) -> None:
        """End the session, because it does not work."""
        self._say(Kind.BYE, 0, "")
        self._begin_anew(now_s)

    def _begin_anew(self, now_s: float) -> None:
        """The session is over, and the request on its way is given up."""
        self._warm_up_due_s = self._not_before_s = now_s + RETRY_S
        self._ack_due_s = NEVER_S
        self._is_greeted = self._is_welcomed = self._is_member = False
        self._sent_at_s = None
        self._epoch = 0

    def _hear(self, envelope: bytes, now_s: float) -> None:
        try:
            kind, epoch, fields = decode(envelope, FROM_GATEWAY)
            if kind == Kind.WELCOME:
                self._welcome(epoch, fields)
            elif kind == Kind.EVENTS:
                self._ack_due_s = now_s + ACK_S
                self._events(fields)
            elif kind == Kind.REPLY:
                self._refused()
            elif kind == Kind.LOST:
                self._is_member = False
            elif kind == Kind.BYE and self._is_welcomed:
                # Otherwise it is the answer to our own BYE.
                self._begin_anew(now_s)
            elif kind == Kind.ERROR and self._is_welcomed:
                self._give_up(now_s)
        except BusError as error:
            log.debug("a warm-up message was answered with an invalid envelope: %s", error)
            self._give_up(now_s)

    def _welcome(self, epoch: int, fields: list[Any]) -> None:
        """Process a WELCOME: at the beginning, and whenever cpg or the ring process was restarted."""
        _, node, _, _, _, position, taken, _, _ = fields
        self._is_member = self._is_member and epoch == self._epoch
        self._epoch, self._position, self._number = epoch, position, taken
        self._group = group_of(node)
        self._is_welcomed = True
        self._sent_at_s = None

    def _events(self, fields: list[Any]) -> None:
        _, last, blob = fields
        self._position = last
        for event in events.decode_events(blob):
            if event[1] == events.FAILED:
                self._refused()
                return
        self._is_member = True
        self._sent_at_s = None
        self.warm_ups += 1

    def _refused(self) -> None:
        """A request was refused: the membership is not what we thought, or there is no room now."""
        self._is_member = not self._is_member
        self._sent_at_s = None

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
