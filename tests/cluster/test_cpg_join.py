"""`rondo cpg join --json` on three nodes, lines typed on each: from the last join on, all print the same bytes."""

import json
import signal
import subprocess
import sys
from itertools import zip_longest

import pytest

from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.ring_config import RingConfig
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import REPOSITORY, RUN_DIRECTORY
from rondo.testing.lab.waiting import wait_for

pytestmark = pytest.mark.namespaces

GROUP = "typed"
PRINT_TIMEOUT_S = 60.0
LINES_EACH = 100
# An empty message, bytes that are no UTF-8, what JSON must escape, letters that are not ASCII, and a long line.
ODD_LINES = [b"", b"\xff\xfe\x00", b'"\\\t\x1b[31m\r', "gr\u00fc\u00df \u4f60\u597d \u2028".encode(), b"x" * 200_000]


class Typist:
    """`rondo cpg join` on a node, and somebody who types."""

    def __init__(self, host: Host, *options: str) -> None:
        self.host = host
        self._output_path = host.directory / "join.out"
        self._error_path = host.directory / "join-errors.out"
        argv = [sys.executable, "-m", "rondo.cli.main", "cpg", "join", GROUP, "--json", "--run-dir", RUN_DIRECTORY]
        with self._output_path.open("ab") as output, self._error_path.open("ab") as errors:
            self._popen = host.popen(
                [*argv, *options],
                environment={"PYTHONPATH": str(REPOSITORY)},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
            )

    @property
    def address(self) -> dict[str, int]:
        """The member as the output names it."""
        return {"node": self.host.number, "pid": self._popen.pid}

    def type(self, *lines: bytes) -> None:
        """Type lines, each with its newline."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(b"".join(line + b"\n" for line in lines))
        self._popen.stdin.flush()

    def end_input(self) -> None:
        """Type end-of-file."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._popen.send_signal(number)

    def wait_end(self) -> int:
        """Wait until the command has ended; its exit code."""
        return self._popen.wait(PRINT_TIMEOUT_S)

    def printed(self) -> list[bytes]:
        """The lines printed so far, each with its newline if that is there already."""
        return self._output_path.read_bytes().splitlines(keepends=True)

    def errors(self) -> bytes:
        """What it wrote to standard error."""
        return self._error_path.read_bytes()

    def wait_for(self, what: str, *wanted: bytes) -> None:
        """Wait until one line contains all these bytes."""
        wait_for(
            self.printed,
            lambda lines: any(all(part in line for part in wanted) for line in lines),
            f"{what} at {self.host.name}",
            PRINT_TIMEOUT_S,
        )

    def wait_members(self, *members: "Typist") -> None:
        """Wait until it has printed a membership of exactly these, given in the order of their nodes."""
        wanted = json.dumps({"members": [member.address for member in members]})
        self.wait_for("the membership of all", wanted[1:-1].encode())

    def wait_left(self, who: "Typist", reason: str) -> None:
        """Wait until `who` is gone for that reason."""
        self.wait_for(f"the end of {who.address}", json.dumps({**who.address, "reason": reason}).encode(), b'"left"')

    def wait_message(self, data: str) -> None:
        """Wait until a message was printed."""
        self.wait_for(f"the message {data!r}", json.dumps({"data": data})[1:].encode())

    def printed_since_join_of(self, who: "Typist") -> list[bytes]:
        """The lines from the one that says that `who` joined."""
        lines = self.printed()
        joined = json.dumps({**who.address, "reason": "join"}).encode()
        return lines[next(number for number, line in enumerate(lines) if joined in line) :]


@pytest.fixture
def cluster(lab: Lab) -> Cluster:
    """Three complete nodes in one ring."""
    config = RingConfig.of_lab(lab, "udp", totem={"token": 5000})  # no busy machine breaks the ring
    cluster = Cluster(CompleteNode(host, config) for host in lab.hosts.values())
    cluster.start()
    return cluster


def join_all(lab: Lab) -> list[Typist]:
    """One typist on each node, started at the same time; all have printed the join of the last."""
    typists = [Typist(host) for host in lab.hosts.values()]
    for typist in typists:
        typist.wait_members(*typists)
    return typists


def last_to_join(typists: list[Typist]) -> Typist:
    """Who joined last: the one that its own first line shows as the only one to come into a group of all."""
    return next(t for t in typists if len(json.loads(t.printed()[0])["members"]) == len(typists))


def check_same(printed: list[list[bytes]]) -> None:
    """Check that all printed the same bytes, and say where they part if not."""
    for number, lines in enumerate(zip_longest(*printed)):
        assert len(set(lines)) == 1, f"line {number}: {[(line or b'(nothing)')[:200] for line in lines]}"


def test_all_print_the_same_bytes_from_the_last_join_on(lab: Lab, cluster: Cluster) -> None:
    typists = join_all(lab)
    for number in range(LINES_EACH):
        for typist in typists:
            typist.type(f"{typist.host.name} line {number}".encode())
    for typist in typists:
        typist.type(*ODD_LINES, f"{typist.host.name} is done".encode())
    for typist in typists:
        for other in typists:
            typist.wait_message(f"{other.host.name} is done")
    last = last_to_join(typists)
    printed = [typist.printed_since_join_of(last) for typist in typists]
    check_same(printed)
    events = [json.loads(line) for line in printed[0]]
    messages = [event for event in events if event["event"] == "message"]
    assert len(messages) == len(typists) * (LINES_EACH + len(ODD_LINES) + 1)
    for typist in typists:
        typed = [message.get("data") for message in messages if message["sender"] == typist.address]
        usual = [f"{typist.host.name} line {number}" for number in range(LINES_EACH)]
        odd = [None if line == ODD_LINES[1] else line.decode() for line in ODD_LINES]
        assert typed == [*usual, *odd, f"{typist.host.name} is done"]
    assert sum(message.get("data_base64") == "//4A" for message in messages) == len(typists)
    assert cluster.suspicious() == {}


def test_those_that_stay_print_the_same_of_those_that_go(lab: Lab, cluster: Cluster) -> None:
    first, second, third = typists = join_all(lab)
    last = last_to_join(typists)
    third.type(b"the last words")
    third.end_input()
    assert third.wait_end() == 0
    for typist in (first, second):
        typist.wait_left(third, "leave")
    # It has printed its own last words, and that it left; then the others went on.
    check_same([typist.printed_since_join_of(last) for typist in typists])
    assert json.loads(third.printed()[-1])["left"] == [{**third.address, "reason": "leave"}]
    assert json.loads(third.printed()[-2])["data"] == "the last words"
    cluster.nodes[3].kill()
    cluster.wait_ring(1, 2)
    second.type(b"still here")
    for typist in (first, second):
        typist.wait_message("still here")
    check_same([typist.printed_since_join_of(last) for typist in (first, second)])
    second.signal(signal.SIGKILL)
    first.wait_left(second, "procdown")
    first.type(b"unfinished")
    first.wait_message("unfinished")
    first.signal(signal.SIGTERM)
    assert first.wait_end() == 0
    assert json.loads(first.printed()[-1])["left"] == [{**first.address, "reason": "leave"}]
    assert [typist.errors() for typist in typists] == [b"", b"", b""]
    assert cluster.suspicious() == {}
