"""Targets of knet: what is inside of the seal, and the seal itself."""

from __future__ import annotations

import functools
import pickle
import zlib

from services.totem.transport.knet import compression
from services.totem.transport.knet import format as wire
from services.totem.transport.knet.crypto import Clear, PacketCipher, make_cipher
from services.totem.transport.knet.keyring import Keyring
from services.totem.transport.knet.knet import Knet
from tests.unit.wire.captures import datagrams

SENDING = frozenset(
    {"send", "_send_urgent", "_datagrams", "_out", "set_hosts", "advance", "too_large", "unreachable", "cut", "status"}
    | {"take_events", "take_outbox", "compressor", "<lambda>", "next_in_turn", "_lz4", "_zstd", "seal_to_keep"}
    | {"answer_of", "pong_of", "is_plain", "piece_bytes", "__len__", "waiting_bytes", "_advance_doubt", "verdict"}
    | {"_down", "_module", "_tell", "change_options", "place"}
)
"""Functions of knet that decode nothing: of the sending side, or of timers."""

CHANGING_KEYS = frozenset({"room", "key_identity", "use_key", "remove_key", "key_numbers", "install_key"})
"""So of its keys."""


LINK, HOST, LONG, STRANGER, LATER, ALIVE = 1, 2, 4, 8, 16, 32
"""Bits of what precedes a packet: which link and host it comes from, and what else there is about it. LATER: 1.2 s have
passed since the packet before it, in which nobody has answered pings. ALIVE: or all have."""


@functools.cache
def _begun() -> tuple[bytes, int]:
    """A node whose links are up, and its time. A copy of it is made in a thirtieth of the time that it takes to come so
    far."""
    from tests.unit.knet.network import Network

    network = Network((1, 2, 3), make=lambda _node: Clear())
    network.run(20)
    return pickle.dumps(network.knets[1]), network.now_ns


def packets(data: bytes) -> None:
    """What is inside of the seal: several packets, each with its circumstances and its size in front."""
    from tests.unit.knet.network import MS, address

    begun, now_ns = _begun()
    machine, at, pauses = pickle.loads(begun), 0, 0
    while at + 2 <= len(data):
        how, size = data[at], data[at + 1]
        packet = data[at + 2 : at + 2 + size] + bytes(2000 if how & LONG else 0)
        source = address(9 if how & STRANGER else 3 if how & HOST else 2, how & LINK)
        if how & LATER and pauses < 2:
            pauses += 1
            for _ in range(12):
                now_ns += 100 * MS
                machine.advance(now_ns)
                if how & ALIVE:
                    _answer(machine, now_ns)
        for frame in machine.receive([packet], how & LINK, source, now_ns):
            assert len(frame) <= wire.FRAME_BYTES_MAX
        machine.outbox.clear()
        at += 2 + size


def _answer(machine: Knet, now_ns: int) -> None:
    """All nodes answer the pings of this one."""
    for sent in machine.take_outbox():
        node = int(sent.address[0].rpartition(".")[2])
        pongs = [wire.pong_of(each, node) for each in sent.datagrams if each[1] == wire.PING]
        machine.receive(pongs, sent.link, sent.address, now_ns)


def _framed(how: int, packet: bytes) -> bytes:
    """A packet with its circumstances and its size in front."""
    return bytes([how, len(packet)]) + packet


def packet_seeds() -> list[bytes]:
    pack = wire.DATA_HEADER.pack
    made = [
        pack(1, 0, 2, 0, 1, 0, 0, 1, 1, 0, 0) + b"whole",
        pack(1, 0, 2, 0, 2, 0, 0, 0, 2, 1, 0) + b"aaaa",
        pack(1, 0, 2, 0, 2, 0, 0, 0, 2, 2, 0) + b"bb",
        pack(1, 0, 2, 0, 9000, 0, 0, 1, 255, 7, 0) + b"x",
        *(
            pack(1, 0, 2, 0, 3 + number, number, 0, 1, 1, 0, 0) + compress(b"frame")
            for number, name in ((1, "zlib"), (5, "lzma"), (6, "bzip2"))
            if (compress := compression.compressor(name, 0)) is not None
        ),
        wire.encode_ping(wire.Ping(2, 0, 77, 0, timed=True)),
        wire.encode_ping(wire.Ping(2, 1, 77, 9, timed=False)),
        wire.pong_of(wire.encode_ping(wire.Ping(1, 0, 77, 0, timed=True)), 2),
        wire.encode_probe(2, 0, 100, 100),
        wire.answer_of(wire.encode_probe(1, 0, 100, 100), 2),
    ]
    made += [each for each in _captured() if len(each) < 256]
    each = [_framed(head, packet) for packet in made for head in (0, 1)]
    senseless = [
        pack(1, 0, 2, 0, 2, 0, 0, 1, 3, 1, 0) + b"aaaa",
        pack(1, 0, 2, 0, 2, 0, 0, 1, 3, 2, 0) + b"aaa",
        pack(1, 0, 2, 0, 2, 0, 0, 1, 4, 2, 0) + b"aaa",
        pack(1, 0, 2, 0, 2, 0, 0, 1, 3, 4, 0) + b"aaa",
        *(pack(1, 0, 2, 0, 20 + number, number, 0, 1, 1, 0, 0) + b"broken" for number in range(1, 10)),
        pack(1, 0, 2, 0, 40, 1, 0, 1, 1, 0, 0) + zlib.compress(bytes(wire.FRAME_BYTES_MAX + 1)),
        pack(1, 0, 2, 0, 0, 0, 0, 1, 1, 0, 0) + b"number 0",
    ]
    many = [pack(1, 0, 2, 0, number, 0, 0, 1, 2, 1, 0) + b"a" for number in range(100, 140)]
    large = [_framed(LONG, pack(1, 0, 2, 0, 50, 0, 0, 1, 60, which, 0)) for which in range(1, 40)]
    others = [
        _framed(STRANGER, bytes(20)),
        _framed(0, pack(1, 0, 2, 0, 60, 0, 0, 1, 1, 0, 0)[:10]),
        _framed(0, pack(1, 0, 2, 0, 60, 0, 0, 1, 3, 1, 0)),
        _framed(0, wire.encode_ping(wire.Ping(2, 0, 77, 0, timed=True))[:9]),
        _framed(0, wire.encode_probe(2, 0, 100, wire.PROBE_BYTES)[:7]),
    ]
    others += [_framed(0, packet) for packet in _wrong()]
    others += _tokens(made[0])
    later = b"".join(_framed(LATER, packet) for packet in made[:3])
    waiting = b"".join(_framed(0, packet) for packet in many[:2])
    made_up = [b"".join(large), *others, b"".join(others), waiting + later, waiting + _framed(LATER, many[2]), later]
    made_up += [waiting + _framed(LATER | ALIVE, many[2]), waiting + _framed(LATER | ALIVE, made[0])]
    return [
        *each,
        *made_up,
        b"".join(each),
        *(b"".join(_framed(0, packet) for packet in group) for group in (senseless, many)),
    ]


