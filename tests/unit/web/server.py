"""`rondo web` as a process of its own, and plain HTTP to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ANSWER_S = 30.0


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def get(
        self, path: str, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request. Returns status, headers with names in lower case, and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def connect(self) -> socket.socket:
        """Open a connection, and send nothing."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S)

    def raw(self, data: bytes) -> bytes:
        """Send bytes. Returns all that comes back until the end of the connection."""
        found = b""
        with self.connect() as stream, contextlib.suppress(ConnectionError):
            stream.sendall(data)
            while piece := stream.recv(65_536):
                found += piece
        return found

    @contextlib.contextmanager
    def events(self, headers: dict[str, str] | None = None) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        """Open the event stream. It yields pairs of event and data."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        with contextlib.closing(connection):
            connection.request("GET", "/api/v1/events", headers=headers or {})
            answer = connection.getresponse()
            assert answer.status == 200
            yield _parsed(answer)


def _parsed(answer: http.client.HTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    while line := answer.readline().decode():
        if line.startswith("event: "):
            name = line[7:].strip()
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


@contextlib.contextmanager
def serving(run_dir: Path, *arguments: str) -> Iterator[Server]:
    """A server for that node, on a port that is free; it has ended in order when this is left."""
    argv = [sys.executable, "-m", "rondo.cli.main", "web", "--address", "127.0.0.1:0", "--run-dir", str(run_dir)]
    with subprocess.Popen([*argv, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        try:
            assert line.startswith(("http://127.0.0.1:", "https://127.0.0.1:")), process.stderr.read()
            yield Server(process, int(line.rstrip("/\n").rpartition(":")[2]))
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        assert errors == ""
