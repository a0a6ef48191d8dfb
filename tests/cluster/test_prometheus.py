"""Prometheus itself scrapes the pages of three nodes for a minute, with the configuration of docker-compose.yml."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rondo.demo.cluster import DemoCluster
from rondo.metrics.collect import METRICS
from rondo.metrics.metric import Kind
from rondo.testing.lab.waiting import wait_for
from tests.cluster.demo_nodes import start_in_one_ring
from tests.ports import free_tcp_port
from tests.unit.test_compose_profile import ROOT, SECRETS, WHERE
from tests.unit.web.server import serving

SCRAPED_S = 60.0
EVERY_S = 5
IN_TIME_S = 4
"""An answer that has not come by then failed for want of processor time: Prometheus waits for five seconds."""
TAKEN_MIN = 0.7
"""Of the scrapes; all of them on a machine that is not overloaded."""
START_S = 60.0


class Prometheus:
    """One that runs, and what it answers."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer; None while it does not answer."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
            return json.loads(answer.read())["data"]
        return None

    def values(self, query: str) -> dict[str, float]:
        """Of each instance."""
        found = self.get("query", query=query) or {"result": []}
        return {each["metric"].get("instance", ""): float(each["value"][1]) for each in found["result"]}


@contextlib.contextmanager
def prometheus(directory: Path, targets: list[str]) -> Iterator[Prometheus]:
    """The configuration as it is, but for its paths and for where the pages are."""
    text = (ROOT / "config" / "prometheus-compose.yml").read_text().replace(WHERE, str(directory))
    wanted = '["node1:5480", "node2:5480", "node3:5480"]'
    assert wanted in text
    (directory / "prometheus.yml").write_text(text.replace(wanted, json.dumps(targets)))
    shutil.copy(ROOT / "config" / "prometheus-rules.yml", directory)
    port = free_tcp_port()
    argv = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    argv += [f"--web.listen-address=127.0.0.1:{port}"]
    with open(directory / "prometheus.log", "wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            yield Prometheus(port)
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.promtool
@pytest.mark.slow
def test_prometheus_scrapes_three_nodes_for_a_minute(tmp_path: Path) -> None:
    """No scrape is refused, every metric is documented, and no alert fires on a cluster that is well."""
    subprocess.run([sys.executable, SECRETS, tmp_path, "127.0.0.1"], check=True)
    page = ["--token-file", "web.token", "--tls-cert", "web.crt", "--tls-key", "web.key"]
    options = [str(tmp_path / each) if each.startswith("web.") else each for each in page]
    with DemoCluster(3) as cluster, contextlib.ExitStack() as stack:
        start_in_one_ring(cluster)
        servers = [stack.enter_context(serving(node.run_dir, *options)) for node in cluster.nodes.values()]
        found = stack.enter_context(prometheus(tmp_path, [f"127.0.0.1:{each.port}" for each in servers]))
        instances = {f"127.0.0.1:{each.port}" for each in servers}
        wait_for(lambda: set(found.values("up == 1")), instances.__eq__, "all are scraped", START_S)
        began_s = time.monotonic()
        wait_for(lambda: time.monotonic() - began_s, lambda past_s: past_s > SCRAPED_S, "a minute", 2 * SCRAPED_S)
        window = f"[{int(SCRAPED_S)}s]"
        at_once = f"(up == 0 and on (instance) scrape_duration_seconds < {IN_TIME_S})[{int(SCRAPED_S)}s:1s]"
        assert found.values(f"count_over_time({at_once})") == {}, "scrapes were refused"
        assert min(found.values(f"avg_over_time(up{window})").values()) >= TAKEN_MIN
        scrapes = found.values(f"count_over_time(up{window})")
        assert min(scrapes.values()) >= SCRAPED_S / EVERY_S - 1
        wanted = dict.fromkeys(instances, 3.0)
        wait_for(lambda: found.values("rondo_totem_members"), wanted.__eq__, "a ring of three", START_S)
        names = set(found.get("label/__name__/values"))
        alerts = [each["labels"]["alertname"] for each in found.get("alerts")["alerts"] if each["state"] == "firing"]
    own = {name for name in names if name.startswith(("rondo_", "ha_cluster_"))}
    assert own <= documented(), own - documented()
    text = (ROOT / "docs" / "METRICS.md").read_text()
    assert all(f"`{metric.name}`" in text for metric in METRICS)
    assert alerts == []
    print(f"{int(min(scrapes.values()))} scrapes of each node, {len(own)} names")


def documented() -> set[str]:
    """What series may be called: a histogram has three."""
    names = {metric.name for metric in METRICS}
    parts = ("_bucket", "_sum", "_count")
    return names | {metric.name + part for metric in METRICS if metric.kind is Kind.HISTOGRAM for part in parts}
