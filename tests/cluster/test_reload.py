"""Reloads of nodes of real processes: nodes added and removed under load, faulty files, kills in the middle.

RONDO_KILLS: how often control is killed while a reload is under way.
"""

import itertools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import rondo
from rondo.config import NodeConfig
from rondo.ipc.control import ask
from rondo.node.supervision.halt import kill
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import NODE, MakeNodes, Node, make_nodes, wait_for_log, wait_until_whole

__all__ = ["make_nodes"]

pytestmark = pytest.mark.timeout(600)

KILLS = int(os.environ.get("RONDO_KILLS", "5"))
QUORUM = "quorum {\n    provider: corosync_votequorum\n}\n"
KEY = "0123456789abcdef" * 16
DONE_S_MAX = 60.0
CALM_MS = 10_000
"""A token time-out that a busy machine does not reach, where nobody may leave the ring."""


class Cluster:
    """Nodes with a file each, of which some run."""

    def __init__(
        self, nodes: list[Node], transport: str = "udpu", security: str = "secauth: off", token_ms: int = 1000
    ) -> None:
        self._token_ms = token_ms
        self.nodes = {node.node_id: node for node in nodes}
        self.text = nodes[0].config.read_text() + QUORUM
        self.text = self.text.replace("secauth: off", security).replace("transport: udpu", f"transport: {transport}")
        for node in nodes:
            node.config = node.config.with_name(f"c{node.node_id}.conf")

    def write(
        self,
        *listed: int,
        token: int | None = None,
        on: tuple[int, ...] = (),
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        """A file with these nodes for all of them, or for those `on`. `addresses`: lines of others, by those of now."""
        text = self.text.replace("token: 1000", f"token: {token or self._token_ms}")
        for node in set(self.nodes).difference(listed):
            text = text.replace(NODE.format(node), "")
        for line, other in (addresses or {}).items():
            text = text.replace(f"{line}\n", f"{other}\n")
        for node in on or self.nodes:
            self.nodes[node].config.write_text(text)

    def start(self, *nodes: int) -> None:
        for node in nodes:
            self.nodes[node].start()
        for node in nodes:
            self.nodes[node].command("wait", "--members", str(len(nodes)), "--timeout", "60")

    def token(self, node: int) -> int:
        """The token time-out that control says is in force."""
        said = self.nodes[node].command("cmap", "get", "runtime.config.totem.token", "--json").stdout
        return int(json.loads(said)["runtime.config.totem.token"]["value"])

    def wait_for_tokens(self, token_ms: int, *nodes: int) -> None:
        """Wait until all of these nodes have it: the one that was asked answers before the last one has."""
        look = partial(map, self.token, nodes)
        wait_for(lambda: set(look()), {token_ms}.__eq__, "all have the same", DONE_S_MAX)

    def resolved(self, node: int) -> int:
        """That which services begin with that are started again."""
        path = self.nodes[node].run_dir / "node.msgpack"
        return NodeConfig.read(path).token_timeout_ms

    def wait_for_absent(self, node: int, *absent: int) -> None:
        """Wait until a node says that exactly these are absent."""
        wait_for(
            self.nodes[node].status,
            lambda found: found["ring"] and {each["node"] for each in found["absent"]} == {*absent},
            "who is absent",
            DONE_S_MAX,
        )

    def wait_for_quorum(self, node: int, **wanted: int) -> None:
        """Wait until `rondo quorum` says so on a node."""
        wait_for(
            lambda: json.loads(self.nodes[node].command("quorum", "--json").stdout),
            lambda found: wanted.items() <= found.items(),
            "the votes",
            DONE_S_MAX,
        )

    def ring(self, node: int) -> Any:
        """The ring of a node, once it answers."""
        return wait_for(self.nodes[node].status, lambda found: bool(found["ring"]), "a ring", DONE_S_MAX)["ring"]


@contextmanager
def load(sender: Node, receiver: Node) -> Iterator[None]:
    """Messages flow meanwhile, and all of them arrive, in their order."""
    stop = threading.Event()
    faults: list[BaseException] = []
    with rondo.connect(sender.endpoint) as one, rondo.connect(receiver.endpoint) as two:
        sending, receiving = one.cpg.join("load"), two.cpg.join("load")
        last = 0

        def send() -> None:
            nonlocal last
            for number in itertools.count(1):
                sending.mcast(str(number).encode()).ordered(DONE_S_MAX)
                last = number
                if stop.is_set():
                    sending.mcast(b"end").ordered(DONE_S_MAX)
                    return

        seen: list[bytes] = []

        def receive() -> None:
            try:
                for event in receiving:
                    if isinstance(event, rondo.Message):
                        if event.data == b"end":
                            return
                        seen.append(event.data)
                    elif isinstance(event, rondo.Membership):
                        assert not event.left, f"nobody leaves: {event}"
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=each) for each in (receive, send)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(DONE_S_MAX)
        assert not faults
        assert seen == [str(number).encode() for number in range(1, last + 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transport", "security"),
    [
        ("udpu", f"crypto_cipher: aes256-gcm\n    key: {KEY}"),
        ("knet", f"crypto_cipher: aes256\n    crypto_hash: sha256\n    key: {KEY}"),
    ],
)
def test_a_node_is_added_and_removed_under_load(make_nodes: MakeNodes, transport: str, security: str) -> None:
    cluster = Cluster(make_nodes(3), transport, security, CALM_MS)
    cluster.write(1, 2)
    cluster.start(1, 2)
    one, two, three = cluster.nodes.values()
    with load(one, two):
        cluster.write(1, 2, 3)
        assert "nodelist" in one.command("reload").stdout
        cluster.wait_for_absent(2, 3)
        three.start()
        one.command("wait", "--members", "3", "--timeout", "60")
        cluster.wait_for_quorum(2, expected_votes=3, total_votes=3)

        cluster.write(1, 2)
        refused = one.command("reload", check=False)
        assert refused.returncode == 1
        assert "node 3 is in the ring and not in the list; stop it first" in refused.stderr
        assert "nothing has changed on any node" in refused.stderr
        three.command("stop")
        for node in (one, two):
            node.command("wait", "--members", "2", "--timeout", "60")
        cluster.wait_for_quorum(2, total_votes=2)  # control has heard of it, too
        assert json.loads(two.command("reload", "--json").stdout)["faults"] == []
    for number in (1, 2):
        cluster.wait_for_absent(number)
        cluster.wait_for_quorum(number, expected_votes=2, total_votes=2, quorum=2)


TWO_LINKS = {f"ring0_addr: 127.0.0.{n}": f"ring0_addr: 127.0.0.{n}\n        ring1_addr: 127.0.1.{n}" for n in (1, 2)}
MOVED = {"ring0_addr: 127.0.0.2": "ring0_addr: 127.0.0.12"}


def _addresses(cluster: Cluster, node: int) -> list[list[str]]:
    return [each["addresses"] for each in json.loads(cluster.nodes[node].command("nodes", "--json").stdout)]


def _links_up(cluster: Cluster) -> list[set[int]]:
    """Of each node to the other one."""
    return [
        {
            link["link"]
            for links in ask(node.run_dir, "totem", "status", DONE_S_MAX)["links"].values()
            for link in links
            if link["up"]
        }
        for node in cluster.nodes.values()
    ]


@pytest.mark.slow
def test_links_of_knet_come_and_go_under_load_and_the_ring_stays(make_nodes: MakeNodes) -> None:
    cluster = Cluster(make_nodes(2), "knet", token_ms=CALM_MS)
    cluster.write(1, 2)
    cluster.start(1, 2)
    one, two = cluster.nodes.values()
    ring = cluster.ring(1)
    with load(one, two):
        for addresses, links in ((TWO_LINKS, {0, 1}), ({}, {0}), (MOVED, {0})):
            cluster.write(1, 2, addresses=addresses)
            assert "nodelist" in one.command("reload").stdout
            wait_for(lambda: _links_up(cluster), lambda found: found == [links, links], "the links are up", DONE_S_MAX)  # noqa: B023
    assert cluster.ring(1) == ring, "no membership change"
    assert _addresses(cluster, 1) == _addresses(cluster, 2) == [["127.0.0.1"], ["127.0.0.12"]]
    key = one.command("cmap", "get", "runtime.members.2.ip").stdout
    assert "r(0) ip(127.0.0.12)" in key


@pytest.mark.slow
def test_a_node_moves_to_another_address(make_nodes: MakeNodes) -> None:
    """With udpu the ring is formed anew, of the same members."""
    cluster = Cluster(make_nodes(2), token_ms=CALM_MS)
    cluster.write(1, 2)
    cluster.start(1, 2)
    one, two = cluster.nodes.values()
    before = cluster.ring(1)
    with load(one, two):
        cluster.write(1, 2, addresses=MOVED)
        assert "nodelist" in two.command("reload").stdout
        wait_for(lambda: one.status()["ring"], lambda found: found not in (None, before), "a new ring", DONE_S_MAX)
        wait_for(lambda: one.status()["members"], lambda found: found == [1, 2], "of the same nodes", DONE_S_MAX)
    wait_for_log(two, "totem", "[127.0.0.12] is now up")


@pytest.mark.slow
def test_a_faulty_file_on_one_node_changes_nothing_anywhere(make_nodes: MakeNodes) -> None:
    cluster = Cluster(make_nodes(3))
    cluster.write(1, 2, 3)
    cluster.start(1, 2, 3)
    before = [cluster.token(node) for node in (1, 2, 3)]
    cluster.write(1, 2, 3, token=2000)
    faulty = cluster.nodes[2].config
    faulty.write_text(faulty.read_text().replace("token: 2000", "token: soon"))
    with rondo.connect(cluster.nodes[1].endpoint) as connection:
        with pytest.raises(rondo.FailedOperation, match=rf"node 2: {faulty}:6: totem\.token: .*'soon'"):
            connection.cfg.reload()
        assert [cluster.token(node) for node in (1, 2, 3)] == before
        cluster.write(1, 2, 3, token=2000)
        assert "totem.token" in connection.cfg.reload()
    cluster.wait_for_tokens(2650, 1, 2, 3)
    wait_for(lambda: {cluster.resolved(node) for node in (1, 2, 3)}, {2650}.__eq__, "all have it", DONE_S_MAX)


def test_logs_and_users_change_without_a_restart(make_nodes: MakeNodes) -> None:
    cluster = Cluster(make_nodes(1))
    cluster.write(1)
    cluster.start(1)
    node = cluster.nodes[1]
    pids = node.pids()
    logfile = node.config.with_suffix(".log")
    socket = node.run_dir / "gateway.sock"
    assert socket.stat().st_mode & 0o077 == 0
    with node.config.open("a") as config:
        config.write(f"logging {{\n    to_logfile: yes\n    logfile: {logfile}\n}}\nuidgid {{\n    uid: 65534\n}}\n")
    assert "logging" in node.command("reload").stdout
    wait_for(lambda: socket.stat().st_mode & 0o002, bool, "others may ask", DONE_S_MAX)
    wait_for(lambda: logfile.exists() and "read anew" in logfile.read_text(), bool, "it is logged there", DONE_S_MAX)
    assert node.pids() == pids
    os.kill(pids["ipc_gateway"], signal.SIGKILL)
    wait_until_whole(node)
    mode = wait_for(lambda: socket.exists() and socket.stat().st_mode, bool, "it has a socket", DONE_S_MAX)
    assert mode & 0o002, "its successor begins with the new configuration"


@pytest.mark.slow
def test_control_is_killed_in_the_middle(make_nodes: MakeNodes) -> None:
    """Whenever it dies: all nodes have the one configuration or all have the other."""
    cluster = Cluster(make_nodes(3))
    cluster.write(1, 2, 3)
    cluster.start(1, 2, 3)
    source = random.Random(7)
    in_force = cluster.token(1)
    for turn in range(KILLS):
        cluster.write(1, 2, 3, token=2000 + turn)
        asking = threading.Thread(target=cluster.nodes[1].command, args=("reload",), kwargs={"check": False})
        asking.start()
        time.sleep(source.uniform(0.2, 1.5))
        victim = cluster.nodes[source.choice((1, 2, 3))]
        os.kill(victim.pids()["control"], signal.SIGKILL)
        asking.join(DONE_S_MAX)
        assert not asking.is_alive()
        wait_until_whole(victim)

        def tokens() -> set[int]:
            return {cluster.token(node) for node in (1, 2, 3)}

        in_force = wait_for(tokens, lambda found: len(found) == 1, "all have the same", DONE_S_MAX).pop()
    cluster.write(1, 2, 3, token=5000)
    cluster.nodes[2].command("reload")
    cluster.wait_for_tokens(5650, 1, 2, 3)
    assert in_force != 5650


@pytest.mark.slow
def test_a_node_is_killed_in_the_middle(make_nodes: MakeNodes) -> None:
    cluster = Cluster(make_nodes(3))
    cluster.write(1, 2, 3)
    cluster.start(1, 2, 3)
    cluster.write(1, 2, 3, token=2000)
    victim = cluster.nodes[3]
    os.kill(victim.pids()["control"], signal.SIGSTOP)  # so that it has not voted yet when it dies
    asking = threading.Thread(target=cluster.nodes[1].command, args=("reload",), kwargs={"check": False})
    asking.start()

    def is_reloading(node: int) -> bool:
        return bool(ask(cluster.nodes[node].run_dir, "control", "status", DONE_S_MAX)["is_reloading"])

    wait_for(lambda: is_reloading(2), bool, "asked", DONE_S_MAX)
    kill(victim.run_dir)
    asking.join(DONE_S_MAX)
    assert not asking.is_alive()
    cluster.nodes[1].command("wait", "--members", "2", "--timeout", "60")
    for number in (1, 2):
        wait_for(partial(is_reloading, number), lambda found: not found, "the reload is over", DONE_S_MAX)
    assert {cluster.token(node) for node in (1, 2)} == {1650}
    assert "totem.token" in cluster.nodes[2].command("reload").stdout
    cluster.wait_for_tokens(2650, 1, 2)


def test_without_a_file_there_is_nothing_to_reload(make_nodes: MakeNodes) -> None:
    cluster = Cluster(make_nodes(1))
    cluster.write(1)
    cluster.start(1)
    Path(cluster.nodes[1].config).unlink()
    refused = cluster.nodes[1].command("reload", check=False)
    assert refused.returncode == 1
    assert f"node 1: {cluster.nodes[1].config}" in refused.stderr
