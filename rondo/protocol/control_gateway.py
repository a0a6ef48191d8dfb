"""Requests of clients to control, and the envelopes in which the gateway forwards them (docs/PROTOCOL-CLIENT.md,
"Control").

A request is `[op, arguments]`, an answer is a code and a result. They travel as blobs, which the gateway does not read.
There is no order among them, and no session: each request stands for itself. A client watches by repeating `WATCH`. It
is answered as soon as there is an event after the number that the client had last. So no event is lost or told twice
whatever is killed meanwhile, and a slow client holds up nobody. SAM and qb_gateway ask control in the same way, for
themselves (`rondo.node.control_link`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from rondo.protocol.envelope import BusError, Check, decode_shape, is_bytes, is_u32, is_u64, pack, record, unpack
from rondo.protocol.kinds import Kind

REQUEST_BYTES_MAX = 64 * 1024
"""A key with its value; longer requests are refused as too big."""

ELEMENTS_MAX = 1024
"""Limit of a request: elements in all its arrays and maps. It is a map of a few keys."""

SOCKET = "control.sock"

WATCH_S_MAX = 30.0
"""A WATCH without any event is answered with an empty list after this time."""


class Op(IntEnum):
    """The operations. Arguments are a map with text keys."""

    QUORUM = 0
    """`{}`: what `rondo quorum --json` prints."""
    SET_EXPECTED = 1
    """`{"votes"}`"""
    SET_VOTES = 2
    """`{"node", "votes"}`"""
    CANCEL_WAIT_FOR_ALL = 3
    """`{}`"""
    NODES = 8
    """`{}`: what `rondo nodes --json` prints, but for the links, which totem knows."""
    KILL = 9
    """`{"node", "reason"}`: this member of the ring leaves it at once, and ends."""
    RELOAD = 10
    """`{}`: all nodes read their configuration anew, and change together, or not at all: `{"changed": [option, ...],
    "faults": [{"node", "name", "fault"}, ...]}`. With faults nothing has changed. TRY_AGAIN while another node has
    asked for the same."""
    REOPEN_LOGS = 11
    """`{}`: every process of this node opens its log files again."""
    SHUTDOWN = 12
    """`{"flags", "tracker"}`: this node stops, unless a tracker objects (BUSY). Flags: 1 whoever objects is not heeded,
    2 nobody is asked. `tracker`: the asker's name, if it tracks; it is not asked then."""
    TRACK_SHUTDOWN = 13
    """`{"tracker", "after"}`: `{"number", "event"}` as soon as there is something after that number: "asked" (with its
    "flags"), "timeout", or "none" after `WATCH_S_MAX`. `tracker`: a name that the asker has drawn for itself."""
    UNTRACK_SHUTDOWN = 14
    """`{"tracker"}`"""
    VOTE_ON_SHUTDOWN = 15
    """`{"tracker", "agrees"}`: its answer to the event "asked"; ACCESS if nothing waits for it."""
    KEYS = 16
    """`{"map", "prefix"}`: `[[key, type, value], ...]`, ascending."""
    GET = 17
    """`{"map", "key"}`: `[type, value]`"""
    SET = 18
    """`{"key", "type", "value"}`"""
    DELETE = 19
    """`{"key"}`"""
    INCREMENT = 20
    """`{"key", "step"}`: `[type, value]`, the new one."""
    WATCH = 32
    """`{"of", "prefix", "after"}`: `{"number", "events": [{...}, ...], "lost"}`. `of` is "quorum" or "keys". Without
    `after` the answer comes at once, without events; `number` is then to be the next `after`."""
    SAMPLE = 33
    """`{"prefix"}`: what KEYS says of the map `stats`, a while later: the statistics are sampled now and then for all
    who ask, and `changes_between` two answers are what there is to be told."""


Keys = dict[str, list[Any]]
"""`[type, value]` by key."""


def changes_between(before: Keys, now: Keys) -> list[dict[str, Any]]:
    """What makes `now` of `before`, in the shape of the events of keys, by ascending key."""
    return [
        {"key": key, "old": before.get(key), "new": now.get(key)}
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


class Ask(NamedTuple):
    """gateway to control: a client asks."""

    epoch: int
    """Always 0: what clients ask does not depend on the ring's life."""
    connection: bytes
    """The gateway's name for the client's connection; it comes back with the answer."""
    number: int
    """The client's number of the request."""
    blob: bytes


class Answer(NamedTuple):
    """control to the gateway: the answer."""

    epoch: int
    connection: bytes
    number: int
    code: int
    blob: bytes


class Forget(NamedTuple):
    """gateway to control: a client that has asked something is gone, and no longer waits for an answer."""

    epoch: int
    connection: bytes


SHAPES: dict[Kind, tuple[type[Ask | Answer | Forget], Check]] = {
    Kind.CONTROL_ASK: (Ask, record(epoch=is_u64, connection=is_bytes, number=is_u64, blob=is_bytes)),
    Kind.CONTROL_ANSWER: (
        Answer,
        record(epoch=is_u64, connection=is_bytes, number=is_u64, code=is_u32, blob=is_bytes),
    ),
    Kind.CONTROL_FORGET: (Forget, record(epoch=is_u64, connection=is_bytes)),
}
"""The shapes of the envelopes."""
_KINDS: dict[type[Any], Kind] = {
    Ask: Kind.CONTROL_ASK,
    Answer: Kind.CONTROL_ANSWER,
    Forget: Kind.CONTROL_FORGET,
}


def encode(envelope: Ask | Answer | Forget) -> bytes:
    """The bytes of an envelope."""
    return pack([_KINDS[type(envelope)], *envelope])


def decode(frame: bytes) -> Ask | Answer | Forget:
    """The envelope that `frame` holds. Raises `BusError`."""
    envelope: Ask | Answer | Forget = decode_shape(frame, SHAPES)
    return envelope


def encode_request(op: Op, arguments: dict[str, Any]) -> bytes:
    """The blob of a request."""
    return pack([op, arguments])


def decode_request(blob: bytes) -> tuple[int, dict[str, Any]]:
    """Operation and arguments. Raises `BusError`."""
    value = unpack(blob, ELEMENTS_MAX, ELEMENTS_MAX)
    if type(value) is not list or len(value) != 2 or not is_u32(value[0]) or type(value[1]) is not dict:
        raise BusError("a request is [operation, arguments]")
    return value[0], value[1]
