"""Floods a member of a ring with datagrams that prove nothing, from whatever address is named. Runs inside a host.

    python -m rondo.testing.lab.flooder --source 10.77.0.2 --target 10.77.0.1 --kind random --rate 100000

It says `flooding` once it has begun, goes on until its standard input ends, and then says `sent N`. It needs the right
to open raw sockets there. The packets have a source address of its choice, so a member's is no proof of anything. They
are made beforehand, as making them would be the larger part of the work.
"""

from __future__ import annotations

import argparse
import random
import select
import socket
import struct
import sys
import time

PORT = 5405
PAYLOAD_BYTES = 32
MADE = 4096
"""How many different packets of a kind are sent in turn."""
FRAGMENT_BYTES = 1400
MORE_FRAGMENTS = 0x2000
"""A bit of the IP header: this is not the last fragment of its packet."""
BURST = 64
TTL = 64
_IP = struct.Struct(">BBHHHBBH4s4s")
_UDP = struct.Struct(">HHHH")
KINDS = ("random", "token", "segment", "corosync", "fragment")
"""Of no meaning; that look like a token; pieces that never become whole packets; that begin as Corosync's packets; and
first fragments of IP packets, of which the others never come: they fill the memory that the kernel has for such."""


def payload(kind: str, randomness: random.Random) -> bytes:
    """One of a kind, as long as a short packet."""
    made = bytearray(randomness.randbytes(PAYLOAD_BYTES))
    # Not by chance the first byte of an envelope, a segment or a packet.
    made[0] = 0x11
    if kind == "random":
        made[3] |= 1
    elif kind == "token":
        made[3] = 0
    elif kind == "segment":
        made[:4] = (0x53, 1, 0, 64)
    else:
        made[:4] = (0x70, 0xC0, 3, 1)
    return bytes(made)


def packet(source: str, target: str, port: int, data: bytes, fragment_of: int = 0) -> bytes:
    """An IP packet with a datagram; the kernel sets the checksum of its header, and a datagram needs none.

    `fragment_of`: it is the first fragment of the packet with this number, twice as long; 0: it is whole.
    """
    length = _UDP.size + len(data)
    addresses = socket.inet_aton(source), socket.inet_aton(target)
    flags = MORE_FRAGMENTS if fragment_of else 0
    header = _IP.pack(0x45, 0, _IP.size + length, fragment_of, flags, TTL, socket.IPPROTO_UDP, 0, *addresses)
    return header + _UDP.pack(port, port, 2 * length if fragment_of else length, 0) + data


def made(kind: str, source: str, target: str, port: int) -> list[bytes]:
    """Packets of a kind."""
    randomness = random.Random(1)
    if kind == "fragment":
        data = bytes(FRAGMENT_BYTES)
        return [packet(source, target, port, data, fragment_of=number) for number in range(1, MADE + 1)]
    return [packet(source, target, port, payload(kind, randomness)) for _ in range(MADE)]


def main() -> None:
    """Send packets until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m rondo.testing.lab.flooder")
    parser.add_argument("--source", required=True, help="the address that the packets are to have come from")
    parser.add_argument("--target", required=True, help="where they go")
    parser.add_argument("--port", type=int, default=PORT, help=f"of both (default {PORT})")
    parser.add_argument("--kind", choices=KINDS, default="random", help="what they are (default random)")
    parser.add_argument("--rate", type=float, default=100_000.0, help="packets a second, if it can (default 100000)")
    options = parser.parse_args()
    packets = made(options.kind, options.source, options.target, options.port)
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    out.connect((options.target, 0))
    sent = refused = 0
    print("flooding", flush=True)
    began_s = time.monotonic()
    while True:
        early_s = (sent + refused) / options.rate - (time.monotonic() - began_s)
        if select.select([sys.stdin], [], [], max(0.0, early_s))[0]:
            break
        at = (sent + refused) % MADE
        for each in packets[at : at + BURST]:
            try:
                out.send(each)
                sent += 1
            except OSError:  # no room in the queue of the interface
                refused += 1
    print(f"sent {sent} in {time.monotonic() - began_s:.3f}", flush=True)


if __name__ == "__main__":
    main()
