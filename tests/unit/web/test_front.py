"""What waits in front of the page: only whole requests get further. Who is slow, broken, or one too many, goes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from services.web import front
from services.web.front import Front, Verdict, verdict
from services.web.limits import HEADER_BYTES_MAX

WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HELLO = b"\x16\x03\x01\x00\x04abcd"
BUSY_S = 30.0


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (b"", Verdict.WAIT),
        (b"G", Verdict.WAIT),
        (WHOLE[:-1], Verdict.WAIT),
        (WHOLE, Verdict.TAKE),
        (b"\r\n\r\n", Verdict.WAIT),
        (b"\r\n" + WHOLE, Verdict.TAKE),
        (b"GET / HTTP/1.0\n\n", Verdict.TAKE),
        (b"GET /" + b"a" * HEADER_BYTES_MAX, Verdict.TAKE),
        (HELLO, Verdict.REFUSE),
        (b"\0", Verdict.REFUSE),
        (b" GET / HTTP/1.1\r\n\r\n", Verdict.REFUSE),
    ],
)
def test_a_request_is_whole_with_its_headers(head: bytes, wanted: Verdict) -> None:
    assert verdict(head, tls=False) is wanted


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (b"", Verdict.WAIT),
        (HELLO[:1], Verdict.WAIT),
        (HELLO[:4], Verdict.WAIT),
        (HELLO[:-1], Verdict.WAIT),
        (HELLO, Verdict.TAKE),
        (b"\x16\x03\x01\xff\xff" + bytes(HEADER_BYTES_MAX), Verdict.TAKE),
        (WHOLE, Verdict.REFUSE),
    ],
)
def test_where_tls_is_wanted_its_hello_has_to_be_whole(head: bytes, wanted: Verdict) -> None:
    assert verdict(head, tls=True) is wanted


class Door:
    """A front, and whom it lets through."""

    def __init__(self) -> None:
        self.taken: list[socket.socket] = []
        self.turned_away: Counter[str] = Counter()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.front = Front(self.listening, self._take, self.turned_away, tls=False)

    async def _take(self, stream: socket.socket) -> None:
        self.taken.append(stream)
        if stream.recv(1) != b"G":
            raise ConnectionResetError

    def come(self, said: bytes = b"") -> socket.socket:
        """Connect, and say this."""
        made = socket.create_connection(self.listening.getsockname(), BUSY_S)
        made.sendall(said)
        return made

    async def until(self, **turned_away: int) -> None:
        """Wait until so many have been turned away."""
        async with asyncio.timeout(BUSY_S):
            while self.turned_away != turned_away:
                await asyncio.sleep(0.01)

    async def until_taken(self, count: int) -> None:
        async with asyncio.timeout(BUSY_S):
            while len(self.taken) < count:
                await asyncio.sleep(0.01)

    async def until_waiting(self, count: int) -> None:
        async with asyncio.timeout(BUSY_S):
            while len(self.front) != count:
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def door() -> AsyncIterator[Door]:
    made = Door()
    with made.listening:
        yield made
        made.front.close()
    for each in made.taken:
        each.close()


def has_ended(client: socket.socket) -> bool:
    """Whether the other end has ended the connection; nothing was said on it."""
    with contextlib.suppress(ConnectionError):
        return client.recv(1) == b""
    return True


def test_a_whole_request_is_handed_over_as_it_came_and_others_stay() -> None:
    async def run() -> None:
        async with door() as at:
            with at.come() as silent, at.come(WHOLE[:5]) as slow, at.come(WHOLE) as whole:
                await at.until_taken(1)
                assert at.taken[0].getpeername() == whole.getsockname()
                assert at.taken[0].recv(100) == WHOLE[1:], "nothing but what was taken here has gone"
                slow.sendall(WHOLE[5:])
                await at.until_taken(2)
                assert at.taken[1].getpeername() == slow.getsockname()
                assert len(at.front) == 1
                assert not at.turned_away
                silent.sendall(b"H")
                await at.until_waiting(1)

    asyncio.run(run())


def test_who_is_slow_is_ended_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "REQUEST_S", 0.2)

    async def run() -> None:
        async with door() as at:
            with at.come() as silent, at.come(WHOLE[:-1]) as slow:
                await at.until(connections_too_slow=2)
                assert has_ended(silent)
                assert has_ended(slow)
            with at.come() as later:
                await at.until(connections_too_slow=3)
                assert has_ended(later)
            assert not at.taken

    asyncio.run(run())


def test_the_oldest_goes_where_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "CONNECTIONS_MAX", 3)

    async def run() -> None:
        async with door() as at:
            with contextlib.ExitStack() as stack:
                clients = []
                for _ in range(5):
                    clients.append(stack.enter_context(at.come()))
                    await at.until_waiting(min(len(clients), 3))
                await at.until(connections_crowded_out=2)
                assert [has_ended(each) for each in clients[:2]] == [True, True]
                clients[2].sendall(WHOLE)
                await at.until_taken(1)

    asyncio.run(run())


def test_who_says_something_else_or_goes_away_gets_no_further() -> None:
    """And nothing is logged of those whose connection cannot be made: they could fill the log."""
    complaints: list[object] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        async with door() as at:
            with at.come(HELLO) as wrong:
                await at.until(connections_without_request=1)
                assert has_ended(wrong)
            at.come(WHOLE[:5]).close()
            await at.until(connections_without_request=2)
            with at.come(b"H" + WHOLE) as fails:
                await at.until_taken(1)
                fails.sendall(b"more")
            with at.come(WHOLE):
                await at.until_taken(2)
            assert len(at.front) == 0

    asyncio.run(run())
    gc.collect()
    assert not complaints


def test_the_oldest_handshake_goes_where_too_many_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says the first word of TLS and then nothing keeps nobody out."""
    monkeypatch.setattr(front, "CONNECTIONS_MAX", 3)

    async def run() -> None:
        taken: list[int] = []
        ended: list[int] = []
        turned_away: Counter[str] = Counter()

        async def take(stream: socket.socket) -> None:
            with stream:
                taken.append(number := len(taken))
                try:
                    await asyncio.sleep(BUSY_S)
                except asyncio.CancelledError:
                    ended.append(number)
                    raise

        with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as stack:
            at = Front(listening, take, turned_away, tls=True)
            for count in range(1, 6):
                stack.enter_context(socket.create_connection(listening.getsockname())).sendall(HELLO)
                async with asyncio.timeout(BUSY_S):
                    while len(taken) < count:
                        await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            assert ended == [0, 1]
            assert turned_away == {"connections_crowded_out": 2}
            at.close()
            await asyncio.sleep(0)
            assert ended == [0, 1, 2, 3, 4]

    asyncio.run(run())


