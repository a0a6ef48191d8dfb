"""The measuring application on a Rondo node: python -m bench.clients.rondo_client RUN_DIR GROUP"""

from __future__ import annotations

import json
import queue
import struct
import sys
import threading
import time
from typing import Any

import rondo
from rondo.cli.commands.bench import SENT_BETWEEN_CLOCKS, WARM_UP_MESSAGES
from rondo.paths import client_socket

CONNECT_TIMEOUT_S = 30.0
DELIVERY_TIMEOUT_S = 120.0
IDLE_POLL_S = 0.05
LARGE = 65536
ON_ITS_WAY_BYTES_MAX = 8 * 1024 * 1024
"""Sent and not had back, of one client, as the C client has its bound: where all send as fast as they can and nobody
waits for what comes back, who reads too slowly is cut off (cpg.client_bytes_max)."""
LOOK_S = 0.001
BEAT = struct.Struct("=II")
"""Number of the message, whether it is the last one."""
GAP_MIN_S = 0.010
GAPS_MAX = 8192


class Beats:
    """What was had in `beat`."""

    def __init__(self) -> None:
        self.lasts = 0
        self._next: dict[int, int] = {}
        self._received = self._lost = self._doubled = self._order = 0
        self._at_s = 0.0
        self._gaps: list[tuple[float, float]] = []

    def take(self, message: rondo.Message | None) -> None:
        """One message, or none."""
        if message is None or len(message.data) != BEAT.size:
            return
        at_s = time.monotonic()
        if self._received and at_s - self._at_s >= GAP_MIN_S and len(self._gaps) < GAPS_MAX:
            self._gaps.append((round(at_s, 6), round((at_s - self._at_s) * 1000, 3)))
        self._at_s = at_s
        self._received += 1
        number, is_last = BEAT.unpack(message.data)
        node = message.sender.node
        self._order = (self._order * 31 + (node << 32) + number) % (1 << 64)
        expected = self._next.get(node, 0)
        if number < expected:
            self._doubled += 1
        else:
            self._lost += number - expected
            self._next[node] = number + 1
        self.lasts += is_last

    def answer(self) -> dict[str, Any]:
        """The words of the answer."""
        return {
            "received": self._received, "lost": self._lost, "doubled": self._doubled, "order": self._order,
            "gaps": self._gaps,
        }  # fmt: skip


class Client:
    """A member of one group."""

    def __init__(self, cluster: rondo.Cluster, group: rondo.Group, commands: queue.Queue[list[str]]) -> None:
        self._group = group
        self._commands = commands
        self._me = rondo.Member(cluster.node_id, cluster.pid)
        self._messages = self._bytes = 0
        self._own = 0
        """Own messages that came back in this run."""

    def take(self, timeout_s: float) -> rondo.Message | None:
        """The next event, if it is a message."""
        event = self._group.poll(timeout_s)
        if isinstance(event, rondo.Message):
            self._messages += 1
            self._bytes += len(event.data)
            return event
        if isinstance(event, rondo.Disconnected | rondo.UnknownOutcome):
            raise SystemExit(f"disturbed while measuring: {event}")
        return None

    def throughput(self, size: int, seconds: float, start_s: float) -> dict[str, Any]:
        """Send in one thread, count own deliveries in this one."""
        total: list[int] = []
        self._own = 0
        while (early_s := start_s - time.monotonic()) > 0:
            self.take(early_s)
        stop_s = start_s + seconds
        began_s = time.monotonic()
        sender = threading.Thread(target=self._send, args=(size, stop_s, total), daemon=True)
        sender.start()
        group, me = self._group, self._me
        received = 0
        while not (total and self._own >= total[0]):
            event = group.poll(DELIVERY_TIMEOUT_S)
            if type(event) is not rondo.Message:
                if event is None or isinstance(event, rondo.Disconnected | rondo.UnknownOutcome):
                    raise SystemExit(f"disturbed while measuring: {event}")
                continue
            received += 1
            if event.sender == me:
                self._own += 1
        elapsed_s = time.monotonic() - began_s
        self._messages += received
        self._bytes += received * size
        return {"messages": self._own, "seconds": elapsed_s}

    def _send(self, size: int, stop_s: float, total: list[int]) -> None:
        group, data = self._group, bytes(size)
        between_clocks = SENT_BETWEEN_CLOCKS if size < LARGE else 1
        sent = 0
        while time.monotonic() < stop_s:
            if (sent - self._own) * size > ON_ITS_WAY_BYTES_MAX:
                time.sleep(LOOK_S)
                continue
            for _ in range(between_clocks):
                group.mcast(data)
            sent += between_clocks
        # Known before the last one can be delivered, or the other thread would wait for another.
        total.append(sent + 1)
        group.mcast(data)

    def latency(self, size: int, count: int, gap_ms: float) -> dict[str, Any]:
        """From the call of mcast to having the message."""
        data = bytes(size)
        times_us = []
        for i in range(count + WARM_UP_MESSAGES):
            began_ns = time.monotonic_ns()
            self._group.mcast(data)
            while True:
                message = self.take(DELIVERY_TIMEOUT_S)
                if message is not None and message.sender == self._me:
                    break
            if i >= WARM_UP_MESSAGES:
                times_us.append((time.monotonic_ns() - began_ns) / 1000)
            if gap_ms:
                time.sleep(gap_ms / 1000)
        return {"times_us": sorted(times_us)}

    def beat(self, period_ms: float, start_s: float, senders: int) -> dict[str, Any]:
        """Send a small message every so often, and look at what comes of whom, and when."""
        had = Beats()
        due_s, sent, is_last = start_s, 0, False
        while not is_last:
            if (early_s := due_s - time.monotonic()) > 0:
                had.take(self.take(early_s))
                continue
            is_last = not self._commands.empty()
            self._group.mcast(BEAT.pack(sent, is_last))
            sent += 1
            due_s += period_ms / 1000
        end_s = time.monotonic() + DELIVERY_TIMEOUT_S
        while had.lasts < senders:
            if time.monotonic() > end_s:
                raise SystemExit("a message was not delivered")
            had.take(self.take(DELIVERY_TIMEOUT_S))
        self._commands.get()
        return {"sent": sent, **had.answer()}

    def obey(self, words: list[str]) -> dict[str, Any]:
        """Carry out one command."""
        match words:
            case ["throughput", size, seconds, start]:
                return self.throughput(int(size), float(seconds), float(start))
            case ["latency", size, count, gap_ms]:
                return self.latency(int(size), int(count), float(gap_ms))
            case ["beat", period_ms, start, senders]:
                return self.beat(float(period_ms), float(start), int(senders))
            case ["count"]:
                return {"messages": self._messages, "bytes": self._bytes}
        raise SystemExit(f"unknown command {words}")


def read_commands(commands: queue.Queue[list[str]]) -> None:
    """What comes on standard input; its end is `quit`."""
    for line in sys.stdin:
        commands.put(line.split())
    commands.put(["quit"])


def main(run_dir: str, group_name: str) -> None:
    commands: queue.Queue[list[str]] = queue.Queue()
    threading.Thread(target=read_commands, args=(commands,), daemon=True).start()
    with rondo.connect(client_socket(None, run_dir), timeout=CONNECT_TIMEOUT_S) as cluster:
        group = cluster.cpg.join(group_name, timeout=CONNECT_TIMEOUT_S)
        client = Client(cluster, group, commands)
        print(json.dumps({"ready": True}), flush=True)
        while True:
            client.take(IDLE_POLL_S)
            if commands.empty():
                continue
            words = commands.get()
            if words == ["quit"]:
                return
            print(json.dumps(client.obey(words)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
