"""The socket for an endpoint: local in the calling thread, or remote by libzmq, which only remote clients load."""

import os

from rondo._client.endpoint import Endpoint
from rondo._client.state import DENIED
from rondo.errors import AccessDenied, InvalidParameter, SecurityError
from rondo.ipc.dealer import Dealer
from rondo.ipc.endpoints import SocketError, ipc_path
from rondo.ipc.local_dealer import LocalDealer
from rondo.ipc.trust import check_server, check_socket
from rondo.paths import PathError

HIGH_WATER_MARK = 1 << 30
"""The protocol's windows bound both directions, and the socket must never drop an envelope."""


def dial(endpoint: Endpoint) -> Dealer:
    """A connecting socket to the gateway. Raises InvalidParameter for an invalid endpoint, AccessDenied if file
    permissions keep this user out, SecurityError if the listener could be anybody."""
    try:
        if endpoint.keys is None:
            _check_server(endpoint.url)
            _check_access(endpoint.url)
            return LocalDealer(endpoint.url, high_water=HIGH_WATER_MARK, trusts=check_server)
        from rondo.ipc.remote_dealer import CurveKeys, RemoteDealer

        keys = CurveKeys(endpoint.keys.server_public, endpoint.keys.own.public, endpoint.keys.own.secret)
        return RemoteDealer(endpoint.url, keys)
    except SocketError as error:
        raise InvalidParameter(str(error)) from None


def _check_server(endpoint: str) -> None:
    """Check that only the node can be listening there."""
    path = ipc_path(endpoint)
    if path is not None:
        try:
            check_socket(path)
        except PathError as error:
            raise SecurityError(str(error)) from None


def _check_access(endpoint: str) -> None:
    """Check that this user may open the gateway's socket. It belongs to the executive's user alone, unless uidgid{}
    names others. A socket that does not exist may still come."""
    path = ipc_path(endpoint)
    if path is None:
        return
    try:
        denied = path.exists() and not os.access(path, os.R_OK | os.W_OK)
    except OSError:
        denied = True
    if denied:
        raise AccessDenied(DENIED)
