"""This node's links to the others under `transport: knet`. The counterpart of `Link` for udp and udpu, with several
links.

The state machine in services/totem/transport/knet decides what leaves where, and what is a frame. This module has its
sockets, name resolution and log lines. It also writes the target into frames for one node, as Corosync's nodes require.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rondo.node.logs import notice
from services.totem.knet_keys import KnetKeys
from services.totem.strangers import CLEAR, SECURE, UNLISTED, Strangers, foreign_text, transport_of
from services.totem.transport.base import DATAGRAM_SIZE_MAX, Datagram
from services.totem.transport.knet.compression import compressor
from services.totem.transport.knet.crypto import make_cipher
from services.totem.transport.knet.effects import LinkEvent
from services.totem.transport.knet.knet import EVERYBODY as ALL_HOSTS
from services.totem.transport.knet.knet import Knet
from services.totem.transport.knet.link_options import KnetOptions
from services.totem.transport.knet.peer_link import Address
from services.totem.transport.knet_frames import TotemFrames
from services.totem.transport.knet_sockets import KnetSockets
from services.totem.transport.peephole import Peephole
from services.totem.transport.resolver import Resolver
from services.totem.transport.sockets import AddressNotAvailable, CannotBind, family_of, is_loopback, socket_address
from services.totem.wire.base import Malformed
from services.totem.wire.notices import KeyNotice, decode_notice, encode_keys, is_notice

COMPLAINT_NS: Final = 10_000_000_000
_log = logging.getLogger("KNET")


@dataclass(frozen=True, slots=True)
class KnetLinkSettings:
    """Settings of the links: options, addresses and the key."""

    options: KnetOptions
    addresses: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    """Address or name, by node id and link."""
    cipher: str = "none"
    hash: str = "none"
    key: bytes = field(default=b"", repr=False)
    ip_version: str = "ipv4"
    ip_dscp: int = 0
    check_interval_ms: int = 1000


class KnetLink:
    """Sends and receives for the host. It is up once all hosts know that this node starts its sequence numbers
    (knet.py)."""

    def __init__(
        self, settings: KnetLinkSettings, counters: Counter[str], now_ns: int, keys: KnetKeys | None = None
    ) -> None:
        """`keys`: open and seal packets, instead of the key in the settings."""
        options = settings.options
        self.settings = settings
        self.counters = counters
        self.on_unreachable: Callable[[str], None] | None = None
        self.protection = None
        """Unused: knet has its own encryption, in the state machine."""
        self.why_down = "knet's links are being set up"
        self.keys = keys
        """The keys for `rondo key`, if there are any."""
        self.knet = Knet(
            options,
            keys.keyring if keys else make_cipher(settings.cipher, settings.hash, settings.key, os.urandom(16)),
            now_ns,
            int.from_bytes(os.urandom(7)),
            compressor(options.compression, options.compression_level),
        )
        self._sockets = KnetSockets(counters, self._too_large, self.knet.not_sent)
        self._peephole = Peephole(
            self._sockets.dropped_by_kernel, self._sockets.open_for_a_look, self._sockets.close_again
        )
        names = [name for links in settings.addresses.values() for name in links.values()]
        self._resolver = Resolver(names, settings.ip_version)
        self._now_ns = now_ns
        self._next_check_ns = 0
        self._local: list[bytes] = []
        self._frames = TotemFrames(self.knet)
        self._said_ns: dict[str, int] = {}
        self._complained: Counter[str] = Counter()
        self.strangers = Strangers(options.node_id, settings.addresses, counters)

    def moves(self, settings: KnetLinkSettings) -> bool:
        """Whether a node that stays has other addresses in these settings."""
        now, then = self.settings.addresses, settings.addresses
        return any(now[node] != then[node] for node in now.keys() & then.keys())

    def change_settings(self, settings: KnetLinkSettings, now_ns: int) -> None:
        """Use other nodes, addresses, links and timers. The caller then calls `tend`, and polls `filenos` anew. The
        node's id, the ports of remaining links and encryption stay the same."""
        former, options = self._resolver, settings.options
        self.settings = settings
        names = [name for links in settings.addresses.values() for name in links.values()]
        self._resolver = Resolver(names, settings.ip_version, known=former.known)
        former.close()
        self._resolver.start()
        self.strangers.set_members(settings.addresses)
        self._sockets.keep(settings.addresses.get(options.node_id, {}))
        self.knet.change_options(options, compressor(options.compression, options.compression_level))
        self._next_check_ns = now_ns

    # -- frames

    def send(
        self, packets: list[tuple[int, bytes]], *, packet_bytes_max: int = DATAGRAM_SIZE_MAX, parity: bool = False
    ) -> None:
        """Send packets in order. Those that this node must get back itself are kept for `take_local`.

        Knet cuts large packets itself, without copies or parity.
        """
        self._local += self._frames.send(packets, self._now_ns)
        self._flush()

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
        self._now_ns = now_ns
        frames: list[Datagram] = []
        self._peephole.tend(now_ns)
        refused = self.knet.counters
        for link, source, datagrams in self._sockets.receive(readable, datagrams_max):
            before = [refused[reason] for reason in _OF_STRANGERS]
            for frame in self.knet.receive(datagrams, link, source, now_ns):
                if is_notice(frame):
                    self._take_notice(frame, now_ns)
                elif self._frames.is_for_this_node(frame):
                    frames.append((frame, source))
                else:
                    self.counters["rx_for_another"] += 1
            if before != [refused[reason] for reason in _OF_STRANGERS]:
                self._refused(before, source, datagrams[0])
        self._flush()
        return frames

    def _take_notice(self, frame: bytes, now_ns: int) -> None:
        """Handle a Rondo node's key notice. (The state machine checks the paths.)"""
        try:
            notice = decode_notice(frame)
        except Malformed as error:
            self.counters[f"rx_notice_{error.reason}"] += 1
            return
        if isinstance(notice, KeyNotice) and self.keys is not None:
            self.keys.keys_of_others.heard(notice.sender, notice.valid, notice.in_use, now_ns)

    def _tell_keys(self, now_ns: int) -> None:
        """Send a key notice if it is due: while keys are being changed."""
        if self.keys is None or self.keys.keys_of_others.due_ns > now_ns:
            return
        frame = encode_keys(self.keys.key_notice(self.settings.options.node_id))
        self.knet.send(ALL_HOSTS, [frame], now_ns)
        self.keys.keys_of_others.said(now_ns, again=self.keys.has_several_keys)

    def receive_token(self, _now_ns: int) -> list[Datagram]:
        """Knet has no socket of its own for tokens."""
        return []

    def receive_bytes(self) -> int:
        """Size of the smallest receive buffer; 0 = no socket."""
        return self._sockets.receive_bytes()

    @property
    def drained(self) -> bool:
        """Whether everything has been received that was there at the last poll."""
        return not self._local and self._sockets.drained

    def heard(self, frame: bytes, source: str) -> None:
        """Nothing: addresses are configured, not learned."""

    def seal_to_keep(self, frame: bytes) -> bytes:
        """The datagram for a frame that is kept and sent later, or never."""
        return self.knet.seal_to_keep(frame)

    # -- addresses

    def addresses_of(self, nodes: Iterable[int]) -> dict[int, Any]:
        """The addresses of these nodes on the link of `source`."""
        link = self._lowest()
        hosts = self.knet.hosts
        return {
            node: socket_address(*hosts[node].links[link].address)
            for node in nodes
            if node in hosts and link in hosts[node].links
        }

    def node_at(self, address: str) -> int | None:
        """The other node that has this IP address."""
        for host in self.knet.hosts.values():
            if any(link.address[0] == address for link in host.links.values()):
                return host.node_id
        return None

    def ports_to_hold(self) -> list[tuple[int, int]]:
        """IP versions and UDP ports that must stay open when this process dies. C nodes count a link with a closed port
        as dead, and then take seconds before they accept data of another process."""
        links = self.settings.options.links
        return sorted({(6 if ":" in own else 4, links[link].port) for link, own in self._sockets.addresses.items()})

    def source(self) -> Any:
        """This node's address and port on the link for last words: that link's own address must be the source."""
        link = self._lowest()
        if link not in self._sockets.addresses:
            return ("", 0)
        return socket_address(self._sockets.addresses[link], self.settings.options.links[link].port)

    def _lowest(self) -> int:
        carriers = [host.carriers[0].number for host in self.knet.hosts.values() if host.carriers]
        return min(carriers, default=-1)

    # -- called by the loop

    @property
    def is_up(self) -> bool:
        """Whether frames are sent."""
        return self.knet.ready

    def start(self) -> None:
        """Start looking up names."""
        self._resolver.start()

    def filenos(self) -> set[int]:
        """The descriptors to poll for input. They change when `tend` returns True."""
        return {self._resolver.fileno(), *self._sockets.filenos()}

    def data_filenos(self) -> list[int]:
        """The descriptors for datagrams."""
        return self._sockets.filenos()

    def error_filenos(self) -> list[int]:
        """None: errors come on the sockets that are polled for input."""
        return []

    def read_errors(self, failing: Collection[int]) -> None:
        """Read the errors of descriptors with EPOLLERR: find hosts that do not listen any more."""
        for link, address in self._sockets.read_errors(failing):
            self.counters["unreachable_port"] += 1
            port = self.settings.options.links[link].port
            if self.knet.unreachable(link, (address, port), self._now_ns) is not None and self.on_unreachable:
                self.on_unreachable(address)
        self._flush()

    @property
    def next_due_ns(self) -> int:
        """When to call `tend` even if none of `filenos` is readable."""
        due_ns = min(self._next_check_ns, self.knet.due_ns)
        return due_ns if self.keys is None else min(due_ns, self.keys.keys_of_others.due_ns)

    def tend(self, readable: Collection[int], now_ns: int) -> bool:
        """Run the links' timers, and update names and sockets. True: `filenos`, or whether frames are sent, has
        changed.

        Raises `CannotBind` at the start.
        """
        self._now_ns = now_ns
        changed = False
        if self._resolver.fileno() in readable:
            self._resolver.clear()
            self._next_check_ns = now_ns
        if self._next_check_ns <= now_ns:
            self._next_check_ns = now_ns + self.settings.check_interval_ms * 1_000_000
            before = self.filenos()
            self._check(now_ns)
            changed = before != self.filenos()
            self._complain(now_ns)
        if self.knet.due_ns <= now_ns:
            self.knet.advance(now_ns)
        self._tell_keys(now_ns)
        self._flush()
        if self.is_up and self.why_down:
            self.why_down = ""
            changed = True
        return changed

    def close(self) -> None:
        """Close everything."""
        self._sockets.close()
        self._resolver.close()

    def _check(self, now_ns: int) -> None:
        """Open the links that have an address now, and tell the state machine the addresses of the others."""
        options = self.settings.options
        for link, name in self.settings.addresses.get(options.node_id, {}).items():
            if (address := self._own_address(link, name)) is not None:
                try:
                    self._sockets.open(link, address, options.links[link].port, self.settings.ip_dscp)
                except CannotBind as error:
                    if not self.is_up:
                        raise
                    self._say_once(f"link: {link} has no socket: {error}", now_ns)
                except AddressNotAvailable as absent:
                    self._say_once(f"link: {link} has no socket: {absent}", now_ns)
        hosts: dict[int, dict[int, Address]] = {}
        ceilings: dict[int, int] = {}
        for node, links in self.settings.addresses.items():
            if node == options.node_id:
                continue
            hosts[node] = {}
            for link, name in links.items():
                own = self._sockets.addresses.get(link)
                found = [each for each in self._resolver.addresses(name) if own and family_of(each) == family_of(own)]
                if found:
                    to = (found[0].partition("%")[0], options.links[link].port)
                    hosts[node][link] = to
                    ceilings[link] = min(ceilings.get(link, 65_535), self._sockets.mtu(link, to))
        if options.block_unlisted_ips:
            for link in self._sockets.addresses:
                listed = frozenset(links[link][0] for links in hosts.values() if link in links)
                self._sockets.admit(link, listed)
        self.knet.set_hosts(hosts, ceilings, now_ns)

    def _own_address(self, link: int, name: str) -> str | None:
        """This node's address on a link. A name that is loopback here but not for the others (127.0.1.1 in /etc/hosts)
        has none."""
        others = [
            address
            for node, links in self.settings.addresses.items()
            if node != self.settings.options.node_id and link in links
            for address in self._resolver.addresses(links[link])[:1]
        ]
        for address in self._resolver.addresses(name):
            if not is_loopback(address) or all(map(is_loopback, others)):
                return address
        return None

    def _too_large(self, link: int, address: Address, size: int) -> None:
        self.knet.too_large(link, address, size, self._now_ns)

    def _flush(self) -> None:
        if self.knet.outbox:
            self._sockets.send(self.knet.take_outbox())
        if self.knet.events:
            for event in self.knet.take_events():
                self._log_event(event)

    # -- the log

    def _log_event(self, event: LinkEvent) -> None:
        if event.what == "up":
            _log.info("rx: host: %d link: %d is up", event.node, event.link)
        elif event.what == "down":
            _log.info("link: host: %d link: %d is down", event.node, event.link)
        elif event.what == "mtu":
            _log.info("pmtud: Global data MTU changed to: %d", event.value)
        elif event.what == "carriers":
            mode = self.settings.options.mode.value
            if event.link < 0:
                _log.warning("host: host: %d has no active links", event.node)
            else:
                priority = self.settings.options.links[event.link].priority
                _log.info("host: host: %d (%s) best link: %d (pri: %d)", event.node, mode, event.link, priority)

    def _say_once(self, text: str, now_ns: int) -> None:
        last_ns = self._said_ns.get(text)
        if last_ns is None or now_ns - last_ns >= 60 * COMPLAINT_NS:
            self._said_ns[text] = now_ns
            notice(_log, "%s", text)

    def _complain(self, now_ns: int) -> None:
        """Log refused packets with the reason and the line to change, each at most every ten seconds."""
        for reason, (what, mend) in _COMPLAINTS.items():
            count = self.knet.counters[reason]
            last_ns = self._said_ns.get(reason, -COMPLAINT_NS)
            if count == self._complained[reason] or now_ns - last_ns < COMPLAINT_NS:
                continue
            self._said_ns[reason] = now_ns
            _log.warning("%d packets %s; %s", count - self._complained[reason], what, mend)
            self._complained[reason] = count

    def _refused(self, before: list[int], source: Address, datagram: bytes) -> None:
        """Datagrams of this address do not belong to this ring: log the reason and the line to change."""
        counters = self.knet.counters
        reason = next(each for each, count in zip(_OF_STRANGERS, before, strict=True) if counters[each] != count)
        why = _OF_STRANGERS[reason]
        if reason in _OTHER_TRANSPORTS and transport_of(datagram) in (CLEAR, SECURE):
            why = foreign_text(datagram)
        self.strangers.refuse(source[0], why, self._now_ns, self.node_at(source[0]))
        if reason == "rx_unlisted_ip":
            self._peephole.shut(self._now_ns)

    def status(self, now_ns: int) -> dict[str, Any]:
        """The links by node id, and refused senders. There are no `paths`, because each link finds its own MTU."""
        nodes = self.knet.status(now_ns)
        for links in nodes.values():
            for link in links:
                link["local"] = self._sockets.addresses.get(link["link"], "")
        return {"paths": {}, "links": nodes, "strangers": self.strangers.status(now_ns), "deaf": []}

    def more_counters(self) -> dict[str, int]:
        """Other counters besides `counters`: the kernel's, and the state machine's as `knet_rx_copies` ..."""
        kernel = {"rx_dropped_by_kernel": self._sockets.dropped_by_kernel()}
        return kernel | {f"knet_{name}": count for name, count in sorted(self.knet.counters.items())}


