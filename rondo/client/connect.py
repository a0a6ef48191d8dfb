"""`rondo.connect()`: which node, and what to do when it does not answer."""

import os
import sys

from rondo.client.connection import CONNECT_TIMEOUT_S, Cluster, connect_to
from rondo.errors import InvalidParameter
from rondo.paths import PathError, client_socket


def endpoint_of(endpoint: str | None) -> str:
    """The endpoint to connect to: the given one, or what the environment says. Raises InvalidParameter."""
    try:
        return client_socket(endpoint)
    except PathError as error:
        raise InvalidParameter(str(error)) from None


def client_name() -> str:
    """What the node's logs and status call this process."""
    return os.path.basename(sys.argv[0])[:64] if sys.argv and sys.argv[0] else "python"


def connect(endpoint: str | None = None, timeout: float | None = CONNECT_TIMEOUT_S) -> Cluster:
    """Connect to the node that runs on this machine.

        with rondo.connect() as cluster:
            print(cluster.node_id, cluster.cpg.groups())

    `endpoint` is a ZeroMQ endpoint; without it, RONDO_SOCKET, else the socket in RONDO_RUN_DIR or its default. Waits
    `timeout` seconds (None: for ever) for a node that is in a ring. Raises Timeout if there is none, AccessDenied if it
    does not let this user in, NoResources if there are too many sessions, InvalidParameter for what is no endpoint.
    """
    return connect_to(endpoint_of(endpoint), client_name(), timeout)
