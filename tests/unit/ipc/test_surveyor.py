"""Several services asked at once: those that answer, those that are not there, those that hang."""

import contextlib
import select
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.ipc.control import ControlServer, Handler
from rondo.ipc.surveyor import Answers, Surveyor


@pytest.fixture(name="run_dir")
def _run_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield Path(directory)


@contextlib.contextmanager
def service(run_dir: Path, name: str) -> Iterator[list[int]]:
    """A service in a thread of its own; how often it was asked."""
    asked: list[int] = []

    def status(_request: object) -> dict[str, object]:
        asked.append(1)
        return {"service": name, "times": len(asked)}

    server = ControlServer(run_dir, name, {"status": status})
    stop_read, stop_write = socket.socketpair()

    def serve() -> None:
        while stop_read.fileno() not in select.select([server.fileno(), stop_read.fileno()], [], [])[0]:
            server.serve()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        stop_write.send(b"x")
        thread.join()
        server.close()
        stop_read.close()
        stop_write.close()


def test_all_are_asked_and_the_connections_are_kept(run_dir: Path) -> None:
    surveyor = Surveyor(run_dir, ["one", "two"])
    with service(run_dir, "one"), service(run_dir, "two"):
        for times in (1, 2, 3):
            answers = surveyor.ask("status", 60.0)
            assert answers == {name: {"ok": True, "service": name, "times": times} for name in ("one", "two")}
    surveyor.close()


def test_who_is_not_there_costs_nothing_and_is_asked_again_once_it_is(run_dir: Path) -> None:
    surveyor = Surveyor(run_dir, ["one", "two"])
    with service(run_dir, "one"):
        assert surveyor.ask("status", 60.0)["two"] is None
        with service(run_dir, "two"):
            assert surveyor.ask("status", 60.0)["two"] is not None
        assert surveyor.ask("status", 60.0)["two"] is None
    surveyor.close()


def test_a_late_answer_is_not_taken_for_that_to_a_later_question(run_dir: Path) -> None:
    """One that hangs is left out when its time is over, and its connection with it."""
    surveyor = Surveyor(run_dir, ["one"])
    handlers: dict[str, Handler] = {"status": lambda _: {"which": "late"}, "now": lambda _: {"which": "now"}}
    server = ControlServer(run_dir, "one", handlers)
    assert surveyor.ask("status", 0.05) == {"one": None}
    answers: Answers = {}

    def ask() -> None:
        answers.update(surveyor.ask("now", 60.0))

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive():
        if select.select([server], [], [], 0.05)[0]:
            server.serve()
    asking.join()
    assert answers["one"] is not None
    assert answers["one"]["which"] == "now"
    surveyor.close()
    server.close()


def test_a_refusal_is_no_answer(run_dir: Path) -> None:
    surveyor = Surveyor(run_dir, ["one"])
    with service(run_dir, "one"):
        assert surveyor.ask("nonsense", 60.0) == {"one": None}
        assert surveyor.ask("status", 60.0)["one"] is not None
    surveyor.close()
