"""The keeper alone, as a process: what SAM says to it, and what it tells."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rondo.testing.lab.waiting import wait_for
from services.sam.keeper.output import FILE_BYTES_MAX
from services.sam.keeper.privileges import lose_protection
from services.sam.keeper.wire import Say, Tell, Unframer, frame
from services.sam.signals import user_of

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0
MARK = "KEEPER_TEST"


class Sam:
    """A keeper, and the side of SAM."""

    def __init__(self, directory: Path, wrapper: Sequence[str] = ()) -> None:
        self.directory = directory
        self.errors = directory / "errors"
        with self.errors.open("wb") as errors:
            argv = [*wrapper, sys.executable, "-m", "services.sam.keeper", str(directory)]
            self.keeper = subprocess.Popen(argv, cwd=ROOT, stderr=errors)
        self.connect()

    def connect(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(str(self.directory / "keeper.sock"))
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        self.socket.settimeout(PATIENCE_S)
        self._unframer = Unframer()
        self._heard: list[list[Any]] = []

    def say(self, *message: Any) -> None:
        self.socket.sendall(frame(list(message)))

    def hear(self) -> list[Any]:
        """The next message of the keeper."""
        while not self._heard:
            self._heard += self._unframer.feed(self.socket.recv(65536))
        return self._heard.pop(0)

    def spawn(self, key: str, script: str, instance: int = 0, **changes: Any) -> None:
        """`sh -c script`."""
        spec = {
            "program": b"/bin/sh",
            "arguments": [b"sh", b"-c", script.encode()],
            "directory": os.fsencode(self.directory),
            "environment": [
                b"PATH=" + os.fsencode(os.environ["PATH"]),
                f"{MARK}={key}".encode(),
                b"WHERE=" + os.fsencode(self.directory),
            ],
            "umask": 0o027,
            "uid": os.geteuid(),
            "gid": os.getegid(),
            "groups": None,
            "output": str(self.directory / f"{key}.out"),
            "output_key": key,
            "log": str(self.directory / f"{key}.log"),
            "health": "",
            "mark": f"{MARK}={key}".encode(),
        }
        self.say(Say.SPAWN, key, instance, {**spec, **changes})

    def spawned(self, key: str, instance: int = 0) -> int:
        """Wait until it says that this runs; its pid."""
        told = self.hear()
        assert told[:3] == [Tell.SPAWNED, key, instance]
        return int(told[3])

    def ended(self, key: str, instance: int = 0) -> list[Any]:
        """Wait until it says that this has ended; how."""
        told = self.hear()
        assert told[:3] == [Tell.ENDED, key, instance]
        return list(told[3])

    def listed(self) -> list[list[Any]]:
        self.say(Say.LIST)
        while (told := self.hear())[0] != Tell.LISTED:
            continue  # an end may be told at any time
        return list(told[2])

    def marked(self) -> list[int]:
        """Everything that was started here and lives."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    environment = (entry / "environ").read_bytes().split(b"\0")
                    if b"WHERE=" + os.fsencode(self.directory) in environment:
                        found.append(int(entry.name))
        return found

    def close(self) -> None:
        self.socket.close()
        self.keeper.send_signal(signal.SIGTERM)
        assert self.keeper.wait(PATIENCE_S) == 0
        assert self.errors.read_text() == ""
        assert not self.marked()


@pytest.fixture
def sam() -> Iterator[Sam]:
    directory = Path(tempfile.mkdtemp(prefix="rondo-keeper-", dir="/tmp"))
    made = Sam(directory)
    yield made
    made.close()
    shutil.rmtree(directory)


def text_of(sam: Sam, key: str) -> str:
    return (sam.directory / f"{key}.log").read_text()


def test_it_tells_how_a_program_ended(sam: Sam) -> None:
    sam.spawn("a", "echo out; echo err >&2; umask; pwd; exit 7")
    pid = sam.spawned("a")
    assert sam.ended("a")[:4] == [7, False, "", 0]
    assert text_of(sam, "a") == f"out\nerr\n0027\n{sam.directory}\n"
    assert sam.listed() == [["a", 0, pid, sam.listed()[0][3], sam.listed()[0][4]]]
    sam.say(Say.FORGET, "a", 0)
    assert sam.listed() == []


