"""Envelopes and log entries between totem and cpg (docs/PROTOCOL.md, "Between totem and cpg").

`encode` and `decode` are inverse to each other. A log entry is an array whose first element is its kind. Entries are
plain lists here, not objects, because there are hundreds of thousands of them a second.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from rondo.protocol.batch import BATCH_ID, MESSAGE_COST_BYTES, batch_length
from rondo.protocol.envelope import (
    U32_MAX,
    U64_MAX,
    Check,
    array_of,
    decode_shape,
    is_bool,
    is_bytes,
    is_u32,
    is_u64,
    notation,
    optional,
    pack,
    record,
    written_as,
)
from rondo.protocol.kinds import Kind
from rondo.protocol.large import LARGE_BYTES, pack_rows

# Kinds of log entries.
MESSAGE: Final = 0
"""`[0, sender, tag, transitional, data]`: an executive message of service CPG, its 16-byte header included. It may be a
batch (`rondo.protocol.batch`); the request in its tag is then that of its last message."""
TRANSITIONAL: Final = 1
"""`[1, [old rep, old seq], [new rep, new seq], members, left]`"""
REGULAR: Final = 2
"""`[2, [rep, seq], members, joined, left]`"""
SYNC_STEP: Final = 3
"""`[3, [rep, seq]]`: cpg's turn in the sync; it answers with SyncReply."""
SYNC_ACTIVATE: Final = 4
SYNC_ABORT: Final = 5
SYNC_COMPLETE: Final = 6
SKIP: Final = 7
"""`[7]`: a position that belongs to an entry of control's (`rondo.protocol.totem_control`)."""

Entry = list[Any]

Tag = list[int]
"""`[session, request, parts that follow]` of a message that this node's cpg submitted."""

MESSAGE_OVERHEAD_BYTES: Final = 64
"""What a message costs of the credit besides its bytes, so that empty messages are bounded, too."""

ENTRY_OVERHEAD_BYTES: Final = 256
"""What an entry counts for besides its data: about what Python needs for it."""


_LARGE_ROWS_MAX: Final = 8
"""An envelope of `ENVELOPE_BYTES_TARGET` has no more large messages than this."""


class Hello(NamedTuple):
    """cpg to totem: cpg is new, or has lost the state of the connection."""

    epoch: int
    """The last epoch that cpg knew; 0 = none."""
    version: int
    pid: int


class Welcome(NamedTuple):
    """totem to cpg: the position of cpg. The kept entries follow, then the log from `position` + 1."""

    epoch: int
    version: int
    node_id: int
    pid: int
    """Process id of totem: the epoch ends with this process."""
    head: int
    """The newest position."""
    position: int
    """The position that cpg acknowledged last; 0 = none."""
    core: bytes | None
    """cpg's snapshot, good for `position`; nil = the state before the first entry."""
    sessions: bytes | None
    """cpg's table of sessions, as cpg last sent it."""
    taken: list[list[int]]
    """`[session, last request taken]`"""
    pending: list[list[Any]]
    """`[session, request, note]` of each request that is accepted and not wholly in the log yet, in order."""
    credit: int
    """Bytes that may be submitted in all since this welcome (see Taken)."""


class Log(NamedTuple):
    """totem to cpg: entries `first`, `first` + 1, ..."""

    epoch: int
    first: int
    entries: list[Entry]


class Kept(NamedTuple):
    """totem to cpg, after a welcome: the entries up to its position that cpg's last acknowledgement asked to keep."""

    epoch: int
    entries: list[list[Any]]
    """`[n, entry]`, ascending"""


class Taken(NamedTuple):
    """totem to cpg: accepted requests, and the credit."""

    epoch: int
    taken: list[list[int]]
    """`[session, request]`: all requests of that session up to this one are accepted."""
    credit: int
    """Bytes that may be submitted in all since the welcome. It never falls. While it is above what was submitted, one
    more request may be, of any size."""


