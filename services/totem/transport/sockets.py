"""Makes and binds the transports' UDP sockets with their options, and interprets their errors."""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import ip_address
from typing import Any

SOCKET_BUFFER_BYTES = 32 * 65536
"""Requested buffer size, for each direction of each socket."""

TOKEN_PRIORITY = 6
"""SO_PRIORITY of sockets for tokens: the highest that needs no privilege (socket(7))."""


class AddressNotAvailable(Exception):  # noqa: N818 - a state of the machine, not a fault of the program
    """The local address does not exist (yet, or any more). A later attempt may succeed."""


class CannotBind(Exception):  # noqa: N818 - names what happened
    """A socket cannot be bound, and waiting will not help. The text is one line with the remedy."""


def reason_of(error: OSError) -> str:
    """The name of an errno in lower case (`enobufs`), for a counter."""
    return errno.errorcode.get(error.errno or 0, "error").lower()


def family_of(address: str) -> socket.AddressFamily:
    """AF_INET or AF_INET6."""
    return socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET


def headers_size(family: socket.AddressFamily) -> int:
    """Bytes of an IP packet's headers, UDP's included."""
    return 48 if family == socket.AF_INET6 else 28


def ignore_path_mtu(made: socket.socket) -> None:
    """Ignore path MTU messages, which anybody can forge by ICMP: only the MTU of this node's interface counts."""
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _OMIT)
    else:
        made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _OMIT)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`."""
    return ip_address(address).is_loopback


def socket_address(address: str, port: int) -> Any:
    """An address for sendto() and bind(). IPv6 addresses may carry a scope (`fe80::1%eth0`)."""
    if ":" not in address:
        return (address, port)
    host, _, scope = address.partition("%")
    return (host, port, 0, int(scope) if scope.isdigit() else socket.if_nametoindex(scope) if scope else 0)


def bound_socket(
    address: str, port: int, ip_dscp: int, *, shared: bool = False, token: bool = False, broadcast: bool = False
) -> socket.socket:
    """A non-blocking UDP socket. Raises `AddressNotAvailable` or `CannotBind`.

    `shared`: SO_REUSEADDR, so that several nodes on this machine can bind it; `token`: SO_PRIORITY for tokens.
    """
    try:
        made = socket.socket(family_of(address), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise CannotBind(f"cannot make a UDP socket: {os.strerror(error.errno or 0)}; {_MEND_LIMIT}") from None
    try:
        set_options(made, ip_dscp, shared=shared, token=token, broadcast=broadcast)
        made.bind(socket_address(address, port))
    except OSError as error:
        made.close()
        raise bind_error(error, address, port) from None
    return made


def set_options(made: socket.socket, ip_dscp: int, *, shared: bool, token: bool, broadcast: bool) -> None:
    """Set buffers, priority and the other options of every UDP socket. Raises OSError."""
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if broadcast:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for plain, forced in ((socket.SO_RCVBUF, _SO_RCVBUFFORCE), (socket.SO_SNDBUF, _SO_SNDBUFFORCE)):
        try:
            made.setsockopt(socket.SOL_SOCKET, forced, SOCKET_BUFFER_BYTES)
        except PermissionError:
            made.setsockopt(socket.SOL_SOCKET, plain, SOCKET_BUFFER_BYTES)  # the kernel cuts it to its limit
    if ip_dscp:
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, ip_dscp << 2)
        else:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, ip_dscp << 2)
    if token:
        # After IP_TOS, which would overwrite it.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, TOKEN_PRIORITY)


def bind_error(error: OSError, address: str, port: int) -> AddressNotAvailable | CannotBind:
    """The exception to raise when `address`, `port` could not be bound."""
    place = f"UDP {address}:{port}" if ":" not in address else f"UDP [{address}]:{port}"
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENETDOWN, errno.ENETUNREACH):
        return AddressNotAvailable(f"{place}: {error.strerror}")
    if error.errno == errno.EADDRINUSE:
        return CannotBind(
            f"{place} is in use by another program; stop it, or set totem.interface.mcastport to a free port"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return CannotBind(f"{place}: permission denied; run as root, or set totem.interface.mcastport above 1024")
    return CannotBind(f"{place}: {error.strerror}; {_MEND_LIMIT}")


_MEND_LIMIT = "see socket(7) and ip(7), and the limits of this process"
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _OMIT = 10, 23, 5
"""Neither discover the path MTU nor believe ICMP about it (ip(7), IP_PMTUDISC_OMIT)."""