def test_a_signal_goes_to_the_whole_group(sam: Sam) -> None:
    sam.spawn("a", "sleep 1000 & sleep 1000")
    sam.spawned("a")
    sam.say(Say.SIGNAL, "a", 0, signal.SIGTERM)
    assert sam.ended("a")[0] == -signal.SIGTERM


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"program": b"/nonexistent"}, "program"),
        ({"program": b"no-such-program-anywhere"}, "program"),
        ({"program": b"/etc/passwd"}, "program"),
        ({"directory": b"/nonexistent"}, "directory"),
        ({"output": "/nonexistent/fifo"}, "start"),
    ],
)
def test_it_tells_why_a_program_cannot_run(sam: Sam, changes: dict[str, Any], stage: str) -> None:
    sam.spawn("a", "", **changes)
    status, left_behind, told, number, _ = sam.ended("a")
    assert (left_behind, told) == (False, stage)
    assert status == 127
    assert number != 0


def test_there_is_one_process_of_a_key_whatever_sam_says(sam: Sam) -> None:
    sam.spawn("a", "sleep 1000")
    pid = sam.spawned("a")
    sam.spawn("a", "sleep 1000", instance=1)
    told = sam.hear()
    assert told[0] == Tell.LISTED
    assert [each[:3] for each in told[2]] == [["a", 0, pid]]
    sam.say(Say.SIGNAL, "a", 0, signal.SIGKILL)
    sam.ended("a")
    sam.spawn("a", "sleep 1000", instance=1)
    assert [each[1] for each in sam.hear()[2]] == [0], "as long as its end is not forgotten, too"
    sam.say(Say.FORGET, "a", 0)
    sam.spawn("a", "sleep 1000", instance=1)
    sam.spawned("a", 1)


def test_what_is_left_of_it_dies_before_its_end_is_told(sam: Sam) -> None:
    # One in its group, one that has left it, and one more generation of that.
    sam.spawn("a", "sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000' & sleep 0.3; exit 0")
    sam.spawned("a")
    assert sam.ended("a")[:2] == [0, True]
    assert sam.marked() == []
    children = Path(f"/proc/{sam.keeper.pid}/task/{sam.keeper.pid}/children").read_text()
    assert children == "", "no zombie"


def test_what_belongs_to_another_is_left_alone(sam: Sam) -> None:
    sam.spawn("b", "setsid sleep 1000 & sleep 1000")
    sam.spawned("b")
    wait_for(sam.marked, lambda found: len(found) == 3, "all of it run", PATIENCE_S)
    sam.spawn("a", "exit 0")
    sam.spawned("a")
    assert sam.ended("a")[:2] == [0, False]
    assert len(sam.marked()) == 3


def test_an_end_is_told_to_the_next_sam(sam: Sam) -> None:
    sam.spawn("a", "sleep 1000")
    pid = sam.spawned("a")
    sam.spawn("b", "sleep 1000")
    sam.spawned("b")
    sam.socket.close()
    os.kill(pid, signal.SIGKILL)
    sam.connect()
    deadline = time.monotonic() + PATIENCE_S
    while (ending := sam.listed()[0][4]) is None:
        assert time.monotonic() < deadline
    assert ending[0] == -signal.SIGKILL
    sam.socket.close()
    sam.connect()
    assert [(each[0], each[4]) for each in sam.listed()] == [("a", ending), ("b", None)]


