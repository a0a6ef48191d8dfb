"""A node whose run or state directory is full: at the start it is refused, and what runs goes on. Needs no root.

The directories are small file systems in a mount namespace of the test's own (unshare(1)).
"""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo.demo.cluster import free_port
from rondo.node.supervision.halt import kill
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import (
    COMMAND_SECONDS,
    CONFIGURATION,
    NODE,
    RONDO,
    RUNNING,
    Node,
    wait_for_log,
    wait_until_whole,
)

BUSY_S = 60.0
MOUNTS = """\
mount -t tmpfs -o size=2m,mode=755 tmpfs "$0/r1" && mount -t tmpfs -o size=64k,mode=755 tmpfs "$0/s1" || exit 1
echo mounted
exec sleep 1000
"""


class Confined(Node):
    """A node whose directories are small file systems of their own."""

    def __init__(self, directory: Path) -> None:
        config = directory / "corosync.conf"
        config.write_text(CONFIGURATION.format(port=free_port(["127.0.0.1"]), nodes=NODE.format(1)))
        super().__init__(1, config, directory)
        for each in (self.run_dir, self.state_dir):
            each.mkdir()
        argv = ["unshare", "-rm", "sh", "-c", MOUNTS, str(directory)]
        self.holder = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "mounted\n"

    def inside(self, path: Path) -> Path:
        """The path of a file of the node's mount namespace, as seen from here."""
        return Path(f"/proc/{self.holder.pid}/root{path}")

    def command(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run `rondo ARGUMENTS` in the node's mount namespace."""
        enter = ["nsenter", "-t", str(self.holder.pid), "-U", "-m", "--preserve-credentials", "--"]
        done = subprocess.run(
            [*enter, *RONDO, *arguments, "--run-dir", str(self.run_dir)],
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert not check or done.returncode == 0, done.stderr
        return done

    def fill(self, directory: Path) -> Path:
        """Fill a file system to its end. Returns the file that fills it."""
        path = self.inside(directory / "fill")
        with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        return path


@pytest.fixture
def confined() -> Iterator[Confined]:
    with tempfile.TemporaryDirectory(prefix="rondo-test-", dir="/tmp") as name:
        node = Confined(Path(name))
        yield node
        kill(node.run_dir)
        node.holder.kill()
        node.holder.communicate()


def killed_one_is_back(node: Confined, name: str) -> None:
    before = node.pids()[name]
    os.kill(before, signal.SIGKILL)
    wait_for(node.pids, lambda now: now.get(name, before) != before, f"{name} is back", BUSY_S)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["run", "state"])
def test_a_start_without_room_is_refused_with_the_place_and_leaves_nothing(confined: Confined, which: str) -> None:
    directory = {"run": confined.run_dir, "state": confined.state_dir}[which]
    full = confined.fill(directory)
    refused = confined.start(check=False)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: {directory}: No space left on device; make room there, or choose another directory with "
        f"--{which}-dir\n"
    )
    assert confined.pids() == {}
    full.unlink()
    confined.start()


@pytest.mark.slow
def test_a_full_run_directory_loses_lines_and_supervision_goes_on(confined: Confined) -> None:
    confined.start()
    supervisord = confined.pids()["supervisord"]
    full = confined.fill(confined.run_dir)
    for name in RUNNING:
        for _ in range(3):
            killed_one_is_back(confined, name)
    wait_until_whole(confined)
    full.unlink()
    killed_one_is_back(confined, "sam")
    assert confined.pids()["supervisord"] == supervisord
    wait_for_log(
        confined,
        "supervisord",
        f"lines of this log are lost: {confined.run_dir}/log/supervisord.log: No space left on device.",
    )
    assert confined.status()["services"]["cpg"]["restarts"] == 3


def test_a_full_state_directory_does_not_keep_the_ring_process_from_coming_back(confined: Confined) -> None:
    confined.start()
    full = confined.fill(confined.state_dir)
    killed_one_is_back(confined, "totem")
    wait_until_whole(confined)
    wait_for_log(confined, "totem", "The ring sequence cannot be stored")
    full.unlink()
    wait_for_log(confined, "totem", f"The ring sequence is stored in {confined.state_dir}/ringid_1 again")


COMMANDS = [
    "status", "status --json", "metrics", "events", "events -f", "logs", "logs -f", "cpg join g", "cmap list",
    "cmap get nodelist.node.0.nodeid", "nodes", "quorum", "top", "debug totem", "doctor", "wait --members 1",
    "sam status", "report -o -", "reload",
]  # fmt: skip


@pytest.mark.slow
def test_commands_whose_standard_output_is_full_say_so(tmp_path: Path) -> None:
    config = tmp_path / "corosync.conf"
    config.write_text(CONFIGURATION.format(port=free_port(["127.0.0.1"]), nodes=NODE.format(1)))
    with tempfile.TemporaryDirectory(prefix="rondo-test-", dir="/tmp") as name:
        node = Node(1, config, Path(name))
        node.start()
        try:
            for command in [*COMMANDS, "stop"]:
                with Path("/dev/full").open("wb") as full:
                    done = subprocess.run(
                        [*RONDO, *command.split(), "--run-dir", str(node.run_dir)],
                        stdout=full, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                        timeout=COMMAND_SECONDS, check=False,
                    )  # fmt: skip
                expected = (1, "error: standard output: No space left on device\n")
                assert (done.returncode, done.stderr) == expected, command
            assert node.pids() == {}
        finally:
            kill(node.run_dir)
