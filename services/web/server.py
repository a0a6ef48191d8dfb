"""The server: its options, what it refuses to do, and uvicorn's with its habits changed."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import socket
import ssl
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from rondo.config.key import KeyFileError, read_private
from rondo.metrics.looker import Looker
from rondo.node.placement import come_after_the_ring
from services.web.app import STREAMS_MAX, make_app
from services.web.front import Front
from services.web.guard import Guard, Hosts
from services.web.limits import CONNECTIONS_MAX, HEADER_BYTES_MAX, IDLE_S, REQUEST_S, BoundedProtocol
from services.web.peers import Peers

PORT = 5480
TOKEN_BYTES_MIN = 16
TOKEN_BYTES_MAX = 1024
_STOP_S = 2
DESCRIPTORS_WANTED = 4096


class WebError(Exception):
    """It cannot be served so; the text is one line with the mend."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `rondo web`, or web{}, was told."""

    run_dir: Path
    host: str = "127.0.0.1"
    port: int = PORT
    names: tuple[str, ...] = ()
    """Further names by which browsers may ask for it."""
    token: bytes = b""
    tls_cert: str = ""
    tls_key: str = ""
    tls_clients: str = ""
    """Who signs the certificates that clients have to have."""


def read_token(path: Path) -> bytes:
    """The token in a file that nobody else can read. Raises WebError."""
    try:
        token = read_private(path, TOKEN_BYTES_MAX).strip()
    except KeyFileError as error:
        raise WebError(str(error).replace("the key", "the token")) from None
    except OSError as error:
        raise WebError(
            f"{path}: {error.strerror}; write a token there, for example of `openssl rand -hex 32`"
        ) from None
    if len(token) < TOKEN_BYTES_MIN or not token.isascii():
        raise WebError(f"{path}: a token has at least {TOKEN_BYTES_MIN} characters of ASCII; openssl rand -hex 32")
    return token


def check(options: Options) -> None:
    """Raises WebError where others could look who must not, or read along."""
    try:
        is_loopback = ipaddress.ip_address(options.host).is_loopback
    except ValueError:
        raise WebError(f"{options.host}: no IP address; name one of this machine's, or 127.0.0.1") from None
    if options.tls_clients and not options.tls_cert:
        raise WebError(
            "--tls-clients: certificates of clients are asked for with TLS alone; give --tls-cert, --tls-key"
        )
    if not is_loopback and not (options.token or options.tls_clients):
        raise WebError(
            f"{options.host}: everybody on the network could look; name a token file with --token-file, or give "
            "--tls-clients"
        )
    if not is_loopback and not options.tls_cert:
        raise WebError(f"{options.host}: the token would be read on the way; give --tls-cert and --tls-key")
    if bool(options.tls_cert) != bool(options.tls_key):
        raise WebError("--tls-cert and --tls-key go together")


def hosts_of(options: Options, port: int) -> Hosts:
    """What a Host header may say."""
    address = ipaddress.ip_address(options.host)
    own = [f"[{options.host}]" if ":" in options.host else options.host, *options.names]
    if address.is_loopback:
        own += ["localhost", "127.0.0.1", "[::1]"]
    default = 443 if options.tls_cert else 80
    ends = {f":{port}", *([""] if port == default else [])}
    names = frozenset(f"{name.lower()}{end}" for name in own for end in ends)
    return Hosts(names, frozenset(ends) if address.is_unspecified else frozenset())


def serve(options: Options) -> None:
    """Serve until SIGINT or SIGTERM. Raises WebError, OSError."""
    check(options)
    come_after_the_ring()
    with bind(options) as listening:
        port = listening.getsockname()[1]
        server = QuietServer(server_config(options, make_guarded(options, port, Peers())))
        print(url(options, port), flush=True)  # who reads this can connect
        server.run([listening])


def bind(options: Options) -> socket.socket:
    """The socket, listening. Raises WebError."""
    _allow_descriptors()
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((options.host, options.port))
        listening.listen(CONNECTIONS_MAX)
    except OSError as error:
        listening.close()
        raise WebError(f"{options.host}:{options.port}: {error.strerror}; choose another address or port") from None
    return listening


def _allow_descriptors() -> None:
    """Room for connections that are refused only after they were accepted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def make_guarded(options: Options, port: int, peers: Peers) -> Guard:
    """The application behind its guard."""
    return Guard(
        make_app(Looker(options.run_dir), peers, options.run_dir), hosts=hosts_of(options, port), token=options.token
    )


def url(options: Options, port: int) -> str:
    """Where the page is."""
    shown = f"[{options.host}]" if ":" in options.host else options.host
    return f"{'https' if options.tls_cert else 'http'}://{shown}:{port}/"


class QuietServer(uvicorn.Server):
    """uvicorn's wakes up ten times a second, to see whether it shall end and what time it is. This one sleeps."""

    _loop: asyncio.AbstractEventLoop | None = None
    _ended: asyncio.Event

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.turned_away: Counter[str] = Counter()
        """Connections that did not come as far as to a request, by reason."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, behind a `Front`. A handshake of TLS has a bound on its time: until its end nobody else counts
        the connection."""
        await self.lifespan.startup()
        config, loop = self.config, asyncio.get_running_loop()
        within_s = REQUEST_S if config.is_ssl else None

        def connection() -> BoundedProtocol:
            return BoundedProtocol(config, self.server_state, self.lifespan.state)

        async def take(stream: socket.socket) -> None:
            await loop.connect_accepted_socket(
                connection, stream, ssl=config.ssl, ssl_handshake_timeout=within_s, ssl_shutdown_timeout=within_s
            )

        fronts: list[Any] = [Front(each, take, self.turned_away, tls=config.is_ssl) for each in sockets or ()]
        self.servers = fronts  # of an asyncio.Server only what a Front has too is used
        self.started = True

    async def main_loop(self) -> None:
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if not self.should_exit:
            await self._ended.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.stop()

    def stop(self) -> None:
        """End serving."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ended.set)


def server_config(options: Options, app: Guard) -> uvicorn.Config:
    """For uvicorn. Raises WebError if the files of TLS cannot be used."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,  # it would be that of the last turn of uvicorn's own loop; the guard has it
        proxy_headers=False,
        backlog=CONNECTIONS_MAX,
        limit_concurrency=CONNECTIONS_MAX + STREAMS_MAX,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=_STOP_S,
        ssl_certfile=options.tls_cert or None,
        ssl_keyfile=options.tls_key or None,
        ssl_ca_certs=options.tls_clients or None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if options.tls_clients else ssl.CERT_NONE,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise WebError(
            f"the certificate or its key cannot be used: {error.strerror or error}; see --tls-cert"
        ) from None
    return config
