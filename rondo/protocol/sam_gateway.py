"""Requests of clients to SAM, and the envelopes in which the gateway forwards them (docs/PROTOCOL-CLIENT.md, "SAM").

A request is `[op, arguments]`, a reply is a code and a result. They travel as blobs, which the gateway does not read.
It adds the identity of the asking process, as the kernel reports it. There is no order among requests, and no session:
each stands for itself, and may be repeated if its reply was lost.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from rondo.protocol.envelope import (
    BusError,
    Check,
    array_of,
    decode_shape,
    is_bytes,
    is_u32,
    is_u64,
    pack,
    record,
    unpack,
)
from rondo.protocol.kinds import Kind

REQUEST_BYTES_MAX = 2 * 1024 * 1024
"""A command line with its environment, or stored data; longer requests are refused as too big."""

SOCKET = "sam.sock"

ELEMENTS_MAX = 1 << 17
"""Limit of a request: elements in all its arrays and maps. Arguments and environment of a program (execve(2) takes
fewer) fit."""


class Op(IntEnum):
    """The operations. Arguments are a map with text keys."""

    HELLO = 0
    """`{}`: is SAM there? `{"pid": ...}`"""
    RUN = 1
    """Start an application: `{"id": n, "pid": n}` once it runs, or waits for quorum (pid 0)."""
    STATUS = 2
    """All applications: a list of maps, as `rondo sam status --json` prints them."""
    STOP = 3
    """`{"id"}`: stop it; answered when it has ended."""
    LOGS = 4
    """`{"id", "inode", "offset"}`: what it has written from there on: `{"data", "inode", "offset", "more"}`."""
    ENVIRONMENT = 5
    """`{"id"}`: its environment, a list of `NAME=VALUE` as bytes."""
    REGISTER = 16
    """Watch the asking process: `{"id", "instance", "health"}`."""
    START = 17
    """Begin its health checks. Under a quorum policy they begin, and the answer comes, once there is quorum."""
    STOP_CHECKS = 18
    """End its health checks."""
    FINALIZE = 19
    """Watch it no longer."""
    WARN_SIGNAL = 20
    """`{"signal"}`"""
    STORE = 21
    """`{"data"}`: keep this for the next instance."""
    RESTORE = 22
    """`{"data"}` is the result."""
    MARK_FAILED = 23
    """Kill it without a warning."""


class Ask(NamedTuple):
    """gateway to sam: a client asks."""

    epoch: int
    """Always 0: SAM knows nothing of the ring."""
    connection: bytes
    """The gateway's name for the client's connection; it comes back with the answer."""
    number: int
    """The client's number of the request."""
    pid: int
    start_time: int
    uid: int
    gid: int
    groups: list[int]
    blob: bytes


class Answer(NamedTuple):
    """sam to the gateway: the answer."""

    epoch: int
    connection: bytes
    number: int
    code: int
    blob: bytes


SHAPES: dict[Kind, tuple[type[Ask | Answer], Check]] = {
    Kind.SAM_ASK: (
        Ask,
        record(
            epoch=is_u64,
            connection=is_bytes,
            number=is_u64,
            pid=is_u32,
            start_time=is_u64,
            uid=is_u32,
            gid=is_u32,
            groups=array_of(is_u32),
            blob=is_bytes,
        ),
    ),
    Kind.SAM_ANSWER: (
        Answer,
        record(epoch=is_u64, connection=is_bytes, number=is_u64, code=is_u32, blob=is_bytes),
    ),
}
"""The shapes of the envelopes."""
_KINDS: dict[type[Any], Kind] = {Ask: Kind.SAM_ASK, Answer: Kind.SAM_ANSWER}


def encode(envelope: Ask | Answer) -> bytes:
    """The bytes of an envelope."""
    return pack([_KINDS[type(envelope)], *envelope])


def decode(frame: bytes) -> Ask | Answer:
    """The envelope that `frame` holds. Raises `BusError`."""
    envelope: Ask | Answer = decode_shape(frame, SHAPES)
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
