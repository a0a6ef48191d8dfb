"""What can change while a node runs: every field is said to or not, by an option that exists."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from rondo.config import NodeConfig, load, resolve
from rondo.config.candidate import FAULTS_MAX, candidate
from rondo.config.changes import CHANGEABLE, FIXED, KNET, VOTES
from rondo.config.loaded import OptionPath
from rondo.config.node import KnetSettings, QuorumSettings
from rondo.config.schema_node import Config

FILE = """\
totem {
    version: 2
    cluster_name: t
    transport: udpu
    secauth: off
}
nodelist {
    node {
        nodeid: 1
        ring0_addr: 127.0.0.1
    }
    node {
        nodeid: 2
        ring0_addr: 127.0.0.2
    }
}
quorum {
    provider: corosync_votequorum
    two_node: 1
}
"""


def test_every_field_can_change_or_cannot() -> None:
    assert CHANGEABLE.keys() | FIXED.keys() | {"quorum", "knet"} == {each.name for each in fields(NodeConfig)}
    assert not CHANGEABLE.keys() & FIXED.keys()
    assert VOTES.keys() < {each.name for each in fields(QuorumSettings)}
    assert KNET.keys() == {each.name for each in fields(KnetSettings)}


@pytest.mark.parametrize("path", {*CHANGEABLE.values(), *FIXED.values(), *VOTES.values(), *KNET.values()})
def test_the_options_exist(path: OptionPath) -> None:
    model: Any = Config
    for part in path:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            model = annotation if hasattr(annotation, "model_fields") else getattr(annotation, "__args__", (None,))[0]


class Running:
    """A node that runs with a file, which changes."""

    def __init__(self, path: Path, text: str = FILE) -> None:
        self.path = path
        path.write_text(text)
        self.config = resolve(load(path, node_id=1), state_dir="/tmp")

    def read(self, text: str) -> dict[str, Any]:
        self.path.write_text(text)
        return dict(candidate(self.config.to_msgpack()))


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path / "corosync.conf")


def test_nothing_new(running: Running) -> None:
    found = running.read(FILE)
    assert (found["changed"], found["faults"]) == ([], [])
    assert NodeConfig.from_msgpack(found["config"]) == running.config


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("secauth: off", "secauth: off\n    token: 2000", {"totem.token"}),
        ("secauth: off", "secauth: off\n    merge: 300", {"totem.merge"}),
        ("secauth: off", "secauth: off\n    config_version: 3", {"totem.config_version"}),
        ("two_node: 1", "two_node: 0", {"quorum.two_node"}),
        ("two_node: 1", "two_node: 1\n    expected_votes: 2", {"quorum.expected_votes"}),
        ("nodeid: 2", "nodeid: 2\n        quorum_votes: 0", {"nodelist"}),
        ("127.0.0.2", "127.0.0.3", {"nodelist"}),
        ("127.0.0.1", "127.0.0.9", {"nodelist"}),
        ("nodelist", "uidgid {\n    uid: 0\n}\nnodelist", {"uidgid"}),
        ("nodelist", "logging {\n    debug: on\n}\nnodelist", {"logging"}),
    ],
)
def test_what_changes_is_named(running: Running, old: str, new: str, names: set[str]) -> None:
    found = running.read(FILE.replace(old, new, 1))
    assert found["faults"] == []
    assert names <= set(found["changed"])


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("transport: udpu", "transport: udp", "4: totem.transport: "),
        ("secauth: off", "netmtu: 1400\n    secauth: off", "5: totem.netmtu: "),
        ("secauth: off", "window_size: 60\n    secauth: off", "5: totem.window_size: "),
        ("secauth: off", "crypto_cipher: aes256-gcm", "5: totem.crypto_cipher: "),
        ("cluster_name: t", "cluster_name: u", "3: totem.cluster_name: "),
        ("two_node: 1", "two_node: 1\n    wait_for_all: 0", "20: quorum.wait_for_all: "),
        ("    provider: corosync_votequorum\n    two_node: 1\n", "", "17: quorum.provider: "),
        ("nodelist", "system {\n    low_latency: yes\n}\nnodelist", "8: system.low_latency: "),
        ("two_node: 1", "two_node: maybe", "19: quorum.two_node: "),
    ],
)
def test_what_cannot_change_is_refused_with_its_place(running: Running, old: str, new: str, where: str) -> None:
    found = running.read(FILE.replace(old, new, 1))
    assert found["config"] is None
    assert any(text.startswith(f"{running.path}:{where}") for text in found["faults"]), found["faults"]


@pytest.mark.parametrize(
    ("one", "two", "why"),
    [
        ("192.0.2.1", "192.0.2.2", "no interface of this machine has 192.0.2.1"),
        ("2001:db8::1", "2001:db8::2", "this node's address cannot change its IP version while the node runs"),
    ],
)
def test_where_this_node_cannot_be(running: Running, one: str, two: str, why: str) -> None:
    found = running.read(FILE.replace("127.0.0.1", one).replace("127.0.0.2", two))
    assert any(text.startswith(f"{running.path}:10: nodelist.node.ring0_addr: {why}") for text in found["faults"]), (
        found["faults"]
    )


def test_wait_for_all_does_not_follow_two_node_at_run_time(running: Running) -> None:
    assert running.config.quorum.wait_for_all
    found = running.read(FILE.replace("two_node: 1", "two_node: 0"))
    assert NodeConfig.from_msgpack(found["config"]).quorum.wait_for_all


KNET_FILE = FILE.replace("transport: udpu", "transport: knet")
SECOND_LINK = KNET_FILE.replace(": 127.0.0.1", ": 127.0.0.1\n        ring1_addr: 127.0.1.1").replace(
    ": 127.0.0.2", ": 127.0.0.2\n        ring1_addr: 127.0.1.2"
)
THIRD_NODE = "    node {\n        nodeid: 3\n        ring0_addr: 127.0.0.3\n    }\n}\nquorum"
INTERFACE = "    interface {\n        linknumber: 0\n        %s\n    }\n}\nnodelist"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (KNET_FILE.replace("}\nquorum", THIRD_NODE), {"nodelist"}),
        (SECOND_LINK, {"nodelist", "totem.interface"}),
        (KNET_FILE.replace("127.0.0.1", "127.0.0.9"), {"nodelist"}),
        (KNET_FILE.replace("}\nnodelist", INTERFACE % "knet_ping_interval: 100"), {"totem.interface"}),
        (KNET_FILE.replace("secauth", "link_mode: rr\n    secauth"), {"totem.link_mode"}),
        (KNET_FILE.replace("secauth", "token: 4000\n    secauth"), {"totem.token", "totem.interface"}),
    ],
)
def test_nodes_links_and_timers_of_knet_change(tmp_path: Path, text: str, names: set[str]) -> None:
    found = Running(tmp_path / "corosync.conf", KNET_FILE).read(text)
    assert found["faults"] == []
    assert names <= set(found["changed"])


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (
            KNET_FILE.replace("}\nnodelist", INTERFACE % "mcastport: 5555"),
            "8: totem.interface.mcastport: the port of link 0 cannot",
        ),
        (
            SECOND_LINK.replace("127.0.1.1", "192.0.2.1"),
            "11: nodelist.node.ring1_addr: no interface of this machine has 192.0.2.1",
        ),
    ],
)
def test_what_cannot_change_of_knet(tmp_path: Path, text: str, where: str) -> None:
    running = Running(tmp_path / "corosync.conf", KNET_FILE)
    found = running.read(text)
    assert any(fault.startswith(f"{running.path}:{where}") for fault in found["faults"]), found["faults"]


def test_what_cannot_be_read_is_a_fault(running: Running) -> None:
    running.path.unlink()
    assert "no such file" in str(dict(candidate(running.config.to_msgpack()))["faults"])
    assert candidate(b"")["config"] is None
    assert len(running.read("x\n" * 50)["faults"]) <= FAULTS_MAX
