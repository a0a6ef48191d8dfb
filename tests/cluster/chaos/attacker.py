"""Records sealed packets of a host and floods other hosts with them, forged, replayed and altered. Runs inside a host.

    python -m tests.cluster.chaos.attacker --record-seconds 3 --rate 5000 --seconds 10 --port 5405 10.77.0.1 10.77.0.2

Says `recorded N` when it begins to attack, and `sent N` at the end. It needs the right to open packet sockets there.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import struct
import time

ETH_P_ALL = 3
IP_HEADER_AT = 14
UDP_HEADER_BYTES = 8
IPPROTO_UDP = 17
RECORDED_MAX = 4000
BURST_S = 0.01
FRAGMENT_BITS = 0x3FFF
"""The IPv4 field with the flag `more fragments` and the fragment offset."""
MAGIC = 0x52


def record(port: int, seconds: float) -> list[bytes]:
    """Record the datagrams to a port that pass the interface."""
    found: list[bytes] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap:
        tap.settimeout(0.2)
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s and len(found) < RECORDED_MAX:
            try:
                frame = tap.recv(65_535)
            except TimeoutError:
                continue
            if frame[12:14] != b"\x08\x00" or frame[IP_HEADER_AT + 9] != IPPROTO_UDP:
                continue
            udp_at = IP_HEADER_AT + 4 * (frame[IP_HEADER_AT] & 15)
            (fragment,) = struct.unpack_from(">H", frame, IP_HEADER_AT + 6)
            if fragment & FRAGMENT_BITS:
                continue  # a fragment: only the first one has ports, and a replayed fragment is never a whole datagram
            (target,) = struct.unpack_from(">H", frame, udp_at + 2)
            if target == port:
                found.append(frame[udp_at + UDP_HEADER_BYTES :])
    return found


def forged(recorded: list[bytes], randomness: random.Random) -> bytes:
    """Random bytes. Some begin like an envelope, some like a plain packet, some like a recorded packet."""
    body = randomness.randbytes(randomness.randrange(0, 1200))
    match randomness.randrange(4):
        case 0:
            return body
        case 1:
            return bytes([MAGIC, 1, randomness.randrange(8), randomness.randrange(5)]) + body
        case 2:
            return b"\x70\xc0\x03" + bytes([randomness.randrange(7)]) + body
        case _:
            return randomness.choice(recorded)[:40] + body


def altered(recorded: list[bytes], randomness: random.Random) -> bytes:
    """A recorded packet that was cut, changed in one byte, or extended."""
    packet = bytearray(randomness.choice(recorded))
    match randomness.randrange(3):
        case 0:
            return bytes(packet[: randomness.randrange(len(packet) + 1)])
        case 1:
            at = randomness.randrange(len(packet))
            packet[at] ^= 1 << randomness.randrange(8)
            return bytes(packet)
        case _:
            return bytes(packet) + randomness.randbytes(randomness.randrange(1, 40))


def attack(recorded: list[bytes], targets: list[tuple[str, int]], rate: int, seconds: float) -> int:
    """Send packets of the three kinds in turn, at a rate. Returns how many were sent."""
    randomness = random.Random(1)
    ready = [
        packet
        for _ in range(1000)
        for packet in (forged(recorded, randomness), randomness.choice(recorded), altered(recorded, randomness))
    ]
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        began_s = time.monotonic()
        while (elapsed_s := time.monotonic() - began_s) < seconds:
            while sent < rate * elapsed_s:
                with contextlib.suppress(OSError):
                    out.sendto(randomness.choice(ready), targets[sent % len(targets)])
                sent += 1
            time.sleep(BURST_S)
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+", metavar="ADDRESS")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--record-seconds", type=float, required=True)
    parser.add_argument("--rate", type=int, required=True, help="packets a second, to all targets together")
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    recorded = record(options.port, options.record_seconds)
    print(f"recorded {len(recorded)}", flush=True)
    sent = attack(recorded, [(each, options.port) for each in options.targets], options.rate, options.seconds)
    print(f"sent {sent}", flush=True)


if __name__ == "__main__":
    main()
