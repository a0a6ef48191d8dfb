"""The knet state machine: turns frames into datagrams for the hosts' links and back, and runs the links' timers.

Its host (a transport with sockets, or a simulation) calls

    set_hosts     the addresses of the other nodes
    change_options    links and modes after a reload
    send          frames, for everybody or for one node
    receive       datagrams that came together, from one address, on one link
    advance       when `due_ns` has come
    unreachable, too_large, not_sent    the kernel's errors about earlier datagrams

and takes `outbox` and `events` after each call.

**Start.** Receivers remember this node's numbers from before its restart until they see a ping with number 0. So no
frame is sent, and no number used, until every host has answered such a ping, or `START_NS` have passed (`ready`).
Otherwise hosts would drop a restarted node's frames as copies of earlier ones.

**Tokens** and other urgent frames leave on every link that is up; receivers recognise copies by their number. If a
frame is sent again and again, all links become doubtful (remote_host.py). An urgent frame is not marked as for
everybody; C nodes accept that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from services.totem.transport.knet import format as wire
from services.totem.transport.knet.compression import NUMBERS, Unpackable, decompress
from services.totem.transport.knet.crypto import PacketCipher
from services.totem.transport.knet.effects import EVENTS_MAX, LinkEvent, Transmission
from services.totem.transport.knet.fragments import Refused, cut
from services.totem.transport.knet.link_options import KnetOptions, LinkMode
from services.totem.transport.knet.numbers import LastFrames, SendNumbers
from services.totem.transport.knet.path_mtu import FLOOR_IPV4, HEADERS_BYTES_IPV4, NEVER_NS
from services.totem.transport.knet.peer_link import LATE_NS, Address, PeerLink
from services.totem.transport.knet.remote_host import RESENT_IN_DOUBT, RemoteHost

START_NS: Final = 300_000_000
"""How long to wait at the start for hosts that do not answer."""

EVERYBODY: Final = -1


class Knet:
    """The state machine. `clock_offset_ns`: random, so that pongs to pings from before a restart do not count."""

    def __init__(
        self, options: KnetOptions, cipher: PacketCipher, now_ns: int, clock_offset_ns: int = 0,
        compress: Callable[[bytes], bytes] | None = None,
    ) -> None:  # fmt: skip
        self.options = options
        self.cipher = cipher
        self.counters: Counter[str] = Counter()
        """Refused datagrams by reason, and other counts: `rx_digest` ..."""
        self.outbox: list[Transmission] = []
        self.events: list[LinkEvent] = []
        self.hosts: dict[int, RemoteHost] = {}
        self.ready = False
        self._begun = False
        self.due_ns = now_ns + START_NS
        self._ready_ns = now_ns + START_NS
        self._by_address: dict[tuple[int, Address], RemoteHost] = {}
        self.numbers = SendNumbers()
        """The numbers of this node's frames."""
        self._clock_offset_ns = clock_offset_ns
        self._compress = compress
        self._compression = NUMBERS[options.compression]
        self.piece_bytes = 0
        """Bytes of a frame that fit one datagram at present."""
        self._urgent = LastFrames()
        self._fit()

    # -- addresses

    def set_hosts(self, hosts: Mapping[int, Mapping[int, Address]], ceilings: Mapping[int, int], now_ns: int) -> None:
        """Set addresses by node id and link. `ceilings`: MTU of each link's interface, bytes of IP packets."""
        for former in self.hosts.keys() - hosts.keys():
            del self.hosts[former]
            self._urgent.forget(former)
        for node, addresses in hosts.items():
            host = self.hosts.setdefault(node, RemoteHost(node, self.options.mode))
            gone, unknown = host.place(addresses, ceilings, self.options, now_ns)
            for link in gone:
                self._tell(LinkEvent("down", node, link.number))
            for link in unknown:
                self._start_path(link, now_ns)
            self._choose(host)
        self._by_address = {
            (link.number, link.address): host for host in self.hosts.values() for link in host.links.values()
        }
        self._fit()
        self.due_ns = now_ns

    def change_options(self, options: KnetOptions, compress: Callable[[bytes], bytes] | None) -> None:
        """Use other links, timers and modes; `set_hosts` follows. The node itself stays the same."""
        self.options, self._compress, self._compression = options, compress, NUMBERS[options.compression]

    # -- frames out

    def send(self, target: int, frames: Sequence[bytes], now_ns: int, *, urgent: bool = False) -> None:
        """Send frames to all reachable hosts (`EVERYBODY`), or to one, in order.

        `urgent`: small, and not sent again soon, so they leave on every link that is up. Frames for one host always do.
        """
        if not self.ready:
            self.counters["tx_not_ready"] += len(frames)
            return
        if target != EVERYBODY:
            host = self.hosts.get(target)
            if host is None or not host.is_reachable:
                self.counters["tx_unreachable"] += len(frames)
                return
            for frame in frames:
                self._send_urgent([host], target, frame, now_ns)
        elif urgent:
            for frame in frames:
                self._send_urgent(list(self.hosts.values()), EVERYBODY, frame, now_ns)
        elif self.options.mode is LinkMode.RR:
            for frame in frames:
                datagrams = self._datagrams(frame, True)
                for host in self.hosts.values():
                    for link in host.senders if host.in_doubt else host.next_in_turn():
                        self._out(link, datagrams)
        else:
            datagrams = [each for frame in frames for each in self._datagrams(frame, True)]
            for host in self.hosts.values():
                for link in host.senders:
                    self._out(link, datagrams)
        if self.numbers.ping_is_due:
            self.numbers.ping_is_due = False
            # The first ping tells that numbering has begun. A timed ping also reveals a second restart soon after.
            first, self._begun = not self._begun, True
            for host in self.hosts.values():
                self._ping_all(host, now_ns, timed=first)

    def _send_urgent(self, hosts: list[RemoteHost], target: int, frame: bytes, now_ns: int) -> None:
        resent = self._urgent.resent(target, frame)
        datagrams = self._datagrams(frame, False)
        for host in hosts:
            # First the links that carry data, so that the frame does not overtake data.
            for link in sorted(host.links.values(), key=lambda each: each not in host.carriers):
                if link.up:
                    self._out(link, datagrams)
        if resent >= RESENT_IN_DOUBT:
            self._doubt_all(now_ns)

    def seal_to_keep(self, frame: bytes) -> bytes:
        """The datagram for a small frame to everybody, to be sent later or never."""
        header = wire.DATA_HEADER.pack(
            wire.VERSION, wire.DATA, self.options.node_id, 0, self.numbers.next_kept(), 0, 0, 1, 1, 0, 0
        )
        return self.cipher.seal(header + frame)

    def _datagrams(self, frame: bytes, broadcast: bool) -> list[bytes]:
        number, compression = self.numbers.next(), 0
        if self._compress is not None and len(frame) > self.options.compression_threshold:
            smaller = self._compress(frame)
            if len(smaller) < len(frame):
                frame, compression = smaller, self._compression
        pack, seal, own = wire.DATA_HEADER.pack, self.cipher.seal, self.options.node_id
        if len(frame) <= self.piece_bytes:
            header = pack(wire.VERSION, wire.DATA, own, 0, number, compression, 0, broadcast, 1, 0, 0)
            return [seal(header + frame)]
        pieces = cut(frame, self.piece_bytes)
        count = len(pieces)
        return [
            seal(pack(wire.VERSION, wire.DATA, own, 0, number, compression, 0, broadcast, count, which, 0) + piece)
            for which, piece in enumerate(pieces, 1)
        ]

    def _out(self, link: PeerLink, datagrams: list[bytes]) -> None:
        self.outbox.append(Transmission(link.number, link.address, datagrams))
        link.counters.tx_data += len(datagrams)
        link.counters.tx_bytes += sum(map(len, datagrams))

    # -- datagrams in

    def receive(self, datagrams: Sequence[bytes], link: int, address: Address, now_ns: int) -> list[bytes]:
        """The frames that these datagrams complete, each once."""
        host = self._by_address.get((link, address))
        if host is None and self.options.block_unlisted_ips:
            self.counters["rx_unlisted_ip"] += len(datagrams)
            return []
        frames: list[bytes] = []
        open_packet = self.cipher.open
        for datagram in datagrams:
            packet = open_packet(datagram)
            if packet is None:
                self._refuse("rx_in_the_clear" if wire.is_plain(datagram) else "rx_digest", host, link)
                continue
            if len(packet) < wire.HEADER_BYTES or packet[0] != wire.VERSION:
                self._refuse("rx_not_knet", host, link)
                continue
            sender = packet[2] << 8 | packet[3]
            of = self.hosts.get(sender)
            if of is None or (host is not None and of is not host) or link not in of.links:
                self._refuse("rx_wrong_host", host, link)
                continue
            if packet[1] == wire.DATA:
                frame = self._data(packet, of, of.links[link], now_ns)
                if frame is not None:
                    frames.append(frame)
            else:
                self._control(packet, of, now_ns)
        return frames

    def _data(self, packet: bytes, host: RemoteHost, link: PeerLink, now_ns: int) -> bytes | None:
        if len(packet) <= wire.DATA_HEADER_BYTES:
            return self._refuse("rx_too_short", host, link.number)
        _, _, _, _, number, compression, _, broadcast, count, which, channel = wire.DATA_HEADER.unpack_from(packet)
        link.counters.rx_data += 1
        link.counters.rx_bytes += len(packet)
        if number == 0 or count == 0 or channel != 0:
            return self._refuse("rx_bad_data", host, link.number)
        if not host.is_reachable:
            self.counters["rx_unreachable"] += 1
            return None
        if host.window.has(number):
            if not broadcast:
                host.token_came(number, link, copy=True)
            self.counters["rx_copies"] += 1
            return None
        piece = packet[wire.DATA_HEADER_BYTES :]
        frame: bytes | None = piece
        if count > 1:
            try:
                frame = host.joiner.join(number, count, which, piece, now_ns)
            except Refused as error:
                return self._refuse(f"rx_{error}", host, link.number)
        if frame is None:
            return None
        host.window.take(number)
        if not broadcast and host.token_came(number, link, copy=False):
            self._doubt_all(now_ns)
        if compression:
            try:
                frame = decompress(compression, frame)
            except Unpackable as unpackable:
                return self._refuse(f"rx_{unpackable}", host, link.number)
        return frame

    def _refuse(self, reason: str, host: RemoteHost | None, link: int) -> bytes | None:
        """Count a refused datagram. Returns None, for "no frame"."""
        self.counters[reason] += 1
        if host is not None:
            host.links[link].counters.rx_errors += 1
        return None

    def _control(self, packet: bytes, host: RemoteHost, now_ns: int) -> None:
        kind = packet[1]
        if kind in (wire.PING, wire.PONG):
            ping = wire.decode_ping(packet)
            link = host.links.get(ping.link) if ping is not None else None
            if ping is None or link is None:
                self.counters["rx_bad_ping"] += 1
            elif kind == wire.PING:
                self._pinged(ping, packet, host, link, now_ns)
            else:
                self._ponged(ping, host, link, now_ns)
        elif kind in (wire.PROBE, wire.PROBE_ANSWER):
            probe = wire.decode_probe(packet)
            link = host.links.get(probe.link) if probe is not None else None
            if probe is None or link is None:
                self.counters["rx_bad_probe"] += 1
                return
            link.counters.rx_pmtu += 1
            if kind == wire.PROBE:
                self._control_out(link, wire.answer_of(packet, self.options.node_id))
            else:
                link.path.answered(probe.size, now_ns)
                self._due(link.path.due_ns)
                self._fit()
        else:
            self.counters["rx_bad_type"] += 1

    def _pinged(self, ping: wire.Ping, packet: bytes, host: RemoteHost, link: PeerLink, now_ns: int) -> None:
        link.counters.rx_ping += 1
        link.counters.tx_pong += 1
        self.counters["hosts_begun_anew"] += host.pinged(ping.number, ping.stamp, timed=ping.timed)
        self._control_out(link, wire.pong_of(packet, self.options.node_id))
        link.look_again(now_ns)
        self._due(link.ping_due_ns)
        if not ping.timed:
            self._doubt(host, now_ns)

    def _ponged(self, pong: wire.Ping, host: RemoteHost, link: PeerLink, now_ns: int) -> None:
        link.counters.rx_pong += 1
        sent_ns = pong.stamp - self._clock_offset_ns
        if pong.number == 0 and 0 <= now_ns - sent_ns <= START_NS and not host.answered_zero:
            host.answered_zero = True
            if not self.ready and all(each.answered_zero for each in self.hosts.values()):
                self._be_ready()
        if link.ponged(sent_ns, now_ns, others_up=host.is_reachable):
            self._start_path(link, now_ns)
            self._tell(LinkEvent("up", host.node_id, link.number))
            self._choose(host)
        host.answered()

    # -- links

    def advance(self, now_ns: int) -> None:
        """Run the timers. Call this when `due_ns` has come, or sooner."""
        late_ns = now_ns - self.due_ns
        if not self.ready and now_ns >= self._ready_ns:
            self._be_ready()
        due_ns = NEVER_NS if self.ready else self._ready_ns
        for host in self.hosts.values():
            for link in host.links.values():
                if late_ns > LATE_NS:
                    link.heard_ns += late_ns
                if link.ping_due_ns <= now_ns:
                    link.pinged(now_ns)
                    self._ping(link, now_ns, timed=True)
                    host.fade(now_ns)
                    if link.up and (size := link.path.verify(now_ns)):
                        self._probe(link, size)
                for size in link.path.probes(now_ns) if link.up else ():
                    self._probe(link, size)
                if link.is_silent(now_ns):
                    self.counters["links_down_by_silence"] += 1
                    self._down(host, link, now_ns)
            if host.doubt_due_ns <= now_ns:
                self._advance_doubt(host, now_ns)
        for host in self.hosts.values():
            due_ns = min(due_ns, host.doubt_due_ns, *(link.due_ns for link in host.links.values()), NEVER_NS)
        self._fit()
        self.due_ns = due_ns

    def _advance_doubt(self, host: RemoteHost, now_ns: int) -> None:
        if host.ping_of_doubt(now_ns):
            self._ping_all(host, now_ns, timed=False)
            return
        down = host.verdict(now_ns)
        for link in down:
            self.counters["links_down_by_doubt"] += 1
            self._down(host, link, now_ns)
        if down:
            self._doubt_all(now_ns)

    def unreachable(self, link: int, address: Address, now_ns: int) -> int | None:
        """ICMP says that nobody listens there. Returns the node, if that is so for all its links that are up."""
        if (host := self._by_address.get((link, address))) is None:
            return None
        if host.links[link].up:
            host.links[link].refused = True
            self._doubt(host, now_ns)
        return host.node_id if all(each.refused for each in host.links.values() if each.up) else None

    def not_sent(self, link: int, address: Address, count: int) -> None:
        """The kernel refused to send so many datagrams."""
        if (host := self._by_address.get((link, address))) is not None:
            host.links[link].counters.tx_errors += count

    def too_large(self, link: int, address: Address, size: int, now_ns: int) -> None:
        """The kernel refused to send a datagram of this size, as too large."""
        if (host := self._by_address.get((link, address))) is not None:
            host.links[link].path.too_large(size, now_ns)
            self._due(host.links[link].path.due_ns)
            self._fit()

    def _be_ready(self) -> None:
        self.ready = True
        self._tell(LinkEvent("ready", self.options.node_id, -1))

    def _start_path(self, link: PeerLink, now_ns: int) -> None:
        if not self.options.mtu:
            link.path.start(now_ns)
        for size in link.path.probes(now_ns):
            self._probe(link, size)
        self._due(link.path.due_ns)

    def _doubt(self, host: RemoteHost, now_ns: int) -> None:
        if host.doubt(now_ns):
            self.counters["doubts"] += 1
            self._advance_doubt(host, now_ns)
            self._due(host.doubt_due_ns)

    def _doubt_all(self, now_ns: int) -> None:
        for host in self.hosts.values():
            self._doubt(host, now_ns)

    def _down(self, host: RemoteHost, link: PeerLink, now_ns: int) -> None:
        if not link.up:
            return
        link.go_down(now_ns)
        self._due(link.due_ns)
        self._tell(LinkEvent("down", host.node_id, link.number))
        self._choose(host)

    def _choose(self, host: RemoteHost) -> None:
        if host.choose():
            self._tell(LinkEvent("carriers", host.node_id, host.carriers[0].number if host.carriers else -1))
        self._fit()

    def _fit(self) -> None:
        """Set the size of pieces: every path that carries data must pass them."""
        sizes = [link.path.size for host in self.hosts.values() for link in host.links.values() if link.up]
        datagram_bytes = min(sizes, default=self.options.mtu - HEADERS_BYTES_IPV4 if self.options.mtu else FLOOR_IPV4)
        room = self.cipher.room(datagram_bytes) - wire.DATA_HEADER_BYTES
        if room != self.piece_bytes:
            self.piece_bytes = room
            self._tell(LinkEvent("mtu", self.options.node_id, -1, room))

    # -- small packets

    def _ping_all(self, host: RemoteHost, now_ns: int, *, timed: bool) -> None:
        for link in host.links.values():
            self._ping(link, now_ns, timed=timed)

    def _ping(self, link: PeerLink, now_ns: int, *, timed: bool) -> None:
        link.counters.tx_ping += 1
        stamp = now_ns + self._clock_offset_ns
        ping = wire.Ping(self.options.node_id, link.number, stamp, self.numbers.last, timed)
        self._control_out(link, wire.encode_ping(ping))

    def _probe(self, link: PeerLink, size: int) -> None:
        """Send a probe whose datagram is as close to `size` as encryption allows, but not larger."""
        link.counters.tx_pmtu += 1
        self._control_out(link, wire.encode_probe(self.options.node_id, link.number, size, self.cipher.room(size)))

    def _control_out(self, link: PeerLink, packet: bytes) -> None:
        self.outbox.append(Transmission(link.number, link.address, [self.cipher.seal(packet)]))

    def _due(self, at_ns: int) -> None:
        self.due_ns = min(self.due_ns, at_ns)

    def _tell(self, event: LinkEvent) -> None:
        if len(self.events) >= EVENTS_MAX:
            self.counters["events_dropped"] += 1
            return
        self.events.append(event)

    def take_outbox(self) -> list[Transmission]:
        """Remove and return the transmissions, in order."""
        taken, self.outbox = self.outbox, []
        return taken

    def take_events(self) -> list[LinkEvent]:
        """Remove and return the events, in order."""
        taken, self.events = self.events, []
        return taken

    def status(self, now_ns: int) -> dict[str, Any]:
        """The links for `rondo status`, by node id."""
        return {
            str(node): [link.status(now_ns) for _, link in sorted(host.links.items())]
            for node, host in sorted(self.hosts.items())
        }
