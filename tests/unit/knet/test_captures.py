"""Packets of real C Corosync 3.1.7 nodes (libknet 1.25): taken as they are, and a million of them altered.

`data/*.pcap.gz`: what two C nodes say to each other on link 0, some of each kind of packet, CPG messages of up to 9 kB
among them. `clear`: without protection; `hash`: sha256 alone; `sealed`: aes256 and sha256; `zlib`: that, compressed.
Their keys lie beside them. `make mutations` alters a million of them.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from services.totem.transport.knet import format as wire
from services.totem.transport.knet.crypto import PacketCipher, make_cipher
from services.totem.transport.knet.effects import EVENTS_MAX
from services.totem.transport.knet.fragments import INCOMPLETE_MAX
from services.totem.transport.knet.keyring import Keyring
from services.totem.transport.knet.knet import Knet
from services.totem.transport.knet.link_options import KnetOptions, LinkOptions
from services.totem.transport.knet.numbers import WINDOW
from services.totem.wire import frames
from tests.unit.knet.network import MS
from tests.unit.wire.captures import datagrams

MUTATIONS = int(os.environ.get("RONDO_MUTATIONS", "8000"))
DATA = Path(__file__).parent / "data"
SUITES = {
    "clear": ("none", "none"), "hash": ("none", "sha256"), "sealed": ("aes256", "sha256"), "zlib": ("aes256", "sha256"),
}  # fmt: skip
PEER, OWN = 1, 2
ADDRESS = ("10.77.0.1", 5405)
OTHER_LINK = ("10.78.0.1", 5406)
REASONS = {
    "rx_digest", "rx_in_the_clear", "rx_not_knet", "rx_wrong_host", "rx_too_short", "rx_bad_data", "rx_unreachable",
    "rx_copies", "rx_bad_ping", "rx_bad_probe", "rx_bad_type", "rx_fragment_number", "rx_fragment_empty",
    "rx_fragment_count", "rx_fragment_size", "rx_fragment_bytes", "rx_compression_unknown", "rx_compression_broken",
    "rx_compression_too_large", "rx_compression_lz4_not_installed", "rx_compression_lz4hc_not_installed",
    "rx_compression_zstd_not_installed",
}  # fmt: skip
OTHER_COUNTERS = {"doubts", "hosts_begun_anew", "links_down_by_doubt", "links_down_by_silence", "events_dropped"}


def cipher(name: str) -> PacketCipher:
    key = b"" if name == "clear" else (DATA / f"{name}.key").read_bytes()
    return make_cipher(*SUITES[name], key, bytes(16))


def of_the_peer(name: str) -> list[bytes]:
    """The packets that node 1 has sent."""
    return [each.payload for each in datagrams(name, DATA) if each.source == ADDRESS]


class Receiver:
    """Node 2, in Rondo's code."""

    def __init__(self, name: str) -> None:
        self.cipher = cipher(name)
        self.now_ns = 10_000 * MS
        links = {0: LinkOptions(), 1: LinkOptions(port=5406)}
        opening = self.cipher if name == "clear" else Keyring(lambda _key: self.cipher, b"")
        self.knet = Knet(KnetOptions(OWN, links), opening, self.now_ns)
        self.knet.set_hosts({PEER: {0: ADDRESS, 1: OTHER_LINK}}, {0: 1500, 1: 1500}, self.now_ns)
        self.keep_up()

    @property
    def seen(self) -> int:
        """How many packets are in some counter, by their kind or by why they were refused."""
        links = [link.counters for link in self.knet.hosts[PEER].links.values()]
        by_kind = sum(each.rx_data + each.rx_ping + each.rx_pong + each.rx_pmtu for each in links)
        return by_kind + sum(count for name, count in self.knet.counters.items() if name in REASONS)

    def keep_up(self) -> None:
        """Time passes, and the peer answers pings."""
        self.now_ns += MS
        self.knet.advance(max(self.now_ns, self.knet.due_ns) if not self.knet.ready else self.now_ns)
        for link, to, sent in self.knet.take_outbox():
            for each in sent:
                packet = self.cipher.open(each)
                if packet is not None and packet[1] == wire.PING:
                    self.knet.receive([self.cipher.seal(wire.pong_of(packet, PEER))], link, to, self.now_ns)
        self.knet.take_outbox()

    def receive(self, datagram: bytes) -> list[bytes]:
        """One datagram; the bounds hold afterwards."""
        before, knet = self.seen, self.knet
        found = knet.receive([datagram], 0, ADDRESS, self.now_ns)
        assert self.seen > before, datagram.hex()
        assert len(knet.take_outbox()) <= 4
        assert all(len(frame) <= wire.FRAME_BYTES_MAX for frame in found)
        return found

    def bounds_hold(self) -> None:
        host = self.knet.hosts[PEER]
        assert len(host.joiner) <= INCOMPLETE_MAX
        assert host.joiner.waiting_bytes <= INCOMPLETE_MAX * wire.FRAME_BYTES_MAX
        assert host.window.bits <= WINDOW + 1
        assert len(self.knet.events) <= EVENTS_MAX
        assert self.knet.hosts.keys() == {PEER}
        assert self.knet.counters.keys() <= REASONS | OTHER_COUNTERS


