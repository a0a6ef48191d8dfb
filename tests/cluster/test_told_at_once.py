"""An application hears at once that its node is gone, whichever process of it dies first. Needs no root."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import UnionType

import pytest

import rondo
from rondo.node.supervision.halt import kill
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import ALL, RUNNING, Node, make_nodes, node

__all__ = ["make_nodes", "node"]

TOLD_S_MAX = 0.2
ATTEMPTS_MAX = 3
"""Of which one must be that soon: the machine may be busy with other things."""
LONG_S = 60.0
CUT_OFF = rondo.Suspended | rondo.Disconnected


class Listener:
    """An application that waits, and when it was told first that it is cut off."""

    def __init__(self, node: Node) -> None:
        self.first: rondo.Event | None = None
        self._cluster = rondo.connect(node.endpoint, timeout=LONG_S)
        self._group = self._cluster.cpg.join("g", LONG_S)
        self._told_s: float | None = None
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for event in self._group:
            if isinstance(event, CUT_OFF):
                self._told_s = time.monotonic()
                self.first = event
                return

    def told_after(self, began_s: float) -> float:
        """How long after that time it was told, s."""
        self._thread.join(LONG_S)
        assert self._told_s is not None, "it was never told"
        self._cluster.close()
        return self._told_s - began_s


def soonest(
    node: Node, end: Callable[[], float], kinds: type | UnionType = CUT_OFF, soon_s: float = TOLD_S_MAX
) -> float:
    """How long after `end` (which gives the time) an application hears of it, s; the best of some attempts, until one
    is below `soon_s`. What it hears is one of these `kinds`."""
    took_s: list[float] = []
    while not took_s or (min(took_s) >= soon_s and len(took_s) < ATTEMPTS_MAX):
        node.start()
        listener = Listener(node)
        took_s.append(listener.told_after(end()))
        assert isinstance(listener.first, kinds)
        kill(node.run_dir)
    return min(took_s)


@pytest.mark.parametrize("first", sorted(ALL))
def test_all_processes_are_killed(node: Node, first: str) -> None:
    """In every rotation of their order, so that each is the first once, and each the last; faster than any could
    be started again."""

    def end() -> float:
        names = sorted(ALL)
        at = names.index(first)
        pids = node.pids()
        for name in names[at:] + names[:at]:
            os.kill(pids[name], signal.SIGKILL)
        return time.monotonic()

    assert soonest(node, end) < TOLD_S_MAX


@pytest.mark.parametrize("name", ["ipc_gateway", "totem"])
def test_one_process_is_killed_without_which_nothing_is_ordered(node: Node, name: str) -> None:
    def end() -> float:
        os.kill(node.pids()[name], signal.SIGKILL)
        return time.monotonic()

    assert soonest(node, end) < TOLD_S_MAX


def test_a_stop_in_order_is_told_before_the_node_leaves_the_ring(node: Node) -> None:
    """So there are never two that both take themselves for the leader."""

    def end() -> float:
        pids = node.pids()
        assert pids.keys() >= set(RUNNING)
        os.kill(pids["supervisord"], signal.SIGTERM)
        wait_for(Path(f"/proc/{pids['totem']}").exists, lambda there: not there, "totem has ended", LONG_S)
        return time.monotonic()

    assert soonest(node, end, rondo.Disconnected, soon_s=0.0) < 0
