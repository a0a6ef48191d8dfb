"""`rondo top`: what it shows, in which order, in how little room, and that it leaves the terminal as it was."""

from __future__ import annotations

import copy
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from rondo.cli.main import main
from rondo.cli.text import column, cut
from rondo.cli.top.frame import frame
from rondo.cli.top.rates import Rates, rates_of, short
from rondo.cli.top.screen import HIDE_CURSOR, SHOW_CURSOR, Screen
from rondo.ipc.surveyor import Surveyor
from rondo.metrics.looker import Looker
from rondo.timeline.events import Event
from tests.unit.metrics.sample import ANSWERS

GROUPS: list[dict[str, Any]] = [
    {"group": "bank", "members": [{"node": 1, "pid": 5}], "messages": 10, "message_bytes": 9000},
    {"group": "atlas", "members": [{"node": 1, "pid": 6}, {"node": 2, "pid": 7}], "messages": 20, "message_bytes": 100},
    {"group": "clock", "members": [{"node": 2, "pid": 8}], "messages": 5, "message_bytes": 5000},
]
APPLICATIONS = [
    {
        "id": name, "state": state, "pid": None, "instance": 2, "restarts": restarts, "policy": "restart",
        "message": "", "history": [{"instance": 1, "why": "killed", "text": "by signal 9"}],
    }
    for name, state, restarts in (("a", "started", 0), ("b", "failed", 1), ("c", "started", 9))
]  # fmt: skip
TIMEOUT_S = 60.0


