"""Envelopes and log entries between totem and control (docs/PROTOCOL.md, "Between totem and control").

control reads the same log as cpg, at the same positions: configurations, the sync steps of its services, and the
messages of these. It gets no messages of groups, so its positions have gaps.

Everything that control does is in one envelope, COMMIT: how far it has evaluated the log, its state there, and the
messages to send. totem takes a commit whole or not at all. A control that was killed restarts from the state of its
last commit and gets the log after it, so nothing is done twice or left out. What control tells its clients waits until
totem has confirmed the commit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rondo.protocol.envelope import (
    Check,
    array_of,
    decode_shape,
    is_bool,
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

SOCKET = "totem-control.sock"

SERVICES = (0, 1, 3, 5)
"""The services whose messages control gets: cmap, cfg, quorum, votequorum."""

# Kinds of log entries.
MESSAGE = 0
"""`[0, sender, is_own, data]`: an executive message of one of `SERVICES`, its 16-byte header included."""
TRANSITIONAL = 1
"""`[1, members, left]`"""
REGULAR = 2
"""`[2, [rep, seq], members]`"""
SYNC_STEP = 3
"""`[3, [rep, seq], service]`: it is the turn of this service of control's in the sync; the commit that covers this
position brings its messages."""
SYNC_ACTIVATE = 4
"""`[4, [rep, seq], service]`: all members have done this service's step."""
SYNC_ABORT = 5
"""`[5, [rep, seq]]`: the next ring came before the sync was complete."""
SYNC_COMPLETE = 6
"""`[6, [rep, seq]]`"""

Entry = list[Any]


class Hello(NamedTuple):
    """control to totem: control is new, or has lost the state of the connection."""

    epoch: int
    """The last epoch that control knew; 0 = none."""
    version: int
    pid: int


class Welcome(NamedTuple):
    """totem to control: the position of control. The log after `position` follows."""

    epoch: int
    version: int
    node_id: int
    pid: int
    """Process id of totem: the epoch ends with this process."""
    head: int
    """The newest position."""
    position: int
    """The position of the last commit; 0 = there was none."""
    state: bytes | None
    """control's state there; nil = there was no commit in this epoch."""
    commit: int
    """Number of the last commit; 0 = none."""


class Log(NamedTuple):
    """totem to control: entries that follow those sent before."""

    epoch: int
    entries: list[list[Any]]
    """`[n, entry]`, ascending"""


class Commit(NamedTuple):
    """control to totem: all that control has done up to a position."""

    epoch: int
    number: int
    """One more than the number of the commit before."""
    n: int
    """All entries up to this position are evaluated."""
    state: bytes | None
    """The state after that; nil = as in the commit before."""
    messages: list[bytes]
    """Messages to send, in this order."""
    replies: list[list[Any]]
    """`[position of a SYNC_STEP, [data, ...]]`: that step is done, and these are its messages."""
    reform: bool = False
    """The ring is to be formed anew, of the same members: a program wants it so."""


class Committed(NamedTuple):
    """totem to control: commits up to this number are safe."""

    epoch: int
    number: int
    queued_bytes: int
    """Bytes of control's messages that wait to be sent."""


class Evict(NamedTuple):
    """control to totem: this node must not take part. It leaves the ring, and totem ends."""

    epoch: int
    is_fault_of_configuration: bool
    """True if a restart with the same configuration would lead to the same result."""
    text: str
    """The log line that says why."""


class Again(NamedTuple):
    """totem to control: totem does not know control (any more); send a hello."""

    epoch: int


Envelope = Hello | Welcome | Log | Commit | Committed | Evict | Again

_RING = record(rep=is_u32, seq=is_u64)
_NODES = array_of(is_u32)
_RING_ENTRY = record(kind=is_u32, ring=_RING)
_SERVICE_ENTRY = record(kind=is_u32, ring=_RING, service=is_u32)
ENTRIES: dict[int, Check] = {
    MESSAGE: record(kind=is_u32, sender=is_u32, own=is_bool, data=is_bytes),
    TRANSITIONAL: record(kind=is_u32, members=_NODES, left=_NODES),
    REGULAR: record(kind=is_u32, ring=_RING, members=_NODES),
    SYNC_STEP: _SERVICE_ENTRY,
    SYNC_ACTIVATE: _SERVICE_ENTRY,
    SYNC_ABORT: _RING_ENTRY,
    SYNC_COMPLETE: _RING_ENTRY,
}
"""The shapes of the log's entries, by kind."""


_RELOAD = b"\3\0\1\0"
"""How Corosync's RELOAD_CONFIG begins: function 3 of service 1."""


def is_safe(message: bytes) -> bool:
    """True for the message at which all nodes change their configuration. It is delivered only after every member of
    the ring has received it: a node that dies must not be the only one that has changed."""
    return message.startswith(_RELOAD)


def is_entry(value: Any) -> bool:
    """True for a valid log entry."""
    if type(value) is not list or not value or type(value[0]) is not int:
        return False
    check = ENTRIES.get(value[0])
    return check is not None and check(value)


SHAPES: dict[Kind, tuple[type[Envelope], Check]] = {
    Kind.CONTROL_HELLO: (Hello, record(epoch=is_u64, version=is_u32, pid=is_u32)),
    Kind.CONTROL_WELCOME: (
        Welcome,
        record(
            epoch=is_u64,
            version=is_u32,
            node_id=is_u32,
            pid=is_u32,
            head=is_u64,
            position=is_u64,
            state=optional(is_bytes),
            commit=is_u64,
        ),
    ),
    Kind.CONTROL_LOG: (
        Log,
        record(epoch=is_u64, entries=array_of(record(n=is_u64, entry=written_as(is_entry, "entry")))),
    ),
    Kind.COMMIT: (
        Commit,
        record(
            epoch=is_u64,
            number=is_u64,
            n=is_u64,
            state=optional(is_bytes),
            messages=array_of(is_bytes),
            replies=array_of(record(n=is_u64, messages=array_of(is_bytes))),
            reform=is_bool,
        ),
    ),
    Kind.COMMITTED: (Committed, record(epoch=is_u64, number=is_u64, queued_bytes=is_u64)),
    Kind.EVICT: (Evict, record(epoch=is_u64, is_fault_of_configuration=is_bool, text=is_text)),
    Kind.CONTROL_AGAIN: (Again, record(epoch=is_u64)),
}
"""The shapes of the envelopes."""
_KINDS: dict[type[Envelope], Kind] = {envelope: kind for kind, (envelope, _) in SHAPES.items()}


def encode(envelope: Envelope) -> bytes:
    """The bytes of an envelope."""
    return pack([_KINDS[type(envelope)], *envelope])


def decode(frame: bytes) -> Envelope:
    """The envelope that `frame` holds. Raises `BusError`."""
    envelope: Envelope = decode_shape(frame, SHAPES)
    return envelope
