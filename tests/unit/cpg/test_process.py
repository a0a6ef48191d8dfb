"""The cpg process itself, between a totem that is an `OrderedLog` on a real socket and a gateway that is this test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from rondo.ipc import zmq_sockets
from rondo.ipc.control import ControlError, ask
from rondo.protocol import cpg_gateway as bus
from rondo.protocol import events as ev
from rondo.protocol.requests import Op, encode_requests
from rondo.testing.lab.waiting import wait_for
from services.totem.ordered_log import OrderedLog

CONFIGURATION = """
totem {
  version: 2
  transport: udpu
  crypto_cipher: none
  crypto_hash: none
}
nodelist {
  node {
    ring0_addr: 127.0.0.1
    nodeid: 1
  }
}
"""
SESSION, PID, RING = 7, 4711, (1, 8)


class Bench:
    """A run directory with a cpg in it, and both its neighbours."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "corosync.conf").write_text(CONFIGURATION)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.cpg: subprocess.Popen[str] | None = None
        self.log: OrderedLog | None = None
        self.totem: zmq.Socket[bytes] | None = None
        self.peer: bytes | None = None
        self.gateway: zmq.Socket[bytes] | None = None
        self.heard: list[bus.Envelope] = []

    def command(self, *more: str) -> list[str]:
        """The command line of a cpg process."""
        files = ["-c", str(self.directory / "corosync.conf"), "--run-dir", str(self.directory)]
        return [sys.executable, "-m", "services.cpg", *files, *more]

    def start_cpg(self) -> None:
        """Start a cpg process."""
        self.cpg = subprocess.Popen(self.command(), stderr=subprocess.PIPE, text=True)

    def start_totem(self, epoch: int, pid: int) -> None:
        """A totem whose process is `pid`, with the ring of one node that it forms at once."""
        if self.totem is None:
            self.totem = zmq_sockets.bind_router(self.context, f"ipc://{self.directory}/totem.sock")
        self.log = OrderedLog(epoch, 1, pid, 1 << 24)
        self.peer = None

    def stop_totem(self) -> None:
        """End totem: its socket is closed."""
        assert self.totem is not None
        self.totem.close()
        self.totem = self.log = self.peer = None

    def ring(self) -> None:
        """Form a ring, with its sync."""
        assert self.log is not None
        self.log.transitional((1, 4), RING, (1,), ())
        self.log.regular(RING, (1,), (1,), ())
        self.log.sync_step(RING)
        self.until(lambda: self._answered())
        self.log.sync_activate(RING)
        self.log.sync_complete(RING)

    def _answered(self) -> bool:
        assert self.log is not None
        for _, messages in self.log.take_sync_replies():
            for data in messages:
                self.log.message(1, data, False, None)
            return True
        return False

    def connect(self) -> None:
        """Connect a gateway that sends a hello."""
        if self.gateway is not None:
            self.gateway.close()
        self.gateway = zmq_sockets.connect_dealer(self.context, f"ipc://{self.directory}/cpg.sock")
        self.tell(bus.GatewayHello(0, 1, os.getpid(), bus.GatewayKind.CLIENTS))

    def tell(self, envelope: bus.Envelope) -> None:
        """Send an envelope of the gateway."""
        assert self.gateway is not None
        assert zmq_sockets.send(self.gateway, bus.encode(envelope))

    def open(self, epoch: int, resume: list[int] | None) -> None:
        """Open a session."""
        self.tell(bus.Open(epoch, [[SESSION, PID, 1, 0, 0, 0, b"", resume]]))
        self.hears(bus.Opened)

    def request(self, epoch: int, number: int, op: Op, *arguments: object) -> None:
        """Send a request of the session."""
        blob = encode_requests([[number, int(op), *arguments]])
        self.tell(bus.Request(epoch, [[SESSION, number, number, blob]]))

    def turn(self) -> None:
        """Pass envelopes between the three."""
        if self.totem is not None and self.log is not None:
            for identity, frame in zmq_sockets.receive_all_routed(self.totem):
                self.peer = identity
                self.log.receive(frame)
            while (message := self.log.next_message()) is not None:
                self.log.message(1, message.data, False, message.tag)
            while self.peer is not None and (frame_out := self.log.next_frame()) is not None:
                if not zmq_sockets.send(self.totem, frame_out, self.peer):
                    self.log.lost_peer()
        if self.gateway is not None:
            self.heard.extend(bus.decode(frame) for frame in zmq_sockets.receive_all(self.gateway))
        time.sleep(0.002)

    def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Pass envelopes until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s; heard: {self.heard}"
            self.turn()

    def hears(self, kind: type[bus.Envelope]) -> bus.Envelope:
        """Wait for an envelope of this kind, and take it."""
        self.until(lambda: any(isinstance(each, kind) for each in self.heard))
        found = next(each for each in self.heard if isinstance(each, kind))
        self.heard.remove(found)
        return found

    def events(self) -> list[list[object]]:
        """All events that were received, without positions."""
        return [
            event[1:]
            for each in self.heard if isinstance(each, bus.Events)
            for _, _, _, blob in each.events
            for event in ev.decode_events(blob)
        ]  # fmt: skip

    def close(self) -> None:
        """End everything."""
        if self.cpg is not None:
            self.cpg.kill()
            self.cpg.communicate()
        self.context.destroy(linger=0)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """The neighbours and cpg, not started."""
    tmp_path.chmod(0o700)
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_any_order_kills_and_a_clean_end(bench: Bench) -> None:
    """cpg first, alone; then the gateway, then totem; kill -9 of cpg in the middle; SIGTERM ends it with 0."""
    bench.start_cpg()
    assert bench.cpg is not None
    bench.until(lambda: (bench.directory / "cpg.ctl").exists())
    assert ask(bench.directory, "cpg", "status", timeout=20)["state"] == "waiting"
    bench.connect()
    bench.start_totem(5, os.getpid())
    bench.until(lambda: bench.log is not None and bench.log.peer_pid != 0)
    bench.ring()
    assert bench.hears(bus.CpgWelcome).epoch == 5
    bench.open(5, None)
    bench.request(5, 1, Op.JOIN, b"g")
    bench.request(5, 2, Op.MCAST, b"g", 2, b"before")
    bench.until(lambda: len(bench.events()) == 2)
    bench.tell(bus.EventAck(5, [[SESSION, 8]]))

    bench.cpg.kill()
    bench.cpg.communicate()
    bench.request(5, 3, Op.MCAST, b"g", 2, b"lost in the old connection")
    bench.start_cpg()
    bench.connect()
    bench.hears(bus.CpgWelcome)
    bench.open(5, [5, 8, 2])
    bench.request(5, 3, Op.MCAST, b"g", 2, b"after")
    bench.until(lambda: len(bench.events()) == 3)
    assert bench.events() == [
        [ev.MEMBERSHIP, b"g", [[1, PID]], [[1, PID, 1]], [], 1],
        [ev.MESSAGE, b"g", 1, PID, False, b"before", 2],
        [ev.MESSAGE, b"g", 1, PID, False, b"after", 3],
    ]
    status = ask(bench.directory, "cpg", "status", timeout=20)
    assert status["pid"] == bench.cpg.pid
    [group] = status["groups"]
    assert (group["group"], group["members"]) == ("g", [{"node": 1, "pid": PID}])
    assert ask(bench.directory, "cpg", "log_level", timeout=20, level="debug")["level"] == "debug"
    with pytest.raises(ControlError, match="no log level"):
        ask(bench.directory, "cpg", "log_level", timeout=20, level="loud")

    bench.cpg.send_signal(signal.SIGTERM)
    _, errors = bench.cpg.communicate(timeout=20)
    assert (bench.cpg.returncode, "Traceback" in errors) == (0, False)


