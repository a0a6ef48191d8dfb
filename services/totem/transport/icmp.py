"""ICMP errors of sent datagrams: nobody listens at an address (ip(7), IP_RECVERR).

If a ring process has died, its host answers a datagram with "port unreachable" at once. That is a hint and no proof:
anybody who sees the traffic can forge it. But it comes long before a time-out.

With IP_RECVERR the kernel reports an error twice. The next call on the socket fails, does nothing else, and has to be
repeated. And the error queue holds the error, with the address that it concerns.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct

PENDING = frozenset(
    (
        errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENOPROTOOPT,
        errno.EMSGSIZE, errno.EACCES, errno.EPROTO, errno.EOPNOTSUPP,
    )
)  # fmt: skip
"""Errors that a call may report about earlier datagrams (the kernel's translation of ICMP)."""

_IP_RECVERR, _IPV6_RECVERR = 11, 25
_ERROR = struct.Struct("=IBBBxII")
"""sock_extended_err: errno, origin, type, code, info, data."""
_ORIGIN_ICMP, _ORIGIN_ICMP6 = 2, 3
_ERRORS_MAX = 64
"""Most errors read at once; poll() reports the rest."""
_CONTROL_BYTES = socket.CMSG_SPACE(_ERROR.size + 28)


def report_errors(sender: socket.socket) -> None:
    """Let this socket report ICMP errors."""
    with contextlib.suppress(OSError):
        if sender.family == socket.AF_INET6:
            sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sender.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def unreachable(sender: socket.socket) -> list[str]:
    """Empty the error queue of a socket. Returns the IP addresses at which nobody listened."""
    found: list[str] = []
    for _ in range(_ERRORS_MAX):
        try:
            _, control, _, address = sender.recvmsg(1, _CONTROL_BYTES, socket.MSG_ERRQUEUE)
        except OSError:
            break
        for _, _, value in control:
            if len(value) < _ERROR.size:
                continue
            number, origin = _ERROR.unpack_from(value)[:2]
            if origin in (_ORIGIN_ICMP, _ORIGIN_ICMP6) and number == errno.ECONNREFUSED and address[0] not in found:
                found.append(address[0])
    with contextlib.suppress(OSError):
        sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # else poll() keeps reporting unqueued errors
    return found
