"""A thousand clients that are slow, or broken: they are ended, and everybody else is served."""

import contextlib
import json
import resource
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.web import limits
from tests.unit.web.server import Server, serving
from tests.unit.web.test_client_certificates import Authority, get

CLIENTS = 1000
SERVED_S = limits.REQUEST_S + 60
KEPT_BYTES_MAX = 32 << 20
"""What the kernel keeps of an answer at most, at both ends. What was asked for is a hundred times that."""
HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "


@pytest.fixture(name="run_dir", scope="module")
def _run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    (directory / "log").mkdir()
    return directory


@pytest.fixture(name="server", scope="module")
def _server(run_dir: Path) -> Iterator[Server]:
    with serving(run_dir) as server:
        yield server


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    """Enough of them for all clients."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], max(before[0], 3 * CLIENTS)), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def clients(server: Server, stack: contextlib.ExitStack, said: bytes) -> list[socket.socket]:
    made = []
    for _ in range(CLIENTS):
        with contextlib.suppress(OSError):
            made.append(stack.enter_context(server.connect()))
            made[-1].send(said)
    return made


def wait_until_served(server: Server) -> None:
    until_s = time.monotonic() + SERVED_S
    while True:
        with contextlib.suppress(OSError):
            if server.get("/")[0] == 200:
                return
        assert time.monotonic() < until_s, "nobody else was served"


def assert_all_ended(made: list[socket.socket]) -> None:
    for each in made:
        with contextlib.suppress(ConnectionError):
            while each.recv(65_536):
                pass


@pytest.mark.slow
@pytest.mark.parametrize("said", [b"", HALF], ids=["nothing", "half a request"])
def test_who_says_little(server: Server, said: bytes) -> None:
    with contextlib.ExitStack() as stack:
        made = clients(server, stack, said)
        wait_until_served(server)
        assert_all_ended(made)


def test_who_goes_away_in_the_middle(server: Server) -> None:
    """With a reset instead of an end, of the request and of the answer."""
    for number in range(CLIENTS):
        with server.connect() as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            whole = f"GET /page.js HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
            made.send(whole if number % 2 else whole[: number % len(whole)])
    wait_until_served(server)


@pytest.mark.slow
def test_who_says_nothing_where_tls_is_wanted(run_dir: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority").make()
    certificate, key = authority.sign("server")
    with serving(run_dir, "--tls-cert", certificate, "--tls-key", key) as server, contextlib.ExitStack() as stack:
        made = clients(server, stack, b"\x16\x03\x01")
        until_s = time.monotonic() + SERVED_S
        while True:
            with contextlib.suppress(OSError, ssl.SSLError):
                if get(server.port, authority, None) == b"not well\n":
                    break
            assert time.monotonic() < until_s, "nobody else was served"
        assert_all_ended(made)


@pytest.mark.slow
def test_who_does_not_read_what_he_asked_for(server: Server) -> None:
    """Pipelined requests whose answers nobody takes: the server keeps a bounded part of them, and ends it."""
    asked = f"GET /page.js HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
    with server.connect() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(limits.UNREAD_S + 20)
        # Where both windows are shut the kernel may not tell of the end before something is read.
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(100_000):
                made.sendall(asked)
            pytest.fail("everything was taken")
        kept_bytes = 0
        with contextlib.suppress(ConnectionError):
            while piece := made.recv(65_536):
                kept_bytes += len(piece)
                assert kept_bytes < KEPT_BYTES_MAX
    wait_until_served(server)


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: -1\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "X : y\r\n",
        "X: a\x00b\r\n",
        "Authorization: Basic a\r\nAuthorization: Basic b\r\n",
    ],
)
def test_requests_that_two_servers_would_read_differently(server: Server, headers: str) -> None:
    head = f"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{headers}\r\n"
    answer = server.raw(head.encode("latin-1") + b"0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert json.loads(server.get("/api/v1/status")[2])["schema"] == 1
