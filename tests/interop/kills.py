"""kill -9 of each process of a node again and again, under C programs and Python ones in one group; judged.

    python -m tests.interop.kills --kills 50

Three nodes, on each a member in C (`c/member.c`, libcpg) and one on Rondo's client. Of node 1 every service is killed
in turn, the next one once all nodes are in one ring and serve C programs again. Nobody may notice the kills of cpg,
control, sam and ipc_gateway; with qb_gateway the C member of node 1 loses its connection and nobody else; with totem
the ring changes. All properties of tests/checker/groups must hold for all logs, and everybody hears the last words of
all.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.requirements import corosync_missing, namespaces_missing
from rondo.testing.lab.waiting import wait_for
from tests.checker.base import Event
from tests.checker.groups import check
from tests.cluster.chaos.applications import Application
from tests.interop.c_programs import compiled, nodes_of, wait_until_whole

NODES = 3
VICTIM = 1
SERVICES = ("cpg", "control", "sam", "ipc_gateway", "qb_gateway", "totem")
RATE = 25.0
PYTHON_RATE = 4 * RATE
"""Messages a second of an application. One of the second kind sends a quarter of that."""
PAUSE_S = (0.05, 0.4)
TIMEOUT_S = 90.0


class CMember:
    """The member in C of one node."""

    def __init__(self, node: Node, program: str) -> None:
        self.name = f"c{node.number}"
        self.node = node.number
        self.log_path = node.host.directory / f"{self.name}.ndjson"
        argv = [program, self.name, str(self.log_path), str(RATE), str(node.number)]
        with (node.host.directory / f"{self.name}.out").open("ab") as output:
            self.process = node.host.popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=output)

    def tell(self, command: str) -> None:
        """A line of its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()


def events_of(member: CMember | Application) -> list[Event]:
    """The whole lines of its log."""
    text = member.log_path.read_text() if member.log_path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def events_since(member: CMember | Application, offset: int) -> list[Event]:
    """Whole lines of its log from this place on: after an hour all of it takes a minute to read."""
    with member.log_path.open("rb") as log:
        log.seek(max(0, offset - 1))
        text = log.read()
    first = text.find(b"\n") + 1 if offset else 0
    return [json.loads(line) for line in text[first : text.rfind(b"\n") + 1].splitlines()]


def lost_with_the_ring(events: list[Event]) -> list[Event]:
    """What a C member is not told: messages that it never got, sent before a ring that its node's own ring process came
    back with. Their outcome is unknown."""
    waiting: dict[str, dict[str, Event]] = {}
    lost: list[Event] = []
    doubtful: dict[str, set[str]] = {}
    rings: dict[str, Event] = {}
    for event in events:
        of_life = waiting.setdefault(event["proc"], {})
        if event["ev"] == "gsend":
            of_life[event["msg"]] = event
        elif event["ev"] == "gordered":
            for msg in event["msgs"]:
                of_life.pop(msg, None)
        elif event["ev"] == "gring":
            doubtful.setdefault(event["proc"], set()).update(of_life)
            rings[event["proc"]] = event
    for proc, messages in waiting.items():
        unknown = sorted(messages.keys() & doubtful.get(proc, set()))
        if unknown:
            lost.append({**rings[proc], "ev": "gunknown", "msgs": unknown, "count": len(unknown)})
    return lost


def as_rejoined(events: list[Event]) -> list[Event]:
    """The events of a C member whose node's ring process was killed, as the checker has them.

    libcpg has no word for it, so the program is told that all other nodes are down, that they are up, and the ring.
    What really happens is that it is in no group any more, and joins again in the new ring: what the others sent there
    before is not for it.
    """
    found: list[Event] = []
    is_down = is_back = False
    for number, event in enumerate(events):
        if event["ev"] == "gconf" and event["left"] and all(reason == "nodedown" for _, _, reason in event["left"]):
            found.append({**event, "ev": "gdown"})
            following = next((each["ev"] for each in events[number + 1 :] if each["ev"] in ("gconf", "gring")), None)
            is_down = following == "gconf"
            if following == "gring":
                # Its node has a ring of its own first, and what follows is what really happens.
                found.append({**event, "joined": [[event["node"], event["pid"], "join"]], "left": []})
                is_back = True
        elif event["ev"] == "gconf" and is_down:
            found.append({**event, "joined": [[event["node"], event["pid"], "join"]]})
            is_down, is_back = False, True
        elif event["ev"] == "gring" and is_back:
            is_back = False
        else:
            found.append(event)
    return found


