"""`rondo report --all` and `rondo top` beside three real nodes, one of which lets nobody in and has a page."""

from __future__ import annotations

import json
import shlex
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import rondo
from rondo.cli.main import main
from rondo.demo.cluster import DemoCluster
from rondo.node.supervision import survey
from rondo.testing.lab.waiting import wait_for
from services.web.wire import GROUP
from tests.cluster.demo_nodes import start_in_one_ring
from tests.unit.report.test_report import contents
from tests.unit.web.server import serving

JOINED_S = 60.0


@pytest.fixture(name="cluster", scope="module")
def _cluster() -> Iterator[DemoCluster]:
    with DemoCluster(3) as cluster:
        start_in_one_ring(cluster)
        yield cluster


def test_a_report_of_all_nodes(cluster: DemoCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of node 3 there is a report, of node 2 what its page tells, and the archive says why that is all."""
    nodes, archive, via = cluster.nodes, tmp_path / "all.tar.gz", tmp_path / "via"
    own = f"{shlex.quote(sys.executable)} -m rondo.cli.main report -o - --run-dir {shlex.quote(str(nodes[3].run_dir))}"
    via.write_text(f'[ "$1" = 3 ] || {{ echo "nobody is let in" >&2; exit 255; }}\nexec {own}\n')
    with serving(nodes[2].run_dir), rondo.connect(nodes[3].endpoint, timeout=JOINED_S) as witness:
        wait_for(lambda: members_of(witness, GROUP), {2}.__eq__, "the page is in its group", JOINED_S)
        arguments = ["report", "--all", "--via", f"sh {shlex.quote(str(via))} {{node}}", "-o", str(archive)]
        assert main([*arguments, "--run-dir", str(nodes[1].run_dir)]) == 0
    assert "node 2" in capsys.readouterr().err
    found = contents(archive)
    (missing,) = json.loads(found["nodes/missing.json"])
    assert missing["node"] == 2
    assert missing["why"] == "sh ended with 255: nobody is let in"
    assert missing["instead"] == "its figures and events, as its page tells them"
    figures = json.loads(found["nodes/2/figures.json"])
    assert (figures["state"], figures["members"]) == ("operational", [1, 2, 3])
    events = [json.loads(line) for line in found["nodes/2/events.jsonl"].splitlines()]
    assert "ring.formed" in {each["event"] for each in events}
    inner = tmp_path / "inner.tar.gz"
    inner.write_bytes(found["nodes/3.tar.gz"])
    assert json.loads(contents(inner)["status.json"])["node"] == 3
    assert tarfile.is_tarfile(archive)


def test_top_shows_the_rate_of_a_group(cluster: DemoCluster, capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred messages of ten bytes between its two looks, seen on another node than they were sent on."""
    with rondo.connect(cluster.nodes[2].endpoint, timeout=JOINED_S) as client:
        group = client.cpg.join("measured")
        wait_for(lambda: members_of(client, "measured"), {2}.__eq__, "it is in its group", JOINED_S)
        for _ in range(100):
            group.mcast(b"0123456789")
        wait_for(lambda: counted(cluster, "measured"), (100, 1000).__eq__, "the messages have come", JOINED_S)

        def shown() -> str:
            assert main(["top", "--interval", "0.2", "--run-dir", str(cluster.nodes[1].run_dir)]) == 0
            return capsys.readouterr().out

        # A service that a busy machine holds for a second is shown as not answering.
        text = wait_for(shown, lambda text: "quorum: yes" in text and "\nmeasured " in text, "all answer", JOINED_S)
    (row,) = [line.split() for line in text.splitlines() if line.startswith("measured ")]
    assert row == ["measured", "0", "0", "1", f"2:{client.pid}"]
    assert "quorum: yes, 3 of 3 votes, 2 needed" in text
    assert "3 of 3 members" in text


def members_of(client: rondo.Cluster, group: str) -> set[int]:
    """The nodes that have a member in a group."""
    groups = client.cpg.groups(timeout=JOINED_S, hidden=True)
    return {member["node"] for each in groups if each["group"] == group for member in each["members"]}


def counted(cluster: DemoCluster, group: str) -> tuple[int, int]:
    """Messages and bytes, as node 1 counts them."""
    groups = {each["group"]: each for each in survey.status(cluster.nodes[1].run_dir)["groups"]}
    return (groups[group]["messages"], groups[group]["message_bytes"]) if group in groups else (0, 0)
