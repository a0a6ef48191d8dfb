"""The gateway's address and the keys for it, from the arguments, else from the environment.

A node on this machine is reached over its Unix socket, and the kernel vouches for the client. A gateway on another host
(`tcp://...`) uses CURVE keys. The client needs its own key pair, whose public key the node lists, and the node's public
key, by which it recognises the node.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rondo._client.state import DENIED
from rondo.errors import InvalidParameter
from rondo.paths import PathError, client_socket

if TYPE_CHECKING:
    from rondo.curve import KeyPair

KEY_FILE_VARIABLE = "RONDO_CLIENT_KEY_FILE"
SERVER_KEY_VARIABLE = "RONDO_SERVER_KEY"
REMOTE = "tcp://"


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a remote client."""

    own: "KeyPair" = field(repr=False)
    server_public: bytes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect. `keys` is set only for a gateway on another host."""

    url: str
    """`ipc://PATH` or `tcp://HOST:PORT`."""
    keys: Keys | None = None

    @property
    def denied(self) -> str:
        """The error text if the gateway refuses this client."""
        if self.keys is None:
            return DENIED
        return (
            f"the node does not let this client in; add its public key, {self.keys.own.public.hex()}, to the file that "
            "remote.clients of the node's corosync.conf names"
        )

    @property
    def no_answer(self) -> str:
        """The error text if nobody answers."""
        what = f"no node answers at {self.url}; is it running (rondo status), and in a ring?"
        return what if self.keys is None else f"{what} Does it have remote{{}}, and is the server key its public key?"


def endpoint_of(
    endpoint: str | None = None, key_file: str | os.PathLike[str] | None = None, server_key: str | None = None
) -> Endpoint:
    """The endpoint of these arguments or of the environment. Raises InvalidParameter."""
    if endpoint is not None and not (isinstance(endpoint, str) and endpoint):
        raise InvalidParameter(f"endpoint: a string as ipc:///run/rondo/gateway.sock, or None; not {endpoint!r}")
    if key_file is not None and not isinstance(key_file, str | os.PathLike):
        raise InvalidParameter(f"key_file: the path of a file, or None; not {key_file!r:.80}")
    if server_key is not None and not isinstance(server_key, str):
        raise InvalidParameter(f"server_key: a text of 64 hexadecimal digits, or None; not {server_key!r:.80}")
    if endpoint is not None and "\0" in endpoint:
        raise InvalidParameter(f"endpoint: it holds a NUL: {endpoint!r:.80}")
    try:
        endpoint = client_socket(endpoint)
    except PathError as error:
        raise InvalidParameter(str(error)) from None
    if not endpoint.startswith(REMOTE):
        if key_file or server_key:
            raise InvalidParameter(f"{endpoint}: keys are for a gateway on another host (tcp://HOST:PORT)")
        return Endpoint(endpoint)
    key_file = key_file or os.environ.get(KEY_FILE_VARIABLE)
    server_key = server_key or os.environ.get(SERVER_KEY_VARIABLE)
    if not key_file or not server_key:
        raise InvalidParameter(
            f"{endpoint}: a gateway on another host requires keys: give key_file and server_key, or set "
            f"{KEY_FILE_VARIABLE} and {SERVER_KEY_VARIABLE}"
        )
    return Endpoint(endpoint, _keys(Path(key_file), server_key))


def _keys(key_file: Path, server_key: str) -> Keys:
    from rondo import curve  # most clients do not need it
    from rondo.config.key import KeyFileError

    try:
        return Keys(curve.read_key_pair(key_file), curve.parse_key(server_key.strip()))
    except KeyFileError as error:
        raise InvalidParameter(str(error)) from None
    except ValueError as error:
        raise InvalidParameter(
            f"the server key is invalid: {error}; `rondo keygen` has printed it on the node"
        ) from None
