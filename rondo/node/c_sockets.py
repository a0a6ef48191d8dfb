"""The listening sockets of C programs, and how root hands them to a node that runs as another user.

They are in the abstract namespace, so each network namespace has one server of a name. A program learns from the kernel
who made a socket listen (SO_PEERCRED), and Pacemaker takes no executive but root's. So root makes them listen and gives
up its rights then (`rondo start --user`). They are passed on as open descriptors: to supervisord, which keeps them, and
from there to each qb_gateway that it starts, and to no other process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, MutableMapping

from rondo.ipc.endpoints import SocketError

NAMES = ("cpg", "cfg", "cmap", "quorum", "votequorum")
ADDRESS_BYTES = 108
"""The clients' libraries pad the name with NULs to the whole of sun_path, and the padding is part of the name."""
BACKLOG = 128
VARIABLE = "RONDO_C_SOCKETS"
"""The environment variable with the descriptors of sockets that were handed over: numbers with commas."""


def address_of(name: str) -> bytes:
    """The abstract address of a service."""
    return (b"\0" + name.encode()).ljust(ADDRESS_BYTES, b"\0")


def listen(name: str) -> socket.socket:
    """The listening socket of a service. Raises `SocketError`, whose errno is EADDRINUSE if somebody has the name."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listener.bind(address_of(name))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        why = "a Corosync or another node serves it already" if error.errno == errno.EADDRINUSE else error.strerror
        failed = SocketError(f"abstract socket {name!r}: {why}; stop that one, or set system.qb_ipc to no")
        failed.errno = error.errno
        raise failed from None
    return listener


def listen_all(names: Iterable[str] = NAMES) -> list[socket.socket]:
    """The sockets of all services. Raises `SocketError`, and has made none then."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(listen(name)) for name in names]
        stack.pop_all()
    return made


def offer(descriptors: Iterable[int]) -> dict[str, str]:
    """What tells a process in its environment which descriptors it inherits."""
    return {VARIABLE: ",".join(map(str, descriptors))}


def offered(environment: MutableMapping[str, str]) -> list[int]:
    """Take out of an environment what `offer` put in. Raises `SocketError`."""
    text = environment.pop(VARIABLE, "")
    try:
        return [int(each) for each in text.split(",")] if text else []
    except ValueError:
        raise SocketError(f"{VARIABLE}: {text!r} is no list of descriptors; only Rondo itself sets it") from None


def take_over(environment: MutableMapping[str, str], names: Iterable[str] = NAMES) -> dict[str, socket.socket]:
    """The sockets that were handed to this process, by name of the service. Raises `SocketError`."""
    wanted = {address_of(name): name for name in names}
    taken: dict[str, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        for descriptor in offered(environment):
            try:
                listener = stack.enter_context(socket.socket(fileno=descriptor))
                is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                address = listener.getsockname()
            except OSError as error:
                raise SocketError(f"{VARIABLE}: descriptor {descriptor}: {error.strerror}") from None
            if not is_listening or not isinstance(address, bytes) or address not in wanted:
                raise SocketError(f"{VARIABLE}: descriptor {descriptor} is no listening socket of C programs")
            listener.setblocking(False)
            os.set_inheritable(descriptor, False)
            taken[wanted[address]] = listener
        stack.pop_all()
    return taken