@pytest.fixture(name="told")
def _told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The answers of a node with two links, votes, three groups and three applications."""
    answers = copy.deepcopy({**ANSWERS})
    answers["cpg"]["groups"] = copy.deepcopy(GROUPS)
    monkeypatch.setattr(Surveyor, "ask", lambda *_: answers)
    monkeypatch.setattr("rondo.metrics.looker.ANSWER_S", 0.01)  # SAM does not run here
    looker = Looker(tmp_path)
    told = looker.status()
    looker.close()
    away = {"node": 3, "name": "n3", "addresses": [], "member": False, "since": "2026-01-01T00:00:00"}
    nodes = [*told["nodes"], away | {"links": told["status"]["links"]["3"]}]
    return told | {"nodes": nodes, "applications": copy.deepcopy(APPLICATIONS)}


def events(count: int) -> list[Event]:
    return [Event(1_795_950_000.0 + n, "totem", "ring_formed", "notice", f"event number {n}", {}) for n in range(count)]


def rates() -> Rates:
    """Of the groups as they are, a second after there was nothing."""
    return Rates({"messages_rx": 1234.0}, {each["group"]: each["messages"] for each in GROUPS},
                 {each["group"]: each["message_bytes"] for each in GROUPS})  # fmt: skip


def names(lines: list[str], label: str) -> list[str]:
    """The words in the first column of a list."""
    head = next(index for index, line in enumerate(lines) if line.startswith(label))
    rows = lines[head + 1 :]
    ends = next((n for n, row in enumerate(rows) if not row or row.split()[0].isupper()), len(rows))
    return [row.split()[0] for row in rows[:ends]]


def test_it_shows_what_the_page_has(told: dict[str, Any]) -> None:
    text = "\n".join(frame(told, rates(), "name", events(2), None))
    for what in (
        "node 1: operational NOT WELL",
        "ring 1.6b0c0493a057, 2 of 3 members, rotation 2.18 ms",
        "absent: node 3 n3 since 2026-01-01T00:00:00",
        "refused: packets from 10.9.9.9: it is a stranger",
        "quorum: yes, 2 of 3 votes, 2 needed; quorate wait_for_all",
        "messages 1.2k in - out",
        "link 0",
        "DOWN",
        "killed; by signal 9",
        "event number 1",
    ):
        assert what in text
    atlas = next(line for line in text.splitlines() if line.startswith("atlas"))
    assert atlas.split() == ["atlas", "20", "100", "2", "1:6", "2:7"]


@pytest.mark.parametrize(
    ("order", "groups", "applications"),
    [
        ("name", ["atlas", "bank", "clock"], ["b", "a", "c"]),
        ("messages", ["atlas", "bank", "clock"], ["b", "a", "c"]),
        ("bytes", ["bank", "clock", "atlas"], ["b", "a", "c"]),
        ("members", ["atlas", "bank", "clock"], ["b", "a", "c"]),
        ("restarts", ["atlas", "bank", "clock"], ["c", "b", "a"]),
    ],
)
def test_lists_are_sorted_as_wanted(
    told: dict[str, Any], order: str, groups: list[str], applications: list[str]
) -> None:
    lines = frame(told, rates(), order, [], None)
    assert names(lines, "GROUP") == groups
    assert names(lines, "APPLICATION") == applications


def test_messages_and_members_are_orders_of_their_own(told: dict[str, Any]) -> None:
    seen = Rates({}, {"clock": 9.0, "bank": 5.0, "atlas": 1.0}, {})
    assert names(frame(told, seen, "messages", [], None), "GROUP") == ["clock", "bank", "atlas"]
    told["status"]["groups"][2]["members"] *= 5
    assert names(frame(told, seen, "members", [], None), "GROUP") == ["clock", "atlas", "bank"]


def test_links_that_are_down_come_first(told: dict[str, Any]) -> None:
    assert names(frame(told, rates(), "name", [], None), "LINK") == ["3", "2"]


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (132, 50), (80, 3), (1, 1)])
def test_it_keeps_to_the_terminal(told: dict[str, Any], size: tuple[int, int]) -> None:
    told["status"]["groups"] = [{**GROUPS[0], "group": f"{'long' * 20}{n}"} for n in range(300)]
    lines = frame(told, rates(), "name", events(50), size)
    assert len(lines) <= size[1]
    assert max(len(line) for line in lines) <= size[0]


def test_in_80_by_24_every_list_has_its_place(told: dict[str, Any]) -> None:
    told["status"]["groups"] = [{**GROUPS[0], "group": f"g{n:03}"} for n in range(300)]
    lines = frame(told, rates(), "name", events(50), (80, 24))
    assert len(lines) == 24, "no room is given away"
    heads = [line.split()[0] for line in lines if line.split()[0].isalpha() and line.split()[0].isupper()]
    assert heads == ["GROUP", "LINK", "APPLICATION", "PROCESS", "EVENT"]
    head = next(line for line in lines if line.startswith("GROUP"))
    assert head.startswith(f"GROUP {len(names(lines, 'GROUP'))} of 300")


def test_a_name_cannot_steer_the_terminal(told: dict[str, Any]) -> None:
    told["status"]["groups"][0]["group"] = "evil\x1b[2J\nline"
    told["nodes"][0]["name"] = told["status"]["why"] = "\x1b]0;title\x07"
    lines = frame(told, rates(), "name", events(1), (80, 24))
    assert all(line.isprintable() for line in lines)
    assert any("evil\\x1b[2J\\nline" in line for line in lines)


def test_columns_are_those_of_the_terminal() -> None:
    assert cut("abcdef", 4) == "abc~"
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本~"
    assert cut("日本語", 4) == "日~"
    assert column("日本", 6) == "日本  "


def test_rates_are_of_what_both_looks_know(told: dict[str, Any]) -> None:
    before = copy.deepcopy(told["status"])
    now = told["status"]
    now["counters"]["totem"]["messages_rx"] += 50
    now["groups"][0]["messages"] += 30
    now["groups"][1]["message_bytes"] = 0
    now["groups"][2]["group"] = "new"
    found = rates_of(now, before, 2.0)
    assert found.totem["messages_rx"] == 25.0
    assert found.messages == {"bank": 15.0, "atlas": 0.0}
    assert found.message_bytes["atlas"] == 0.0, "its process was started again"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0, "0"), (0.55, "0.6"), (12.4, "12"), (1500.0, "1.5k"), (2.5e9, "2.5G")]
)
def test_a_rate_is_short(value: float | None, text: str) -> None:
    assert short(value) == text


def test_without_a_terminal_it_is_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").mkdir()
    assert main(["top", "--run-dir", str(tmp_path), "--interval", "0.1"]) == 0
    text = capsys.readouterr().out
    assert text.count("node ?: stopped") == 1
    assert "\x1b" not in text


class Terminal:
    """`rondo top` in a terminal of 80 columns and 24 lines."""

    def __init__(self, run_dir: Path) -> None:
        self.master, self.slave = pty.openpty()
        ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        command = [sys.executable, "-m", "rondo.cli.main", "top", "--run-dir", str(run_dir), "--interval", "30"]
        self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave, stderr=subprocess.STDOUT)
        self.seen = ""

    def wait_for(self, text: str) -> None:
        until_s = time.monotonic() + TIMEOUT_S
        while text not in self.seen:
            ready = select.select([self.master], [], [], max(0.0, until_s - time.monotonic()))[0]
            assert ready, self.seen
            self.seen += os.read(self.master, 65_536).decode()

    def press(self, key: str) -> None:
        self.seen = ""
        os.write(self.master, key.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture(name="terminal")
def _terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "log").mkdir()
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def test_keys_choose_the_order_and_end_it(terminal: Terminal) -> None:
    terminal.wait_for("by name")
    assert HIDE_CURSOR in terminal.seen
    assert "by name" in terminal.seen, "the first frame does not wait for the interval"
    for key, order in (("m", "messages"), ("b", "bytes"), ("s", "members"), ("r", "restarts"), ("n", "name")):
        terminal.press(key)
        terminal.wait_for(f"by {order}")
    terminal.press("q")
    terminal.wait_for(SHOW_CURSOR)
    assert terminal.process.wait(TIMEOUT_S) == 0
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_who_ends_it_has_his_terminal_back(terminal: Terminal) -> None:
    terminal.wait_for("by name")
    assert termios.tcgetattr(terminal.slave) != terminal.before
    terminal.process.terminate()
    assert terminal.process.wait(TIMEOUT_S) == 0
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_a_signal_that_came_before_the_wait_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last look and the wait nobody notices it otherwise, until the interval is over."""
    master, slave = pty.openpty()
    former = signal.signal(signal.SIGUSR2, lambda *_: None)
    with os.fdopen(slave) as keys, os.fdopen(os.dup(slave), "w") as shown:
        monkeypatch.setattr(sys, "stdin", keys)
        monkeypatch.setattr(sys, "stdout", shown)
        with Screen() as screen:
            signal.raise_signal(signal.SIGUSR2)
            began_s = time.monotonic()
            assert screen.key(TIMEOUT_S) == ""
            assert time.monotonic() - began_s < TIMEOUT_S / 2
            os.write(master, b"q")
            assert screen.key(TIMEOUT_S) == "q"
        monkeypatch.undo()
    signal.signal(signal.SIGUSR2, former)
    os.close(master)
