"""`rondo metrics` of real nodes: what it says is so, Prometheus can read it, and it costs the node little."""

import subprocess
import sys

import pytest

from rondo.demo.cluster import DemoCluster
from rondo.ipc.surveyor import Surveyor
from rondo.metrics.collect import collect
from rondo.metrics.events import EVENTS, MEANINGS
from rondo.metrics.render import render
from rondo.metrics.seen import look
from rondo.node.supervision import SERVICES
from rondo.node.supervision.survey import ask_all

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
        cluster.start()
        lines = text_of(cluster, 1).splitlines()
        assert "rondo_node_healthy 1.0" in lines
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


def test_a_scrape_costs_the_node_little() -> None:
    with DemoCluster(1) as cluster:
        cluster.start()
        run_dir = cluster.nodes[1].run_dir
        surveyor = Surveyor(run_dir, SERVICES)
        render(collect(look(run_dir)))
        surveyor.ask("status", 5.0)
        before = _cpu_ms(cluster)
        for _ in range(SCRAPES):
            assert surveyor.ask("status", 5.0)["totem"] is not None
        spent = _cpu_ms(cluster) - before
        surveyor.close()
        print(f"a scrape costs the node's processes {spent / SCRAPES:.2f} ms")
        assert spent / SCRAPES < SCRAPE_CPU_MS_MAX


def _cpu_ms(cluster: DemoCluster) -> float:
    answers = ask_all(cluster.nodes[1].run_dir, 5.0)
    return 1000 * sum(float(answer["cpu_seconds"]) for answer in answers.values() if answer is not None)
