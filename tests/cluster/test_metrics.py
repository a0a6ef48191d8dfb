"""`rondo metrics` of real nodes: what it says is so, Prometheus can read it, and it costs the node little."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rondo
from rondo.config.node import NotifySettings, WebSettings
from rondo.demo.cluster import DemoCluster, DemoNode
from rondo.ipc.control import ask
from rondo.ipc.surveyor import Surveyor
from rondo.metrics.collect import collect
from rondo.metrics.events import EVENTS, MEANINGS
from rondo.metrics.processes import SAM_RESTARTS
from rondo.metrics.render import render
from rondo.metrics.seen import look
from rondo.node.supervision import SERVICES
from rondo.node.supervision.survey import ask_all
from rondo.sam.commands import Sam
from rondo.testing.lab.waiting import wait_for
from tests.cluster.demo_nodes import start_in_one_ring
from tests.ports import free_tcp_port

NOT_SHOWN = {
    "totem": {"why_isolated", "schedule_misses"},
    "cpg": {"epoch", "ring"},
    "control": {"epoch", "position", "members", "ring"},
    "web": {"address", "port", "messages_refused"},
    "sam": {"quorate", "watched_totem", "held_ports"},
}
"""No figures of their own: texts, numbers that only name something, and parts of what another metric counts."""
OF_EVERY_PROCESS = {
    "ok", "schema", "service", "pid", "node_id", "state", "why", "log_level", "uptime_seconds", "cpu_seconds",
}  # fmt: skip
"""The processor time and the start of a process are asked of the kernel, which knows them of supervisord, too."""
SECONDS = 60.0
SCRAPES = 100
SCRAPE_CPU_MS_MAX = 5.0
"""Processor time of all processes of a node for one scrape, with connections that are kept open."""


def text_of(cluster: DemoCluster, node: int) -> str:
    """The output of the command."""
    run_dir = str(cluster.nodes[node].run_dir)
    argv = [sys.executable, "-m", "rondo.cli.main", "metrics", "--run-dir", run_dir]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.promtool
def test_metrics_of_two_nodes() -> None:
    with DemoCluster(2) as cluster:
        start_in_one_ring(cluster)
        shown = wait_for(
            lambda: text_of(cluster, 1), lambda text: "rondo_node_healthy 1.0" in text, "it is healthy", SECONDS
        )
        lines = shown.splitlines()
        assert "rondo_totem_members 2.0" in lines
        assert 'rondo_process_up{process="totem"} 1.0' in lines
        assert any(line.startswith("rondo_info{") and 'node="1"' in line for line in lines)
        assert (
            float(next(line for line in lines if line.startswith("rondo_totem_rotation_seconds_count")).split()[1]) > 0
        )
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=text_of(cluster, 2), capture_output=True, text=True
        )
        assert (checked.returncode, checked.stderr) == (0, "")
        events = collect(look(cluster.nodes[1].run_dir)).found[EVENTS]
        assert [each for each in events if each[1] not in MEANINGS[each[0]]] == []
        cluster.nodes[2].kill()
        gone = text_of(cluster, 2).splitlines()
        assert "rondo_node_healthy 0.0" in gone
        assert 'rondo_process_up{process="totem"} 0.0' in gone


def frame_bytes_rx(node: DemoNode) -> int:
    """What the ring process of a node has received."""
    return int(ask(node.run_dir, "totem", "status", SECONDS)["counters"]["frame_bytes_rx"])


class Looked(dict[str, Any]):
    """An answer that knows which of its items were looked at."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer)
        self.looked_at: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.looked_at.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.looked_at.add(name)
        return super().get(name, default)


def test_all_figures_that_services_tell_are_in_the_metrics(tmp_path: Path) -> None:
    """Of all services, the page and notify among them; and bytes and restarts are counted."""
    with DemoCluster(2) as cluster:
        node = cluster.nodes[1]
        web, notify = WebSettings(enabled=True, port=free_tcp_port()), NotifySettings(webhook="http://127.0.0.1:9/")
        node.config = dataclasses.replace(node.config, web=web, notify=notify)
        start_in_one_ring(cluster)
        before = frame_bytes_rx(cluster.nodes[2])
        with rondo.connect(node.endpoint, timeout=SECONDS) as client, Sam(node.endpoint) as sam:
            client.cpg.join("bank").mcast(bytes(100_000)).ordered(timeout=SECONDS)
            sam.run(["sh", "-c", "exit 3"])
            wait_for(
                lambda: collect(look(node.run_dir)).found[SAM_RESTARTS][()],
                lambda count: count != 0,
                "it is started again",
                SECONDS,
            )
        after = frame_bytes_rx(cluster.nodes[2])
        seen = wait_for(
            lambda: look(node.run_dir),
            lambda seen: seen.answers.keys() >= {*NOT_SHOWN, "notify"},
            "all answer",
            SECONDS,
        )
    assert after - before >= 100_000
    assert seen.answers["totem"]["counters"]["frame_bytes_tx"] >= 100_000
    looked = {name: Looked(answer) for name, answer in seen.answers.items()}
    answers: dict[str, Any] = {**looked}
    collect(dataclasses.replace(seen, answers=answers))
    unseen = {
        name: each.keys() - each.looked_at - OF_EVERY_PROCESS - NOT_SHOWN.get(name, set())
        for name, each in looked.items()
    }
    assert not any(unseen.values()), unseen


def test_a_scrape_costs_the_node_little() -> None:
    with DemoCluster(1) as cluster:
        cluster.start()
        run_dir = cluster.nodes[1].run_dir
        surveyor = Surveyor(run_dir, SERVICES)
        render(collect(look(run_dir)))
        surveyor.ask("status", SECONDS)
        before = _cpu_ms(cluster)
        for _ in range(SCRAPES):
            assert surveyor.ask("status", SECONDS)["totem"] is not None
        spent = _cpu_ms(cluster) - before
        surveyor.close()
        print(f"a scrape costs the node's processes {spent / SCRAPES:.2f} ms")
        assert spent / SCRAPES < SCRAPE_CPU_MS_MAX


def _cpu_ms(cluster: DemoCluster) -> float:
    answers = ask_all(cluster.nodes[1].run_dir, SECONDS)
    return 1000 * sum(float(answer["cpu_seconds"]) for answer in answers.values() if answer is not None)
