"""The sockets of knet's links: one per link, bound to this node's address and port. Everything leaves from it.

They may be bound to an address that does not exist (yet); then only this link is down. Datagrams are never fragmented
by IP. If the kernel finds one too large, the state machine is told, and cuts smaller pieces.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Final

from services.totem.transport.base import DATAGRAM_SIZE_MAX
from services.totem.transport.batch import CONTROL_BYTES, Grouping, ask_for_groups, segment_size, split
from services.totem.transport.icmp import PENDING, report_errors, unreachable
from services.totem.transport.knet.effects import Transmission
from services.totem.transport.knet.peer_link import Address
from services.totem.transport.sockets import bind_error, family_of, reason_of, set_options, socket_address
from services.totem.transport.sources import Admission, dropped

Arrival = tuple[int, Address, list[bytes]]
"""Link, source address, and datagrams that came together."""

READS_MAX: Final = 256
"""Most reads per link and turn. Each may return a group of up to 64 datagrams."""

_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78
_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_PROBE: Final = 3
_IP_MTU: Final = 14
_IPV6_MTU: Final = 24
MTU_UNKNOWN: Final = 1500


class KnetSockets:
    """The sockets of all links. `too_large` is called with link, address and size of a datagram that the kernel refused
    as too large; `not_sent` with link, address and number of datagrams that it refused for another reason."""

    def __init__(
        self, counters: Counter[str], too_large: Callable[[int, Address, int], None],
        not_sent: Callable[[int, Address, int], None],
    ) -> None:  # fmt: skip
        self.addresses: dict[int, str] = {}
        """This node's address on each open link."""
        self.drained = True
        self.sockets: dict[int, socket.socket] = {}
        """By link. Only this class opens and closes them."""
        self._destinations: dict[Address, Any] = {}
        self._grouping = Grouping()
        self._admissions: dict[int, Admission] = {}
        self._counters = counters
        self._too_large = too_large
        self._not_sent = not_sent

    def open(self, link: int, address: str, port: int, ip_dscp: int) -> None:
        """Open a link's socket, in place of one with another address. Raises `AddressNotAvailable` or `CannotBind`."""
        if self.addresses.get(link) == address:
            return
        if (old := self.sockets.pop(link, None)) is not None:
            old.close()
            del self.addresses[link], self._admissions[link]
        made = socket.socket(family_of(address), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            set_options(made, ip_dscp, shared=True, token=True, broadcast=False)
            if made.family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                made.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
                made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE)
            else:
                made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
                made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
            made.bind(socket_address(address, port))
        except OSError as error:
            made.close()
            raise bind_error(error, address, port) from None
        report_errors(made)
        ask_for_groups(made)
        self.sockets[link], self.addresses[link], self._admissions[link] = made, address, Admission(self._counters)

    def keep(self, links: Collection[int]) -> None:
        """Close all links but these."""
        for link in self.sockets.keys() - links:
            self.sockets.pop(link).close()
            del self.addresses[link], self._admissions[link]
        self._destinations.clear()

    def admit(self, link: int, addresses: frozenset[str]) -> None:
        """Let the kernel drop datagrams to this link from other addresses, if the link is open."""
        if link in self.sockets:
            self._admissions[link].admit([self.sockets[link]], addresses)

    def open_for_a_look(self) -> None:
        """Accept datagrams from any address, until `close_again`."""
        for each in self._admissions.values():
            each.open_for_a_look()

    def close_again(self) -> None:
        """Drop datagrams from other addresses again."""
        for each in self._admissions.values():
            each.close_again()

    def close(self) -> None:
        """Close all."""
        for each in self.sockets.values():
            each.close()
        self.sockets.clear()
        self.addresses.clear()
        self._admissions.clear()

    def filenos(self) -> list[int]:
        """The descriptors to poll for input."""
        return [each.fileno() for each in self.sockets.values()]

    def receive_bytes(self) -> int:
        """Size of the smallest receive buffer, as the kernel counts; 0: no socket."""
        sizes = [each.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for each in self.sockets.values()]
        return min(sizes, default=0)

    def dropped_by_kernel(self) -> int:
        """Datagrams for this node that the kernel has dropped: from other addresses, or because the buffer was full."""
        return sum(dropped(each) for each in self.sockets.values())

    def mtu(self, link: int, to: Address) -> int:
        """The kernel's MTU towards this address, bytes of an IP packet."""
        family = family_of(to[0])
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            try:
                asking.bind(socket_address(self.addresses[link], 0))
                asking.connect(socket_address(*to))
                if family == socket.AF_INET6:
                    return asking.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
                return asking.getsockopt(socket.IPPROTO_IP, _IP_MTU)
            except (OSError, KeyError):
                return MTU_UNKNOWN

    def send(self, transmissions: list[Transmission]) -> None:
        """Send all. Datagrams that cannot be sent are counted and lost."""
        for link, to, datagrams in transmissions:
            out = self.sockets.get(link)
            if out is None:
                self._counters["tx_no_address"] += len(datagrams)
                self._not_sent(link, to, len(datagrams))
                continue
            destination = self._destinations.get(to)
            if destination is None:
                destination = self._destinations[to] = socket_address(*to)
            for group in self._grouping.groups(datagrams):
                self._send(out, group, link, to, destination)

    def _send(self, out: socket.socket, group: list[bytes], link: int, to: Address, destination: Any) -> None:
        size = len(group[0])
        if len(group) > 1:
            try:
                out.sendmsg(group, segment_size(size), 0, destination)
                return
            except OSError as error:
                if not self._grouping.refused(error, size) and error.errno not in PENDING:
                    self._counters["tx_" + reason_of(error)] += len(group)
                    self._not_sent(link, to, len(group))
                    return
        for datagram in group:
            for again in (False, True):
                try:
                    out.sendto(datagram, destination)
                    break
                except OSError as error:
                    if error.errno == errno.EMSGSIZE:
                        self._too_large(link, to, len(datagram))
                        break
                    if again or error.errno not in PENDING:  # otherwise the error belongs to an earlier datagram
                        self._counters["tx_" + reason_of(error)] += 1
                        self._not_sent(link, to, 1)
                        break

    def receive(self, readable: Collection[int], datagrams_max: int) -> list[Arrival]:
        """The datagrams that have arrived, link by link."""
        arrivals: list[Arrival] = []
        self.drained = True
        for link, source in self.sockets.items():
            if source.fileno() in readable and not self._read(link, source, arrivals, datagrams_max):
                self.drained = False
        return arrivals

    def _read(self, link: int, source: socket.socket, arrivals: list[Arrival], datagrams_max: int) -> bool:
        """Append the datagrams of one link. True: its socket is empty now."""
        count = failures = 0
        for _ in range(READS_MAX):
            try:
                data, control, _, address = source.recvmsg(DATAGRAM_SIZE_MAX, CONTROL_BYTES)
            except BlockingIOError:
                return True
            except OSError as error:
                failures += 1
                if error.errno in PENDING and failures < 8:
                    continue
                self._counters["rx_" + reason_of(error)] += 1
                return True
            parts = split(data, control) if control else [data]
            arrivals.append((link, (address[0].partition("%")[0], address[1]), parts))
            count += len(parts)
            if count >= datagrams_max:
                return False
        return False

    def read_errors(self, failing: Collection[int]) -> list[tuple[int, str]]:
        """Links and IP addresses at which nobody listens, according to ICMP."""
        return [
            (link, address)
            for link, each in self.sockets.items()
            if each.fileno() in failing
            for address in unreachable(each)
        ]
