"""Every field of a frame by the layouts of Corosync 3.1, read without Rondo's codecs, which are what is to be judged.

`read(frame)` checks that the frame has exactly the length that its lists and payload make it, and returns its kind and
its fields by name; those of list entries have one name for all entries.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable

NAMES = ("token", "mcast", "merge", "join", "commit", "hold_cancel")
Field = tuple[str, int, str]
HEADER: tuple[Field, ...] = (
    ("magic", 0, "H"), ("version", 2, "B"), ("type", 3, "B"), ("encapsulated", 4, "B"), ("nodeid", 5, "I"),
    ("target", 9, "I"),
)  # fmt: skip


def _ring(name: str, at: int) -> tuple[Field, Field]:
    return (f"{name}.rep", at, "I"), (f"{name}.seq", at + 4, "Q")


BODIES: dict[str, tuple[Field, ...]] = {
    "token": (
        ("seq", 13, "I"), ("token_seq", 17, "I"), ("aru", 21, "I"), ("aru_addr", 25, "I"), *_ring("ring", 29),
        ("backlog", 41, "I"), ("fcc", 45, "I"), ("retrans_flg", 49, "I"), ("entries", 53, "I"),
    ),
    "mcast": (
        ("system_from", 13, "I"), ("seq", 17, "I"), ("this_seqno", 21, "I"), *_ring("ring", 25), ("node_id", 37, "I"),
        ("guarantee", 41, "I"),
    ),
    "merge": (("system_from", 13, "I"), *_ring("ring", 17)),
    "join": (("system_from", 13, "I"), ("procs", 17, "I"), ("fails", 21, "I"), ("ring_seq", 25, "Q")),
    "commit": (
        ("token_seq", 13, "I"), *_ring("ring", 17), ("retrans_flg", 29, "I"), ("memb_index", 33, "I"),
        ("addrs", 37, "I"),
    ),
    "hold_cancel": _ring("ring", 13),
}  # fmt: skip
SIZES = {"token": 57, "mcast": 45, "merge": 29, "join": 33, "commit": 41, "hold_cancel": 25}
_ENTRY: tuple[Field, ...] = (
    *_ring("entry.ring", 0), ("entry.aru", 12, "I"), ("entry.high_delivered", 16, "I"), ("entry.received_flg", 20, "I"),
)  # fmt: skip

Values = dict[str, list[int]]


def _take(fields: Iterable[Field], frame: bytes, base: int, into: Values) -> None:
    for name, at, form in fields:
        into[name].append(struct.unpack_from("<" + form, frame, base + at)[0])


def read(frame: bytes) -> tuple[str, Values]:
    """Kind, and values of each field. Raises AssertionError if the frame is longer or shorter than its fields say."""
    values: Values = defaultdict(list)
    _take(HEADER, frame, 0, values)
    kind = NAMES[values["type"][0]]
    _take(BODIES[kind], frame, 0, values)
    size = SIZES[kind]
    if kind == "token":
        for i in range(values["entries"][0]):
            _take((*_ring("rtr.ring", 0), ("rtr.seq", 12, "I")), frame, size + 16 * i, values)
        size += 16 * values["entries"][0]
    elif kind == "join":
        for i in range(values["procs"][0]):
            _take((("proc", 0, "I"),), frame, size + 4 * i, values)
        size += 4 * values["procs"][0]
        for i in range(values["fails"][0]):
            _take((("failed", 0, "I"),), frame, size + 4 * i, values)
        size += 4 * values["fails"][0]
    elif kind == "commit":
        size = _commit_lists(frame, values)
    elif kind == "mcast":
        size = len(frame) if values["encapsulated"] == [1] else _packet(frame, values)
    assert size == len(frame), f"{kind} of {len(frame)} bytes ought to have {size}"
    return kind, values


def _commit_lists(frame: bytes, values: Values) -> int:
    count, filled, at = values["addrs"][0], values["memb_index"][0], SIZES["commit"]
    for i in range(count):
        _take((("addr", 0, "I"),), frame, at + 4 * i, values)
    at += 4 * count
    for i in range(filled):
        _take(_ENTRY, frame, at + 24 * i, values)
    assert not any(frame[at + 24 * filled : at + 24 * count]), "what is not filled in yet is zero"
    return at + 24 * count


def _packet(frame: bytes, values: Values) -> int:
    """The fields of a totempg packet, and the length that they give it."""
    head: tuple[Field, ...] = (
        ("packet.version", 0, "H"), ("packet.type", 2, "H"), ("packet.fragmented", 4, "B"),
        ("packet.continuation", 5, "B"), ("packet.count", 6, "H"),
    )  # fmt: skip
    at = SIZES["mcast"]
    _take(head, frame, at, values)
    count = values["packet.count"][0]
    pieces: tuple[int, ...] = struct.unpack_from(f"<{count}H", frame, at + 8)
    return at + 8 + 2 * count + sum(pieces)
