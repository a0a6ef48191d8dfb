"""The envelopes between a client and the gateway: numbers and shapes. docs/PROTOCOL-CLIENT.md explains them.

Each is one ZeroMQ message of one frame: a msgpack array [kind, epoch, field, ...] of fixed shape. The epoch is that of
the node's log (one life of its totem process); 0 where none is known yet. Requests, replies and events are in blobs
that the gateway passes on unread. `rondo.protocol.requests` and `rondo.protocol.events` define their content.
"""

from enum import IntEnum, IntFlag
from typing import Any, Final

from rondo.protocol.envelope import (
    BusError,
    Check,
    array_of,
    is_bytes,
    is_text,
    is_u32,
    is_u64,
    optional,
    pack,
    record,
    unpack,
)
from rondo.protocol.large import LARGE_BYTES, pack_before, split

VERSION: Final = 1
"""The highest version of this side. HELLO has the client's; WELCOME has the one to use: the lower of the two."""
VERSION_MIN: Final = 1
"""The lowest version of this side. A client with a lower one is refused. The shapes of HELLO, WELCOME and BYE are the
same in every version."""

FIELDS_MAX: Final = 1 << 20
ELEMENTS_MAX: Final = 64
"""How many elements all arrays of a client's envelope may have: a HELLO, the longest, has a dozen."""


class Flag(IntFlag):
    """The flags of HELLO: of what a client wants to be told."""

    RING_EVENTS = 1
    """Every new ring."""
    STOPPING = 2
    """An orderly stop of the gateway."""


class Kind(IntEnum):
    """First element of an envelope between a client and the gateway."""

    HELLO = 32
    """client: version, flags, name, resume; resume = nil or [session, secret, epoch, position, settled]."""
    WELCOME = 33
    """gateway: version, node_id, pid, session, secret, position, taken, ring, limits."""
    REQUEST = 34
    """client: first, last, blob of requests."""
    SETTLED = 35
    """gateway: number; every request up to it is accepted, or was answered by a reply."""
    REPLY = 36
    """gateway: blob of replies."""
    EVENTS = 37
    """gateway: first, last, blob of events."""
    ACK = 38
    """client: n; every event up to this position is handled."""
    LOST = 39
    """gateway: reason, [request, ...]; the epoch is over, and of these requests the outcome is unknown."""
    BYE = 40
    """either: code, reason; the session is over."""
    SLOW = 41
    """gateway: bytes held back, bytes at which the session is cut off."""
    ERROR = 42
    """gateway: code, text; an envelope could not be understood or placed and was dropped."""
    SAM_REQUEST = 43
    """client: number, blob; something for SAM. Needs no session."""
    SAM_REPLY = 44
    """gateway: number, code, blob."""
    CONTROL_REQUEST = 45
    """client: number, blob; something for control. Needs no session."""
    CONTROL_REPLY = 46
    """gateway: number, code, blob."""
    STOPPING = 47
    """gateway: reason; it is being stopped in order. Only to a client whose HELLO had flag 2."""


_RING: Final = record(rep=is_u32, seq=is_u64, members=array_of(is_u32))
_RESUME: Final = record(session=is_u64, secret=is_bytes, epoch=is_u64, position=is_u64, settled=is_u64)
_LIMITS: Final = record(request_bytes=is_u64, requests=is_u64, message_bytes=is_u64, resume_ms=is_u64)
_GOODBYE: Final = record(code=is_u32, reason=is_text)
FROM_CLIENT: Final[dict[int, Check]] = {
    Kind.HELLO: record(version=is_u32, flags=is_u32, name=is_text, resume=optional(_RESUME)),
    Kind.REQUEST: record(first=is_u64, last=is_u64, blob=is_bytes),
    Kind.ACK: record(n=is_u64),
    Kind.BYE: _GOODBYE,
    Kind.SAM_REQUEST: record(number=is_u64, blob=is_bytes),
    Kind.CONTROL_REQUEST: record(number=is_u64, blob=is_bytes),
}
"""The shapes of what clients send, kind and epoch left out."""
FROM_GATEWAY: Final[dict[int, Check]] = {
    Kind.WELCOME: record(
        version=is_u32,
        node_id=is_u32,
        pid=is_u32,
        session=is_u64,
        secret=is_bytes,
        position=is_u64,
        taken=is_u64,
        ring=optional(_RING),
        limits=_LIMITS,
    ),
    Kind.SETTLED: record(request=is_u64),
    Kind.REPLY: record(blob=is_bytes),
    Kind.EVENTS: record(first=is_u64, last=is_u64, blob=is_bytes),
    Kind.LOST: record(reason=is_text, requests=array_of(is_u64)),
    Kind.BYE: _GOODBYE,
    Kind.SLOW: record(held_bytes=is_u64, cut_bytes=is_u64),
    Kind.ERROR: record(code=is_u32, text=is_text),
    Kind.SAM_REPLY: record(number=is_u64, code=is_u32, blob=is_bytes),
    Kind.CONTROL_REPLY: record(number=is_u64, code=is_u32, blob=is_bytes),
    Kind.STOPPING: record(reason=is_text),
}
"""The shapes of what the gateway sends."""


_BLOBS: Final = frozenset((Kind.REQUEST, Kind.REPLY, Kind.EVENTS))
"""What ends with a blob that the gateway passes on unread."""


def encode(kind: Kind, epoch: int, *fields: Any) -> bytes:
    """The bytes of an envelope."""
    if kind in _BLOBS and len(blob := fields[-1]) >= LARGE_BYTES:
        return b"".join((pack_before((kind, epoch, *fields[:-1], b""), len(blob)), blob))
    return pack((kind, epoch, *fields))


def decode(frame: bytes, shapes: dict[int, Check]) -> tuple[int, int, list[Any]]:
    """Kind, epoch and fields of an envelope. Raises BusError for what is not one of `shapes`. A large blob of requests,
    replies or events is a view of the frame."""
    blob: memoryview | None = None
    if len(frame) >= LARGE_BYTES and (parts := split(frame)) is not None:
        frame, blob = parts
    # The decoder allocates memory for the announced length of an array as soon as the array begins.
    value = unpack(frame, ELEMENTS_MAX, ELEMENTS_MAX) if shapes is FROM_CLIENT else unpack(frame, FIELDS_MAX)
    if type(value) is not list or len(value) < 2 or not is_u32(value[0]) or not is_u64(value[1]):
        raise BusError("not an array that begins with a kind and an epoch")
    kind, epoch, *fields = value
    check = shapes.get(kind)
    if check is None:
        raise BusError(f"an envelope of unknown kind {kind}")
    if not check(fields):
        raise BusError(f"{Kind(kind).name} of a wrong shape")
    if blob is not None:
        fields[-1] = blob if kind in _BLOBS else bytes(blob)
    return kind, epoch, fields
