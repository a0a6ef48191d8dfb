"""The service as a process, beside logs that the test writes: what is told, what hangs, what fails."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from rondo.config import Config, Loaded, resolve
from rondo.config.node import NotifySettings
from rondo.ipc.control import ControlError, ask
from rondo.node.supervision import RESOLVED_CONFIGURATION
from rondo.testing.lab.waiting import wait_for
from rondo.timeline.kinds import KINDS as EVENTS

SECONDS = 30.0
KIND_OF = {"ring.formed": "node", "quorum.lost": "quorum", "application.event": "application", "link.down": "link"}


class Told:
    """A run directory with logs, and a program that records the notifications it gets."""

    def __init__(self, directory: Path) -> None:
        self.run_dir = directory / "run"
        (self.run_dir / "log").mkdir(parents=True, mode=0o700)
        self.run_dir.chmod(0o700)
        self.output = directory / "told"
        self.output.touch()
        self.command = directory / "command"
        self.program(f'cat >> "{self.output}"')
        self.settings = NotifySettings(command=str(self.command), timeout_ms=20_000)

    def program(self, text: str) -> None:
        """Set what the command does."""
        self.command.write_text(f"#!/bin/sh\n{text}\n")
        self.command.chmod(0o755)

    def happen(self, text: str, seconds_ago: float = 0.0, source: str = "totem") -> None:
        """Append a line to the log of a process."""
        now = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat(timespec="milliseconds")
        with (self.run_dir / f"log/{source}.log").open("a") as file:
            file.write(f"{now} notice  [{source.upper():<6}] {text}\n")

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def counters(self) -> dict[str, int]:
        try:
            found: dict[str, int] = self.status()["counters"]
        except ControlError:
            return {}
        return found

    def status(self) -> dict[str, Any]:
        return ask(self.run_dir, "notify", "status", timeout=SECONDS)

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[str]"]:
        config = replace(resolve(Loaded(Config(), file=""), state_dir=self.run_dir), notify=self.settings)
        if not (self.run_dir / RESOLVED_CONFIGURATION).exists():
            config.save(self.run_dir / RESOLVED_CONFIGURATION)
        argv = ["--resolved", str(self.run_dir / RESOLVED_CONFIGURATION), "--run-dir", str(self.run_dir)]
        with subprocess.Popen(
            [sys.executable, "-m", "services.notify", *argv], stderr=subprocess.PIPE, text=True, umask=0o077
        ) as process:
            wait_for(self.counters, bool, "it answers", SECONDS)
            yield process
            process.terminate()
            assert process.wait(SECONDS) in (0, -9)


@pytest.fixture(name="told")
def _told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def until(look: Callable[[], Any], wanted: Any) -> None:
    wait_for(look, wanted.__eq__, f"{wanted} is seen", SECONDS)


def until_at_least(look: Callable[[], int], least: int) -> None:
    wait_for(look, lambda count: count >= least, f"{least} at least", SECONDS)


def test_a_command_is_told_what_it_is_to_be_told_of(told: Told) -> None:
    told.program(
        f'read line; echo "$line" >> "{told.output}"; echo "$RONDO_KIND $RONDO_EVENT" >> "{told.output}.names"'
    )
    with told.running():
        told.happen("Token has not been received in 750 ms")
        told.happen("Node 3 leaves.")
        until(lambda: [each["event"] for each in told.events], ["node.leaves"])
    (event,) = told.events
    assert (event["node"], event["kind"], event["detail"], event["source"]) == (1, "node", {"node": 3}, "totem")
    assert Path(f"{told.output}.names").read_text() == "node node.leaves\n"


@pytest.mark.parametrize("name", ["ring.formed", "quorum.lost", "application.event", "link.down"])
def test_it_is_told_of_every_kind(told: Told, name: str) -> None:
    """Of nodes, quorum, applications and links, as the process writes it whose matter it is."""
    (kind,) = [each for each in EVENTS if each.name == name]
    with told.running():
        told.happen(kind.example, source=kind.source)
        until(lambda: [(each["event"], each["kind"]) for each in told.events], [(name, KIND_OF[name])])


def test_one_that_fails_is_run_again(told: Told) -> None:
    told.program(
        f'test -e "{told.output}.second" || {{ touch "{told.output}.second"; exit 3; }}; cat >> "{told.output}"'
    )
    with told.running():
        told.happen("Node 3 leaves.")
        until(lambda: len(told.events), 1)
        until(told.counters, {"told": 1, "attempts_failed": 1, "given_up": 0, "dropped": 0})


def test_one_that_hangs_is_killed_with_all_that_it_has_started(told: Told) -> None:
    told.settings = replace(told.settings, timeout_ms=400)
    pids = Path(f"{told.output}.pids")
    pids.touch()
    told.program(f'sleep 1000 & echo $! >> "{pids}"; sleep 1000')
    with told.running():
        told.happen("Node 3 leaves.")
        until_at_least(lambda: told.counters().get("attempts_failed", 0), 1)
        # It is run again, and a slow machine may not have come so far with the first one.
        until_at_least(lambda: pids.read_text().count("\n"), 1)
        pid = int(pids.read_text().split()[0])
        wait_for(lambda: _runs(pid), lambda runs: not runs, "what it had started has ended, too", SECONDS)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state != b"Z"


def test_a_successor_tells_of_what_it_was_not_there_for_and_of_nothing_twice(told: Told) -> None:
    with told.running():
        told.happen("Node 3 leaves.")
        until(lambda: told.counters().get("told"), 1)
    told.happen("Node 2 leaves.")
    with told.running():
        until(lambda: [each["detail"]["node"] for each in told.events], [3, 2])
        told.happen("Node 4 leaves.")
        until(lambda: [each["detail"]["node"] for each in told.events], [3, 2, 4])


def test_it_is_told_that_the_node_is_being_stopped(told: Told) -> None:
    """By the last line that is there when the service is stopped. It stands still meanwhile, and so has not read it."""
    with told.running() as process:
        process.send_signal(signal.SIGSTOP)
        told.happen("received SIGTERM indicating exit request", source="supervisord")
        process.terminate()
        process.send_signal(signal.SIGCONT)
        assert process.wait(SECONDS) == 0
    assert [each["event"] for each in told.events] == ["node.stopping"]


def test_a_command_that_hangs_does_not_hold_up_the_stop(told: Told) -> None:
    told.settings = NotifySettings(command=str(told.command), timeout_ms=600_000)
    told.program("sleep 1000")
    with told.running() as process:
        told.happen("Node 3 leaves.")
        until(lambda: told.status()["waiting"], 1)
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_a_command_has_the_usual_umask(told: Told) -> None:
    told.program(f'umask > "{told.output}.umask"')
    with told.running():
        told.happen("Node 3 leaves.")
        until(lambda: told.counters().get("told"), 1)
    assert int(Path(f"{told.output}.umask").read_text(), 8) == 0o022


def test_what_was_before_the_node_was_started_is_not_told(told: Told) -> None:
    told.happen("Node 9 leaves.", seconds_ago=5.0)
    with told.running():
        told.happen("Node 3 leaves.")
        until(lambda: [each["detail"]["node"] for each in told.events], [3])


def test_a_command_that_is_not_there_is_a_failure(told: Told) -> None:
    told.command.unlink()
    with told.running():
        told.happen("Node 3 leaves.")
        until_at_least(lambda: told.counters().get("attempts_failed", 0), 1)
        assert "cannot be started: No such file" in told.status()["why"]


class _Hook(BaseHTTPRequestHandler):
    """A webhook that fails at first, and then accepts."""

    taken: list[dict[str, Any]]
    answers: list[int]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.answers.pop(0) if self.answers else 204
        if status == 204:
            self.taken.append(body)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Write nothing to standard error."""


@pytest.mark.parametrize("failure", [500, 302])
def test_a_webhook(told: Told, failure: int) -> None:
    _Hook.taken, _Hook.answers = [], [failure]
    with HTTPServer(("127.0.0.1", 0), _Hook) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        told.settings = NotifySettings(webhook=f"http://127.0.0.1:{server.server_port}/hook", timeout_ms=20_000)
        try:
            with told.running():
                told.happen("Node 3 leaves.")
                until(lambda: [each["event"] for each in _Hook.taken], ["node.leaves"])
                until(told.counters, {"told": 1, "attempts_failed": 1, "given_up": 0, "dropped": 0})
        finally:
            server.shutdown()
            serving.join()
