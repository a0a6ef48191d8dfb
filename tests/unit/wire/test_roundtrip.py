"""What is encoded decodes to the same, over the whole range of every field."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.totem.wire import frames, packets, syncmsg
from services.totem.wire.frames import Commit, Frame, HoldCancel, Join, Kind, Mcast, Merge, Token
from services.totem.wire.packets import Group
from tests.unit.wire import strategies as wire
from tests.unit.wire.encoding import encode_frame
from tests.unit.wire.reassembly import Reassembler

KIND_OF_CLASS = {
    Token: Kind.TOKEN,
    Mcast: Kind.MCAST,
    Merge: Kind.MERGE,
    Join: Kind.JOIN,
    Commit: Kind.COMMIT,
    HoldCancel: Kind.HOLD_CANCEL,
}


@wire.reproducible
@given(wire.frames)
def test_frames(frame: Frame) -> None:
    encoded = encode_frame(frame)
    assert frames.kind_of(encoded) is KIND_OF_CLASS[type(frame)]
    assert frames.decode(encoded) == frame


@wire.reproducible
@given(wire.tokens)
def test_tokens_for_themselves(token: Token) -> None:
    """Tokens have most fields, so they get examples of their own; and their decoder is called directly, too."""
    encoded = frames.encode_token(token)
    assert len(encoded) == 57 + 16 * len(token.rtr)
    assert frames.decode_token(encoded) == token


@wire.reproducible
@given(wire.packets)
def test_packets(packet: tuple[int, int, list[bytes]]) -> None:
    encoded = packets.encode_packet(*packet)
    assert packets.decode_packet(encoded) == packet
    assert packets.decode_packet(b"in front" + encoded, 8) == packet


def test_packets_at_their_limits() -> None:
    for pieces in ([b"\xaa" * 0xFFFF], [b""], [b"\xaa" * 0xFFFF] * 3, [b""] * packets.PIECES_MAX):
        assert packets.decode_packet(packets.encode_packet(255, 255, pieces)) == (255, 255, pieces)


@wire.reproducible
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.integers(1, 40))
def test_messages_cut_anywhere_come_together_again(messages: list[bytes], piece_size: int) -> None:
    """Packets that our encoder makes of cut messages satisfy the receiver's rules, wherever the cuts are."""
    reassembler = Reassembler()
    received: list[bytes] = []
    last = 0
    for message in messages:
        cuts = [message[at : at + piece_size] for at in range(0, len(message), piece_size)] or [b""]
        for i, piece in enumerate(cuts):
            fragmented = 0 if i == len(cuts) - 1 else last % 255 + 1
            received += reassembler.add(1, packets.encode_packet(fragmented, last, [piece]))
            last = fragmented
    assert received == messages
    assert reassembler.unfinished() == {}


@wire.reproducible
@given(st.sampled_from([Group.EXECUTIVE, Group.SYNC]), st.binary(max_size=60))
def test_group_headers(group: Group, payload: bytes) -> None:
    prefix = packets.EXECUTIVE_PREFIX if group is Group.EXECUTIVE else packets.SYNC_PREFIX
    assert packets.split_group(prefix + payload) == (group, len(prefix))


@wire.reproducible
@given(wire.barriers)
def test_barriers(barrier: syncmsg.Barrier) -> None:
    assert syncmsg.decode_sync(syncmsg.encode_barrier(barrier)) == barrier


@wire.reproducible
@given(wire.service_builds())
def test_service_builds(build: syncmsg.ServiceBuild) -> None:
    encoded = syncmsg.encode_service_build(build)
    assert len(encoded) == 552
    assert syncmsg.decode_sync(encoded) == build