class Run:
    """One run in a directory of its own."""

    def __init__(
        self, directory: Path, kills: int, services: tuple[str, ...], seed: int, seconds: float | None = None
    ) -> None:
        """`seconds`: after them no round is begun any more, and what has been seen is judged. None: there is no end."""
        self._directory = directory
        self._kills = kills
        self._seconds = seconds
        self._rounds = 0
        self._services = services
        self._random = random.Random(seed)
        self._notes: list[Event] = []
        self.faults: list[str] = []
        """The faults, as lines."""
        self.events: list[Event] = []

    def run(self) -> None:
        """From start to judgement."""
        program = compiled(self._directory, "member")
        with Lab(self._directory, NODES) as lab, nodes_of(lab, self._directory) as nodes:
            c = [CMember(node, program) for node in nodes]
            python = [Application(node, "y", 1, 1, PYTHON_RATE, churn=False) for node in nodes]
            self._wait_joined([*c, *python])
            began_s = time.monotonic()
            while self._rounds < self._kills and (self._seconds is None or time.monotonic() < began_s + self._seconds):
                self._rounds += 1
                print(f"round {self._rounds}", flush=True)
                for service in self._services:
                    self._kill(nodes, service)
            self._say_last_words([*c, *python])
            self._collect(c, python)
            for node in nodes:
                self.faults += node.suspicious()
        self._judge()

    def _note(self, ev: str, **fields: object) -> None:
        self._notes.append({"t": time.monotonic(), "ev": ev, **fields})

    def _wait_joined(self, members: list[CMember | Application]) -> None:
        def views() -> list[int]:
            return [
                max((len(e["members"]) for e in events_of(member) if e["ev"] == "gconf"), default=0)
                for member in members
            ]

        wait_for(views, lambda counts: min(counts) == len(members), "all in the group", TIMEOUT_S)

    def _kill(self, nodes: list[Node], service: str) -> None:
        node = nodes[VICTIM - 1]
        time.sleep(self._random.uniform(*PAUSE_S))
        before = node.pids(service)
        if service == "totem":
            self._note("ringkill", node=VICTIM)
        self._note("kill", service=service)
        node.send(signal.SIGKILL, service)
        wait_for(lambda: node.pids(service), lambda pids: pids not in ([], before), f"another {service}", TIMEOUT_S)
        wait_until_whole(nodes)

    def _say_last_words(self, members: list[CMember | Application]) -> None:
        for member in members:
            member.tell("quiet")
        self._note("stable")
        before = [member.log_path.stat().st_size for member in members]
        for member in members:
            member.tell("last")

        def heard() -> list[int]:
            """How many of the last words each has, and has none of if it is not back yet."""
            logs = [events_since(member, offset) for member, offset in zip(members, before, strict=True)]
            words = {event["msg"] for log in logs for event in log if event.get("word")}
            return [len(words & {event["msg"] for event in log if event["ev"] == "gdeliver"}) for log in logs]

        wait_for(heard, lambda counts: min(counts) == len(members), "the last words of all everywhere", TIMEOUT_S)
        self._note("end")

    def _collect(self, c: list[CMember], python: list[Application]) -> None:
        members: list[CMember | Application] = [*c, *python]
        for member in members:
            assert member.process.stdin is not None
            member.process.stdin.close()
        for member in members:
            if status := member.process.wait(TIMEOUT_S):
                self.faults.append(f"{member.name} ended with {status}")
        for each in c:
            seen = events_of(each)
            self.events += as_rejoined(seen) + lost_with_the_ring(seen) if each.node == VICTIM else seen
            lives = len({event["proc"] for event in seen if event["ev"] == "gstart"})
            expected = 1 + (self._rounds if each.node == VICTIM and "qb_gateway" in self._services else 0)
            if lives != expected:
                self.faults.append(f"{each.name} had {lives - 1} connections that ended, and not {expected - 1}")
        for application in python:
            seen = events_of(application)
            self.events += seen
            if any(event["ev"] == "gover" for event in seen):
                self.faults.append(f"{application.name} lost its connection")

    def _judge(self) -> None:
        for event in self.events:
            if event["ev"] == "gconf":
                event["members"].sort()  # C programs are given them in no order that is promised
        merged = sorted([*self.events, *self._notes], key=lambda event: float(event["t"]))
        (self._directory / "trace.ndjson").write_text("".join(json.dumps(event) + "\n" for event in merged))
        self.faults += map(str, check(merged))
        seen = Counter(event["ev"] for event in merged)
        kills = Counter(event["service"] for event in self._notes if event["ev"] == "kill")
        unknown = sum(len(event["msgs"]) for event in merged if event["ev"] == "gunknown")
        changes = sum(event["ev"] == "gring" and event["proc"].startswith("c2") for event in merged)
        print("kills: " + ", ".join(f"{count} {service}" for service, count in kills.items()))
        print(f"seen: {seen['gsend']} messages, {seen['gdeliver']} deliveries, {changes} ring changes at c2, ", end="")
        print(f"{seen['gover']} connections over, {unknown} messages of unknown outcome")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.interop.kills", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=50, help="of each service (default 50)")
    parser.add_argument("--seed", type=int, default=1, help="when (default 1)")
    parser.add_argument("--seconds", type=float, help="begin no round after so many seconds (default: no end)")
    parser.add_argument("--services", default=",".join(SERVICES), help="which of them (default: all)")
    parser.add_argument("--keep", action="store_true", help="keep the logs also if all holds")
    options = parser.parse_args()
    if missing := namespaces_missing() or corosync_missing():
        print(f"error: {missing}", file=sys.stderr)
        return 1
    directory = Path(tempfile.mkdtemp(prefix="rondo-kills-", dir="/tmp"))
    run = Run(directory, options.kills, tuple(options.services.split(",")), options.seed, options.seconds)
    run.run()
    print("\n".join(run.faults[:20]) or "every property holds")
    if run.faults or options.keep:
        print(f"logs and trace: {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if run.faults else 0


if __name__ == "__main__":
    sys.exit(main())
