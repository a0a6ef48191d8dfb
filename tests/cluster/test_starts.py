"""How a cluster of the lab is started, and how often its C nodes are asked: neither waits or works for nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.ring_nodes import Cluster, RingNode, View

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from rondo.testing.lab.process import Process

RUNNING = cast("Process", SimpleNamespace(alive=True, exit_status=None, output=lambda: ""))


class Fake(RingNode):
    """A node that is in a ring with all that were started. `happened` gets each start and each look."""

    def __init__(self, number: int, happened: list[str]) -> None:
        super().__init__(cast("Any", SimpleNamespace(number=number, name=f"n{number}")))
        self._happened = happened

    def view(self) -> View | None:
        self._happened.append("look")
        started = [int(each.split()[1]) for each in self._happened if each.startswith("start")]
        return View(1, 4 * len(started), tuple(started), ready=True)

    def log(self) -> str:
        return ""

    def _launch(self) -> Process:
        self._happened.append(f"start {self.host.number}")
        return RUNNING

    def _leave(self) -> None:
        raise NotImplementedError

    def _suspicious_lines(self) -> list[str]:
        return []


class Careful(Fake):
    may_start_with_others = False


def test_nodes_start_at_the_same_time() -> None:
    happened: list[str] = []
    assert Cluster(Fake(number, happened) for number in (1, 2, 3)).start().members == (1, 2, 3)
    assert happened == ["start 1", "start 2", "start 3", *["look"] * 3]


def test_all_start_one_by_one_if_a_single_one_must() -> None:
    happened: list[str] = []
    kinds = (Fake, Careful, Fake)
    Cluster(kind(number, happened) for number, kind in enumerate(kinds, 1)).start()
    assert happened == ["start 1", "look", "start 2", *["look"] * 2, "start 3", *["look"] * 3]


def log_of(sequence: int) -> str:
    """What a C node logs of a ring of nodes 1 and 2."""
    return (
        f"Sync members[2]: 1 2\nA new membership (1.{sequence:x}) was formed.\n"
        "Completed service synchronization, ready to provide service.\n"
    )


class Asked(CorosyncNode):
    """A C node without a process, which counts how often it is asked for its members."""

    def __init__(self, directory: Path) -> None:
        RingNode.__init__(self, cast("Any", SimpleNamespace(name="n1", start=lambda *_: RUNNING)))
        self.log_path = directory / "corosync.log"
        self.config_path = directory / "corosync.conf"
        self.present = [1, 2]
        self.asked = 0

    def members(self) -> list[int]:
        self.asked += 1
        return self.present


def test_a_c_node_is_asked_again_when_its_log_has_grown(tmp_path: Path) -> None:
    node = Asked(tmp_path)
    node.start()
    node.log_path.write_text(log_of(8))
    assert [node.view() for _ in range(3)] == [View(1, 8, (1, 2), ready=True)] * 3
    assert node.asked == 1
    node.log_path.write_text(log_of(8) + log_of(12))
    assert node.view() == View(1, 12, (1, 2), ready=True)
    assert node.asked == 2


def test_a_c_node_that_was_started_again_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Asked(tmp_path)
    node.start()
    node.log_path.write_text(log_of(8))
    assert node.view() is not None
    monkeypatch.setattr(RUNNING, "kill", lambda: None, raising=False)
    node.kill()
    node.start()
    node.present = []  # it does not answer yet
    assert node.view() is None


def test_a_c_node_between_two_rings_has_no_view(tmp_path: Path) -> None:
    node = Asked(tmp_path)
    node.start()
    node.log_path.write_text(log_of(8))
    node.present = [1]
    assert [node.view(), node.view()] == [None, None]
    assert node.asked == 2
