"""What totem leaves to be said is said when it dies, once, and nothing else is."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rondo.ipc.control import ControlServer
from rondo.testing.lab.waiting import wait_for
from services.sam.last_words import LastWords
from services.sam.loop import Loop


class Totem:
    """A process that does nothing, and the control socket that answers for it."""

    def __init__(self, run_dir: Path) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind(("127.0.0.1", 0))
        self.receiver.settimeout(60)
        self.words: dict[str, Any] = {
            "pid": self.process.pid,
            "datagram": b"first",
            "source": ["127.0.0.1", 0],
            "addresses": [list(self.receiver.getsockname())],
            "ports": [],
        }
        self.asked = b""
        self.control = ControlServer(run_dir, "totem", {"last_words": self._answer})

    def _answer(self, _request: dict[str, Any]) -> dict[str, Any]:
        self.asked = self.control.asking
        return self.words

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.receiver.close()
        self.control.close()


@pytest.fixture
def run_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rondo-words-", dir="/tmp") as name:
        yield Path(name)


class Sam:
    """The loop and its last words, turned by the test."""

    def __init__(self, run_dir: Path) -> None:
        self.poll = select.epoll()
        self.loop = Loop(self.poll)
        self.words = LastWords(run_dir, self.loop)

    def turn(self) -> None:
        self.loop.turn(time.monotonic() + 0.01, lambda: None)

    def close(self) -> None:
        self.words.close()
        self.poll.close()


@pytest.fixture
def totem(run_dir: Path) -> Iterator[Totem]:
    made = Totem(run_dir)
    yield made
    made.close()


@pytest.fixture
def sam(run_dir: Path) -> Iterator[Sam]:
    made = Sam(run_dir)
    yield made
    made.close()


def serve(totem: Totem, sam: Sam, done: Any) -> None:
    """Both go on until it is done."""

    def look() -> bool:
        totem.control.serve()
        sam.turn()
        return bool(done())

    wait_for(look, bool, "done", 60)


def test_the_newest_words_are_said_when_totem_dies(totem: Totem, sam: Sam) -> None:
    serve(totem, sam, lambda: totem.asked and sam.words.watched == totem.process.pid)
    totem.words["datagram"] = b"second"
    assert totem.control.tell(totem.asked, totem.words)
    serve(totem, sam, lambda: sam.words.datagram == b"second")
    assert sam.words.sent == 0
    totem.process.kill()
    began_s = time.monotonic()
    serve(totem, sam, lambda: sam.words.sent == 1)
    assert totem.receiver.recv(100) == b"second"
    assert time.monotonic() - began_s < 20
    totem.receiver.settimeout(0.1)
    with pytest.raises(TimeoutError):
        totem.receiver.recv(100)


@pytest.mark.parametrize(
    ("name", "value"),
    [("addresses", [["127.0.0.1", 70_000]]), ("ports", [[5, 5405]]), ("ports", [[4, 0]]), ("ports", [[4, 9]] * 17)],
)
def test_what_is_no_answer_is_counted(totem: Totem, sam: Sam, name: str, value: object) -> None:
    totem.words[name] = value
    serve(totem, sam, lambda: sam.words.refused == 1)
    assert sam.words.watched == 0


def test_it_waits_for_a_totem_that_comes_later(run_dir: Path) -> None:
    sam = Sam(run_dir)
    sam.turn()
    totem = Totem(run_dir)
    try:

        def done() -> bool:
            sam.words.tick()
            return sam.words.watched == totem.process.pid

        serve(totem, sam, done)
    finally:
        totem.close()
        sam.close()
