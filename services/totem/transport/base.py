"""The base of all transports: sends frames to one node or to all, and receives datagrams, without waiting or raising.

A transport exists for one local address while it is up; the `Link` (link.py) makes and closes it. All sockets are
non-blocking. A datagram that cannot be sent is counted by reason and lost: the protocol repairs that, and waiting for a
full socket buffer would hold up the token.
"""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import groupby
from typing import Any, Final

from services.totem.security.marks import SegmentMarks
from services.totem.transport.batch import CONTROL_BYTES, Grouping, ask_for_groups, segment_size, size_of_each, split
from services.totem.transport.icmp import PENDING, report_errors, unreachable
from services.totem.transport.segments import MAGIC as SEGMENT
from services.totem.transport.segments import Cutter, Joiner
from services.totem.transport.sockets import (
    bound_socket,
    family_of,
    headers_size,
    ignore_path_mtu,
    reason_of,
    socket_address,
)
from services.totem.transport.sources import Admission, Head, dropped, take_nothing
from services.totem.wire.frames import Kind

DATAGRAM_SIZE_MAX: Final = 65536
"""More than a UDP datagram, or a group of them, can carry, so nothing is truncated."""

COPIES_WHERE_LOST: Final = 3
"""Copies of a datagram whose size was given up because too many were lost."""

Buffer = bytes | memoryview

Datagram = tuple[bytes, Any]
"""Bytes, and the sender's address as `recvfrom` returns it: its first element is the IP address."""

_Call = tuple[Sequence[Buffer], int, int]
"""The buffers for one system call, the size of each datagram in them (except the last), and the number of buffers per
datagram."""

_KIND_AT: Final = 3
"""Offset of the kind in a frame. A sealed token has the same value there in its envelope."""


@dataclass(slots=True, frozen=True)
class TransportSettings:
    """Settings of a transport (corosync.conf(5), section totem and its interface)."""

    node_id: int
    port: int = 5405
    """mcastport: the port for all datagrams; udp sends from port - 1."""
    group: str = ""
    """udp: the multicast group, or 255.255.255.255 for broadcast."""
    broadcast: bool = False
    ttl: int = 1
    ip_dscp: int = 0
    """Differentiated services code point of sent datagrams, 0..63."""
    block_unlisted_ips: bool = True
    """udpu: accept datagrams only from the addresses of members."""


