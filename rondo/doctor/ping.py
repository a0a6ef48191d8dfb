"""ICMP requests to other machines: for an answer, also to packets of a given size, and for their time.

Echo (RFC 792, RFC 4443) needs no privileges where net.ipv4.ping_group_range admits the group, as in most distributions;
timestamps need root. Machines may be configured not to answer, so silence alone proves nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence

from rondo.doctor.subject import Ip, family_of

ANSWER_S = 0.6
_TRIES = 2

_ECHO, _ECHO_REPLY, _ECHO6, _ECHO_REPLY6 = 8, 0, 128, 129
_TIMESTAMP, _TIMESTAMP_REPLY = 13, 14
_HEADER = struct.Struct("!BBHHH")
_TIMES = struct.Struct("!III")
DAY_MS = 86_400_000


def may_ask(ip: Ip) -> bool:
    """True if this user may send an echo to that address. Otherwise silence means nothing."""
    try:
        _socket(ip).close()
    except OSError:
        return False
    return True


def answering(ips: Sequence[Ip], payload_bytes: int = 0) -> set[Ip]:
    """The addresses that answer an echo with this payload. All are asked at once, and twice if necessary. Packets may
    be fragmented on the way, as packets of the ring may."""
    found: set[Ip] = set()
    for attempt in range(_TRIES):
        waiting = [ip for ip in ips if ip not in found]
        found |= _ask(waiting, payload_bytes, attempt + 1)
    return found


def _ask(ips: Sequence[Ip], payload_bytes: int, number: int) -> set[Ip]:
    found: set[Ip] = set()
    with contextlib.ExitStack() as stack:
        sockets = {}
        for ip in ips:
            with contextlib.suppress(OSError):
                made = stack.enter_context(_socket(ip))
                made.connect((str(ip), 0))
                kind = _ECHO6 if ip.version == 6 else _ECHO
                made.send(_echo(kind, number, payload_bytes))
                sockets[made] = ip
        for made in _readable(list(sockets), ANSWER_S):
            ip = sockets[made]
            if _is_reply(made, ip, payload_bytes):
                found.add(ip)
    return found


def _readable(sockets: list[socket.socket], seconds: float) -> Iterator[socket.socket]:
    """Each socket that becomes readable within the time, once."""
    until = time.monotonic() + seconds
    waiting = list(sockets)
    while waiting and (left := until - time.monotonic()) > 0:
        for made in select.select(waiting, [], [], left)[0]:
            waiting.remove(made)
            yield made


def _socket(ip: Ip) -> socket.socket:
    """A socket whose requests the kernel numbers, and which gets only the answers. Raises OSError."""
    protocol = socket.IPPROTO_ICMPV6 if ip.version == 6 else socket.IPPROTO_ICMP
    try:
        return socket.socket(family_of(ip), socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, protocol)
    except PermissionError:
        return socket.socket(family_of(ip), socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)


def _echo(kind: int, number: int, payload_bytes: int) -> bytes:
    """An echo request. The kernel fills in the checksum only for IPv6, and for requests that it numbers itself."""
    identifier = os.getpid() & 0xFFFF
    payload = bytes(payload_bytes)
    checksum = _checksum(_HEADER.pack(kind, 0, 0, identifier, number) + payload)
    return _HEADER.pack(kind, 0, checksum, identifier, number) + payload


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _is_reply(made: socket.socket, ip: Ip, payload_bytes: int) -> bool:
    """True if the socket holds the answer."""
    made.setblocking(False)
    wanted = _ECHO_REPLY6 if ip.version == 6 else _ECHO_REPLY
    with contextlib.suppress(OSError):
        while True:
            data = _body(made, made.recv(65_536))
            if len(data) >= _HEADER.size + payload_bytes and data[0] == wanted:
                return True
    return False


def _body(made: socket.socket, data: bytes) -> bytes:
    """The ICMP message without the IP header, which only a raw IPv4 socket delivers."""
    if made.type == socket.SOCK_RAW and made.family == socket.AF_INET and data:
        return data[(data[0] & 15) * 4 :]
    return data


def clock_differences_ms(ips: Sequence[Ip]) -> dict[Ip, int]:
    """How far the clocks of other machines are ahead of this one, with half of the round trip subtracted. Only root may
    ask; machines that do not answer are missing."""
    found: dict[Ip, int] = {}
    with contextlib.ExitStack() as stack:
        sockets = {}
        for ip in ips:
            if ip.version == 4:
                with contextlib.suppress(OSError):
                    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
                    made = stack.enter_context(socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP))
                    made.connect((str(ip), 0))
                    made.send(timestamp_request(os.getpid() & 0xFFFF, _of_day_ms()))
                    sockets[made] = ip
        for made in _readable(list(sockets), ANSWER_S):
            made.setblocking(False)
            with contextlib.suppress(OSError):
                while sockets[made] not in found:
                    told = difference_ms(_body(made, made.recv(1024)), _of_day_ms())
                    if told is not None:
                        found[sockets[made]] = told
    return found


def timestamp_request(identifier: int, now_ms: int) -> bytes:
    """An ICMP timestamp request: milliseconds since midnight UTC."""
    times = _TIMES.pack(now_ms, 0, 0)
    checksum = _checksum(_HEADER.pack(_TIMESTAMP, 0, 0, identifier, 1) + times)
    return _HEADER.pack(_TIMESTAMP, 0, checksum, identifier, 1) + times


def difference_ms(data: bytes, now_ms: int) -> int | None:
    """The other clock's difference to ours, from a reply that came at `now_ms`. None if it is no reply, or the clock
    does not count from midnight."""
    if len(data) < _HEADER.size + _TIMES.size or data[0] != _TIMESTAMP_REPLY:
        return None
    asked_ms: int
    received_ms: int
    asked_ms, received_ms, _ = _TIMES.unpack_from(data, _HEADER.size)
    if received_ms >= DAY_MS or asked_ms >= DAY_MS:
        return None
    middle_ms = asked_ms + ((now_ms - asked_ms) % DAY_MS) // 2
    return (received_ms - middle_ms + DAY_MS // 2) % DAY_MS - DAY_MS // 2


def _of_day_ms() -> int:
    return int(time.time() * 1000) % DAY_MS
