"""A thousand HTTP clients that are slow or broken: python -m tests.cluster.http_crowd PORT

Each says something now and then, and comes again some seconds after it was ended: half of them a byte of a request at a
time, the others what is no request, a header that never ends, a request for what is not there, one of another host, or
nothing, and they go away with a reset. `ready` is printed once every client has been there, and from then on a line for
every 100 words. One process with one loop, which can be stopped and goes on (SIGSTOP, SIGCONT), so that a measurement
with it has one without it for its pair.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import select
import socket
import struct
import sys
import time

CLIENTS = 1000
PAUSE_S = 10.0
"""About how long a client waits between two writes."""
WORDS_TOLD = 100
SLOW = b"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"a" * 1000
BROKEN = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
    b"GET /" + b"../" * 50 + b"etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"POST /api/v1/status HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"b" * 30_000,
    b"",
)
CONNECT_S = 0.05
NICE = 19
"""Clients run at low priority, as if on another machine. They report how much they have written."""
RESET = struct.pack("ii", 1, 0)


class Client:
    """One client. It ignores all answers."""

    def __init__(self, number: int, port: int) -> None:
        self.is_slow = number % 2 == 0
        self._broken = BROKEN[number // 2 % len(BROKEN)]
        self._port = port
        self.socket: socket.socket | None = None
        self._said = 0

    def speak(self) -> None:
        """Write the next bytes. A client whose connection was ended connects again, and begins anew."""
        try:
            if self.socket is None:
                self._said = 0
                self.socket = socket.socket()
                self.socket.setblocking(False)
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                self.socket.connect_ex(("127.0.0.1", self._port))
                select.select([], [self.socket], [], CONNECT_S)
            if self.is_slow:
                self.socket.send(SLOW[self._said : self._said + 1])
                self._said = (self._said + 1) % len(SLOW)
            else:
                self.socket.send(self._broken)
                self.end()
        except OSError:
            self.end()

    def end(self) -> None:
        """Close the connection with a reset."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def main(port: int) -> None:
    """Run until the process is ended."""
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    drawn = random.Random(port)
    clients = [Client(number, port) for number in range(CLIENTS)]
    due = [(drawn.random() * PAUSE_S, number) for number in range(CLIENTS)]
    heapq.heapify(due)
    began_s = time.monotonic()
    for words in itertools.count():
        at_s, number = heapq.heappop(due)
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
        clients[number].speak()
        # After a stop the missed writes are not made up for.
        late_s = max(at_s, time.monotonic() - began_s)
        heapq.heappush(due, (late_s + PAUSE_S * (0.5 + drawn.random()), number))
        if words == CLIENTS:
            print("ready", flush=True)
        elif words > CLIENTS and words % WORDS_TOLD == 0:
            print(words - CLIENTS, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
