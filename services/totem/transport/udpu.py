"""Transport `udpu`: everything by unicast, for networks without multicast.

One socket, bound to this node's address and port, receives every kind of frame and sends the tokens. Frames to
everybody are sent once per other member, each from a socket of its own with a port that the kernel chose. So the source
port of a datagram means nothing. This node does not send frames to itself: the link gives back those that it must see.

With `block_unlisted_ips` datagrams count only from members' addresses; the kernel drops the others.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from services.totem.transport.base import DATAGRAM_SIZE_MAX, Datagram, Transport, TransportSettings


class UdpuTransport(Transport):
    """Unicast to the members of the nodelist. The constructor raises `AddressNotAvailable` or `CannotBind`."""

    def __init__(self, settings: TransportSettings, address: str, counters: Counter[str]) -> None:
        super().__init__(settings, address, counters)
        self._token = self._socket(address, settings.port, token=True)
        self._by_node: dict[int, socket.socket] = {}
        self._everybody: list[tuple[socket.socket, Any]] = []

    def set_members(self, addresses: Mapping[int, tuple[str, ...]]) -> None:
        """Open a socket for each member with an address of our family, and close those of former members."""
        reachable = self._of_our_family(addresses)
        listed = frozenset(each.partition("%")[0] for known in reachable.values() for each in known)
        reachable.pop(self.settings.node_id, None)
        found = {node: self._destination(known[0]) for node, known in reachable.items()}
        self._addresses = {node: address for node, address in found.items() if address is not None}
        for node in [n for n in self._by_node if n not in self._addresses]:
            gone = self._by_node.pop(node)
            self.sockets.remove(gone)
            gone.close()
        for node in self._addresses:
            if node not in self._by_node:
                self._by_node[node] = self._socket(self.address, 0)
        self._deafen()
        if self.settings.block_unlisted_ips:
            self.listed = listed
            self.admission.admit([self._token], listed)
        self._everybody = [(self._by_node[node], to) for node, to in sorted(self._addresses.items())]

    def peers(self) -> list[int]:
        """The other nodes that have an address."""
        return [node for node in self._addresses if node != self.settings.node_id]

    def filenos(self) -> list[int]:
        """The socket that receives everything."""
        return [self._token.fileno()]

    def multicast(
        self, datagrams: Sequence[bytes], once_up_to: int = DATAGRAM_SIZE_MAX, *, parity: bool = False
    ) -> None:
        """Send all datagrams to each other member."""
        calls = self._calls(datagrams, once_up_to, parity)
        for out, address in self._everybody:
            self._send_calls(out, calls, address)

    def unicast(self, node: int, datagram: bytes) -> None:
        """Send a token. A member whose address is not known (yet) does not get it."""
        if address := self._addresses.get(node):
            self._send_whole(self._token, datagram, address)
        else:
            self.counters["tx_no_address"] += 1

    def _data_socket(self) -> socket.socket:
        return self._token

    def receive(self, readable: Collection[int], datagrams_max: int) -> list[Datagram]:
        """The received datagrams in order of arrival: data that came before a token is before it."""
        taken: list[Datagram] = []
        self.ended_by_token = False
        self.drained = self._token.fileno() not in readable or self._read(self._token, taken, datagrams_max)
        if not self.settings.block_unlisted_ips:
            return taken
        listed = self.listed
        known = [each for each in taken if each[1][0] in listed]
        if len(known) != len(taken):
            self.unlisted = next(each[1][0] for each in taken if each[1][0] not in listed)
            self.counters["rx_unlisted_ip"] += len(taken) - len(known)
        return known
