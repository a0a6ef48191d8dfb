"""Who may connect from other hosts. Only a gateway with remote{} loads this, and libzmq with it.

libzmq asks a ZAP handler (RFC 27) about each connection before it reads anything else from it. The question has the
client's public key; libzmq has verified that the client knows its secret.
"""

import logging
import os
from pathlib import Path

import zmq

from rondo import curve
from rondo.config.key import KeyFileError
from rondo.protocol.cpg_gateway import REMOTE_UID
from services.ipc_gateway.credentials import Doorkeeper, Peer
from services.ipc_gateway.remote import ZAP_DOMAIN, short

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
REQUESTS_PER_TURN = 64

log = logging.getLogger("IPC_GATEWAY")


class RemoteClients:
    """The clients that may connect from other hosts. The file is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        """Raises KeyFileError."""
        self._path = path
        self._version = self._look()
        self._clients = curve.read_clients(path)

    def _look(self) -> tuple[int, int, int]:
        try:
            found = os.stat(self._path)
        except OSError:
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def allows(self, public_key: bytes) -> bool:
        """True if the owner of this key may connect."""
        version = self._look()
        if version != self._version:
            self._version = version
            try:
                self._clients = curve.read_clients(self._path)
            except KeyFileError as error:
                log.error("%s; until then no remote client is let in", error)
                self._clients = {}
        return public_key in self._clients


class ZapHandler:
    """Answers libzmq. Create it before the CURVE socket, in the same context."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", doorkeeper: Doorkeeper, clients: RemoteClients
    ) -> None:
        self._socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(ZAP_ENDPOINT)
        self._doorkeeper = doorkeeper
        self._clients = clients

    def fileno(self) -> int:
        """The descriptor to poll. It signals only after a look that found nothing, so call `serve` once before."""
        return int(self._socket.getsockopt(zmq.FD))

    def serve(self) -> bool:
        """Answer the questions of libzmq. True if there are more."""
        for _ in range(REQUESTS_PER_TURN):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return False
            route, empty, version, request_id, domain, _address, _identity, mechanism, *credentials = frames
            answer = [b"400", b"access denied", b"", b""]
            if domain == ZAP_DOMAIN and mechanism == b"CURVE" and len(credentials) == 1:
                peer = Peer(REMOTE_UID, REMOTE_UID, 0, short(credentials[0]))
                if self._clients.allows(credentials[0]):
                    answer = [b"200", b"OK", self._doorkeeper.stamp(peer).encode(), b""]
                else:
                    self._doorkeeper.denied.append(peer)
            self._socket.send_multipart([route, empty, version, request_id, *answer])
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