_OTHER_TRANSPORTS: Final = ("rx_digest", "rx_not_knet")
_OF_STRANGERS: Final = {
    "rx_digest": "it has an invalid digest; use the same key file, crypto_cipher and crypto_hash on all nodes",
    "rx_in_the_clear": "it came in the clear while this node encrypts; "
    "write the same crypto_cipher and crypto_hash on all nodes, or secauth: off here",
    "rx_not_knet": "it is no knet packet in the clear, as this node sends them; "
    "write the same transport, crypto_cipher and crypto_hash on all nodes",
    "rx_wrong_host": "its host id is not that of the node that has this address; give each node its own nodeid",
    "rx_unlisted_ip": UNLISTED,
}
"""Texts for packets that the state machine refuses because of their sender, by its counters."""

_COMPLAINTS: Final = {
    "rx_compression_unknown": (
        "are compressed in a way that this node does not know",
        "write knet_compression_model: zlib, or none, on all nodes",
    ),
    "rx_compression_lz4_not_installed": ("are compressed with lz4", "install the Python package lz4 here"),
    "rx_compression_lz4hc_not_installed": ("are compressed with lz4", "install the Python package lz4 here"),
    "rx_compression_zstd_not_installed": ("are compressed with zstd", "install the Python package zstandard here"),
}
