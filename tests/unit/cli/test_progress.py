"""Progress of what takes long: in place on a terminal, gone afterwards, and nothing at all where there is none."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import select
import signal
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rondo.cli import progress
from rondo.cli.main import main
from rondo.cli.output import CommandError
from rondo.cli.progress import ERASE, Progress
from rondo.demo import story
from rondo.node.supervision import halt, launch

TIMEOUT_S = 60.0


class Terminal:
    """A standard error that says it is a terminal."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        mode = termios.tcgetattr(slave)
        mode[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        self.stream = os.fdopen(slave, "w")
        self.seen = ""

    def wait_for(self, text: str) -> None:
        self.wait_for_match(re.escape(text))

    def wait_for_match(self, pattern: str) -> None:
        until_s = time.monotonic() + TIMEOUT_S
        while not re.search(pattern, self.seen):
            assert select.select([self.master], [], [], max(0.0, until_s - time.monotonic()))[0], self.seen
            self.seen += os.read(self.master, 65_536).decode()

    def here(self) -> contextlib.AbstractContextManager[object]:
        """While this is open it is where errors go. (Not from a fixture on: pytest has its own meanwhile.)"""
        return contextlib.redirect_stderr(self.stream)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()
        os.close(self.master)


@pytest.fixture(name="terminal")
def _terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal()
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    monkeypatch.setattr(progress, "REDRAW_S", 0.01)
    yield terminal
    terminal.close()


def test_a_step_is_shown_in_place_and_gone_at_the_end(terminal: Terminal) -> None:
    with terminal.here(), Progress("first") as shown:
        terminal.wait_for_match(rf"{re.escape(ERASE)}first \(\d+ s\)")
        shown.step("second \x1b[2J" + "x" * 500)
        terminal.wait_for(f"{ERASE}second \\x1b[2Jxxx")
    terminal.seen = ""
    terminal.stream.write("end")
    terminal.stream.flush()
    terminal.wait_for("end")
    assert terminal.seen.endswith(f"{ERASE}end")
    assert "\n" not in terminal.seen
    lines = terminal.seen.split(ERASE)
    assert max(map(len, lines)) < 80


def test_seconds_go_on_while_the_work_says_nothing(terminal: Terminal) -> None:
    with terminal.here(), Progress("waiting"):
        terminal.wait_for_match(r"waiting \([1-9]\d* s\)")  # a loaded machine may leave out the first second


def test_it_is_gone_also_after_a_failure(terminal: Terminal) -> None:
    with terminal.here(), contextlib.suppress(ValueError), Progress("failing"):
        terminal.wait_for("failing")
        raise ValueError
    terminal.seen = ""
    terminal.stream.write("error: it failed")
    terminal.stream.flush()
    terminal.wait_for(f"{ERASE}error: it failed")


def test_what_is_done_at_once_shows_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "DELAY_S", 60.0)
    with terminal.here(), Progress("quick"):
        pass
    terminal.stream.write("end")
    terminal.stream.flush()
    terminal.wait_for("end")
    assert "quick" not in terminal.seen


def test_a_terminal_that_is_gone_does_not_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    done = []
    with contextlib.redirect_stderr(Gone()), Progress("work"):
        done.append(True)
    assert done


def test_where_there_is_no_terminal_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    before = set(threading.enumerate())
    with contextlib.redirect_stderr(stream), Progress("work") as shown:
        shown.step("more")
        assert set(threading.enumerate()) <= before, "those of former tests may end meanwhile"
    assert stream.getvalue() == ""


# -- who shows it


def test_stop(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = halt.halt_orphans

    def slow(*arguments: Any, **more: Any) -> None:
        terminal.wait_for("stopping what is left of them (")
        real(*arguments, **more)

    monkeypatch.setattr(halt, "halt_orphans", slow)
    with terminal.here():
        code = main(["stop", "--run-dir", str(tmp_path)])
    assert code == 0


def test_start_says_what_it_waits_for(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error message stands on a line of its own, without a rest of the progress line."""
    config = tmp_path / "corosync.conf"
    config.write_text(
        "totem {\n version: 2\n transport: udpu\n secauth: off\n}\n"
        "nodelist {\n node {\n nodeid: 1\n ring0_addr: 127.0.0.1\n }\n}\n"
    )

    def launched(*_: object) -> Any:
        terminal.wait_for("starting the processes (")
        return launch.Launched(config=None, run_dir=tmp_path, supervisor=Supervisor(), orphans=[], off={})  # type: ignore[arg-type]

    def missing(*_: object) -> str:
        asked.append(True)
        if len(asked) == 1:
            return "totem does not answer"
        terminal.wait_for("waiting: totem does not answer (")
        return ""

    def connect(*_: object) -> None:
        terminal.wait_for("waiting: no client has connected yet (")
        raise CommandError("the node does not serve clients")

    class Supervisor:
        def poll(self) -> None:
            return None

        def wait(self) -> None:
            return None

    asked: list[bool] = []
    for name, value in {"launch": launched, "_missing": missing, "_connect_once": connect}.items():
        monkeypatch.setattr(launch, name, value)
    monkeypatch.setattr(launch, "ready_seconds", lambda _: 30.0)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest's process goes on, and keeps its handlers
    places = ["--run-dir", str(tmp_path / "run"), "--state-dir", str(tmp_path / "state")]
    with terminal.here():
        code = main(["start", "-c", str(config), *places])
    assert code == 1
    terminal.wait_for(f"{ERASE}error: the node does not serve clients")


def test_reload(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    class Control:
        def ask(self, *_: object, **__: object) -> dict[str, Any]:
            terminal.wait_for("all nodes read and check their configuration (")
            return {"faults": [], "changed": []}

    monkeypatch.setattr("rondo.cli.commands.reload.asking", lambda _: contextlib.nullcontext(Control()))
    with terminal.here():
        code = main(["reload"])
    assert code == 0


def test_key(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers: list[Callable[[], list[int]]] = [
        lambda: [2, 3],
        lambda: terminal.wait_for("waiting for the keys of nodes 2 3 (") or [],  # type: ignore[func-returns-value]
    ]

    def ask(_run_dir: Path, _service: str, _op: str, _timeout: float, do: str, **_: object) -> dict[str, Any]:
        if do != "status":
            return {"ok": True, "fingerprint": "ab:cd"}
        silent = answers.pop(0)() if answers else []
        key = {"fingerprint": "ab:cd", "in_use": False, "nodes_using": [], "nodes_having": [2, 3]}
        return {
            "keys": [key, key | {"fingerprint": "ef:01"}], "nodes_silent": silent, "nodes": [2, 3], "stored": "yes",
            "store_error": "", "key_file": "", "suite": "",
        }  # fmt: skip

    monkeypatch.setattr("rondo.ipc.control.ask", ask)
    with terminal.here():
        code = main(["key", "use", "ab:cd", "--run-dir", str(tmp_path)])
    assert code == 0


def test_demo(terminal: Terminal) -> None:
    told = story.Story(story.Plan(3, 1.0))
    with terminal.here():
        told.until("the ring is whole", lambda: terminal.wait_for("waiting until the ring is whole (") or True)  # type: ignore[func-returns-value]
