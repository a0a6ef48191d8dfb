"""The bench measures, on two nodes of both systems, in a run as short as it can be."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.results import load_all
from rondo.node import compiled

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 150.0


@pytest.mark.namespaces
@pytest.mark.corosync
@pytest.mark.slow
def test_both_systems_are_measured(tmp_path: Path) -> None:
    words = ["--quick", "--systems", "rondo,corosync-udpu", "--nodes", "2", "--rounds", "1", "--sizes", "1024"]
    words += ["--parts", "throughput,latency", "--seconds", "0.1", "--out", str(tmp_path)]
    argv = [sys.executable, "-m", "bench", *words]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    throughput, latency = load_all(tmp_path, ("throughput", "latency"))
    for system, process in (("rondo", "1.totem"), ("corosync-udpu", "1.corosync")):
        (rate,) = [series for series in throughput.series if series.labels["system"] == system]
        assert rate.median > 10
        assert rate.cpu_medians()[process] > 0
        assert rate.pss_medians()[process] > 1
        waits = {
            (series.quantity, series.labels["gap_ms"]): series.median
            for series in latency.series
            if series.labels["system"] == system
        }
        assert waits.keys() == {("p50", 0), ("p99", 0), ("p50", 20), ("p99", 20)}
        assert all(10 < wait_us < 1e6 for wait_us in waits.values())
    report = (tmp_path / "REPORT.md").read_text()
    assert f"hot modules {compiled.state()}" in report
    assert "rondo / corosync-udpu" in report
    assert "ring0_addr: 10.77.0.2" in report
