"""Keeps packets from the ring whose senders cannot be members: unlisted nodes, duplicate node ids, other transports.

Packet security refuses and logs such packets itself. This module handles packets in the clear, and unlisted addresses.
The ring would form again and again without success for such nodes. The log names the sender and the line to change, at
most once a second per peer, and a few lines a second in all.
"""

from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from services.totem.security.complaints import Complaints
from services.totem.security.envelope import MAGIC as SEALED
from services.totem.security.envelope import PLAIN_MAGIC
from services.totem.transport.base import Datagram
from services.totem.transport.knet.format import is_plain as is_plain_knet
from services.totem.wire.frames import Kind

REMEMBERED_MAX = 16
"""For so many peers the latest reason for a refusal is kept."""
REMEMBERED_NS = 60_000_000_000

_KIND_AT, _NO_KIND = 3, -1
_SENDER = slice(13, 17)
"""system_from of mcast, join and merge detect."""
_U32 = struct.Struct("<I")
_MAGIC = PLAIN_MAGIC[0]
_OF_A_NODE = (Kind.MCAST, Kind.MERGE, Kind.JOIN)
_log = logging.getLogger("TOTEM")

UNLISTED = "its address is not in the nodelist; write the same nodelist on all nodes, or block_unlisted_ips: no"

CLEAR, SECURE, KNET, UNKNOWN = range(4)
"""The transport that a datagram was made for, as far as its bytes show."""

_WHAT = {
    CLEAR: "of udp or udpu without packet security",
    SECURE: "of udp or udpu with Rondo's packet security",
    KNET: "of transport: knet, in the clear",
    UNKNOWN: "of no cluster, or of transport: knet with encryption",
}
_MENDS = {
    CLEAR: "write the same transport and secauth: off on all nodes",
    SECURE: "write the same transport and secauth: on, with one key file, on all nodes",
    KNET: "write transport: knet and the same crypto_cipher and crypto_hash on all nodes",
    UNKNOWN: "write the same transport, crypto_cipher and crypto_hash on all nodes",
}


_SEALED = (bytes([SEALED, 1]), bytes([SEALED, 2]))
"""Both versions of the envelope."""


def transport_of(datagram: bytes) -> int:
    """The transport that a datagram was made for: CLEAR, SECURE, KNET or UNKNOWN."""
    if datagram[:2] in PLAIN_MAGIC:
        return CLEAR
    if is_plain_knet(datagram):
        return KNET
    return SECURE if datagram[:2] in _SEALED else UNKNOWN


def foreign_text(datagram: bytes) -> str:
    """The log text for a datagram of another transport: what it is, and the lines to change."""
    kind = transport_of(datagram)
    return f"it is a packet {_WHAT[kind]}; {_MENDS[kind]}"


def named(address: str, node: int | None) -> str:
    """A peer for the log: its address, and the node of the nodelist that has it."""
    return address if node is None else f"{address} (node {node})"


class Strangers:
    """Keeps foreign frames from the ring and logs their senders."""

    def __init__(self, node_id: int, members: Iterable[int], counters: Counter[str]) -> None:
        """`members`: the ids of the nodelist; empty: every node with an id of its own may join."""
        self._own = _U32.pack(node_id)
        self.set_members(members)
        self._counters = counters
        self._complaints = Complaints()
        self._seen: dict[str, tuple[int, str]] = {}
        """When each peer was refused last (ns), and why; the oldest one first."""

    def set_members(self, members: Iterable[int]) -> None:
        """Change the nodelist to these nodes."""
        listed = {_U32.pack(each) for each in members}
        self._others = frozenset(listed - {self._own})
        self._is_listed = bool(listed)

    # -- frames in the clear

    def sift(
        self,
        frames: list[Datagram],
        address_of: Callable[[int], Any],
        node_at: Callable[[str], int | None],
        now_ns: int,
    ) -> list[Datagram]:
        """The frames that the ring may have. `address_of`, `node_at`: the transport's address book."""
        others, mcast, token = self._others, int(Kind.MCAST), int(Kind.TOKEN)
        for frame, _ in frames:
            kind = frame[_KIND_AT] if len(frame) > _KIND_AT else _NO_KIND
            if not ((kind == token and frame[0] == _MAGIC[0]) or (kind == mcast and frame[_SENDER] in others)):
                break
        else:
            return frames
        taken = []
        for frame, source in frames:
            why, mend = self._judge(frame, source[0], address_of, node_at)
            if why:
                self.refuse(source[0], f"{why}; {mend}", now_ns, node_at(source[0]))
                self._counters["rx_stranger"] += 1
            else:
                taken.append((frame, source))
        return taken

    def _judge(
        self, frame: bytes, source: str, address_of: Callable[[int], Any], node_at: Callable[[str], int | None]
    ) -> tuple[str, str]:
        """Why a frame cannot be of this ring, and the line to change; two empty texts if it may be."""
        if frame[:2] != _MAGIC or len(frame) < _SENDER.stop:
            if frame[:2] in PLAIN_MAGIC:
                return "", ""  # the other byte order, or too short: the ring counts it
            kind = transport_of(frame)
            return f"it is a packet {_WHAT[kind]}", _MENDS[kind]
        kind, sender = frame[_KIND_AT], frame[_SENDER]
        if kind not in _OF_A_NODE:
            return "", ""
        if sender == self._own:
            # Others retransmit this node's mcasts, but send nothing else in its name.
            if kind == Kind.MCAST:
                return "", ""
            return "it has this node's own id", "give each node its own nodeid"
        node = _U32.unpack(sender)[0]
        if not self._is_listed or (kind == Kind.MCAST and sender in self._others):
            return "", ""
        if sender not in self._others:
            return f"its node id {node} is not in the nodelist", "write the same nodelist on all nodes"
        listed, of_source = address_of(node), node_at(source)
        if listed is not None and of_source is not None and of_source != node:
            return (
                f"it has the id of node {node}, whose address is {listed[0]}, and comes from that of node {of_source}",
                "give each node its own nodeid",
            )
        return "", ""

    # -- log lines and status

    def refuse(self, source: str, why: str, now_ns: int, node: int | None = None) -> None:
        """A packet from the IP address `source` (of `node`) was refused: log it, unless there were too many lately."""
        self.remember(source, why, now_ns)
        self._complaints.add(why, named(source, node), now_ns)
        for complaint in self._complaints.take():
            left_out = f" ({complaint.left_out} such packets without a line)" if complaint.left_out else ""
            _log.warning("Packet ignored. It came from %s: %s.%s", complaint.source, complaint.reason, left_out)

    def remember(self, source: str, why: str, now_ns: int) -> None:
        """Remember the refusal for `rondo status`."""
        self._seen.pop(source, None)
        if len(self._seen) >= REMEMBERED_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[source] = (now_ns, why)

    def status(self, now_ns: int) -> list[dict[str, Any]]:
        """The peers refused within the last minute, and why."""
        return [
            {"address": source, "why": why, "seconds_ago": round((now_ns - seen_ns) / 1e9, 1)}
            for source, (seen_ns, why) in self._seen.items()
            if now_ns - seen_ns < REMEMBERED_NS
        ]
