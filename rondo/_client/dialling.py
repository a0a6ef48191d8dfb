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
"""Both directions are bounded by the windows of the protocol, and an envelope must never be dropped."""


def dial(endpoint: Endpoint) -> Dealer:
    """A socket on its way to the gateway. Raises InvalidParameter for what is no endpoint, AccessDenied where the file
    system lets this user not in, SecurityError where what answers may be anybody's."""
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
    """Who listens there is the node, or nobody."""
    path = ipc_path(endpoint)
    if path is not None:
        try:
            check_socket(path)
        except PathError as error:
            raise SecurityError(str(error)) from None


def _check_access(endpoint: str) -> None:
    """The gateway's socket is open to the executive's own user alone unless uidgid{} names others. A socket that is not
    there may still come."""
    path = ipc_path(endpoint)
    if path is None:
        return
    try:
        denied = path.exists() and not os.access(path, os.R_OK | os.W_OK)
    except OSError:
        denied = True
    if denied:
        raise AccessDenied(DENIED)
