"""The decoders, and how each is called. A target raises only what is a finding.

The first byte of an input chooses: the rest as it is, or for msgpack a change of the structure of a good value, or for
sealed packets what is inside of the seal.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from rondo.ipc import zmtp
from rondo.protocol import batch, client_gateway, cpg_gateway, envelope, events, requests, sam_gateway, totem_reader
from rondo.protocol.envelope import BusError, unpack
from services.cpg import wire as cpg_wire
from services.totem.security import envelope as security_envelope
from services.totem.security import marks, opener, peers, replay
from services.totem.security.envelope import Content, bound_to
from services.totem.security.packets import PacketSecurity
from services.totem.security.suites import SUITES
from services.totem.transport import segments
from services.totem.transport.knet import compression, crypto, fragments, keyring, knet, remote_host
from services.totem.transport.knet import format as knet_format
from services.totem.wire import executive, frames, notices, packets, syncmsg
from services.totem.wire.base import Malformed
from tests.fuzz import of_knet
from tests.fuzz.shapes import from_seeds
from tests.unit.protocol.test_envelopes import ORDER, SESSIONS
from tests.unit.security.nodes import Node as SecurityNode
from tests.unit.security.nodes import acquaint
from tests.unit.wire.captures import datagrams

SEEDS_MAX = 200


@dataclass(frozen=True)
class Target:
    """One decoder, or a few that belong together."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    modules: tuple[ModuleType, ...]
    """Whose lines are counted."""
    leave_out: frozenset[str] = field(default_factory=frozenset)
    """Functions of these modules that decode nothing: they encode, or belong to the sending side."""

    def __str__(self) -> str:
        return self.name


def _captured() -> list[bytes]:
    """Frames of real rings, few of each kind."""
    found: dict[int, list[bytes]] = {}
    for capture in ("udp", "udpu"):
        for datagram in datagrams(capture):
            kind = found.setdefault(datagram.payload[3], [])
            if len(kind) < SEEDS_MAX // 8 and len(datagram.payload) < 2000:
                kind.append(datagram.payload)
    return [frame for kind in found.values() for frame in kind]


def _frames(data: bytes) -> None:
    with suppress(Malformed):
        frame = frames.decode(data)
        if isinstance(frame, frames.Mcast):
            _ = frame.payload
        elif isinstance(frame, frames.Join):
            _ = frame.is_leave
    if notices.is_notice(data):
        with suppress(Malformed):
            notices.decode_notice(data)


def _frame_seeds() -> list[bytes]:
    return [*_captured(), *_notice_seeds()]


def _notice_seeds() -> list[bytes]:
    from tests.unit.wire import test_notices

    return [value for value in vars(test_notices).values() if isinstance(value, bytes)]


def _mcast_payloads() -> list[bytes]:
    found = []
    for frame in _captured():
        try:
            decoded = frames.decode(frame)
        except Malformed:
            continue
        if isinstance(decoded, frames.Mcast):
            found.append(decoded.payload)
    return found


def _packets(data: bytes) -> None:
    start = data[0] % 64 if data else 0
    try:
        _, _, pieces = packets.decode_packet(data[1:], min(start, len(data)))
    except Malformed:
        pieces = [data[1:]]
    for piece in pieces:
        try:
            _, at = packets.split_group(piece)
        except Malformed:
            continue
        _messages(piece[at:])


def _packet_seeds() -> list[bytes]:
    return [b"\0" + payload for payload in _mcast_payloads()]


def _messages(payload: bytes) -> None:
    for decode in (syncmsg.decode_sync, executive.service_of):
        try:
            decode(payload)
        except Malformed:
            continue


def _cpg(data: bytes) -> None:
    with suppress(cpg_wire.WireError):
        cpg_wire.decode(data)