def test_death_of_totem_is_told_at_once(bench: Bench) -> None:
    """Its process is watched; its successor's epoch begins with nobody in any group."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as totem:
        bench.start_totem(5, totem.pid)
        bench.start_cpg()
        bench.until(lambda: bench.log is not None and bench.log.peer_pid != 0)
        bench.ring()
        bench.connect()
        bench.hears(bus.CpgWelcome)
        bench.open(5, None)
        bench.request(5, 1, Op.JOIN, b"g")
        bench.until(lambda: len(bench.events()) == 1)
        bench.stop_totem()
        totem.kill()
    lost = bench.hears(bus.Lost)
    assert (lost.epoch, lost.sessions) == (5, [[SESSION, []]])  # type: ignore[union-attr]
    bench.start_totem(6, os.getpid())
    bench.until(lambda: bench.log is not None and bench.log.peer_pid != 0)
    bench.ring()
    assert bench.hears(bus.CpgWelcome).epoch == 6
    bench.open(6, [5, 9, 1])
    bench.request(6, 2, Op.JOIN, b"g")
    bench.until(lambda: len(bench.events()) == 2)
    assert bench.events()[1] == [ev.MEMBERSHIP, b"g", [[1, PID]], [[1, PID, 1]], [], 2]


def test_garbage_on_both_sockets(bench: Bench) -> None:
    """It is counted, and does not stop cpg."""
    bench.start_totem(5, os.getpid())
    bench.start_cpg()
    bench.until(lambda: bench.log is not None and bench.log.peer_pid != 0)
    bench.ring()
    bench.connect()
    bench.hears(bus.CpgWelcome)
    assert bench.gateway is not None
    assert bench.totem is not None
    for garbage in (b"", b"\xc1", b"\x93\x15\x05", os.urandom(100)):
        bench.gateway.send(garbage)
        bench.totem.send_multipart([bench.peer or b"", garbage])
    bench.open(5, None)
    # What totem said comes over another connection than what the gateway said.
    wait_for(
        lambda: ask(bench.directory, "cpg", "status", timeout=20)["counters"]["bus_errors"],
        lambda count: count >= 8, "all are counted", 30,
    )  # fmt: skip
    assert ask(bench.directory, "cpg", "status", timeout=20)["counters"]["bus_errors"] == 8


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--help"], 0, "Exit codes"),
        (["--nonsense"], 2, "usage"),
        (["-c", "missing.conf"], 8, "missing.conf"),
        (["--resolved", "missing"], 8, "missing"),
        (["--status", "--run-dir", "."], 1, "cpg is not running"),
        (["-c", "corosync.conf", "--run-dir", "d" * 120], 15, "at most 107"),
    ],
)
def test_command_line(bench: Bench, arguments: list[str], code: int, text: str) -> None:
    """Exit codes, and one line that says what is wrong."""
    root = str(Path(__file__).resolve().parents[3])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-m", "services.cpg", *arguments],
        capture_output=True, text=True, cwd=bench.directory, env=environment, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_second_instance(bench: Bench) -> None:
    """It is refused while the first one runs."""
    bench.start_cpg()
    bench.until(lambda: (bench.directory / "cpg.ctl").exists())
    done = subprocess.run(bench.command(), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "runs already" in done.stderr) == (18, True)