class Submit(NamedTuple):
    """cpg to totem: requests to accept, each of them whole or not at all, in order."""

    epoch: int
    requests: list[list[Any]]
    """`[session, request, guarantee, note, [data, ...]]`; the note comes back in Welcome.pending."""


class SyncReply(NamedTuple):
    """cpg to totem: the messages of cpg's sync step."""

    epoch: int
    n: int
    """Position of the SYNC_STEP."""
    messages: list[bytes]


class Ack(NamedTuple):
    """cpg to totem: everything up to `n` is handled, except for the positions in `kept`."""

    epoch: int
    n: int
    core: bytes | None
    """Snapshot good for n; nil = the last one is."""
    sessions: bytes | None
    """Table of sessions; nil = unchanged."""
    kept: list[int]
    """Positions up to n, ascending, whose entries a cpg that restarts from here needs: parts of unfinished messages."""
    gone: list[int]
    """Sessions that have ended for good: forget their last request."""


class Again(NamedTuple):
    """totem to cpg, or cpg to the gateway: the sender does not know the receiver (any more); send a hello."""

    epoch: int


Envelope = Hello | Welcome | Log | Kept | Taken | Submit | SyncReply | Ack | Again

_PAIR: Final = record(session=is_u64, request=is_u64)
_RING: Final = record(rep=is_u32, seq=is_u64)
_NODES: Final = array_of(is_u32)
_RING_ENTRY: Final = record(kind=is_u32, ring=_RING)
ENTRIES: Final[dict[int, Check]] = {
    MESSAGE: record(
        kind=is_u32,
        sender=is_u32,
        tag=optional(record(session=is_u64, request=is_u64, following=is_u32)),
        transitional=is_bool,
        data=is_bytes,
    ),
    TRANSITIONAL: record(kind=is_u32, old=_RING, new=_RING, members=_NODES, left=_NODES),
    REGULAR: record(kind=is_u32, ring=_RING, members=_NODES, joined=_NODES, left=_NODES),
    SYNC_STEP: _RING_ENTRY,
    SYNC_ACTIVATE: _RING_ENTRY,
    SYNC_ABORT: _RING_ENTRY,
    SYNC_COMPLETE: _RING_ENTRY,
    SKIP: record(kind=is_u32),
}
"""The shapes of the log's entries, by kind."""

REQUEST: Final = record(
    session=is_u64, request=is_u64, guarantee=is_u32, note=optional(is_bytes), messages=array_of(is_bytes)
)
"""The shape of an item of SUBMIT."""


def is_entry(value: Any) -> bool:
    """True for a valid log entry, as `ENTRIES` defines it. Messages, which are nearly all entries, are checked without
    calls."""
    if type(value) is not list or not value or type(value[0]) is not int:
        return False
    if value[0] == MESSAGE:
        if len(value) != 5:
            return False
        _, sender, tag, transitional, data = value
        return (
            type(data) is bytes
            and type(sender) is int
            and 0 <= sender <= U32_MAX
            and (transitional is False or transitional is True)
            and (tag is None or _is_tag(tag))
        )
    check = ENTRIES.get(value[0])
    return check is not None and check(value)


def _is_tag(value: Any) -> bool:
    return (
        type(value) is list
        and len(value) == 3
        and type(value[0]) is int
        and 0 <= value[0] <= U64_MAX
        and type(value[1]) is int
        and 0 <= value[1] <= U64_MAX
        and type(value[2]) is int
        and 0 <= value[2] <= U32_MAX
    )


def _is_request(value: Any) -> bool:
    """True if `REQUEST` passes. There are as many requests as messages, so they are checked without calls, too."""
    if type(value) is not list or len(value) != 5:
        return False
    session, request, guarantee, note, messages = value
    return (
        type(session) is int
        and 0 <= session <= U64_MAX
        and type(request) is int
        and 0 <= request <= U64_MAX
        and type(guarantee) is int
        and 0 <= guarantee <= U32_MAX
        and (note is None or type(note) is bytes)
        and type(messages) is list
        and ((len(messages) == 1 and type(messages[0]) is bytes) or all(type(message) is bytes for message in messages))
    )


