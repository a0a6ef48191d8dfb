"""An application under SAM that is a member of a process group, seen by its peer on another node. Needs no root."""

import os
import signal
import sys
import time
from typing import TypeVar

import rondo
from rondo.demo.cluster import DemoCluster
from rondo.sam.commands import Sam
from tests.cluster.demo_nodes import start_in_one_ring
from tests.sam.bench import ROOT

PATIENCE_S = 60.0
T = TypeVar("T")


def next_of(group: rondo.Group, kind: type[T], until_s: float) -> T:
    """The next event of that kind."""
    while time.monotonic() < until_s:
        event = group.poll(timeout=0.5)
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind.__name__} in time")


def test_peers_see_it_go_and_come_back_and_it_goes_on_from_its_data() -> None:
    with DemoCluster(2) as nodes:
        start_in_one_ring(nodes)
        with rondo.connect(nodes.nodes[2].endpoint, timeout=PATIENCE_S) as peer, Sam(nodes.nodes[1].endpoint) as own:
            group = peer.cpg.join("counters")
            argv = [sys.executable, "-m", "tests.sam.member"]
            started = own.run(argv, environment=os.environ | {"PYTHONPATH": str(ROOT)}, directory=str(ROOT))
            deadline_s = time.monotonic() + PATIENCE_S
            joined = next_of(group, rondo.Membership, deadline_s)
            while not any(change.node == 1 for change in joined.joined):  # our own join is the first
                joined = next_of(group, rondo.Membership, deadline_s)
            message = next_of(group, rondo.Message, deadline_s)
            while not message.data.startswith(b"0 5"):
                message = next_of(group, rondo.Message, deadline_s)

            os.kill(started["pid"], signal.SIGKILL)
            seen: list[rondo.Event] = []
            while not (seen and isinstance(seen[-1], rondo.Message) and seen[-1].data.startswith(b"1 ")):
                event = group.poll(timeout=0.5)
                assert time.monotonic() < deadline_s, seen
                if event is not None:
                    seen.append(event)
            gone, came = (each for each in seen if isinstance(each, rondo.Membership))
            assert gone.left == (rondo.Change(rondo.Member(1, started["pid"]), rondo.Reason.PROCDOWN),)
            (back,) = came.joined
            assert (back.node, back.reason) == (1, rondo.Reason.JOIN)
            (status,) = own.status(started["id"])
            assert (status["instance"], status["pid"]) == (1, back.pid)
            counts = [int(each.data.split()[1]) for each in [message, *seen] if isinstance(each, rondo.Message)]
            # What it had stored and was killed before it could tell is left out; nothing is told twice.
            assert counts[:-1] == list(range(counts[0], counts[0] + len(counts) - 1))
            assert counts[-1] - counts[-2] in (1, 2)
            own.stop(started["id"])
