"""Packing and assembly are each other's inverse, and agree on what to do when a chain of fragments breaks."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.totem.ring.assembly import ASSEMBLY_BYTES_MAX, Assembler
from services.totem.ring.counters import Counters
from services.totem.ring.events import Tag
from services.totem.ring.options import MESSAGE_SIZE_MAX
from services.totem.ring.packing import Packer
from services.totem.wire import packets
from services.totem.wire.base import Reason

SENDER = 7
PREFIX = packets.EXECUTIVE_PREFIX


def drain(packer: Packer) -> list[tuple[bytes, tuple[Tag, ...]]]:
    """All packets that wait to be sent."""
    taken = []
    while (packet := packer.take()) is not None:
        taken.append((packet.payload, packet.tags))
    return taken


def feed(assembler: Assembler, packet: bytes) -> list[bytes | None]:
    """What a receiver makes of a packet, without what is for nobody."""
    messages = assembler.take(SENDER, *packets.decode_packet(packet))
    return [m for m in messages if m is None or not m.startswith(packets.NOBODY_PREFIX)]


message_sizes = st.one_of(st.integers(0, 200), st.integers(1300, 1500), st.integers(0, 9000))


@given(sizes=st.lists(message_sizes, max_size=40), packet_size_max=st.sampled_from([100, 1410, 8910]))
def test_messages_come_out_as_they_went_in(sizes: list[int], packet_size_max: int) -> None:
    packer, assembler = Packer(packet_size_max), Assembler(Counters())
    messages = [PREFIX + bytes([i % 256]) * size for i, size in enumerate(sizes)]
    for index, message in enumerate(messages):
        packer.add(message, index)
    received: list[bytes | None] = []
    tags: list[object] = []
    for packet, ended in drain(packer):
        assert len(packet) <= packet_size_max
        ready = assembler.take(SENDER, *packets.decode_packet(packet))
        assert len(ready) == len(ended)
        received += ready
        tags += ended
    assert received == messages
    assert tags == list(range(len(messages)))
    assert assembler.size() == 0
    assert packer.bytes_queued == 0


def test_a_message_of_the_largest_size_passes() -> None:
    packer, assembler = Packer(1410), Assembler(Counters())
    message = PREFIX + bytes(MESSAGE_SIZE_MAX - len(PREFIX))
    packer.add(message, None)
    received = [m for packet, _ in drain(packer) for m in feed(assembler, packet)]
    assert received == [message]


def test_small_messages_share_full_packets() -> None:
    packer = Packer(1410)
    for _ in range(100):
        packer.add(PREFIX + bytes(64), None)
    taken = drain(packer)
    assert len(taken) == 6
    assert all(len(packet) > 1300 for packet, _ in taken[:-1])


def test_fragment_numbers_skip_zero() -> None:
    packer = Packer(1410)
    packer.add(PREFIX + bytes(600_000), None)
    heads = [packets.decode_packet(packet)[:2] for packet, _ in drain(packer)]
    assert heads[0] == (1, 0)
    assert [f for f, _ in heads[:-1]] == [i % 255 + 1 for i in range(len(heads) - 1)]
    assert [c for _, c in heads[1:]] == [f for f, _ in heads[:-1]]
    assert heads[-1][0] == 0


@settings(max_examples=200)
@given(sizes=st.lists(message_sizes, min_size=1, max_size=10), sent=st.integers(0, 20), joined=st.booleans())
def test_after_a_restart_every_receiver_gets_the_whole_message(sizes: list[int], sent: int, joined: bool) -> None:
    """A ring change cuts a chain; a receiver that saw its beginning, and one that joins now, get the same."""
    packer = Packer(1410)
    assembler = Assembler(Counters())
    messages = [PREFIX + bytes([i % 256]) * size for i, size in enumerate(sizes)]
    for message in messages:
        packer.add(message, None)
    before: list[bytes | None] = []
    for _ in range(sent):
        packet = packer.take()
        if packet is not None:
            before += feed(assembler, packet[0])
    packer.restart()
    if joined:
        assembler = Assembler(Counters())
    after = [m for packet, _ in drain(packer) for m in feed(assembler, packet)]
    assert [m for m in before + after if m is not None] == messages


class CorosyncsAssembler:
    """Corosync's rule for fragments and nothing else: what continues what came last is taken. Whoever has lost track
    skips all up to a packet that ends the chain, and the first piece of that one."""

    def __init__(self) -> None:
        self.last = 0
        self.kept = b""
        self.skipping = False

    def take(self, packet: bytes) -> list[bytes]:
        """The messages that end in this packet, as far as they can be assembled."""
        fragmented, continuation, pieces = packets.decode_packet(packet)
        if continuation != self.last:
            self.skipping = True
        self.last = fragmented
        if self.skipping and fragmented > 1:
            return []
        pieces = pieces if not continuation else [self.kept + pieces[0], *pieces[1:]]
        if self.skipping:
            self.skipping = False
            pieces = pieces[1:]
        self.kept = pieces.pop() if fragmented else b""
        return [piece for piece in pieces if not piece.startswith(packets.NOBODY_PREFIX)]


def test_a_chain_that_a_ring_change_cuts_is_ended_for_corosyncs_nodes() -> None:
    """Without an end of the old chain they would skip the packet with which it begins anew, and miss the message."""
    packer, corosync = Packer(1410), CorosyncsAssembler()
    messages = [PREFIX + bytes([n]) * size for n, size in enumerate((5000, 10, 3000))]
    for message in messages:
        packer.add(message, None)
    received: list[bytes] = []
    for _ in range(2):
        packet = packer.take()
        assert packet is not None
        received += corosync.take(packet.payload)
    assert received == []
    packer.restart()
    for payload, _ in drain(packer):
        received += corosync.take(payload)
    assert received == messages


@given(sizes=st.lists(message_sizes, min_size=1, max_size=20), joined_at=st.integers(0, 60))
def test_joining_late_never_makes_a_message_that_was_not_sent(sizes: list[int], joined_at: int) -> None:
    """Who joins in the middle lacks the first packets (and, in an ordered ring, no others): that costs messages and
    invents none, and all of those that begin after the join come."""
    packer, assembler = Packer(1410), Assembler(Counters())
    messages = [PREFIX + i.to_bytes(4, "little") + bytes([i % 256]) * size for i, size in enumerate(sizes)]
    for index, message in enumerate(messages):
        packer.add(message, index)
    taken = drain(packer)
    received = [m for packet, _ in taken[joined_at:] for m in feed(assembler, packet) if m is not None]
    whole_after = [tag for _, tags in taken[joined_at + 1 :] for tag in tags[1:]]
    assert received == messages[len(messages) - len(received) :]
    assert len(received) >= len(whole_after)


def test_a_receiver_that_joins_in_the_middle_of_a_very_long_chain_takes_nothing_of_it() -> None:
    """Number 1 comes again after 255: it must not be taken for the beginning of a message."""
    packer = Packer(1410)
    packer.add(PREFIX + bytes(800_000), None)
    packer.add(PREFIX + b"next", None)
    taken = drain(packer)
    assembler = Assembler(Counters())
    received = [m for packet, _ in taken[100:] for m in feed(assembler, packet)]
    assert received == [None, PREFIX + b"next"]


def test_a_message_without_end_is_given_up() -> None:
    counters = Counters()
    assembler = Assembler(counters)
    piece = bytes(60_000)
    for index in range(40):
        assembler.take(SENDER, index % 255 + 1, (index - 1) % 255 + 1 if index else 0, [piece])
        assert assembler.size() <= ASSEMBLY_BYTES_MAX
    assert counters.dropped == {Reason.TOO_BIG: 1}
    assert assembler.take(SENDER, 0, 40, [b"end", b"next"]) == [None, b"next"]


def test_clearing_ends_a_chain_that_was_begun() -> None:
    packer, assembler = Packer(1410), Assembler(Counters())
    packer.add(PREFIX + bytes(5000), None)
    first = packer.take()
    assert first is not None
    feed(assembler, first[0])
    packer.clear()
    packer.add(PREFIX + b"fresh", None)
    received = [m for packet, _ in drain(packer) for m in feed(assembler, packet)]
    assert received == [PREFIX + b"fresh"]


def test_a_packet_says_whether_a_safe_message_ends_in_it() -> None:
    packer = Packer(1410)
    for size, safe in ((10, False), (3000, True), (10, False), (1400, False), (10, True)):
        packer.add(PREFIX + bytes(size), None, safe=safe)
    taken = []
    while (packet := packer.take()) is not None:
        taken.append((len(packet.tags), packet.safe))
    assert taken == [(1, False), (0, False), (2, True), (2, True)]


def test_the_backlog_is_what_the_queue_takes_in_packets() -> None:
    packer = Packer(1410)
    assert packer.packets_queued() == 0
    packer.add(PREFIX + bytes(14_000), None)
    told = packer.packets_queued()
    assert abs(told - len(drain(packer))) <= 1
