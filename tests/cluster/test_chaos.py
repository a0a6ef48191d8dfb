"""A short run of the fault harness: whole nodes, real faults, and the checker of the process groups on what came of it.

The long form is `make chaos SECONDS=600 SEED=n`.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.chaos.gaps import Gap, longest
from tests.cluster.chaos.overload import Outcome, overload
from tests.cluster.chaos.plan import LINK_KINDS, kinds, make_plan
from tests.cluster.chaos.run import Options, Run
from tests.conftest import need_namespaces

SECONDS = 30.0
KNET_SECONDS = 15.0
KNET_SEED = 5
SERVICES = ("totem", "cpg", "ipc_gateway")


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory that goes with the test."""
    with tempfile.TemporaryDirectory(prefix="rondo-chaos-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.mark.namespaces
@pytest.mark.timeout(400)
@pytest.mark.slow
def test_every_property_holds_under_faults(short_directory: Path) -> None:
    need_namespaces()
    seed = int(os.environ.get("RONDO_CHAOS_SEED", "1"))
    report = Run(Options(seed=seed, seconds=SECONDS), short_directory, print).run()
    print(report.text())
    assert report.holds, report.text()
    assert sum(report.faults.values()) >= 10
    assert report.counts["messages accepted"] > 1000


@pytest.mark.namespaces
@pytest.mark.timeout(400)
@pytest.mark.slow
def test_every_property_holds_with_two_links_under_faults(short_directory: Path) -> None:
    need_namespaces()
    options = Options(seed=KNET_SEED, seconds=KNET_SECONDS)
    assert options.transport == "knet"
    report = Run(options, short_directory, print).run()
    print(report.text())
    assert report.holds, report.text()
    assert sum(report.faults.values()) >= 5
    assert report.counts["messages accepted"] > 500


def test_a_third_of_the_seeds_has_knet_with_faults_of_its_links() -> None:
    seeds = range(1, 13)
    assert [seed for seed in seeds if Options(seed=seed).transport == "knet"] == [2, 5, 8, 11]
    assert {Options(seed=seed).encrypted for seed in (2, 5, 8, 11)} == {True, False}
    of_links = {kind.name for kind in LINK_KINDS}
    assert of_links <= {step.kind for step in make_plan(1, 3, 120.0, SERVICES, links=2)}
    assert not of_links & {step.kind for step in make_plan(1, 3, 120.0, SERVICES)}


def test_a_seed_says_what_happens() -> None:
    assert make_plan(7, 3, 60.0, SERVICES) == make_plan(7, 3, 60.0, SERVICES)
    assert make_plan(7, 3, 60.0, SERVICES) != make_plan(8, 3, 60.0, SERVICES)


def test_a_gap_is_told_with_the_kills_that_fall_into_it() -> None:
    deliveries = [
        {"ev": "gdeliver", "proc": proc, "t": t} for t, proc in [(1.0, "x"), (1.5, "y"), (1.6, "y"), (3.0, "x")]
    ]
    kills = [{"ev": "kill", "service": service, "t": t} for service, t in [("sam", 0.2), ("cpg", 1.25), ("sam", 3.5)]]
    first, second = longest(deliveries, kills, count=2)
    assert first == Gap(2.0, "x", (("cpg", 0.25),))
    assert second.proc == "y"
    assert second.seconds == pytest.approx(0.1)


def test_memory_that_is_never_given_back_is_found_and_a_burst_is_not() -> None:
    def outcome(*megabytes: float) -> Outcome:
        found = Outcome(alone=[100], beside=[100], cut_after_s=1.0)
        found.memory_kb = [{"cpg": round(each * 1024)} for each in megabytes]
        return found

    assert outcome(*[40.0] * 8, 70.0, *[40.0] * 11).faults() == []
    assert len(outcome(*[40 + 0.5 * second for second in range(20)]).faults()) == 1
    assert len(outcome(*[40.0] * 8, 140.0, *[40.0] * 11).faults()) == 1


def test_all_kinds_come_equally_often() -> None:
    plan = make_plan(1, 3, 600.0, SERVICES)
    counts = Counter(step.what for step in plan)
    assert counts.keys() == {f"{kind.name} {kind.argument}".strip() for kind in kinds(SERVICES)}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert min(counts.values()) >= 10


def test_faults_end_and_spare_nodes_that_are_hit_already() -> None:
    plan = make_plan(3, 3, 120.0, SERVICES)
    assert all(step.until_s <= 120.0 for step in plan)
    for one, other in ((a, b) for a in plan for b in plan if a is not b and a.node == b.node):
        assert one.until_s <= other.at_s or other.until_s <= one.at_s


@pytest.mark.namespaces
@pytest.mark.timeout(400)
@pytest.mark.slow
def test_nobody_notices_killed_services(short_directory: Path) -> None:
    need_namespaces()
    report = Run(Options(seed=2, kills=2), short_directory, print).run()
    assert report.holds, report.text()


@pytest.mark.namespaces
@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_flood_of_forged_packets_is_not_noticed(short_directory: Path) -> None:
    need_namespaces()
    report = Run(Options(seed=3, flood_s=3.0), short_directory, print).run()
    assert report.holds, report.text()


@pytest.mark.namespaces
@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_client_that_never_reads_is_cut_off_and_stops_nobody() -> None:
    need_namespaces()
    outcome = overload(12.0)
    assert outcome.cut_after_s is not None, outcome.text()
    assert sum(outcome.beside[-3:]) > 0, outcome.text()
