"""The sockets of C programs are made whole or not at all, and taken over only if they are what they are said to be."""

import os
import socket
from collections.abc import Iterator

import pytest

from rondo.ipc.endpoints import SocketError
from rondo.node import c_sockets

NAMES = tuple(f"rondo-test-{os.getpid()}-{number}" for number in range(3))
"""Nobody else's."""
MUTE = f"rondo-test-{os.getpid()}-mute"


@pytest.fixture
def made() -> Iterator[list[socket.socket]]:
    sockets = c_sockets.listen_all(NAMES)
    yield sockets
    for each in sockets:
        each.close()


def handed(descriptors: list[int]) -> dict[str, str]:
    """The environment of a process that inherits copies of these."""
    return c_sockets.offer([os.dup(each) for each in descriptors])


def test_who_takes_them_over_serves_who_connects_to_the_name(made: list[socket.socket]) -> None:
    environment = {"other": "1", **handed([each.fileno() for each in reversed(made)])}
    taken = c_sockets.take_over(environment, NAMES)
    assert environment == {"other": "1"}, "no process that is started from here looks for them"
    assert set(taken) == set(NAMES)
    for name, listener in taken.items():
        with listener, socket.socket(socket.AF_UNIX) as program:
            assert not listener.getblocking()
            assert not listener.get_inheritable()
            program.connect(c_sockets.address_of(name))
            listener.accept()[0].close()


def test_if_one_name_is_taken_the_others_are_left_free() -> None:
    with c_sockets.listen(NAMES[-1]):
        with pytest.raises(SocketError, match="serves it already"):
            c_sockets.listen_all(NAMES)
        with pytest.raises(SocketError, match="serves it already"):
            c_sockets.listen(NAMES[-1])
        c_sockets.listen(NAMES[0]).close()


def test_nothing_is_handed_over_where_nothing_is_said() -> None:
    assert c_sockets.take_over({}) == {}
    assert c_sockets.take_over(c_sockets.offer([])) == {}


def test_what_is_no_such_socket_is_refused(made: list[socket.socket]) -> None:
    with socket.socket(socket.AF_UNIX) as mute, socket.socket() as other:
        mute.bind(c_sockets.address_of(MUTE))
        other.bind(("127.0.0.1", 0))
        other.listen()
        for each in (mute, other):
            with pytest.raises(SocketError, match="is no listening socket of C programs"):
                c_sockets.take_over(handed([each.fileno()]), (MUTE,))
    with pytest.raises(SocketError, match="is no listening socket of C programs"):
        c_sockets.take_over(handed([made[0].fileno()]), NAMES[1:])
    with pytest.raises(SocketError, match="descriptor 1000000: Bad file descriptor"):
        c_sockets.take_over(c_sockets.offer([1_000_000]))
    with pytest.raises(SocketError, match="'x' is no list"):
        c_sockets.take_over({c_sockets.VARIABLE: "x"})
