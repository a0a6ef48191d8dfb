"""A run: start a cluster and its applications, let the plan happen, wait until all is well again, and judge."""

from __future__ import annotations

import json
import random
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rondo.config import key
from rondo.node.supervision import OPTIONAL, SERVICES
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.ring_config import AnyConfig, KnetConfig, RingConfig, Transport
from rondo.testing.lab.rondo_node import REPOSITORY
from rondo.testing.lab.waiting import WaitTimeoutError, wait_for
from tests.checker.base import Event
from tests.checker.groups import check
from tests.checker.groups.base import GroupViolation
from tests.cluster.chaos.applications import Application, Applications
from tests.cluster.chaos.faults import Mischief, Undo
from tests.cluster.chaos.gaps import Gap, longest
from tests.cluster.chaos.plan import Step, make_plan

NODES = 3
RATE = 60.0
CONVERGE_TIMEOUT_S = 60.0
KILL_PAUSE_S = (0.05, 0.6)
GAP_AIM_S = 2.0
GAP_S_MAX = 8.0
"""The longest wait of an application when services are killed. It is above the aim, for busy machines."""
CALM_MS = 5000
"""The token time-out where nobody may notice anything: a busy machine that holds a ring process breaks no ring."""
GAPS_TOLD = 3
PORT = 5405
FLOOD_RATE = 5000
RECORD_S = 4.0
LOG_LINES_MAX = 30
LOG_LINES_PER_SECOND_MAX = 6
GROWTH_KB_MAX = 8 * 1024
LAST_WORD_TIMEOUT_S = 60.0
QUIET_S = 0.5
TICK_S = 0.02
KILLED = tuple(name for name in SERVICES if name not in OPTIONAL)
"""The services that are killed. The optional ones are left out: nothing here would feel their end."""
GROUPS_OF = {"x": ("a", "b"), "y": ("a",)}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """The parameters of a run."""

    seed: int = 1
    seconds: float = 60.0
    rate: float = RATE
    """Messages a second of each application of the first kind; those of the second send a quarter of that."""
    kills: int = 0
    """If not 0, the only faults are this many kills of each service but the ring, on node 1. Nobody may notice."""
    restarts: int = 0
    """If not 0, the only faults are this many kills and restarts of node 3 as a whole."""
    flood_s: float = 0.0
    """If not 0, the only fault is a flood of forged, replayed and altered packets, in seconds. There is a key."""

    @property
    def what(self) -> str:
        """The plan of faults."""
        if self.kills:
            return f"{self.kills} kills of each service"
        if self.restarts:
            return f"{self.restarts} restarts of a node"
        return f"{self.flood_s:g} s of a flood" if self.flood_s else f"{self.seconds:g} s of faults"

    @property
    def transport(self) -> Transport:
        """A third of the seeds by knet, with two links; every other of the rest by multicast."""
        if self.seed % 3 == 2 and not self.flood_s:
            return "knet"
        return "udpu" if self.seed % 2 else "udp"

    @property
    def encrypted(self) -> bool:
        """Two of four seeds have a key."""
        return self.seed % 4 in (1, 2) or self.flood_s > 0

    @property
    def low_latency(self) -> bool:
        """Every third seed has CPUs for the services alone, and warm-up messages of the gateways."""
        return self.seed % 3 == 0


