"""How commands connect to the node: they wait for a running node, and fail soon if there is none."""

import socket

import rondo

CONNECT_TIMEOUT_S = 10.0
"""For a node that runs and may be about to form its ring."""
ABSENT_TIMEOUT_S = 1.0
"""For a node that does not run."""


def connect(endpoint: str) -> rondo.Cluster:
    """A client of the node. Raises rondo.Error."""
    try:
        return rondo.connect(endpoint, timeout=ABSENT_TIMEOUT_S)
    except rondo.Timeout:
        if is_absent(endpoint):
            raise
    return rondo.connect(endpoint, timeout=CONNECT_TIMEOUT_S)


def is_absent(endpoint: str) -> bool:
    """True if nobody listens: there is no such socket, or a killed node has left it. For a node on another host the
    result is False, since only waiting shows it."""
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
