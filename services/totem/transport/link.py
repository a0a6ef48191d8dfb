"""This node's link to the others: a transport while this node's address exists, and the frames to itself.

While the address is missing, the node is isolated: nothing leaves and nothing comes. Frames to this node itself are
still given back to it, so it goes on alone. Such frames never use the network; they wait in `take_local` until the host
hands them in.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from services.totem.protection import Protection
from services.totem.ring.events import EVERYBODY
from services.totem.security.envelope import PLAIN_MAGIC
from services.totem.security.opener import Reason
from services.totem.strangers import UNLISTED, Strangers
from services.totem.transport.address_book import AddressBook, LinkSettings
from services.totem.transport.base import DATAGRAM_SIZE_MAX, Datagram, Transport
from services.totem.transport.interfaces import InterfaceWatch, interface_of
from services.totem.transport.neighbours import Neighbours
from services.totem.transport.peephole import Peephole
from services.totem.transport.sieve import PLAIN_HEADS, Sieve, sealed_heads
from services.totem.transport.sockets import AddressNotAvailable, CannotBind, socket_address
from services.totem.transport.sources import Head
from services.totem.transport.udp import UdpTransport
from services.totem.transport.udpu import UdpuTransport
from services.totem.wire.frames import Kind
from services.totem.wire.notices import is_notice

CHECK_INTERVAL_NS_MIN: Final = 200_000_000
"""Shortest time between checks of the interfaces, however often they change (containers on a busy host)."""

CUT_MTU_MIN: Final = 1024
"""The smallest MTU that segments are cut for. With a smaller one the largest packets could not be cut."""

HEADERS_BYTES_MAX: Final = 400
"""Most bytes around a packet of the ring: two mcast headers and the envelope."""

NEVER_NS: Final = 1 << 62
_KIND_AT: Final = 3
_AFTER_KIND: Final = 4
_HOLD_CANCEL: Final = bytes([Kind.HOLD_CANCEL])
_log = logging.getLogger("TOTEM")


class Link:
    """Sends and receives for the host. `tend` opens and closes the transport as the address comes and goes."""

    def __init__(self, settings: LinkSettings, counters: Counter[str], protection: Protection | None = None) -> None:
        self.settings = settings
        self.protection = protection
        """Seals and opens packets; None: packets are plain."""
        self.counters = counters
        """Datagrams that could not be sent or were refused, by reason: `tx_enobufs`, `rx_unlisted_ip` ..."""
        self.transport: Transport | None = None
        self.on_unreachable: Callable[[str], None] | None = None
        """Called with an IP address at which nobody listens, according to ICMP: the ring process there may be dead.
        That is only a hint: anybody who sees the traffic can forge it. Called only from `read_errors`."""
        self.why_down = ""
        """Why there is no transport; empty if there is one."""
        self.deaf: set[int] = set()
        """Nodes at whose address nobody has listened, according to ICMP, since they were heard last."""
        self.keys = protection
        """The keys for `rondo key`, if there are any."""
        self._mtu = 0
        """Larger IP packets than this are cut, once there is a transport that cuts."""
        full = settings.netmtu if protection is None else settings.netmtu - settings.ip_headers
        self.neighbours = Neighbours(
            settings.transport.node_id, full, protection, counters, multicast=settings.multicast
        )
        self.strangers = Strangers(settings.transport.node_id, settings.members, counters)
        if protection is not None:
            protection.on_refused = self.strangers.remember
        self._peephole = Peephole(
            lambda: 0 if self.transport is None else self.transport.dropped_by_kernel(),
            lambda: self._let_in(everybody=True),
            lambda: self._let_in(everybody=False),
        )
        self._sieve = Sieve(
            self._refused_for_their_heads,
            lambda: self._take_only(PLAIN_HEADS if protection is None else sealed_heads(protection.security.cluster)),
            lambda: self._take_only(()),
            counters,
        )
        self._addresses = AddressBook(settings)
        self._local: list[bytes] = []
        self._checked_ns = -NEVER_NS
        self._next_check_ns = 0
        self._bound_once = False
        self._watch: InterfaceWatch | None = None
        try:
            self._watch = InterfaceWatch()
        except OSError as error:
            _log.info("The kernel does not tell when interfaces change (%s); asking from time to time", error.strerror)

    def moves(self, settings: LinkSettings) -> bool:
        """Whether a node that stays has another address in these settings."""
        now, then = self.settings.members, settings.members
        own = self.settings.local_address != settings.local_address
        return own or any(now[node] != then[node] for node in now.keys() & then.keys())

    def change_settings(self, settings: LinkSettings, now_ns: int) -> None:
        """Use another nodelist, also for this node's own address. The caller then calls `tend`, and polls `filenos`
        anew. Of the other settings only `check_interval_ms` may differ."""
        former = self._addresses.resolver
        self.settings, self._addresses = settings, AddressBook(settings, former.known)
        former.close()
        self._addresses.resolver.start()
        self.strangers.set_members(settings.members)
        if self.protection is not None:
            self.protection.security.set_members(frozenset(settings.members) or None)
        self.deaf.intersection_update(settings.members)
        self._next_check_ns = now_ns

    # -- frames

    def send(
        self, packets: list[tuple[int, bytes]], *, packet_bytes_max: int = DATAGRAM_SIZE_MAX, parity: bool = False
    ) -> None:
        """Send packets in order. Those that this node must get back itself are kept for `take_local`.

        A packet larger than `packet_bytes_max` has a size that was given up because of losses, and is sent again. If it
        is cut into segments, it is sent several times. Other cut packets are sent with `parity`, or without.
        """
        once_up_to = packet_bytes_max + HEADERS_BYTES_MAX
        own, transport, protection = self.settings.transport.node_id, self.transport, self.protection
        together: list[bytes] = []
        for destination, frame in packets:
            if destination == EVERYBODY:
                together.append(frame)
                if frame[_KIND_AT] != Kind.MCAST:
                    self._local.append(frame)
            elif destination == own:
                self._local.append(frame)
            elif transport is not None:
                if together:
                    sealed = together if protection is None else protection.seal_all(together)
                    transport.multicast(sealed, once_up_to, parity=parity)
                    together = []
                transport.unicast(destination, frame if protection is None else protection.seal_for(destination, frame))
        if together and transport is not None:
            sealed = together if protection is None else protection.seal_all(together)
            transport.multicast(sealed, once_up_to, parity=parity)

    @property
    def has_local(self) -> bool:
        """Whether `take_local` would return anything."""
        return bool(self._local)

    def take_local(self) -> list[bytes]:
        """Frames of this node to itself, oldest first."""
        taken, self._local = self._local, []
        return taken

    def receive(self, readable: Collection[int], datagrams_max: int, now_ns: int) -> list[Datagram]:
        """Received frames, in the order for the ring. `readable`: what the last poll reported."""
        transport = self.transport
        if transport is None:
            return []
        datagrams = transport.receive(readable, datagrams_max)
        self._sieve.tend(now_ns)
        if not self._sieve.is_closed:
            self._peephole.tend(now_ns)
        if self._peephole.is_wary and transport.listed:
            datagrams = self._without_unlisted(datagrams, transport, now_ns)
        return self._opened(datagrams, transport, now_ns)

    def _let_in(self, *, everybody: bool) -> None:
        if self.transport is not None:
            admission = self.transport.admission
            (admission.open_for_a_look if everybody else admission.close_again)()

    def _take_only(self, heads: tuple[Head, ...]) -> None:
        if self.transport is not None:
            self.transport.take_only(heads)

    def _refused_for_their_heads(self) -> int:
        """Packets that were refused because they do not begin as packets of this ring."""
        if self.protection is None:
            return self.counters["rx_stranger"]
        counters = self.protection.security.counters
        return sum(counters[reason] for reason in (Reason.NO_ENVELOPE, Reason.NO_CRYPTO, Reason.OTHER_CLUSTER))

    def _without_unlisted(self, datagrams: list[Datagram], transport: Transport, now_ns: int) -> list[Datagram]:
        """The datagrams of members, while the kernel lets all through. Others are refused and logged."""
        listed = transport.listed
        unlisted = transport.unlisted or next((each[1][0] for each in datagrams if each[1][0] not in listed), "")
        if unlisted:
            transport.unlisted = ""
            self.strangers.refuse(unlisted, UNLISTED, now_ns, transport.node_at(unlisted))
            self._peephole.shut(now_ns)
        return [each for each in datagrams if each[1][0] in listed]

    def _opened(self, datagrams: list[Datagram], transport: Transport, now_ns: int) -> list[Datagram]:
        """The frames in datagrams, without notices."""
        if self.protection is None:
            if transport.ended_by_token and datagrams and datagrams[-1][0][:2] not in PLAIN_MAGIC:
                transport.token_was_false()
            frames = self.strangers.sift(datagrams, transport.address_of, transport.node_at, now_ns)
        else:
            frames = self.protection.open(datagrams, transport, now_ns)
            if transport.ended_by_token and (not frames or frames[-1][0][_KIND_AT] != Kind.TOKEN):
                transport.token_was_false()
        for frame, _ in frames:
            if frame[_KIND_AT:_AFTER_KIND] == _HOLD_CANCEL and is_notice(frame):
                return self._without_notices(frames, transport, now_ns)
        return frames

    def _without_notices(self, frames: list[Datagram], transport: Transport, now_ns: int) -> list[Datagram]:
        for frame, source in frames:
            if is_notice(frame):
                self.neighbours.take(frame, source[0], transport, now_ns)
        return [each for each in frames if not is_notice(each[0])]

    def receive_token(self, now_ns: int) -> list[Datagram]:
        """A token that waits in a socket of its own, before any data that may wait too."""
        transport = self.transport
        if transport is None:
            return []
        return self._opened(transport.receive_token(), transport, now_ns)

    def receive_bytes(self) -> int:
        """Size of the data socket's receive buffer; 0 = no socket."""
        return self.transport.receive_bytes() if self.transport is not None else 0

    @property
    def drained(self) -> bool:
        """Whether everything has been received that was there at the last poll."""
        return not self._local and (self.transport is None or self.transport.drained)

    def heard(self, frame: bytes, source: str) -> None:
        """An accepted frame came from this address."""
        if self.transport is not None:
            self.transport.heard(frame, source)
            if self.deaf and (node := self.transport.node_at(source)) is not None:
                self.deaf.discard(node)

    def seal_to_keep(self, frame: bytes) -> bytes:
        """The datagram for a frame that is kept and sent later, or never."""
        return frame if self.protection is None else self.protection.seal_to_keep(frame)

    # -- for `rondo status`

    def more_counters(self) -> dict[str, int]:
        """Other counters besides `counters`: those of packet security and of the kernel."""
        kernel = {} if self.transport is None else {"rx_dropped_by_kernel": self.transport.dropped_by_kernel()}
        return kernel if self.protection is None else kernel | self.protection.counters()

    def status(self, now_ns: int) -> dict[str, Any]:
        """The paths to the others, and refused senders. There are no `links`."""
        return {
            "paths": self.neighbours.paths.status(),
            "links": {},
            "strangers": self.strangers.status(now_ns),
            "deaf": sorted(self.deaf),
        }

    # -- the address

    def ports_to_hold(self) -> list[tuple[int, int]]:
        """IP versions and UDP ports that must stay open when this process dies. None: the others learn of the death by
        them."""
        return []

    def addresses_of(self, nodes: Iterable[int]) -> dict[int, Any]:
        """The known addresses of these other nodes, for sendto()."""
        if self.transport is None:
            return {}
        found = {node: self.transport.address_of(node) for node in nodes}
        return {node: address for node, address in found.items() if address is not None}

    def node_at(self, address: str) -> int | None:
        """The other node that has this IP address."""
        return None if self.transport is None else self.transport.node_at(address)

    def source(self) -> Any:
        """This node's address with any port, for bind(); an empty host if there is none."""
        return ("", 0) if self.transport is None else socket_address(self.transport.address, 0)

    @property
    def is_up(self) -> bool:
        """Whether the node can reach others at all."""
        return self.transport is not None

    def start(self) -> None:
        """Start looking up names."""
        self._addresses.resolver.start()

    def filenos(self) -> set[int]:
        """The descriptors to poll for input. They change when `tend` returns True."""
        found = {self._addresses.resolver.fileno()}
        if self._watch is not None:
            found.add(self._watch.fileno())
        return found.union(self.data_filenos())

    def error_filenos(self) -> list[int]:
        """The descriptors to poll only for errors (EPOLLERR). They change when `filenos` does."""
        return self.transport.error_filenos() if self.transport is not None else []

    def read_errors(self, failing: Collection[int]) -> None:
        """Read the errors of descriptors with EPOLLERR, and call `on_unreachable`."""
        if self.transport is None:
            return
        for address in self.transport.read_errors(failing):
            self.counters["unreachable_port"] += 1
            self._say_unreachable(address)
            if self.on_unreachable is not None:
                self.on_unreachable(address)

    def _say_unreachable(self, address: str) -> None:
        """Log it once until the node is heard again: it does not run, or has another port."""
        node = self.node_at(address)
        if node is not None and node not in self.deaf:
            self.deaf.add(node)
            port = self.settings.transport.port
            _log.info(
                "Node %d (%s) takes no packets at port %d: it does not run, or has another mcastport.",
                node,
                address,
                port,
            )

    def data_filenos(self) -> list[int]:
        """The descriptors for datagrams."""
        return self.transport.filenos() if self.transport is not None else []

    @property
    def next_due_ns(self) -> int:
        """When to call `tend` even if none of `filenos` is readable."""
        return min(self._next_check_ns, self.neighbours.due_ns if self.transport is not None else NEVER_NS)

    def tend(self, readable: Collection[int], now_ns: int) -> bool:
        """Check the address and the neighbours if that is due. True: the transport was opened or closed.

        Raises `CannotBind` if the very first bind() fails for a lasting reason.
        """
        if self._addresses.resolver.fileno() in readable:
            self._addresses.resolver.clear()
            self._next_check_ns = now_ns
        if self._watch is not None and self._watch.fileno() in readable:
            self._watch.clear()
            self._next_check_ns = min(self._next_check_ns, max(now_ns, self._checked_ns + CHECK_INTERVAL_NS_MIN))
        if self.transport is not None and self.neighbours.due_ns <= now_ns:
            self.neighbours.advance(self.transport, now_ns)
        if now_ns < self._next_check_ns:
            return False
        before = self.transport
        self._check(now_ns)
        self._checked_ns = now_ns
        told = self.is_up and self._watch is not None
        self._next_check_ns = NEVER_NS if told else now_ns + self.settings.check_interval_ms * 1_000_000
        return self.transport is not before

    def close(self) -> None:
        """Close everything."""
        if self.transport is not None:
            self.transport.close()
            self.transport = None
        if self._watch is not None:
            self._watch.close()
        self._addresses.resolver.close()

    def _check(self, now_ns: int) -> None:
        try:
            address = self._addresses.own_address()
            if self.transport is not None and self.transport.address != address:
                self._down()
            if self.transport is None:
                self._open(address)
                self.neighbours.paths.start_over(now_ns)
            else:
                self._cut(self.transport)
                self.transport.set_members(self._addresses.members())
            assert self.transport is not None
            self.neighbours.paths.set_peers(self.transport.peers(), now_ns)
        except AddressNotAvailable as error:
            self._down()
            self._isolated(str(error))
        except CannotBind as fault:
            if not self._bound_once:
                raise
            self._down()
            self._isolated(str(fault))

    def _open(self, address: str) -> None:
        kind = UdpTransport if self.settings.multicast else UdpuTransport
        transport = kind(self.settings.transport, address, self.counters)
        try:
            self._cut(transport)
            transport.set_members(self._addresses.members())
        except BaseException:
            transport.close()
            raise
        self.transport = transport
        self._bound_once = True
        self.why_down = ""
        _log.info("The network interface [%s] is now up.", address)

    def _cut(self, transport: Transport) -> None:
        """Make the transport cut packets that IP would fragment. Log a warning if some will be fragmented nevertheless:
        a few forged fragments a second fill the kernel memory for fragments at a receiver, and then all fragments are
        lost."""
        if self.protection is None:
            return  # the others may be C nodes, which cannot join segments
        netmtu, own = self.settings.netmtu, interface_of(transport.address)
        takes = own.mtu if own is not None and own.mtu else netmtu
        mtu = netmtu if self.settings.netmtu_given else min(netmtu, max(takes, CUT_MTU_MIN))
        if mtu == self._mtu:
            return
        self._mtu = mtu
        transport.cut_above(mtu, self.protection.security)
        if mtu > takes and own is not None:
            _log.warning(
                "Packets of up to %d bytes are sent, and the interface %s takes %d: they leave as IP fragments, which "
                "anybody on the network can have dropped. Set totem.netmtu: %d on all nodes, or raise the MTU.",
                mtu, own.interface, takes, takes,
            )  # fmt: skip

    def _down(self) -> None:
        if self.transport is not None:
            _log.warning("The network interface [%s] is now down.", self.transport.address)
            self.transport.close()
            self.transport = None
            self._mtu = 0

    def _isolated(self, why: str) -> None:
        if why != self.why_down:
            self.why_down = why
            _log.warning("This node is isolated: %s. It goes on trying.", why)
