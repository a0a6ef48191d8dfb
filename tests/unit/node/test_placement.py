"""Which CPUs the services run on: the ring process has one of its own if the node is to answer as fast as it can."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rondo import config
from rondo.config.node import NodeConfig
from rondo.node.placement import allowed_cpus, other_cpus, ring_cpus, stay_off_the_ring

log = logging.getLogger("IPC_GATEWAY")

CONFIGURATION = """
totem {
    version: 2
    cluster_name: placement
    transport: udpu
    secauth: off
}
nodelist {
    node {
        nodeid: 1
        ring0_addr: 127.0.0.1
    }
}
"""

FOUR = frozenset({0, 1, 2, 3})
Configured = Callable[..., NodeConfig]


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Configured:
    """Gives the configuration of a node with this `low_latency` and this `cpu_affinity`."""
    file = tmp_path_factory.mktemp("placement") / "corosync.conf"
    file.write_text(CONFIGURATION)
    node = config.resolve(config.load(file))

    def configured(*, low_latency: bool = True, cpu_affinity: tuple[int, ...] = ()) -> NodeConfig:
        return dataclasses.replace(node, low_latency=low_latency, cpu_affinity=cpu_affinity)

    return configured


class Cpus:
    """The system: what this process may run on, and where it was told to run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed: set[int] = set(FOUR)
        self.asked: list[set[int]] = []
        self.refusal: OSError | None = None
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(self.allowed))
        monkeypatch.setattr(os, "sched_setaffinity", self._set)

    def _set(self, pid: int, cpus: tuple[int, ...]) -> None:
        assert pid == 0
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(set(cpus))
        self.allowed = set(cpus)


@pytest.fixture
def cpus(monkeypatch: pytest.MonkeyPatch) -> Cpus:
    """A simulated system of four CPUs, so that the process of the tests keeps its own."""
    return Cpus(monkeypatch)


def test_the_ring_process_has_the_last_cpu_and_the_others_have_the_rest(configured: Configured) -> None:
    assert ring_cpus(configured(), FOUR) == (3,)
    assert other_cpus(configured(), FOUR) == (0, 1, 2)


def test_only_cpus_that_the_process_may_use_count(configured: Configured) -> None:
    allowed = frozenset({1, 4, 6})
    assert ring_cpus(configured(), allowed) == (6,)
    assert other_cpus(configured(), allowed) == (1, 4)


def test_without_low_latency_nobody_is_pinned(configured: Configured, cpus: Cpus) -> None:
    node = configured(low_latency=False)
    assert ring_cpus(node, FOUR) == ()
    assert other_cpus(node, FOUR) == ()
    stay_off_the_ring(node, log)
    assert cpus.asked == []


def test_without_low_latency_cpu_affinity_pins_the_ring_process_alone(configured: Configured, cpus: Cpus) -> None:
    node = configured(low_latency=False, cpu_affinity=(1, 2))
    assert ring_cpus(node, FOUR) == (1, 2)
    assert other_cpus(node, FOUR) == ()
    stay_off_the_ring(node, log)
    assert cpus.asked == []


def test_cpu_affinity_says_where_the_ring_process_runs_and_the_others_stay_off(configured: Configured) -> None:
    node = configured(cpu_affinity=(0, 2))
    assert ring_cpus(node, FOUR) == (0, 2)
    assert other_cpus(node, FOUR) == (1, 3)


def test_cpu_affinity_of_all_cpus_leaves_the_others_where_they_are(configured: Configured, cpus: Cpus) -> None:
    node = configured(cpu_affinity=(0, 1, 2, 3))
    assert ring_cpus(node, FOUR) == (0, 1, 2, 3)
    assert other_cpus(node, FOUR) == ()
    stay_off_the_ring(node, log)
    assert cpus.asked == []


def test_a_single_cpu_is_shared(configured: Configured, cpus: Cpus) -> None:
    cpus.allowed = {5}
    assert ring_cpus(configured(), allowed_cpus()) == ()
    stay_off_the_ring(configured(), log)
    assert cpus.allowed == {5}


def test_a_single_cpu_is_shared_also_if_cpu_affinity_names_it(configured: Configured, cpus: Cpus) -> None:
    cpus.allowed = {5}
    node = configured(cpu_affinity=(5,))
    assert ring_cpus(node, allowed_cpus()) == (5,)
    stay_off_the_ring(node, log)
    assert cpus.asked == []


def test_cpg_and_the_gateway_stay_off_the_cpu_of_the_ring_process(
    configured: Configured, cpus: Cpus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stay_off_the_ring(configured(), log)
    assert cpus.asked == [{0, 1, 2}]
    assert caplog.messages == []


def test_a_refusal_is_one_line_that_names_what_mends_it(
    configured: Configured, cpus: Cpus, caplog: pytest.LogCaptureFixture
) -> None:
    cpus.refusal = PermissionError(1, "Operation not permitted")
    caplog.set_level(logging.DEBUG)
    stay_off_the_ring(configured(), log)
    assert len(caplog.messages) == 1
    assert "(Operation not permitted)" in caplog.messages[0]
    assert "system.low_latency: no" in caplog.messages[0]
    assert caplog.records[0].levelname == "NOTICE"
    assert "\n" not in caplog.messages[0]


def test_the_kernel_takes_it(configured: Configured) -> None:
    before = os.sched_getaffinity(0)
    try:
        stay_off_the_ring(configured(), log)
        assert os.sched_getaffinity(0) == (before - {max(before)} or before)
    finally:
        os.sched_setaffinity(0, before)


def test_what_a_process_may_run_on_is_what_the_kernel_says(cpus: Cpus) -> None:
    cpus.allowed = {2, 7}
    assert allowed_cpus() == {2, 7}


def test_corosync_conf_decides(tmp_path: Path) -> None:
    file = tmp_path / "corosync.conf"
    file.write_text(CONFIGURATION + "system {\n    low_latency: yes\n    cpu_affinity: 1\n}\n")
    node = config.resolve(config.load(file))
    assert ring_cpus(node, FOUR) == (1,)
    assert other_cpus(node, FOUR) == (0, 2, 3)
