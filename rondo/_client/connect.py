"""`rondo.connect()`: find the node, and retry if it does not answer."""

import os
import sys
from typing import TYPE_CHECKING

from rondo._client.arguments import DEFAULT_TIMEOUT_S
from rondo._client.connection import CONNECT_TIMEOUT_S, Cluster, connect_to
from rondo._client.endpoint import endpoint_of
from rondo.errors import InvalidParameter, NoResources, Timeout

if TYPE_CHECKING:
    from rondo.retry import RetryPolicy

RETRIED = (Timeout, NoResources)
"""Errors after which a later attempt may succeed."""


def client_name() -> str:
    """The name of this process in the node's logs and status."""
    return os.path.basename(sys.argv[0])[:64] if sys.argv and sys.argv[0] else "python"


def policy_of(retry: "RetryPolicy") -> "RetryPolicy":
    """The retry policy. Raises InvalidParameter."""
    from rondo.retry import RetryPolicy  # most clients do not need it

    if not isinstance(retry, RetryPolicy):
        raise InvalidParameter(f"retry: a rondo.RetryPolicy, or None; not {retry!r}")
    return retry


def connect(
    endpoint: str | None = None,
    timeout: float | None = CONNECT_TIMEOUT_S,
    *,
    key_file: str | os.PathLike[str] | None = None,
    server_key: str | None = None,
    session_timeout: float | None = None,
    default_timeout: float | None = DEFAULT_TIMEOUT_S,
    retry: "RetryPolicy | None" = None,
) -> Cluster:
    """Connect to the node that runs on this machine, or to one on another host.

        with rondo.connect() as cluster:
            print(cluster.node_id, cluster.cpg.groups())

        with rondo.connect("tcp://192.168.1.1:5410", key_file="client.key", server_key="5f0c...") as cluster: ...

    `endpoint` is a ZeroMQ endpoint; without it, RONDO_SOCKET, else the socket in RONDO_RUN_DIR or its default. The call
    waits `timeout` seconds (None: for ever) for a node that is in a ring. Only for another host: `key_file` is this
    client's key pair (`rondo keygen --curve`; else RONDO_CLIENT_KEY_FILE), and `server_key` is the node's public key,
    64 hexadecimal digits (else RONDO_SERVER_KEY).

    When the connection to the node breaks, the groups get `Suspended` at once. They get `Disconnected` at once when the
    node is stopped in order or leaves its ring, and otherwise after `session_timeout` seconds. None: when the node
    gives up the session, after 10 s (3 s from another host).

    `default_timeout`: how many seconds a call of this connection waits (`join`, `leave`, `ordered`, ...) that is given
    no `timeout`; None: for ever. `retry`: the policy by which a connect that ends with Timeout or NoResources is
    repeated.

    Raises Timeout if there is no node, AccessDenied if it does not admit this user or key, NoResources if there are too
    many sessions, InvalidParameter for an invalid endpoint or key.
    """
    where = endpoint_of(endpoint, key_file, server_key)
    arguments = where, client_name(), timeout, session_timeout, default_timeout
    if retry is None:
        return connect_to(*arguments)
    return policy_of(retry).retrying_on(*RETRIED).call(connect_to, *arguments)