class Transport(ABC):
    """The sockets of one local address."""

    def __init__(self, settings: TransportSettings, address: str, counters: Counter[str]) -> None:
        self.settings = settings
        self.address = address
        self.counters = counters
        self.drained = True
        """Whether the last `receive` read everything that was there."""
        self.ended_by_token = False
        """Whether the last `receive` ended with what looks like a token."""
        self._tokens_doubted = 0
        self.unlisted = ""
        """The last non-member address whose datagrams were dropped. The reader empties it."""
        self.listed: frozenset[str] = frozenset()
        """The addresses from which datagrams are accepted; empty: from all."""
        self.admission = Admission(counters)
        self.sockets: list[socket.socket] = []
        """All open sockets, the one for tokens first. Only this class opens and closes them."""
        self._addresses: dict[int, Any] = {}
        """Addresses of the other nodes, for sendto()."""
        self._grouping = Grouping()
        self._cutter: Cutter | None = None
        self._joiner: Joiner | None = None

    def cut_above(self, mtu: int, source: SegmentMarks) -> None:
        """Cut datagrams that do not fit an IP packet of `mtu` bytes into segments, and join the segments of others."""
        payload_max = mtu - headers_size(family_of(self.address))
        if self._cutter is None or self._cutter.payload_max != payload_max:
            self._cutter = Cutter(payload_max, source)
        if self._joiner is None:
            self._joiner = Joiner(self.counters, source)
        for each in self.sockets:
            ignore_path_mtu(each)

    @abstractmethod
    def multicast(
        self, datagrams: Sequence[bytes], once_up_to: int = DATAGRAM_SIZE_MAX, *, parity: bool = False
    ) -> None:
        """Send to all other nodes, in this order. Cut datagrams larger than `once_up_to` are sent several times. Other
        cut ones are sent with parity segments if `parity` is set."""

    def address_of(self, node: int) -> Any | None:
        """The address of another node, for sendto(); None if it is unknown."""
        return self._addresses.get(node)

    def node_at(self, address: str) -> int | None:
        """The other node that has this IP address."""
        return next((node for node, known in self._addresses.items() if known[0] == address), None)

    @abstractmethod
    def unicast(self, node: int, datagram: bytes) -> None:
        """Send to one other node."""

    def reply(self, node: int, source: str, datagram: bytes) -> None:
        """Send to one other node at its configured address, or to `source`, an IP address, if none is configured."""
        self.unicast(node, datagram)

    @abstractmethod
    def receive(self, readable: Collection[int], datagrams_max: int) -> list[Datagram]:
        """Received datagrams, in the order for the ring. `readable`: what poll() reported of `filenos`.

        A group that arrived together is never split, so there may be up to 63 more than `datagrams_max`.
        """

    @abstractmethod
    def set_members(self, addresses: Mapping[int, tuple[str, ...]]) -> None:
        """Set the addresses of the nodes, by node id. A node without an address cannot be reached for now."""

    @abstractmethod
    def peers(self) -> list[int]:
        """The other nodes that have an address."""

    @abstractmethod
    def filenos(self) -> list[int]:
        """The sockets to poll for input."""

    def error_filenos(self) -> list[int]:
        """The sockets to poll only for errors, besides `filenos`: nobody reads what they receive."""
        polled = self.filenos()
        return [number for each in self.sockets if (number := each.fileno()) not in polled]

    def read_errors(self, failing: Collection[int]) -> list[str]:
        """IP addresses at which nobody listens, according to ICMP. `failing`: sockets for which poll() reported
        POLLERR."""
        return [address for each in self.sockets if each.fileno() in failing for address in unreachable(each)]

    def receive_token(self) -> list[Datagram]:
        """A token that waits in a socket of its own, even if data waits too. Empty if there is no such socket:
        datagrams are then read in order of arrival."""
        return []

    def dropped_by_kernel(self) -> int:
        """Datagrams for this node that the kernel has dropped: from other addresses, or because the buffer was full."""
        return sum(dropped(each) for each in self._receivers())

    def take_only(self, heads: tuple[Head, ...]) -> None:
        """Let the kernel drop datagrams that begin otherwise. None: it drops none for their content."""
        self.admission.only(self._receivers(), heads)

    def _receivers(self) -> list[socket.socket]:
        """The sockets that are read."""
        polled = self.filenos()
        return [each for each in self.sockets if each.fileno() in polled]

    def _deafen(self) -> None:
        """Let the kernel drop datagrams to sockets that only send."""
        receivers = self._receivers()
        for each in self.sockets:
            if each not in receivers:
                take_nothing(each)

    def receive_bytes(self) -> int:
        """Size of the data socket's receive buffer, as the kernel counts (it counts a packet about twice)."""
        return self._data_socket().getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    @abstractmethod
    def _data_socket(self) -> socket.socket:
        """The socket on which data arrives."""

    def send_one_by_one(self) -> None:
        """Send datagrams one by one from now on."""
        self._grouping.segment_size_max = 0

    def heard(self, frame: bytes, source: str) -> None:  # noqa: B027 - only one transport learns
        """An accepted frame came from `source`: learn its sender's address, unless it is configured."""

    def close(self) -> None:
        """Close all sockets."""
        for each in self.sockets:
            each.close()
        self.sockets.clear()

    def _socket(self, address: str, port: int, **options: bool) -> socket.socket:
        made = bound_socket(address, port, self.settings.ip_dscp, **options)
        self.sockets.append(made)
        report_errors(made)
        ask_for_groups(made)
        if self._cutter is not None:
            ignore_path_mtu(made)
        return made

    def _destination(self, address: str) -> Any:
        """The address to send to. A link-local address belongs to our own link, whatever its interface is called
        there."""
        own = self.address.partition("%")[2]
        if own and ip_address(address).is_link_local:
            address = f"{address.partition('%')[0]}%{own}"
        try:
            return socket_address(address, self.settings.port)
        except OSError:
            return None  # its interface does not exist (any more)

    def _of_our_family(self, addresses: Mapping[int, tuple[str, ...]]) -> dict[int, list[str]]:
        """The nodes with an address of our IP version, and these addresses."""
        family = family_of(self.address)
        usable = {node: [each for each in known if family_of(each) == family] for node, known in addresses.items()}
        return {node: known for node, known in usable.items() if known}

    def _calls(self, datagrams: Sequence[bytes], once_up_to: int, parity: bool) -> list[_Call]:
        """Group these datagrams into few system calls."""
        groups, cutter = self._grouping.groups, self._cutter
        if cutter is None or max(map(len, datagrams), default=0) <= cutter.payload_max:
            return [(group, len(group[0]), 1) for group in groups(datagrams)]
        calls: list[_Call] = []
        for cut, some in groupby(datagrams, lambda each: cutter.cuts(len(each))):
            if cut:
                for each in some:
                    calls.append((cutter.cut(each), cutter.segment_bytes, 2))
                    if len(each) > once_up_to:
                        calls += calls[-1:] * (COPIES_WHERE_LOST - 1)
                    elif parity:
                        mixed = cutter.parity(each)
                        calls.append((mixed, len(mixed[0]), 1))
            else:
                calls += [(group, len(group[0]), 1) for group in groups(list(some))]
        return calls

    def _send_calls(self, out: socket.socket, calls: list[_Call], address: Any) -> None:
        """Send the calls of `_calls`. If the kernel refuses groups of that size, send the datagrams one by one."""
        for buffers, size, each in calls:
            if len(buffers) == 1:
                self._send(out, buffers[0], address)
                continue
            if size <= self._grouping.segment_size_max:
                try:
                    out.sendmsg(buffers, segment_size(size), 0, address)
                    continue
                except OSError as error:
                    if not self._grouping.refused(error, size) and error.errno not in PENDING:
                        self.counters["tx_" + reason_of(error)] += len(buffers) // each
                        continue
            for at in range(0, len(buffers), each):
                self._send(out, b"".join(buffers[at : at + each]), address)

    def _send_whole(self, out: socket.socket, datagram: bytes, address: Any) -> None:
        """Send one datagram to one node, cut if necessary."""
        if self._cutter is not None and len(datagram) > self._cutter.payload_max:
            self._send_calls(out, self._calls([datagram], DATAGRAM_SIZE_MAX, False), address)
        else:
            self._send(out, datagram, address)

    def _send(self, out: socket.socket, datagram: Buffer, address: Any) -> None:
        try:
            out.sendto(datagram, address)
        except OSError as error:
            if error.errno in PENDING:
                # This error probably belongs to an earlier datagram, and this one was not sent: try it again.
                try:
                    out.sendto(datagram, address)
                except OSError as again:
                    error = again
                else:
                    return
            self.counters["tx_" + reason_of(error)] += 1

    def _read(self, source: socket.socket, into: list[Datagram], datagrams_max: int) -> bool:
        """Append the datagrams of `source`, up to and including a token, or about `datagrams_max`. True: the socket is
        empty now.

        Reading past a token would only delay it, and reading an empty socket costs as much as sending a datagram. At
        most `PIECES_MAX` pieces are read per call, for at most `READ_NS_MAX`. So a sender of garbage cannot keep the
        loop here.
        """
        recvmsg, append, joiner = source.recvmsg, into.append, self._joiner
        enough = len(into) + datagrams_max
        failures = pieces = 0
        until_ns = 0
        while len(into) < enough:
            if (pieces := pieces + 1) > PIECES_UNTIMED:
                now_ns = time.monotonic_ns()
                until_ns = until_ns or now_ns + READ_NS_MAX
                if pieces > PIECES_MAX or now_ns > until_ns:
                    self.counters["rx_turn_ended"] += 1
                    return False
            try:
                data, control, _, address = recvmsg(DATAGRAM_SIZE_MAX, CONTROL_BYTES)
            except BlockingIOError:
                return True
            except OSError as error:
                # An error of an earlier datagram (ICMP), or ENETDOWN once after the interface went down.
                failures += 1
                if error.errno in PENDING and failures < _FAILURES_MAX:
                    continue
                self.counters["rx_" + reason_of(error)] += 1
                return True
            if joiner is not None and data[:1] == SEGMENT:
                whole = joiner.join_all(data, size_of_each(data, control)) if control else joiner.join(data)
                if whole is not None:
                    append((whole, address))
                if whole is not None or not control:
                    continue
            if control:
                parts = split(data, control)
                pieces += len(parts)
                if joiner is not None:
                    parts = _joined(joiner, parts)
                into += [(each, address) for each in parts]
                if any(each[_KIND_AT : _KIND_AT + 1] == _TOKEN for each in parts) and self._stops_at_token():
                    return False
                continue
            append((data, address))
            if len(data) > _KIND_AT and data[_KIND_AT] == Kind.TOKEN and self._stops_at_token():
                return False
        return False

    def _stops_at_token(self) -> bool:
        """A datagram that looks like a token was read. Returns whether to stop reading."""
        if self._tokens_doubted:
            self._tokens_doubted -= 1
            return False
        self.ended_by_token = True
        return True

    def token_was_false(self) -> None:
        """The datagram that ended the last read was no token. The next ones that look like one do not end a read:
        otherwise garbage would be read one datagram a turn."""
        self._tokens_doubted = TOKENS_DOUBTED


def _joined(joiner: Joiner, parts: list[bytes]) -> list[bytes]:
    """The datagrams in a group. Segments are replaced by their datagram once it is whole."""
    found = [joiner.join(each) if each[:1] == SEGMENT else each for each in parts]
    return [each for each in found if each is not None]


_TOKEN: Final = bytes([Kind.TOKEN])

PIECES_UNTIMED: Final = 256
PIECES_MAX: Final = 2048
READ_NS_MAX: Final = 4_000_000
"""Bounds of one call of `_read`. Pieces are datagrams, segments, and parts of groups."""

TOKENS_DOUBTED: Final = 64

_FAILURES_MAX: Final = 8
"""After so many errors in a row a socket is not read until the next poll."""
