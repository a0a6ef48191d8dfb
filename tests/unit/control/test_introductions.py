"""What Rondo nodes say of themselves in each ring: their software, and which configuration is in force there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import rondo
from rondo.protocol.totem_control import is_safe
from services.control.cfg import wire
from services.control.introductions import DIGESTS_MAX, KIND, Introductions, introduction
from tests.unit.control.test_reload import Files, text_of
from tests.unit.control.world import Host

OWN = {"nodelist": b"1", "totem": b"2"}


class Parted(Files):
    """The message at which all change does not reach those who are `cut` off just before."""

    cut: tuple[int, ...] = ()

    def _multicast(self, hosts: Iterable[Host], sender: int, data: bytes) -> None:
        reached = [each for each in hosts if not (is_safe(data) and each.node in self.cut)]
        super()._multicast(reached, sender, data)

    def differing(self) -> list[dict[str, list[str]]]:
        return [host.machine.status()["differing"] for host in self.hosts.values()]

    def said(self, node: int) -> list[str]:
        return [each for each in self.hosts[node].machine.core.notices if each.startswith("Another configuration")]


def test_who_was_cut_off_in_the_moment_of_a_reload_is_noticed_by_all_and_mended_by_another_one(tmp_path: Path) -> None:
    three = Parted(tmp_path, 1, 2, 3)
    three.write(text_of(1, 2, 3, token=2000))
    three.cut = (3,)
    three.ask_reload(1)
    three.read()
    three.form(1, 2)
    three.form(3)
    assert three.tokens() == [2650, 2650, 1650], "the two sides have different files in force"
    assert three.differing() == [{}, {}, {}], "each side is at one with itself"

    three.cut = ()
    three.form(1, 2, 3)
    assert three.differing() == [{"3": ["totem"]}, {"3": ["totem"]}, {"1": ["totem"], "2": ["totem"]}]
    assert len(three.said(1)) == len(three.said(2)) == 1
    assert len(set(three.said(3))) == 2
    assert "in force at node 3 than here: totem differ" in three.said(1)[0]

    three.hosts[2].start()  # a restarted control knows it, too
    assert three.differing()[1] == {"3": ["totem"]}
    assert three.reload(3)["faults"] == []
    assert three.tokens() == [2650, 2650, 2650]
    assert three.differing() == [{}, {}, {}]


def test_a_reload_alone_says_nothing_of_differences(tmp_path: Path) -> None:
    three = Parted(tmp_path, 1, 2, 3)
    three.write(text_of(1, 2, 3, token=2000))
    three.reload(2)
    assert three.differing() == [{}, {}, {}]
    assert [three.said(node) for node in three.hosts] == [[], [], []]


def test_members_tell_their_software_anew_in_each_ring(tmp_path: Path) -> None:
    two = Parted(tmp_path, 1, 2)
    core = two.hosts[1].machine.core
    assert core.introductions.software == dict.fromkeys((1, 2), f"rondo {rondo.__version__}")
    two.form(1)
    assert core.introductions.software == {}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        [KIND],
        [KIND + 1, "x", []],
        [KIND, b"x", []],
        [KIND, "x", [["name", "text"]]],
        [KIND, "x", [[str(number), b""] for number in range(DIGESTS_MAX + 1)]],
    ],
)
def test_nonsense_is_no_introduction(body: Any) -> None:
    found = Introductions()
    assert not found.heard(2, body, OWN)
    assert not found.software


def test_a_name_that_one_of_both_does_not_know_differs() -> None:
    found = Introductions()
    assert found.heard(2, introduction("rondo 9", {"totem": b"2", "new": b"3"}), OWN)
    assert found.differing == {2: ["new", "nodelist"]}


def test_c_nodes_pass_it_over() -> None:
    message = wire.encode_among_rondo(1, introduction("rondo 9", OWN))
    assert isinstance(wire.decode(message), wire.AmongRondo)
    assert not is_safe(message)
