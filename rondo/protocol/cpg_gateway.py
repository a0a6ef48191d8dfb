"""Envelopes between cpg and the gateways (docs/PROTOCOL.md, "Between cpg and the gateway").

Requests, replies and events of clients are in blobs that the gateway passes on unread. `rondo.protocol.requests` and
`rondo.protocol.events` define their content.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, NamedTuple

from rondo.protocol.envelope import (
    Check,
    any_value,
    array_of,
    decode_shape,
    is_bytes,
    is_text,
    is_u32,
    is_u64,
    optional,
    pack,
    record,
    written_as,
)
from rondo.protocol.kinds import Kind
from rondo.protocol.large import LARGE_BYTES, pack_rows, split
from rondo.protocol.totem_reader import Again

REMOTE_UID: Final = 2**32 - 1
"""uid and gid of a client on another host: no user has them. Its pid is a number above all process ids, and its start
time is the beginning of its public key. It is no process of this machine, and must not be taken for one."""


KIND_SHIFT: Final = 63
"""The highest bit of a session's number tells which gateway has the session."""


class GatewayKind(IntEnum):
    """The gateways that cpg serves. Each is told of its own sessions only."""

    CLIENTS = 0
    """ipc_gateway, for clients of Rondo's own protocol."""
    C_PROGRAMS = 1
    """qb_gateway, for programs with Corosync's C libraries."""


class CloseReason(IntEnum):
    """Why the gateway closes a session."""

    LEFT = 0
    """The client said goodbye: what it requested before is done first."""
    DIED = 1
    """Its connection or process is gone: what totem has not taken is dropped."""
    CUT = 2
    """The gateway cut it off; like DIED."""


class OpenFlag(IntEnum):
    """Bits of Open's flags."""

    RING_EVENTS = 1
    """The session wants an event for each ring (cpg_totem_confchg_fn)."""


class NoticeKind(IntEnum):
    """What a notice says of a session."""

    SLOW = 1
    """`[bytes it holds back, bytes at which it is cut off]`"""
    CUT = 2
    """`[code, reason]`: the session is over."""


class GatewayHello(NamedTuple):
    """gateway to cpg: the gateway is new, or has lost the state of the connection."""

    epoch: int
    version: int
    pid: int
    gateway: int
    """GatewayKind."""


class CpgWelcome(NamedTuple):
    """cpg to the gateway: this epoch is in force, and cpg knows these sessions.

    The gateway reopens those that are alive and closes those that are not. Also sent when a new epoch begins.
    """

    epoch: int
    version: int
    node_id: int
    pid: int
    sessions: list[list[Any]]
    """`[session, pid, start_time, uid, gid, flags, note]`"""


class Open(NamedTuple):
    """gateway to cpg: open sessions, or reopen them."""

    epoch: int
    sessions: list[list[Any]]
    """`[session, pid, start_time, uid, gid, flags, note, resume]`; resume = nil for a new session, else `[epoch,
    position, settled]`. The session has had the events up to this position of this epoch. All its requests up to
    `settled` are settled for it; the next one to come is settled + 1."""


class Opened(NamedTuple):
    """cpg to the gateway: answers to Open."""

    epoch: int
    sessions: list[list[Any]]
    """`[session, code, position, taken, ring]`: the events that follow come after `position`; requests up to `taken`
    are accepted and need not be sent again; ring = nil, or `[rep, seq, members]` as of position."""


class Close(NamedTuple):
    """gateway to cpg: sessions that are over."""

    epoch: int
    sessions: list[list[int]]
    """`[session, CloseReason]`"""


class Request(NamedTuple):
    """gateway to cpg: requests of clients."""

    epoch: int
    requests: list[list[Any]]
    """`[session, first, last, blob]`: the blob holds the requests numbered first to last, without a gap."""


class Settled(NamedTuple):
    """cpg to the gateway: settled requests."""

    epoch: int
    sessions: list[list[int]]
    """`[session, request]`: every request up to this one is accepted by totem, or was answered by a reply."""


class Reply(NamedTuple):
    """cpg to the gateway: answers to requests, refusals among them."""

    epoch: int
    replies: list[list[Any]]
    """`[session, blob]`"""


class Events(NamedTuple):
    """cpg to the gateway: events for sessions."""

    epoch: int
    events: list[list[Any]]
    """`[session, first, last, blob]`: the blob holds all of the session's events of positions first to last."""


class EventAck(NamedTuple):
    """gateway to cpg: what clients have handled."""

    epoch: int
    sessions: list[list[int]]
    """`[session, n]`: all events up to position n."""


class Notice(NamedTuple):
    """cpg to the gateway: news about sessions, outside the order."""

    epoch: int
    notices: list[list[Any]]
    """`[session, NoticeKind, detail]`"""


