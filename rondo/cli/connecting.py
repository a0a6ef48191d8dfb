"""How commands connect to the node: they wait for one that is there, and say soon where none is."""

import socket

import rondo

CONNECT_TIMEOUT_S = 10.0
"""For a node that is there, and may be about to form its ring."""
ABSENT_TIMEOUT_S = 1.0
"""For a node that is not even there."""


def connect(endpoint: str) -> rondo.Cluster:
    """A client of the node. Raises rondo.Error."""
    try:
        return rondo.connect(endpoint, timeout=ABSENT_TIMEOUT_S)
    except rondo.Timeout:
        if is_absent(endpoint):
            raise
    return rondo.connect(endpoint, timeout=CONNECT_TIMEOUT_S)


def is_absent(endpoint: str) -> bool:
    """Whether nobody listens there: no such socket, or one that a killed node has left behind. Of a node on another
    host only waiting shows it."""
    scheme, _, path = endpoint.partition("://")
    if scheme != "ipc" or path.startswith("@"):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return True
        except OSError:
            return False
    return False
