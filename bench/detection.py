"""How soon applications hear of a node that died, left, came, was cut off or froze: python -m bench.detection

Three nodes in network namespaces, `udpu`, default timers, a key unless `--plain`; an application on each node. Times
are from the event to the membership (or, where nodes come, the ring) at the last of the applications on the other
nodes. The table goes to standard output, and with `--out` to a file.
"""

from __future__ import annotations

import argparse
import platform
import secrets
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import rondo
from rondo.config import key
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import INTERFACE, Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.requirements import namespaces_missing
from rondo.testing.lab.ring_config import RingConfig
from rondo.testing.lab.waiting import wait_for

TIMEOUT_S = 40.0
NODES = 3
VICTIM = 3
ARP_MS = 1000
"""Between two requests of the kernel for a hardware address (net.ipv4.neigh.*.retrans_time_ms)."""
REST_S = 1.0
"""Between two samples: an idle ring, in which the token is held, is the harder case."""


class Application:
    """A member on one node; a thread notes when it hears of what."""

    def __init__(self, node: Node) -> None:
        endpoint = f"ipc://{node.host.path(str(node.run_dir))}/gateway.sock"
        self._cluster = rondo.connect(endpoint, timeout=10)
        self._group = self._cluster.cpg.join("detection", timeout=10)
        self._changed = threading.Condition()
        self.ring: tuple[int, ...] = ()
        self.nodes: tuple[int, ...] = ()
        self._heard: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for event in self._group:
            with self._changed:
                if isinstance(event, rondo.RingChange):
                    self.ring = event.members
                elif isinstance(event, rondo.Membership):
                    self.nodes = tuple(sorted({member.node for member in event.members}))
                else:
                    continue
                self.at_s = time.monotonic()
                self._changed.notify_all()

    def wait(self, ring: tuple[int, ...] | None = None, nodes: tuple[int, ...] | None = None) -> float:
        """When it heard that the ring, or the group, has exactly these nodes."""

        def is_so() -> bool:
            return (ring is None or self.ring == ring) and (nodes is None or self.nodes == nodes)

        with self._changed:
            if not self._changed.wait_for(is_so, TIMEOUT_S):
                raise TimeoutError(f"waited for ring {ring}, group on {nodes}; has {self.ring}, {self.nodes}")
            return self.at_s

    def close(self) -> None:
        """Leave."""
        self._cluster.close()
        self._thread.join(TIMEOUT_S)


@dataclass
class Row:
    """One line of the table, in ms."""

    what: str
    target_ms: float
    corosync_ms: str
    samples_ms: list[float] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether the slowest sample is within the target."""
        return max(self.samples_ms) <= self.target_ms

    def text(self) -> str:
        """A row of Markdown."""
        middle, worst = statistics.median(self.samples_ms), max(self.samples_ms)
        return f"| {self.what} | {middle:.0f} | {worst:.0f} | {self.target_ms:.0f} | {self.corosync_ms} |"


class Bench:
    """The cluster and what is measured on it."""

    def __init__(self, lab: Lab, directory: Path, rows: dict[str, Row], *, plain: bool, token_ms: int) -> None:
        self.rows = rows
        token = f"d{secrets.token_hex(4)}"
        security: dict[str, str | int] = {"secauth": "off"}
        if not plain:
            key.write_key(directory / "authkey")
            security = {"secauth": "on", "keyfile": str(directory / "authkey")}
        timers: dict[str, str | int] = {"token": token_ms, "token_coefficient": 650}
        config = RingConfig.of_lab(lab, "udpu", totem={**security, **timers, "cluster_name": token})
        path = directory / "corosync.conf"
        path.write_text(config.text())
        self._lab = lab
        self._faults = Faults(lab)
        self.nodes = {number: Node(host, path, token) for number, host in lab.hosts.items()}
        for node in self.nodes.values():
            node.launch()
        for node in self.nodes.values():
            node.wait_until_started()
        self.applications = {number: Application(node) for number, node in self.nodes.items()}

    def _others(self) -> list[Application]:
        return [each for number, each in self.applications.items() if number != VICTIM]

    def _gone(self, row: str, act: Callable[[], object]) -> None:
        """The victim goes: until the others' group is without it."""
        time.sleep(REST_S)
        began_s = time.monotonic()
        act()
        rest = tuple(number for number in self.nodes if number != VICTIM)
        heard_s = max(each.wait(nodes=rest) for each in self._others())
        self.rows[row].samples_ms.append((heard_s - began_s) * 1000)

    def _back(self, row: str | None, act: Callable[[], object]) -> None:
        """The victim comes back: until all are in one ring. If `act` tells when that began, from then on."""
        time.sleep(REST_S)
        began_s = time.monotonic()
        told_s = act()
        if isinstance(told_s, float):
            began_s = told_s
        everybody = tuple(self.nodes)
        heard_s = max(each.wait(ring=everybody) for each in self.applications.values())
        if row is not None:
            self.rows[row].samples_ms.append((heard_s - began_s) * 1000)
        for each in self.applications.values():
            each.wait(ring=everybody, nodes=everybody)

    def _started_anew(self) -> None:
        """supervisord starts totem again: from the word that its interface is up, on the wall clock."""
        everybody = tuple(self.nodes)
        heard_s = max(each.wait(ring=everybody) for each in self._others())
        offset_s = time.time() - time.monotonic()
        up_s = _last_time(self.nodes[VICTIM].log("totem"), "is now up")
        self.rows["start"].samples_ms.append((heard_s + offset_s - up_s) * 1000)
        for each in self.applications.values():
            each.wait(nodes=everybody)

    def dies(self) -> None:
        """Killed, and stopped; supervisord starts it again, whatever its exit status."""
        victim = self.nodes[VICTIM]
        self._gone("kill", lambda: victim.send(signal.SIGKILL, "totem"))
        self._started_anew()
        self._gone("stop", lambda: victim.send(signal.SIGTERM, "totem"))
        self._started_anew()

    def is_unplugged(self) -> None:
        """Its cable is pulled, and put back."""
        self._gone("unplug", lambda: self._lab.unplug(VICTIM))
        self._back("plug", self._plug)

    def _plug(self) -> float:
        """The kernel takes up to a second to say that the carrier is back, at either end of the cable, and until then
        the switch forwards nothing: the time counts from then on."""
        self._lab.plug(VICTIM)
        host, switch = self.nodes[VICTIM].host, self._lab.switch
        look = ["ip", "-br", "link", "show", INTERFACE]
        wait_for(lambda: host.run(look).stdout, lambda text: "UP" in text.split()[1:2], "the carrier", TIMEOUT_S)
        look = ["ip", "-d", "link", "show", host.port]
        wait_for(lambda: switch.run(look).stdout, lambda text: "state forwarding" in text, "the switch", TIMEOUT_S)
        return time.monotonic()

    def is_cut_off(self) -> None:
        """The switch drops what it sends and what is sent to it."""
        self._gone("partition", lambda: self._faults.isolate(VICTIM))
        self._back("heal", self._faults.heal)

    def freezes(self) -> None:
        """Its ring process is not scheduled."""
        victim = self.nodes[VICTIM]
        self._gone("freeze", lambda: victim.send(signal.SIGSTOP, "totem"))
        self._back("thaw", lambda: victim.send(signal.SIGCONT, "totem"))

    def close(self) -> None:
        """End the applications and the nodes."""
        for each in self.applications.values():
            each.close()
        for node in self.nodes.values():
            node.kill()


