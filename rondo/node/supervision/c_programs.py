"""Whether a node serves C programs that use Corosync's libraries (`system.qb_ipc`). Decided once, at its start."""

import ctypes
import platform
import socket

from rondo.config import NodeConfig
from rondo.node.c_sockets import address_of

LIBRARY = "libqb.so.100"
"""The library that every program on Corosync's libraries has loaded."""
MACHINE = "x86_64"
"""The architecture whose memory ordering is known to suit the rings in shared memory."""
NAME = "cpg"


def why_off(config: NodeConfig, *, is_handed: bool = False) -> str:
    """Why C programs are not served, in one line; empty if they are. `is_handed`: root has made the sockets for this
    node, and so has the names."""
    if config.qb_ipc == "no":
        return "system.qb_ipc is no"
    if config.qb_ipc == "yes":
        return ""
    if platform.machine() != MACHINE:
        return f"system.qb_ipc: auto means no on {platform.machine()}"
    if not _is_library_there():
        return f"no C programs are expected here: {LIBRARY} is not installed"
    if not is_handed and _is_name_taken():
        return "a Corosync, or another node, on this machine serves C programs"
    return ""


def _is_library_there() -> bool:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def _is_name_taken() -> bool:
    """True if somebody has bound libqb's socket name. The name is padded with NULs, as libqb does; it is bound for a
    moment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.bind(address_of(NAME))
        except OSError:
            return True
    return False
