"""Keeps a new connection until its first request is there, and only then gives it to uvicorn.

asyncio and uvicorn take 200 to 400 us of processor time for a connection, whatever comes on it. Anybody may connect as
often as he likes, so here such a connection costs a fifth of that. It is accepted, and looked at whenever something has
come. Who sends a request slowly, or something else, or nothing, gets no further. The bytes stay with the kernel until
the request is whole: they are looked at, not taken.

To wake up costs more than to look at a connection. So this happens at once only `TURNS_AT_ONCE` times in a row, which
is enough for browsers and Prometheus, and under a crowd every `TURN_S`.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import select
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from services.web.limits import CONNECTIONS_MAX, HEADER_BYTES_MAX, REQUEST_S

ACCEPTED_MAX = CONNECTIONS_MAX
"""In one turn. The loop has other things to do as well."""
TURN_S = 0.05
TURNS_AT_ONCE = 16
EVENTS_MAX = 256
PAUSE_S = 1.0
"""After an accept for which the system had no room."""
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_EDGES = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_GONE = select.EPOLLHUP | select.EPOLLERR
"""Whoever ends a connection with a reset does not wait for an answer."""
_LOOK = socket.MSG_PEEK | socket.MSG_DONTWAIT
_HELLO = 0x16
"""First byte of the record that begins TLS (RFC 8446, 5.1). Two of its version and two of its length follow."""
_RECORD_HEADER_BYTES = 5

Take = Callable[[socket.socket], Coroutine[Any, Any, object]]


class Verdict(enum.Enum):
    """What is to be done with a connection."""

    WAIT = "the request is not whole yet"
    TAKE = "it is whole, or too long"
    REFUSE = "it is no request"


def verdict(head: bytes, *, tls: bool) -> Verdict:
    """About the first bytes of a connection. TLS: its hello has to be whole."""
    if tls:
        if head[:1] and head[0] != _HELLO:
            return Verdict.REFUSE
        whole = _RECORD_HEADER_BYTES + int.from_bytes(head[3:_RECORD_HEADER_BYTES], "big")
        is_whole = len(head) >= _RECORD_HEADER_BYTES and len(head) >= whole
    else:
        line = head.lstrip(b"\r\n")  # RFC 9112, 2.2: empty lines before a request are ignored
        if line[:1] and not line[:1].isalpha():
            return Verdict.REFUSE
        is_whole = b"\n\r\n" in line or b"\n\n" in line
    return Verdict.TAKE if is_whole or len(head) > HEADER_BYTES_MAX else Verdict.WAIT


class Front:
    """The connections that wait at one listening socket. It has a server's `close` and `wait_closed`."""

    def __init__(self, listening: socket.socket, take: Take, turned_away: Counter[str], *, tls: bool) -> None:
        """`take`: makes a connection of the loop of a socket. `turned_away`: counts whom it does not get, by reason."""
        self._listening, self._take, self._tls = listening, take, tls
        self._turned_away = turned_away
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, tuple[socket.socket, float]] = {}
        """With the time in seconds at which each is ended, oldest first."""
        self._taking: dict[asyncio.Task[object], None] = {}
        """What is being taken, oldest first: with TLS that lasts as long as its handshake."""
        self._due: asyncio.TimerHandle | None = None
        self._turns_left: float = TURNS_AT_ONCE
        self._turned_s = self._loop.time()
        self._epoll = select.epoll()
        listening.setblocking(False)
        self._listen()
        self._go_on()

    def __len__(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        """End those that wait, and accept no more."""
        if self._epoll.closed:
            return
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        if self._due is not None:
            self._due.cancel()
        for stream, _ in self._waiting.values():
            stream.close()
        self._waiting.clear()
        for task in self._taking:
            task.cancel()

    async def wait_closed(self) -> None:
        """Nothing is left after `close`."""

    def _listen(self) -> None:
        if not self._epoll.closed:
            self._epoll.register(self._listening.fileno(), select.EPOLLIN)

    def _go_on(self) -> None:
        if not self._epoll.closed:
            self._loop.add_reader(self._epoll.fileno(), self._turn)

    def _turn(self) -> None:
        now_s = self._loop.time()
        earned, self._turned_s = (now_s - self._turned_s) / TURN_S, now_s
        self._turns_left = min(TURNS_AT_ONCE, self._turns_left + earned) - 1
        self._look_at_all()
        if self._turns_left < 1:
            self._loop.remove_reader(self._epoll.fileno())
            self._loop.call_later(TURN_S, self._go_on)

    def _look_at_all(self) -> None:
        for descriptor, event in self._epoll.poll(0, EVENTS_MAX):
            if descriptor == self._listening.fileno():
                self._accept()
            elif descriptor not in self._waiting:
                continue  # it was ended in this turn
            elif event & _GONE:
                self._end(descriptor, "connections_without_request")
            else:
                self._look(descriptor, no_more=bool(event & select.EPOLLRDHUP))

    def _accept(self) -> None:
        for _ in range(ACCEPTED_MAX):
            try:
                stream, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._turned_away["connections_no_room"] += 1
                    self._epoll.unregister(self._listening.fileno())
                    self._loop.call_later(PAUSE_S, self._listen)
                    return
                continue  # it has gone again
            descriptor = stream.fileno()
            self._waiting[descriptor] = (stream, self._loop.time() + REQUEST_S)
            self._epoll.register(descriptor, _EDGES)  # the next turn brings what is there already
            self._bound()

    def _look(self, descriptor: int, *, no_more: bool) -> None:
        """See what has come, and act."""
        stream, _ = self._waiting[descriptor]
        try:
            head = stream.recv(HEADER_BYTES_MAX + 1, _LOOK)
            found = verdict(head, tls=self._tls) if head else Verdict.REFUSE
        except OSError:
            found = Verdict.REFUSE
        if found is Verdict.TAKE:
            self._hand_over(descriptor)
        elif found is Verdict.REFUSE or no_more:
            self._end(descriptor, "connections_without_request")

    def _bound(self) -> None:
        """The oldest goes if too many wait. Whoever waits is ended in time."""
        if len(self._waiting) > CONNECTIONS_MAX:
            self._end(next(iter(self._waiting)), "connections_crowded_out")
        if self._due is None and self._waiting:
            self._due = self._loop.call_later(REQUEST_S, self._expire)

    def _expire(self) -> None:
        """End those whose time is over."""
        self._due, now_s = None, self._loop.time()
        for descriptor, (_, end_s) in list(self._waiting.items()):
            if end_s > now_s:
                self._due = self._loop.call_at(end_s, self._expire)
                return
            self._end(descriptor, "connections_too_slow")

    def _end(self, descriptor: int, why: str) -> None:
        self._turned_away[why] += 1
        stream, _ = self._waiting.pop(descriptor)
        stream.close()

    def _hand_over(self, descriptor: int) -> None:
        stream, _ = self._waiting.pop(descriptor)
        self._epoll.unregister(descriptor)
        stream.setblocking(False)
        if len(self._taking) >= CONNECTIONS_MAX:
            oldest = next(iter(self._taking))
            del self._taking[oldest]
            oldest.cancel()
            self._turned_away["connections_crowded_out"] += 1
        task = self._loop.create_task(self._take(stream))
        self._taking[task] = None
        task.add_done_callback(self._taken)

    def _taken(self, task: asyncio.Task[object]) -> None:
        """Whoever goes away meanwhile, or fails at TLS, is his own affair."""
        self._taking.pop(task, None)
        if not task.cancelled():
            task.exception()