class Lost(NamedTuple):
    """cpg to the gateway: totem died, `epoch` is over. Memberships are gone; the sessions are not."""

    epoch: int
    reason: str
    sessions: list[list[Any]]
    """`[session, [request, ...]]`: these were submitted and not seen ordered; their outcome is unknown."""


class Reopen(NamedTuple):
    """cpg to the gateway: the numbers of these sessions do not fit, or cpg does not know them: reopen them."""

    epoch: int
    sessions: list[int]


Envelope = (
    GatewayHello
    | CpgWelcome
    | Open
    | Opened
    | Close
    | Request
    | Settled
    | Reply
    | Events
    | EventAck
    | Notice
    | Lost
    | Reopen
    | Again
)


def _is_gateway_kind(value: Any) -> bool:
    return value in (0, 1) and type(value) is int


_PAIR: Final = record(session=is_u64, request=is_u64)
_RING: Final = record(rep=is_u32, seq=is_u64, members=array_of(is_u32))
_WHO: Final[dict[str, Check]] = {
    "session": is_u64,
    "pid": is_u32,
    "start_time": is_u64,
    "uid": is_u32,
    "gid": is_u32,
    "flags": is_u32,
    "note": is_bytes,
}
_RESUME: Final = record(epoch=is_u64, position=is_u64, settled=is_u64)
_BLOB: Final = record(session=is_u64, first=is_u64, last=is_u64, blob=is_bytes)
SHAPES: Final[dict[Kind, tuple[type[Envelope], Check]]] = {
    Kind.GATEWAY_HELLO: (
        GatewayHello,
        record(epoch=is_u64, version=is_u32, pid=is_u32, gateway=written_as(_is_gateway_kind, "u32")),
    ),
    Kind.CPG_WELCOME: (
        CpgWelcome,
        record(epoch=is_u64, version=is_u32, node_id=is_u32, pid=is_u32, sessions=array_of(record(**_WHO))),
    ),
    Kind.OPEN: (Open, record(epoch=is_u64, sessions=array_of(record(**_WHO, resume=optional(_RESUME))))),
    Kind.OPENED: (
        Opened,
        record(
            epoch=is_u64,
            sessions=array_of(record(session=is_u64, code=is_u32, position=is_u64, taken=is_u64, ring=optional(_RING))),
        ),
    ),
    Kind.CLOSE: (Close, record(epoch=is_u64, sessions=array_of(record(session=is_u64, reason=is_u32)))),
    Kind.REQUEST: (Request, record(epoch=is_u64, requests=array_of(_BLOB))),
    Kind.SETTLED: (Settled, record(epoch=is_u64, sessions=array_of(_PAIR))),
    Kind.REPLY: (Reply, record(epoch=is_u64, replies=array_of(record(session=is_u64, blob=is_bytes)))),
    Kind.EVENTS: (Events, record(epoch=is_u64, events=array_of(_BLOB))),
    Kind.EVENT_ACK: (EventAck, record(epoch=is_u64, sessions=array_of(record(session=is_u64, n=is_u64)))),
    Kind.NOTICE: (
        Notice,
        record(epoch=is_u64, notices=array_of(record(session=is_u64, what=is_u32, detail=array_of(any_value)))),
    ),
    Kind.LOST: (
        Lost,
        record(
            epoch=is_u64,
            reason=is_text,
            sessions=array_of(record(session=is_u64, requests=array_of(is_u64))),
        ),
    ),
    Kind.REOPEN: (Reopen, record(epoch=is_u64, sessions=array_of(is_u64))),
    Kind.AGAIN: (Again, record(epoch=is_u64)),
}
"""The shapes of the envelopes."""
_KINDS: Final[dict[type[Envelope], Kind]] = {envelope: kind for kind, (envelope, _) in SHAPES.items()}


def encode(envelope: Envelope) -> bytes:
    """The bytes of an envelope."""
    if isinstance(envelope, (Request, Events, Reply)):
        rows: list[list[Any]] = envelope[1]
        if rows and len(rows[-1][-1]) >= LARGE_BYTES:
            return pack_rows([_KINDS[type(envelope)], envelope.epoch], rows)
    return pack([_KINDS[type(envelope)], *envelope])


def decode(frame: bytes) -> Envelope:
    """The envelope that `frame` holds. Raises `BusError`. A large blob at its end is a view of the frame."""
    if len(frame) >= LARGE_BYTES and (parts := split(frame)) is not None:
        head, blob = parts
        parted: Envelope = decode_shape(head, SHAPES)
        if isinstance(parted, (Request, Events, Reply)):
            parted[1][-1][-1] = blob
            return parted
    envelope: Envelope = decode_shape(frame, SHAPES)
    return envelope