_ENTRY: Final = written_as(is_entry, "entry")
SHAPES: Final[dict[Kind, tuple[type[Envelope], Check]]] = {
    Kind.HELLO: (Hello, record(epoch=is_u64, version=is_u32, pid=is_u32)),
    Kind.WELCOME: (
        Welcome,
        record(
            epoch=is_u64,
            version=is_u32,
            node_id=is_u32,
            pid=is_u32,
            head=is_u64,
            position=is_u64,
            core=optional(is_bytes),
            sessions=optional(is_bytes),
            taken=array_of(_PAIR),
            pending=array_of(record(session=is_u64, request=is_u64, note=optional(is_bytes))),
            credit=is_u64,
        ),
    ),
    Kind.LOG: (Log, record(epoch=is_u64, first=is_u64, entries=array_of(_ENTRY))),
    Kind.KEPT: (Kept, record(epoch=is_u64, entries=array_of(record(n=is_u64, entry=_ENTRY)))),
    Kind.TAKEN: (Taken, record(epoch=is_u64, taken=array_of(_PAIR), credit=is_u64)),
    Kind.SUBMIT: (
        Submit,
        record(epoch=is_u64, requests=array_of(written_as(_is_request, notation(REQUEST)))),
    ),
    Kind.SYNC_REPLY: (SyncReply, record(epoch=is_u64, n=is_u64, messages=array_of(is_bytes))),
    Kind.ACK: (
        Ack,
        record(
            epoch=is_u64,
            n=is_u64,
            core=optional(is_bytes),
            sessions=optional(is_bytes),
            kept=array_of(is_u64),
            gone=array_of(is_u64),
        ),
    ),
    Kind.AGAIN: (Again, record(epoch=is_u64)),
}
"""The shapes of the envelopes."""
_KINDS: Final[dict[type[Envelope], Kind]] = {envelope: kind for kind, (envelope, _) in SHAPES.items()}


def encode(envelope: Envelope) -> bytes:
    """The bytes of an envelope."""
    if isinstance(envelope, Log):
        if _are_large(envelope.entries):
            return pack_rows([int(Kind.LOG), envelope.epoch, envelope.first], envelope.entries)
    elif isinstance(envelope, Submit) and _are_large_requests(envelope.requests):
        return pack_rows([int(Kind.SUBMIT), envelope.epoch], envelope.requests)
    return pack([_KINDS[type(envelope)], *envelope])


def _are_large(entries: list[Entry]) -> bool:
    """Whether all of these are messages, and nearly all of the bytes are theirs."""
    if not entries or len(entries) > _LARGE_ROWS_MAX:
        return False
    data_bytes = 0
    for entry in entries:
        if entry[0] != MESSAGE:
            return False
        data_bytes += len(entry[4])
    return data_bytes >= LARGE_BYTES * len(entries)


def _are_large_requests(requests: list[list[Any]]) -> bool:
    if not requests or len(requests) > _LARGE_ROWS_MAX:
        return False
    data_bytes = count = 0
    for request in requests:
        if not _is_request(request):
            return False
        for data in request[4]:
            data_bytes += len(data)
            count += 1
    return data_bytes >= LARGE_BYTES * max(count, len(requests))


def decode(frame: bytes) -> Envelope:
    """The envelope that `frame` holds. Raises `BusError`."""
    envelope: Envelope = decode_shape(frame, SHAPES)
    return envelope


def request_cost(messages: list[bytes]) -> int:
    """What a request takes of the credit, bytes."""
    if len(messages) == 1:
        return message_cost(messages[0])
    return sum(map(len, messages)) + MESSAGE_OVERHEAD_BYTES * len(messages)


def message_cost(message: bytes) -> int:
    """What one message takes of the credit. A batch takes as much as its messages would."""
    cost = len(message) + MESSAGE_OVERHEAD_BYTES
    return cost if message[:4] != BATCH_ID else cost + batch_length(message) * MESSAGE_COST_BYTES