@dataclass
class Report:
    """The result of a run."""

    options: Options
    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[GroupViolation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Further figures."""
    troubles: list[str] = field(default_factory=list)
    """Further faults, such as a cluster that did not converge or a traceback in a log."""
    gaps: list[Gap] = field(default_factory=list)
    """The longest times without a delivery at applications, also on nodes that were cut off."""
    converged_s: float = 0.0

    @property
    def holds(self) -> bool:
        """True if nothing is wrong."""
        return not self.violations and not self.troubles

    def text(self) -> str:
        """The report as text."""
        o = self.options
        lines = [
            f"seed {o.seed}: {o.what}, {o.transport}, {'with a key' if o.encrypted else 'plain'}"
            + (", low latency" if o.low_latency else ""),
            "faults: " + ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items())),
            "seen: " + ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items())),
            f"one ring {self.converged_s:.2f} s after the end; longest times without a delivery"
            + (f" (aim: {GAP_AIM_S:g} s):" if o.kills else ":"),
            *(f"    {gap}" for gap in self.gaps),
            *map(str, self.violations),
            *self.notes,
            *self.troubles[:20],
            "every property holds" if self.holds else f"NOT every property holds; again: make chaos SEED={o.seed}",
        ]
        return "\n".join(lines)


class Run:
    """One run in a directory of its own."""

    def __init__(self, options: Options, directory: Path, say: Say = lambda _line: None) -> None:
        self.report = Report(options)
        self._options = options
        self._directory = directory
        self._say = say
        self._harness: list[Event] = []
        self.events: list[Event] = []
        self._logs: dict[str, _Log] = {}
        self._back_s: dict[str, list[float]] = {}

    def run(self) -> Report:
        """Run from the start to the judgement. Faults of the run itself are in the report, too."""
        with ExitStack() as stack:
            lab = stack.enter_context(Lab(self._directory, NODES))
            token = f"c{secrets.token_hex(4)}"
            configuration = self._configuration(lab, token)
            self.nodes = {n: Node(host, configuration, token) for n, host in lab.hosts.items()}
            self.applications = Applications(self.nodes, self._options.seed, self._options.rate, self._note)
            try:
                self._start()
                if self._options.restarts:
                    self._restart_often()
                elif self._options.kills:
                    self._kill_often()
                elif self._options.flood_s:
                    self._flood()
                else:
                    self._let_happen(Mischief(lab, self.nodes, self.applications, self._note), len(lab.links))
                self._converge()
            except WaitTimeoutError as error:
                self.report.troubles.append(str(error))
            finally:
                self._note("end")
                self._collect()
        self._judge()
        return self.report

    def _configuration(self, lab: Lab, token: str) -> Path:
        calm: dict[str, str | int] = {"token": CALM_MS} if self._options.kills or self._options.flood_s else {}
        config = self._ring(lab, {"cluster_name": token, **calm})
        path = self._directory / "corosync.conf"
        path.write_text(config.text(**({"system": {"low_latency": "yes"}} if self._options.low_latency else {})))
        return path

    def _ring(self, lab: Lab, totem: dict[str, str | int]) -> AnyConfig:
        if self._options.transport == "knet":
            plain = {} if self._options.encrypted else {"crypto_cipher": "none", "crypto_hash": "none"}
            return KnetConfig.of_lab(lab, self._directory, totem=totem | plain)
        if not self._options.encrypted:
            return RingConfig.of_lab(lab, self._options.transport, totem=totem | {"secauth": "off"})
        key.write_key(self._directory / "authkey")
        secured = {"secauth": "on", "keyfile": str(self._directory / "authkey")}
        return RingConfig.of_lab(lab, self._options.transport, totem=totem | secured)

    def _note(self, ev: str, **fields: object) -> None:
        self._harness.append({"t": time.monotonic(), "ev": ev, **fields})

    def _start(self) -> None:
        self._say("starting three nodes and six applications")
        for node in self.nodes.values():
            node.launch()
        for node in self.nodes.values():
            node.wait_until_started()
        self._wait_for_one_ring("after the start")
        self.applications.start_all(churn=not self._options.kills and not self._options.flood_s)

    def _wait_for_one_ring(self, when: str) -> None:
        everybody = tuple(self.nodes)

        def look() -> list[Any]:
            return [node.view() for node in self.nodes.values()]

        def is_one(views: list[Any]) -> bool:
            return all(v is not None and v.ready and v.members == everybody for v in views) and len(set(views)) == 1

        wait_for(look, is_one, f"one ring of all nodes {when}", CONVERGE_TIMEOUT_S)

    def _let_happen(self, mischief: Mischief, links: int) -> None:
        plan = make_plan(self._options.seed, NODES, self._options.seconds, KILLED, links)
        began_s = time.monotonic()
        undo: list[tuple[float, Step, Undo]] = []
        while plan or undo:
            now_s = time.monotonic() - began_s
            for due in [each for each in undo if each[0] <= now_s]:
                undo.remove(due)
                self._do(due[2])
            if plan and plan[0].at_s <= now_s:
                step = plan.pop(0)
                self.report.faults[step.what] += 1
                self._say(f"{now_s:6.1f} s  {step}")
                action = mischief.do(step)
                if action is not None:
                    undo.append((now_s + step.until_s - step.at_s, step, action))
            time.sleep(TICK_S)

    def _kill_often(self) -> None:
        """Kill each service but the ring in turn. The next kill follows once clients are served again."""
        node, randomness = self.nodes[1], random.Random(self._options.seed)
        for number in range(self._options.kills):
            self._say(f"round {number + 1}")
            for service in (name for name in KILLED if name != "totem"):
                time.sleep(randomness.uniform(*KILL_PAUSE_S))
                before = node.pids(service)
                began_s = time.monotonic()
                self._note("kill", service=service)
                node.send(signal.SIGKILL, service)
                self.report.faults[f"kill {service}"] += 1
                look = partial(_is_back, node, service, before)
                wait_for(look, bool, f"{service} is back", CONVERGE_TIMEOUT_S)
                self._back_s.setdefault(service, []).append(time.monotonic() - began_s)
        for service, back_s in self._back_s.items():
            middle_s, worst_s = statistics.median(back_s), max(back_s)
            self.report.notes.append(f"{service} served again after {middle_s:.2f} s (median), at most {worst_s:.2f} s")

    def _restart_often(self) -> None:
        """Kill all of node 3 and start it again, under load; what the others use of memory must not grow with that."""
        memory: list[dict[str, int]] = []
        for number in range(self._options.restarts):
            self._say(f"restart {number + 1}")
            self._note("ringkill", node=NODES)
            self.nodes[NODES].kill()
            self.nodes[NODES].launch()
            self.nodes[NODES].wait_until_started()
            self._wait_for_one_ring(f"after restart {number + 1}")
            self.report.faults["restart"] += 1
            memory.append(self.nodes[1].memory_kb())
        early, late = memory[len(memory) // 5], memory[-1]
        for name, late_kb in late.items():
            early_kb = early.get(name, 0)
            self.report.notes.append(f"memory of {name} on node 1: {early_kb} -> {late_kb} KiB")
            if late_kb > early_kb * 1.25 + GROWTH_KB_MAX:
                self.report.troubles.append(f"{name} on node 1 grew from {early_kb} to {late_kb} KiB")

    def _flood(self) -> None:
        """Flood two nodes from host 3. The replayed packets were recorded while a ring broke and was formed anew."""
        host, targets = self.nodes[NODES].host, [self.nodes[n].host.address for n in self.nodes if n != NODES]
        command = [sys.executable, "-m", "tests.cluster.chaos.attacker", "--record-seconds", str(RECORD_S)]
        command += ["--port", str(PORT), "--rate", str(FLOOD_RATE), "--seconds", str(self._options.flood_s), *targets]
        attacker = host.popen(command, environment={"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE)
        assert attacker.stdout is not None
        time.sleep(RECORD_S / 4)
        self.nodes[NODES].send(signal.SIGKILL, "totem")
        recorded = attacker.stdout.readline().decode()
        self._wait_for_one_ring("before the flood")
        before = {number: self._log_lines(node) for number, node in self.nodes.items()}
        self._note("flood")
        began_s = time.monotonic()
        sent = int(attacker.stdout.readline().split()[1])
        self._note("flood_end")
        seconds = time.monotonic() - began_s
        attacker.wait()
        self.report.faults["packets of the flood"] = sent
        self.report.notes.append(
            f"{recorded.strip()}, {sent} packets in {seconds:.1f} s, {sent / seconds:.0f} a second"
        )
        for number, node in self.nodes.items():
            lines = self._log_lines(node) - before[number]
            counters = node.status("totem").get("counters", {})
            refused = {name: count for name, count in counters.items() if name.startswith("security_") and count}
            self.report.notes.append(f"node {number}: {lines} log lines; {refused}")
            if lines > LOG_LINES_MAX + LOG_LINES_PER_SECOND_MAX * seconds:
                self.report.troubles.append(f"node {number} wrote {lines} log lines in {seconds:.0f} s of flood")

    @staticmethod
    def _log_lines(node: Node) -> int:
        return sum(node.log(service).count("\n") for service in SERVICES)

    def _do(self, action: Undo) -> None:
        for node in self.nodes.values():
            node.reap()
        action()

    def _converge(self) -> None:
        """Wait for one ring after all faults are undone, and for the last message of each application everywhere."""
        self._say("no more faults")
        began_s = time.monotonic()
        for node in self.nodes.values():
            node.wait_until_started()
        self._wait_for_one_ring("after the last fault")
        self.report.converged_s = time.monotonic() - began_s
        time.sleep(QUIET_S)  # let the load run a little in the healed ring
        self._note("quiet")
        self.applications.tell("quiet")
        wait_for(
            self._restless, lambda names: not names, "every application has an outcome for all", LAST_WORD_TIMEOUT_S
        )
        self._note("stable")
        self.applications.tell("last")
        wait_for(self._missing_words, lambda missing: not missing, "last words everywhere", LAST_WORD_TIMEOUT_S)

    def _restless(self) -> list[str]:
        """The applications that are not connected, or have a message without an outcome."""
        return [each.name for each in self.applications.living() if not self._log_of(each).is_quiet()]

    def _log_of(self, application: Application) -> _Log:
        return self._logs.setdefault(application.name, _Log(application)).read()

    def _missing_words(self) -> list[str]:
        living = self.applications.living()
        logs = {each.name: self._log_of(each) for each in living}
        words = {word for log in logs.values() for word in log.last_words}
        missing = []
        for each in living:
            groups = GROUPS_OF[each.place]
            if len([word for word in logs[each.name].last_words if word[0] in groups]) < len(groups):
                missing.append(f"{each.name} has not said it")
            lacks = {word for word in words if word[0] in groups and word[1] not in logs[each.name].delivered}
            missing += [f"{each.name} lacks {word[1]}" for word in lacks]
        return missing

    def _collect(self) -> None:
        self.applications.end()
        self.report.troubles += self.applications.faults()
        for each in self.applications.all:
            self.events += self._log_of(each).events
        self.events.sort(key=lambda event: float(event["t"]))
        for node in self.nodes.values():
            self.report.troubles += node.suspicious()
            logs = node.host.path(str(node.run_dir / "log"))
            if logs.exists():
                shutil.copytree(logs, node.host.directory / "log", dirs_exist_ok=True)

    def _judge(self) -> None:
        end_s = next(event["t"] for event in self._harness if event["ev"] == "end")
        seen = [event for event in self.events if event["t"] <= end_s]
        self._say(f"judging {len(seen)} events")
        merged = sorted([*seen, *self._harness], key=lambda event: float(event["t"]))
        (self._directory / "trace.ndjson").write_text("".join(json.dumps(event) + "\n" for event in merged))
        self.report.violations = check(merged)
        noticed = [event for event in seen if _is_noticed(event) and self._is_calm(event["t"])]
        if self._options.kills or self._options.flood_s:
            self.report.troubles += [f"an application noticed: {event}" for event in noticed]
        counts = self.report.counts
        counts.update({"messages accepted": sum(len(e["msgs"]) for e in seen if e["ev"] == "gaccept")})
        counts.update({"deliveries": sum(e["ev"] == "gdeliver" for e in seen)})
        counts.update({"unknown outcomes": sum(len(e["msgs"]) for e in seen if e["ev"] == "gunknown")})
        counts.update({"refused": sum(e["ev"] == "grefuse" for e in seen)})
        counts.update({"ring changes": len({tuple(e["ring"]) for e in seen if e["ev"] == "gring"})})
        counts.update({"connections over": sum(e["ev"] == "gover" for e in seen)})
        counts.update({"SAFE": sum(e["ev"] == "gsend" and e["level"] == "safe" for e in seen)})
        quiet_s = next((event["t"] for event in self._harness if event["ev"] == "quiet"), end_s)
        kills = [event for event in self._harness if event["ev"] == "kill"]
        self.report.gaps = longest((event for event in seen if event["t"] < quiet_s), kills, GAPS_TOLD)
        if self._options.kills and self.report.gaps[0].seconds > GAP_S_MAX:
            self.report.troubles.append(f"an application waited longer than {GAP_S_MAX:g} s: {self.report.gaps[0]}")

    def _is_calm(self, t: float) -> bool:
        """True if nobody may notice anything at this time: always, or while the flood lasts."""
        times = {event["ev"]: event["t"] for event in self._harness}
        return not self._options.flood_s or times.get("flood", 0.0) < t < times.get("flood_end", 0.0)


def _is_back(node: Node, service: str, before: list[int]) -> bool:
    """True if a killed service has a successor, and the node serves clients."""
    if node.pids(service) in ([], before):
        return False
    view = node.view()
    return service == "sam" or (view is not None and view.ready)


def _is_noticed(event: Event) -> bool:
    """True if an event is more than a wait: a change of the connection, or of the membership other than by a join."""
    return event["ev"] in ("gdown", "gup", "gover", "gring", "gunknown", "gfail") or bool(event.get("left"))


class _Log:
    """The log of an application so far. `read` takes in new lines."""

    def __init__(self, application: Application) -> None:
        self._path = application.log_path
        self._read_bytes = 0
        self.events: list[Event] = []
        self.name = application.name

    def read(self) -> _Log:
        """Read new whole lines. The last line of a killed process may be cut."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read_bytes)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read_bytes += len(whole)
            self.events += [json.loads(line) for line in whole.splitlines()]
        return self

    @property
    def last_words(self) -> set[tuple[str, str]]:
        """Pairs of group and message."""
        return {(e["group"], e["msg"]) for e in self.events if e.get("word")}

    @property
    def delivered(self) -> set[str]:
        return {e["msg"] for e in self.events if e["ev"] == "gdeliver"}

    def is_quiet(self) -> bool:
        """True if it is in its groups, and every message of its last connection has an outcome."""
        if not self.events:
            return False
        proc = self.events[-1]["proc"]
        waiting: set[str] = set()
        down = True
        for event in self.events:
            if event["proc"] != proc:
                continue
            if event["ev"] == "gsend":
                waiting.add(event["msg"])
            elif event["ev"] in ("gordered", "grefuse", "gfail"):
                waiting.difference_update(event.get("msgs", [event.get("msg")]))
            elif event["ev"] in ("gdown", "gover"):
                down = True
            elif event["ev"] == "gconf":
                down = False
        return not waiting and not down