SCENARIOS = (Bench.dies, Bench.is_unplugged, Bench.is_cut_off, Bench.freezes)


def _last_time(log: str, words: str) -> float:
    """Wall-clock time of the last line of a log with these words."""
    line = next(line for line in reversed(log.splitlines()) if words in line)
    return datetime.fromisoformat(line.split()[0]).timestamp()


def measure(
    samples: int,
    *,
    plain: bool = False,
    token_ms: int = 3000,
    scenarios: Sequence[Callable[[Bench], None]] = SCENARIOS,
    say: Callable[[str], None] = lambda _line: None,
) -> list[Row]:
    """The table. Each scenario has a cluster of its own: a member that was given up early is given more time when that
    happens again soon (`consensus_early`)."""
    cut_ms = token_ms + 650 * (NODES - 2) + 1000
    rows = {
        "kill": Row("kill -9 of totem", 100, "7800"),
        "stop": Row("clean stop of totem", 200, "150"),
        "start": Row("start of totem (from its interface up) until member everywhere", 300, "190"),
        "unplug": Row("link cut", cut_ms, "7800"),
        # Who had asked for an address while the link was down asks again a second later (ARP): that is the kernel's.
        "plug": Row("link back (from its carrier on, with ARP's second), until merged", 500 + ARP_MS, "-"),
        "partition": Row("partition", cut_ms, "7800"),
        "heal": Row("partition healed, until merged", 500, "300"),
        "freeze": Row("SIGSTOP of totem", cut_ms, "7800"),
        "thaw": Row("SIGCONT, until merged", 300, "10"),
    }
    for number in range(samples):
        for scenario in scenarios:
            say(f"sample {number + 1} of {samples}: a node {scenario.__name__.replace('_', ' ')}")
            _sample(scenario, rows, plain=plain, token_ms=token_ms)
    return [row for row in rows.values() if row.samples_ms]


def _sample(scenario: Callable[[Bench], None], rows: dict[str, Row], *, plain: bool, token_ms: int) -> None:
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="rondo-detection-", dir="/tmp"))
        lab = stack.enter_context(Lab(Path(name), NODES))
        bench = Bench(lab, Path(name), rows, plain=plain, token_ms=token_ms)
        try:
            scenario(bench)
        finally:
            bench.close()


def table(rows: list[Row]) -> str:
    """Markdown."""
    head = ["| event | median, ms | worst, ms | target, ms | Corosync 3.1.7, ms |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(row.text() for row in rows)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.detection", description=__doc__.split("\n\n")[0])
    parser.add_argument("--samples", type=int, default=3, help="of each row (default 3)")
    parser.add_argument("--plain", action="store_true", help="without packet security")
    parser.add_argument("--token", type=int, default=3000, help="totem.token, ms (default 3000, Corosync's)")
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    options = parser.parse_args()
    if missing := namespaces_missing():
        print(f"error: {missing}", file=sys.stderr)
        return 1
    rows = measure(
        options.samples, plain=options.plain, token_ms=options.token,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    text = table(rows)
    print(text, end="")
    late = [row.what for row in rows if not row.holds]
    print(f"too late: {'; '.join(late)}" if late else "every sample is within its target")
    if options.out is not None:
        command = " ".join(["python -m bench.detection", *sys.argv[1:]])
        about = f"`{command}`, {options.samples} samples, Python {platform.python_version()}, {platform.machine()}"
        options.out.write_text(f"# How soon failures are known\n\n{about}\n\n{text}")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