def test_its_end_is_the_end_of_those_that_wait() -> None:
    async def run() -> None:
        async with door() as at:
            with at.come() as silent:
                await at.until_waiting(1)
                at.front.close()
                assert has_ended(silent)

    asyncio.run(run())


def test_no_more_are_accepted_for_a_while_where_the_system_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "PAUSE_S", 0.05)

    async def run() -> None:
        async with door() as at:
            true_accept, full = at.listening.accept, [OSError(24, "Too many open files")]

            class Full:
                """A listening socket that is full once."""

                def accept(self) -> tuple[socket.socket, object]:
                    if full:
                        raise full.pop()
                    return true_accept()

                def fileno(self) -> int:
                    return at.listening.fileno()

            monkeypatch.setattr(at.front, "_listening", Full())
            with at.come(WHOLE):
                await at.until_taken(1)
            assert at.turned_away == {"connections_no_room": 1}

    asyncio.run(run())


def test_under_a_crowd_it_wakes_up_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "TURN_S", 0.3)
    monkeypatch.setattr(front, "TURNS_AT_ONCE", 2)

    async def run() -> float:
        async with door() as at:
            began_s = asyncio.get_running_loop().time()
            for count in range(1, 5):  # each takes a turn in which it comes and one in which its request does
                with at.come(WHOLE):
                    await at.until_taken(count)
            return asyncio.get_running_loop().time() - began_s

    assert asyncio.run(run()) > 3 * 0.3
