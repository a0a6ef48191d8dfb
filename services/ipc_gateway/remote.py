"""Clients on other hosts: over TCP with CURVE (RFC 26), if remote{} of corosync.conf allows them.

Such a client is known by its public key, which must be in the file of admitted clients; the client in turn knows this
node's key. Without the right keys libzmq ends the connection in the handshake: nothing that it sends is read, and
nothing is sent to it. A remote client is no user and no process of this machine. As a member of groups it has a number
above all process ids. Other services recognise it by its user REMOTE_UID, and restrict what it may do.

The kernel cannot tell whether it lives. A process that dies ends its connection; a machine that is gone is detected by
ZeroMQ's heartbeats. Either way the session waits for a short time, because a network may break a connection, too.
"""

import secrets

from rondo.config.node import RemoteSettings

ZAP_DOMAIN = b"rondo-remote"
REMOTE_PID_FIRST = 1 << 30
"""Above every process id (2**22 at most), and positive as a signed 32-bit number."""


def remote_pid() -> int:
    """A number that stands for the process id of a remote client."""
    return REMOTE_PID_FIRST + secrets.randbelow(REMOTE_PID_FIRST)


def short(public_key: bytes) -> int:
    """The beginning of a public key as a number, which tells sessions apart; shown as 16 hexadecimal digits."""
    return int.from_bytes(public_key[:8])


def endpoint_of(settings: RemoteSettings) -> str:
    """Where remote clients connect."""
    address = f"[{settings.address}]" if ":" in settings.address else settings.address
    return f"tcp://{address}:{settings.port}"