def test_a_flood_is_bounded_and_holds_nobody_up(sam: Sam) -> None:
    sam.spawn("flood", "exec cat /dev/zero")
    sam.spawned("flood")
    deadline = time.monotonic() + PATIENCE_S
    while not (sam.directory / "flood.log.1").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sam.spawn("a", "exit 3")
    sam.spawned("a")
    assert sam.ended("a")[0] == 3
    # A look at the files while it goes on may fall between one that is full and the next.
    sam.say(Say.SIGNAL, "flood", 0, signal.SIGKILL)
    sam.ended("flood")
    files = sorted(sam.directory.glob("flood.log*"))
    assert len(files) == 2
    assert all(each.stat().st_size <= FILE_BYTES_MAX for each in files)


def test_nonsense_changes_nothing(sam: Sam) -> None:
    sam.spawn("a", "sleep 1000")
    sam.spawned("a")
    for message in ([99], [Say.SPAWN, 1, 2, 3], [Say.SIGNAL, "a", 0, "x"], ["x"], [Say.SPAWN, "b", 0, {}]):
        sam.say(*message)
    assert [each[0] for each in sam.listed()] == ["a"]
    sam.socket.sendall(b"\xff" * 100)
    with_nothing = sam.socket.recv(100)
    assert with_nothing == b"", "it hangs up"
    sam.socket.close()
    sam.connect()
    assert [each[0] for each in sam.listed()] == ["a"]
    assert "cannot be understood" in sam.errors.read_text()
    sam.errors.write_text("")


def test_a_second_keeper_does_not_start(sam: Sam) -> None:
    argv = [sys.executable, "-m", "services.sam.keeper", str(sam.directory)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 18
    assert "runs already" in done.stderr
    assert sam.listed() == []


@pytest.mark.root
def test_a_mark_is_the_owners_alone(sam: Sam) -> None:
    """What an application leaves behind is killed by its mark; another user's process that has the same mark is not."""
    sam.directory.chmod(0o755)
    as_user: list[dict[str, Any]] = [{"uid": uid, "gid": uid, "groups": []} for uid in (12345, 12346)]
    background = f"{MARK}=own setsid sleep 1000 & echo $! > /dev/null; exec sleep 1000"
    sam.spawn("own", background, **as_user[0])
    pid = sam.spawned("own")
    sam.spawn("other", background, **as_user[1])
    sam.spawned("other")
    deadline = time.monotonic() + PATIENCE_S
    while len(sam.marked()) != 4:
        assert time.monotonic() < deadline, "all of both run"
    os.kill(pid, signal.SIGKILL)
    assert sam.ended("own")[1], "something was left behind"
    left = sam.marked()
    assert {user_of(each) for each in left} == {12346}
    assert len(left) == 2
    for each in left:
        os.kill(each, signal.SIGKILL)
    sam.ended("other")


@pytest.mark.parametrize(("score", "left"), [("-900", "0"), ("-1", "0"), ("0", "0"), ("300", "300")])
def test_protection_is_lost_and_nothing_else(tmp_path: Path, score: str, left: str) -> None:
    (tmp_path / "score").write_text(score)
    lose_protection(str(tmp_path / "score"))
    assert (tmp_path / "score").read_text() == left


@pytest.mark.root
def test_capabilities_of_the_node_are_not_inherited() -> None:
    """Of a keeper as systemd starts it: a user's, with a capability for the services."""
    directory = Path(tempfile.mkdtemp(prefix="rondo-keeper-", dir="/tmp"))
    os.chown(directory, 12345, 12345)
    as_user = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    sam = Sam(directory, [*as_user, "--inh-caps=+sys_nice", "--ambient-caps=+sys_nice"])
    assert capability_sets(Path(f"/proc/{sam.keeper.pid}/status").read_text())["CapEff"] > 0
    sam.spawn("a", "cat /proc/self/status", uid=12345)
    sam.spawned("a")
    assert sam.ended("a")[0] == 0
    assert set(capability_sets(text_of(sam, "a")).values()) == {0}
    sam.close()
    shutil.rmtree(directory)


def capability_sets(status: str) -> dict[str, int]:
    """What /proc/PID/status says, the bounding set aside."""
    known = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Cap"))
    return {name: int(bits, 16) for name, bits in known.items() if name != "CapBnd"}