def _cpg_seeds() -> list[bytes]:
    group, pid, total = b"group", 77, 2_200_000
    body = batch.encode_body([b"a", b"bc"])
    long = [*cpg_wire.encode_mcast(group, 1, pid, bytes(total))]
    long += cpg_wire.encode_parts_again(group, 1, pid, total, bytes(total // 2))
    return [
        cpg_wire.encode_proc_join(group, pid),
        cpg_wire.encode_proc_leave(group, pid, 5),
        *cpg_wire.encode_join_lists([(pid, group), (78, b"other")]),
        cpg_wire.encode_down_list(3, [2]),
        *cpg_wire.encode_mcast(group, 1, pid, b"data"),
        batch.encode_batch(group, 1, pid, 2, body),
        batch.encode_batch(group, 1, pid, 3, body),
        batch.encode_batch(group, 1, pid, 2, b"no body"),
        *(part[:400] for part in long),
    ]


Decoder = Callable[[bytes], object]


def _of_bus(decoders: list[Decoder], values: list[Any]) -> Callable[[bytes], None]:
    """Bytes as they are, or a good value with its structure altered."""

    def run(data: bytes) -> None:
        frame = from_seeds(values, data[1:]) if data[:1] > b"\x3f" else data[1:]
        for decode in decoders:
            try:
                decode(frame)
            except BusError:
                continue

    return run


def _seeds_of(values: list[Any]) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        raw = [b"\0" + envelope.pack(value) for value in values]
        return raw + [b"\xff" + bytes([number, 5, 3, number]) for number in range(len(values))]

    return seeds


def _values(module: Any, envelopes: list[Any]) -> list[Any]:
    return [unpack(module.encode(each)) for each in envelopes]


REQUESTS: list[Any] = [
    [[1, 1, b"g"], [2, 2, b"g"], [3, 3, b"g", 2, b"data"], [4, 16], [5, 18, b"g"]],
    [[1, int(requests.Op.BATCH), b"g", 2, batch.encode_body([b"a", b"bc", b""])]],
    [[1, 1, None], [2, 6, [1, [1], [2]]]],
]  # fmt: skip
EVENTS: list[Any] = [
    [[1, 0, b"g", 1, 77, False, b"data", None], [2, 0, b"g", 1, 77, True, b"", 5]],
    [[3, 1, b"g", [[1, 77]], [[1, 77, 1]], [], 4], [4, 2, 1, 8, [1, 2]], [5, 3, 9, 14]],
]
_RUN_OF_SAM = envelope.pack([1, {"argv": [b"true"], "policy": "restart", "interval_ms": 1000}])
SAM: list[Any] = [
    unpack(sam_gateway.encode(sam_gateway.Ask(0, b"connection", 5, 77, 12345, 0, 0, [0, 4], _RUN_OF_SAM))),
    unpack(sam_gateway.encode(sam_gateway.Answer(0, b"connection", 5, 1, envelope.pack({"id": "a", "pid": 7})))),
    unpack(_RUN_OF_SAM),
    [23, {}],
]
CLIENT: list[Any] = [
    [32, 0, 1, 1, "name", None], [32, 5, 1, 1, "name", [9, b"s" * 16, 5, 3, 2]], [34, 5, 1, 2, b"blob"], [38, 5, 9],
    [40, 5, 1, ""], [33, 5, 1, 2, 77, 9, b"s" * 16, 3, 2, [1, 8, [1, 2]], [1, 2, 3, 4]], [35, 5, 3], [36, 5, b"blob"],
    [37, 5, 1, 9, b"blob"], [39, 5, "died", [3, 4]], [41, 5, 6, 7], [42, 5, 9, "text"],
]  # fmt: skip


def _expand(blob: bytes) -> None:
    requests.expand_batches(requests.decode_requests(blob))


def _numbers(seed: int) -> Iterator[bytes]:
    """16 bytes that are like no others, again and again."""
    number = seed << 64
    while True:
        number += 1
        yield number.to_bytes(16, "big")


class _Sealed:
    """Node 1 gets packets of node 2, whose boot it knows, of node 3, of a stranger with the key, and of itself.

    An input is a row of steps: what is done (1 byte), how (2 bytes), the length of what it is done with, and that.
    From `MANY` on they are the same steps again, and the packet is opened as many of a turn are: twice it, and a piece.
    """

    MANY = 60
    NOW_NS = 10**12
    SECOND_NS = 10**9

    def __init__(self) -> None:
        numbers = _numbers(0)
        self._one = self._node(1, numbers)
        self._others = [self._node(number, numbers) for number in (2, 3, 9)] + [self._node(2, numbers)]
        self._now_ns = self.NOW_NS
        self._last = self._aside = b""

    @staticmethod
    def _node(number: int, numbers: Iterator[bytes]) -> PacketSecurity:
        suite, key = SUITES["aes256-gcm", "none"], bytes(range(256))
        return PacketSecurity(
            suite, key, "fuzz", number, frozenset({1, 2, 3}), next(numbers), lambda: next(numbers)
        )  # fmt: skip

    def run(self, data: bytes) -> None:
        """All steps of an input."""
        at = 0
        while at + 4 <= len(data):
            what, where, how, size = data[at : at + 4]
            self._step(what, where, how, data[at + 4 : at + 4 + size])
            at += 4 + size

    def _step(self, what: int, where: int, how: int, body: bytes) -> None:
        sender = [*self._others, self._one][what % 5]
        sealer = sender.sealer
        match (what // 5) % 12:
            case 0:
                datagram = body
            case 1:
                content = Content(how % len(Content))
                datagram = sealer.seal_as(content, body, bound_to(content, 1 if where else 2))
            case 2:
                datagram = sealer.seal_enquiry(Content.CHALLENGE, 1 if how & 1 else how, body[:16].ljust(16))
            case 3:
                datagram = sealer.seal_enquiry(Content.ANSWER, 1, self._nonce() if how & 1 else body[:16].ljust(16))
            case 4:
                datagram = sealer.seal_to_keep(body)
            case 5:
                datagram = self._last
            case 6:
                self._now_ns += how * self.SECOND_NS // 8
                return
            case 7:
                self._talk(sender)
                return
            case 10:
                content = Content(how % len(Content))
                self._aside = sealer.seal_as(content, body, bound_to(content, 1 if where else 2))
                return
            case 11:
                datagram = self._aside
            case 8:
                datagram = sealer.seal(body)
                datagram = datagram[: where % (len(datagram) + 1)]
            case _:
                datagram = sealer.seal(body)
                at = where % len(datagram)
                datagram = datagram[:at] + bytes([datagram[at] ^ (how or 1)]) + datagram[at + 1 :]
        self._last = datagram
        if what >= self.MANY:
            self._open_many([(each, "10.0.0.2") for each in (datagram, datagram, datagram[: where + 1])])
        else:
            self._open(datagram)

    def _talk(self, other: PacketSecurity) -> None:
        """The other one says something and answers what it is asked."""
        self._one.open(other.seal(b"\x70\xc0\x03\x01hello"), "10.0.0.2", self._now_ns)
        for _ in range(2):
            for reply in self._one.take_replies():
                other.open(reply.datagram, "10.0.0.1", self._now_ns)
            for reply in other.take_replies():
                self._open(reply.datagram, keep=True)
        self._one.take_replies()

    def _nonce(self) -> bytes:
        """Of a question that is open."""
        asked = (peer.question.nonce for peer in self._one.opener.peers.all() if peer.question is not None)
        return next(asked, bytes(16))

    def _open_many(self, turn: list[tuple[bytes, str]]) -> None:
        at = 0
        while (at := self._one.open_known(turn, [], at)) < len(turn):
            self._open(turn[at][0])
            at += 1

    def _open(self, datagram: bytes, *, keep: bool = False) -> None:
        self._one.open(datagram, "10.0.0.2", self._now_ns)
        if not keep:
            self._one.take_replies()
        self._one.take_released()
        self._one.take_complaints()


def _sealed(data: bytes) -> None:
    _Sealed().run(data)


def _step(what: int, where: int, how: int, body: bytes = b"") -> bytes:
    """One step of `_Sealed`."""
    return bytes([what, where, how, len(body)]) + body


def _sealed_seeds() -> list[bytes]:
    body = b"\x70\xc0\x03\x01" + bytes(30)
    kinds = [_step(5 * kind + who, 40, how, body) for kind in range(12) for who in range(5) for how in (0, 1, 4)]
    kinds += [bytes([each[0] + _Sealed.MANY]) + each[1:] for each in kinds]
    known = _step(35, 0, 0)
    return [
        *kinds, *(known + kind for kind in kinds), _step(0, 0, 0, b"\x70\xc0\x03\x01"), _step(0, 0, 0, b"\x52\x01"),
        # Sealed before node 2 was known, and opened after that; at once, and much later.
        _step(50, 1, 4, body) + known + _step(55, 0, 0),
        _step(50, 1, 1, body) + known + _step(30, 0, 255) + _step(55, 0, 0),
        known + _step(8, 1, 1, body) + _step(25, 0, 0) + _step(18, 0, 1),
        # Frames of a known life, cut and altered.
        known + _step(5, 1, 1, body) + _step(40, 60, 0, body) + _step(45, 60, 9, body),
        # Node 2 is known; another life of it says something, is held, and answers: once in order, once twice.
        known + _step(8, 0, 1, body) + _step(25, 0, 0) + _step(38, 0, 0),
        known + _step(8, 0, 1, body) + _step(8, 0, 1, body) + _step(18, 0, 1) + _step(25, 0, 0),
        known + _step(8, 0, 1, body) + _step(30, 0, 255) + _step(8, 0, 1, body) + _step(18, 0, 1, body),
        known + _step(8, 0, 1, body) + _step(15, 0, 1, body), known + _step(5, 0, 1, body) + _step(25, 0, 0),
        known + _step(30, 0, 255) + _step(20, 0, 0, body) + _step(25, 0, 0), known + _step(10, 0, 1) + _step(25, 0, 0),
        known + _step(13, 0, 1) + _step(18, 0, 1) + _step(13, 0, 1) + _step(25, 0, 0),
    ]  # fmt: skip


_NOT_DECODING = frozenset(
    {
        "record", "array_of", "optional",  # make checks, when the module is loaded
        "any_value", "request_cost", "message_cost", "forget_key", "encode_replies",
    }
)  # fmt: skip


def _stream(data: bytes) -> None:
    """A connection of ZeroMQ. The first byte says how it is cut: what comes out must not depend on that."""
    whole, cut, size = zmtp.Reader(1 << 16), zmtp.Reader(1 << 16), data[0] + 1 if data else 1
    data = data[1:]
    try:
        messages = whole.feed(data)
    except zmtp.ProtocolError:
        messages = None
    found: list[bytes | None] = []
    try:
        for at in range(0, len(data), size):
            found += cut.feed(data[at : at + size])
    except zmtp.ProtocolError:
        assert messages is None
    else:
        assert (found, cut.missing, cut.pings) == (messages, whole.missing, whole.pings)


def _stream_seeds() -> list[bytes]:
    hello = zmtp.GREETING + zmtp.ready(b"DEALER")
    frames = [zmtp.header(5) + b"hello", zmtp.header(300) + bytes(300), zmtp.header(2, zmtp.Flag.MORE) + b"ab"]
    commands = [zmtp.command(b"\x04PING\0\1xy"), zmtp.command(zmtp.DENIED), zmtp.command(bytes(5000))]
    return [
        bytes([cut]) + hello + b"".join(each)
        for cut in (0, 6, 255)
        for each in ([], frames, [*commands[:2], *frames], [zmtp.header(1 << 30)], commands[2:], [*frames[2:], *frames])
    ] + [b"\x05" + zmtp.GREETING + frames[0], b"\x40" + bytes(64), b"\x40" + zmtp.GREETING[:20] + bytes(64)]


@functools.cache
def _acquainted() -> tuple[PacketSecurity, ...]:
    """Eight nodes that know each other; the first receives what the others cut."""
    nodes = [SecurityNode(number, members=None) for number in range(8)]
    acquaint(*nodes)
    return tuple(node.security for node in nodes)


def _segments(data: bytes) -> None:
    """What seven senders send, in steps: who and how (1 byte), size of a segment (255: one made long), length, data.

    Data are segments but for their senders and marks, which are filled in; the eighth sends what it likes."""
    nodes = _acquainted()
    joiner = segments.Joiner(Counter(), nodes[0])
    at = 0
    while at + 4 <= len(data):
        who, size, length = data[at], data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        piece = data[at + 4 : at + 4 + length]
        at += 4 + length
        if who & 0x80 and len(piece) > size > 0:
            joiner.join_all(
                b"".join(_marked(who, piece[each : each + size]) for each in range(0, len(piece), size)), size
            )
        else:
            joiner.join(_marked(who, piece + bytes(3000) if size == 255 else piece))
        assert sum(len(each.waiting) for each in joiner.senders.values()) <= segments.INCOMPLETE_MAX
        assert all(len(each.had) <= segments.RECENT for each in joiner.senders.values())


def _marked(who: int, piece: bytes) -> bytes:
    """This segment as node `who` would mark it, if it makes sense."""
    if who % 8 == 0 or len(piece) < segments.HEADER_SIZE:
        return piece
    kind, index, count = piece[1:4]
    number = int.from_bytes(piece[8:16])
    key = _acquainted()[who % 8].own_key()
    rows = segments.parities(count)
    all_marks = marks.marks(key, number, count, rows)
    at = index if kind == segments.SHARE else count + index
    if kind not in (segments.SHARE, segments.PARITY) or at >= count + rows:
        return piece
    mark = all_marks[marks.MARK_SIZE * at :][: marks.MARK_SIZE]
    return piece[:4] + (who % 8).to_bytes(4) + piece[8:16] + mark + piece[segments.HEADER_SIZE :]


def _segment_seeds() -> list[bytes]:
    cutter = segments.Cutter(100, _acquainted()[1])

    def step(who: int, piece: bytes, size: int = 0) -> bytes:
        return bytes([who, size]) + len(piece).to_bytes(2) + piece

    def cut(size: int) -> list[bytes]:
        buffers = [bytes(each) for each in cutter.cut(bytes(range(250)) * 10 if size > 250 else bytes(size))]
        return [head + share for head, share in zip(buffers[::2], buffers[1::2], strict=True)]

    one, other, long = cut(100), cut(120), cut(2500)[:40]
    alone, together = [step(1, each) for each in one], step(0x81, b"".join(one), cutter.segment_bytes)
    many = [step(who % 8, cut(100)[0]) for who in range(200)]
    mended, parity = cut(2500)[1:], [step(3, each) for each in cutter.parity(bytes(range(250)) * 10)]
    return [
        b"".join(alone), b"".join(alone[::-1] + alone), together, together + b"".join(alone),
        b"".join(alone) + together, b"".join(many), b"".join(many[::8]) + b"".join(many[1::8]),
        b"".join(step(1, cut(100)[0]) for _ in range(40)), b"".join(step(1, each[:30], 255) for each in long),
        b"".join(step(1, each) for each in long), b"".join(alone[:1]) + b"".join(step(1, each) for each in other),
        step(1, b""), step(2, b"\x53\x04" + bytes(30)), step(2, b"\x53\x03\x05\x03" + bytes(30)),
        step(0x81, b"".join(one[::-1]), cutter.segment_bytes), step(0x81, one[0] + other[1], cutter.segment_bytes),
        step(1, one[0]) + step(1, one[0][:3] + b"\x09" + one[0][4:]), step(0, one[0]),
        step(1, one[0][:8] + bytes([1]) + one[0][9:]) + step(1, one[0]), together * 2,
        b"".join(step(3, each) for each in mended) + b"".join(parity),
        b"".join(parity) + b"".join(step(3, each) for each in mended), b"".join(parity[:1]) * 2,
    ]  # fmt: skip


def _of_bus_target(name: str, decoders: list[Decoder], values: list[Any], *modules: ModuleType) -> Target:
    return Target(name, _of_bus(decoders, values), _seeds_of(values), modules, _NOT_DECODING)


def _to_sam(frame: bytes) -> None:
    ask = sam_gateway.decode(frame)
    if isinstance(ask, sam_gateway.Ask):
        sam_gateway.decode_request(ask.blob)


def _request_of_sam(blob: bytes) -> object:
    return sam_gateway.decode_request(blob)


def _from_client(frame: bytes) -> object:
    return client_gateway.decode(frame, client_gateway.FROM_CLIENT)


def _from_gateway(frame: bytes) -> object:
    return client_gateway.decode(frame, client_gateway.FROM_GATEWAY)


_ORDER, _SESSIONS = _values(totem_reader, ORDER), _values(cpg_gateway, SESSIONS)
_EVERY_DECODER: list[Decoder] = [
    totem_reader.decode, cpg_gateway.decode, _expand, requests.decode_replies, events.decode_events,
    _from_client, _from_gateway,
]  # fmt: skip

KNET_MODULES = (knet, knet_format, fragments, remote_host, compression)

TARGETS = {
    target.name: target
    for target in (
        Target("frames", _frames, _frame_seeds, (frames, notices)),
        Target("packets", _packets, _packet_seeds, (packets, syncmsg, executive)),
        Target("cpg", _cpg, _cpg_seeds, (cpg_wire,)),
        Target("sealed", _sealed, _sealed_seeds, (opener, security_envelope, peers, replay), _NOT_DECODING),
        Target("segments", _segments, _segment_seeds, (segments,), frozenset({"cuts", "cut", "parity"})),
        Target("knet", of_knet.packets, of_knet.packet_seeds, KNET_MODULES, of_knet.SENDING),
        Target("knet_sealed", of_knet.sealed, of_knet.sealed_seeds, (crypto, keyring), of_knet.CHANGING_KEYS),
        Target("stream", _stream, _stream_seeds, (zmtp,), frozenset({"header", "command", "ready", "_property"})),
        _of_bus_target("totem_reader", [totem_reader.decode], _ORDER, totem_reader),
        _of_bus_target("cpg_gateway", [cpg_gateway.decode], _SESSIONS, cpg_gateway),
        _of_bus_target("requests", [_expand, requests.decode_replies], REQUESTS, requests),
        _of_bus_target("events", [events.decode_events], EVENTS, events),
        _of_bus_target("sam_gateway", [_to_sam, _request_of_sam], SAM, sam_gateway),
        _of_bus_target("client", [_from_client, _from_gateway], CLIENT, client_gateway),
        _of_bus_target("msgpack", _EVERY_DECODER, [*_ORDER, *_SESSIONS, *REQUESTS, *EVENTS, *CLIENT], envelope),
    )
}
