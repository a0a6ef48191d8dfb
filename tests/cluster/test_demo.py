"""`rondo demo` as a user runs it: it proves what it says, and leaves nothing behind, also when it is interrupted."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rondo.testing.lab.waiting import wait_for
from tests.documents.blocks import ROOT, blocks

DEMO = [sys.executable, "-m", "rondo.cli.main", "demo"]
DEMO_SECONDS = 120
CLAIMS = 6
(README,) = [block for block in blocks(ROOT / "README.md") if block.language == "text"]


def directory_of(output: str) -> Path:
    """The directory in which a demo works, from its output."""
    found = re.search(r"in (/tmp/rondo-demo-\S+)", output)
    assert found, output
    return Path(found[1])


def processes_of(directory: Path) -> list[int]:
    """All processes with this directory in their environment or command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(directory) in told:
                found.append(int(entry.name))
    return found


def assert_nothing_is_left(directory: Path) -> None:
    assert not directory.exists()
    # One that was killed may need a moment to its end. What is left behind would stay.
    wait_for(lambda: processes_of(directory), lambda left: left == [], "no process is left", 10.0)


def plain(text: str) -> str:
    """Without the times at the beginnings of lines, without numbers, and wherever lines end."""
    lines = (re.sub(r"^ *[0-9.]+ s ", " ", line) for line in text.splitlines())
    return re.sub(r"[0-9.]+", "N", " ".join(" ".join(lines).split()))


STOPPED = "the network cannot be cut here (--no-namespace): instead all processes of nodes 2 3 are stopped (SIGSTOP)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "split", "minority"),
    [
        pytest.param([], "cutting the network between node 3 and nodes 1 2", 3, marks=pytest.mark.namespaces),
        (["--no-namespace"], STOPPED, 1),
    ],
)
def test_it_is_split_a_node_is_killed_and_nothing_is_lost(options: list[str], split: str, minority: int) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [*DEMO, "--seconds", "3", *options], capture_output=True, text=True, timeout=DEMO_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < DEMO_SECONDS
    assert done.stdout.count("s  holds") == CLAIMS
    assert split in done.stdout
    assert f"node {minority} has lost quorum: 1 vote of 3" in done.stdout
    assert f"node {minority} has quorum again; its ledger has caught up" in done.stdout
    assert "kill -9 of everything on node 3" in done.stdout
    assert "node 3 got the ledger" in done.stdout
    assert "its peers on 2 3 say: node 1 has left the group" in done.stdout
    assert "they say that it is back: instance 1" in done.stdout
    assert "SAM says of instance 0: hung: silent for more than 1000 ms; was ended by SIGKILL" in done.stdout
    assert done.stderr == ""
    assert [line for line in README.text.splitlines() if plain(line) not in plain(done.stdout)] == []
    assert_nothing_is_left(directory_of(done.stdout))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_it_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        demo = subprocess.Popen([*DEMO, "--nodes", "2", "--seconds", "60"], stdout=file, stderr=file)
    try:
        wanted = "transfers done by" if number is signal.SIGTERM else "token time-out"
        deadline = time.monotonic() + DEMO_SECONDS
        while wanted not in output.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        demo.send_signal(number)
        assert demo.wait(DEMO_SECONDS) == 128 + number
    finally:
        demo.kill()
        demo.wait()
    text = output.read_text()
    assert "Traceback" not in text
    assert_nothing_is_left(directory_of(text))