def _wrong() -> list[bytes]:
    """Packets of no known version or type, and in the name of somebody else."""
    pack = wire.DATA_HEADER.pack
    return [
        b"\2\0\0\2" + bytes(20),
        b"\1\x77\0\2" + bytes(20),
        pack(1, 0, 9, 0, 1, 0, 0, 1, 1, 0, 0) + b"of a node that nobody knows",
        pack(1, 0, 3, 0, 1, 0, 0, 1, 1, 0, 0) + b"in the name of another one",
        wire.encode_ping(wire.Ping(2, 0, 77, 30, timed=False)),
    ]


def _tokens(later: bytes) -> list[bytes]:
    """Tokens on two links, then on one alone; and a packet that comes long after them."""
    pack = wire.DATA_HEADER.pack
    tokens = {number: pack(1, 0, 2, 0, number, 0, 0, 0, 1, 0, 0) + b"a token" for number in range(70, 76)}
    both = b"".join(_framed(how, tokens[number]) for number in (70, 71) for how in (0, LINK))
    one = b"".join(_framed(0, tokens[number]) for number in range(72, 76))
    return [both + one, both + _framed(LATER, later)]


def _captured() -> list[bytes]:
    """Packets of a C node, in the clear. It is node 2, whose host this machine knows."""
    from tests.unit.knet.test_captures import DATA

    return [each.payload for each in datagrams("clear", DATA) if each.payload[3] == 2]


_KEYS = (b"k" * 128, b"j" * 128)
_CIPHERS: tuple[tuple[str, str], ...] = (
    ("none", "none"), ("none", "sha1"), ("aes128", "sha1"), ("aes192", "sha256"), ("aes256", "sha384"),
    ("aes256", "sha512"),
)  # fmt: skip


@functools.cache
def _rings() -> list[tuple[Keyring, PacketCipher]]:
    """For each way to protect packets: who opens, with two keys, and who signs what the attacker makes."""
    made = []
    for cipher, hash_name in _CIPHERS:
        ring = Keyring(functools.partial(_cipher, cipher, hash_name), _KEYS[0])
        ring.install_key(_KEYS[1])
        made.append((ring, make_cipher("none", hash_name, _KEYS[1], b"")))
    return made


def _cipher(cipher: str, hash_name: str, key: bytes) -> PacketCipher:
    return make_cipher(cipher, hash_name, key, bytes(16))


def sealed(data: bytes) -> None:
    """A datagram, as it is or with a good HMAC; the first byte says which, and how packets are protected."""
    rings = _rings()
    how = data[0] if data else 0
    ring, signer = rings[(how >> 1) % len(rings)]
    datagram = signer.seal(data[1:]) if how & 1 else data[1:]
    packet = ring.open(datagram)
    if packet is not None:
        assert len(packet) <= len(datagram)
        assert ring.open(ring.seal(packet)) == packet


def sealed_seeds() -> list[bytes]:
    contents = [b"", b"x", b"packet" * 10, bytes(16), *_captured()[:20]]
    made = []
    for number, (cipher, hash_name) in enumerate(_CIPHERS):
        for packet, key in ((packet, key) for packet in contents for key in _KEYS):
            sealed = _cipher(cipher, hash_name, key).seal(packet)
            inside = sealed[: len(sealed) - len(make_cipher("none", hash_name, key, b"").seal(b""))]
            made += [bytes([number << 1]) + sealed, bytes([number << 1 | 1]) + inside]
    return made