@pytest.mark.parametrize("name", SUITES)
def test_all_packets_of_c_nodes_are_understood(name: str) -> None:
    """And the frames in them are Totem's."""
    receiver = Receiver(name)
    found = [frame for each in of_the_peer(name) for frame in receiver.receive(each)]
    kinds = {type(frames.decode(frame)).__name__ for frame in found}
    assert kinds >= {"Token", "Mcast"}
    assert max(map(len, found)) > 1500  # reassembled from fragments
    assert {each for each in receiver.knet.counters if each in REASONS} <= {"rx_copies"}
    counters = receiver.knet.hosts[PEER].links[0].counters
    assert counters.rx_ping > 0
    assert counters.rx_pmtu > 0


@pytest.mark.parametrize("name", SUITES)
def test_what_this_node_makes_is_what_c_nodes_make(name: str) -> None:
    """Each of their packets, opened and sealed here, has their size and is opened to the same bytes."""
    own, theirs = cipher(name), cipher(name)
    for each in of_the_peer(name):
        packet = theirs.open(each)
        assert packet is not None
        sealed = own.seal(packet)
        assert len(sealed) == len(each)
        assert theirs.open(sealed) == packet


@pytest.mark.parametrize("name", [name for name in SUITES if name != "clear"])
def test_altered_packets_are_not_opened(name: str) -> None:
    """On the wire, by somebody without the key: each is refused and counted, and nothing else happens."""
    receiver, rng = Receiver(name), random.Random(name)
    originals = of_the_peer(name)
    known, count = set(originals), 0
    before = receiver.knet.counters.copy()
    for _ in range(MUTATIONS // 8):
        each = mutated(rng, rng.choice(originals), rng.choice(originals))
        if each not in known:
            assert receiver.receive(each) == []
            count += 1
    refused = receiver.knet.counters - before
    assert refused.keys() <= {"rx_digest", "rx_in_the_clear"}
    assert refused.total() == count
    receiver.bounds_hold()


@pytest.mark.parametrize("name", SUITES)
def test_altered_packets_from_somebody_with_the_key_do_no_harm(name: str) -> None:
    """Altered inside of the seal, or without one: nothing is raised, all is bounded, and each packet is counted."""
    receiver, rng = Receiver(name), random.Random(f"inside {name}")
    opened = [packet for each in of_the_peer(name) if (packet := receiver.cipher.open(each)) is not None]
    for turn in range(MUTATIONS // 8 * 5 // 4):
        receiver.receive(receiver.cipher.seal(mutated(rng, rng.choice(opened), rng.choice(opened))))
        if turn % 4 == 0:
            receiver.keep_up()
        if turn % 1000 == 0:
            receiver.bounds_hold()
    receiver.bounds_hold()
    assert len(receiver.knet.counters.keys() & REASONS) >= 8
    receiver.now_ns += 5_000 * MS  # the peer goes on as if nothing had been
    receiver.keep_up()
    receiver.keep_up()
    begun = wire.encode_ping(wire.Ping(PEER, 0, 1 << 62, 0, timed=True))
    receiver.receive(receiver.cipher.seal(begun))
    whole = wire.DATA_HEADER.pack(wire.VERSION, wire.DATA, PEER, 0, 1, 0, 0, 1, 1, 0, 0) + b"a frame"
    assert receiver.receive(receiver.cipher.seal(whole)) == [b"a frame"]


def mutated(rng: random.Random, packet: bytes, other: bytes) -> bytes:
    """A packet that differs, in one of the ways of networks and of people; mostly in its header."""
    kind, altered = rng.randrange(7), bytearray(packet)
    at = rng.randrange(min(len(altered), 14 if rng.random() < 0.7 else len(altered)))
    if kind == 0:
        altered[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del altered[at:]
    elif kind == 2:
        altered += rng.randbytes(rng.randrange(1, 40))
    elif kind == 3:
        size = rng.choice((4, 6, 12, 14))
        altered[:size] = other[:size]
    elif kind == 4:
        altered[at:] = rng.randbytes(len(altered) - at)
    elif kind == 5:
        del altered[at : at + rng.randrange(1, 40)]
    else:
        altered[at] = rng.choice((0, 1, 2, 127, 128, 254, 255))
    return bytes(altered)
