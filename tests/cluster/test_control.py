"""control in a node of real processes: what clients are told of quorum and keys, through any number of its deaths.

RONDO_KILLS: how often it is killed under load.
"""

import asyncio
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

import rondo
from rondo.ipc.control import ask
from rondo.node.supervision import survey
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import Node, kill_and_wait_for_the_next, make_nodes, node, wait_until_whole

__all__ = ["make_nodes", "node"]

KILLS = int(os.environ.get("RONDO_KILLS", "5"))
QUORUM = "quorum {\n    provider: corosync_votequorum\n}\n"
ANSWERED_S_MAX = 60.0
STARTED_S_MAX = 60.0
LOOK_S = 1.0


@pytest.fixture
def voting(node: Node) -> Node:
    """A started node that counts votes."""
    with node.config.open("a") as config:
        config.write(QUORUM)
    node.start()
    return node


def test_the_commands(voting: Node) -> None:
    status = json.loads(voting.command("quorum", "--json", "--check").stdout)
    assert (status["provider"], status["quorate"], status["quorum"]) == ("corosync_votequorum", True, 1)
    assert "Quorate:           yes" in voting.command("quorum").stdout
    assert voting.command("quorum", "expected", "9", check=False).returncode == 1
    voting.command("quorum", "expected", "1")
    assert voting.command("quorum", "votes", "7", "1", check=False).returncode == 1
    voting.command("quorum", "cancel-wait-for-all")

    voting.command("cmap", "set", "my.key", "u32", "3")
    assert json.loads(voting.command("cmap", "get", "my.key", "--json").stdout) == {
        "my.key": {"type": "u32", "value": 3}
    }
    assert voting.command("cmap", "list", "my.").stdout == "my.key (u32) = 3\n"
    assert "cannot be changed" in voting.command("cmap", "set", "totem.transport", "str", "udp", check=False).stderr
    assert voting.command("cmap", "set", "my.key", "u8", "x", check=False).returncode == 1
    voting.command("cmap", "delete", "my.key")
    assert voting.command("cmap", "get", "my.key", check=False).returncode == 1
    assert "stats.srp.orf_token_rx" in voting.command("cmap", "list", "stats.srp.", "--map", "stats").stdout
    with rondo.connect(voting.endpoint) as cluster:
        group = cluster.cpg.join("counted")
        group.mcast(b"one").ordered(ANSWERED_S_MAX)
        connections = cluster.cmap.items("stats.ipcs.", which="stats")
        assert f"stats.ipcs.service2.{os.getpid()}." in " ".join(connections)
        assert connections["stats.ipcs.global.active"] != rondo.cmap.U64(0)
        counts = cluster.cmap.items("runtime.services.cpg.")
        assert counts["runtime.services.cpg.3.rx"] == counts["runtime.services.cpg.3.tx"] == 1
        voting.command("cmap", "set", "stats.clear.totem", "u32", "1", "--map", "stats")
        assert cluster.cmap.get("stats.srp.commit_entered", which="stats") == 0, "it begins anew"
        cluster.cmap.set("stats.clear.all", rondo.cmap.U32(1), which="stats")
        with pytest.raises(rondo.NotSupported, match="only the map icmap"):
            cluster.cmap.set("stats.srp.mcast_tx", rondo.cmap.U64(1), which="stats")
        counters = ask(voting.run_dir, "control", "status", ANSWERED_S_MAX)["counters"]
        assert not [name for name in counters if name.startswith("ignored")], "what groups say does not come to control"
        everything = cluster.cmap.items()
        assert everything.keys() >= {"logging.to_stderr", "runtime.config.totem.downcheck", *counts}

    (found,) = json.loads(voting.command("nodes", "--json").stdout)
    assert (found["node"], found["member"], found["addresses"]) == (1, True, ["127.0.0.1"])
    assert found["software"] == f"rondo {rondo.__version__}"
    assert "127.0.0.1" in voting.command("nodes").stdout


def test_a_key_has_the_ring_formed_anew(voting: Node) -> None:
    def ring() -> int:
        return int((ask(voting.run_dir, "totem", "status", ANSWERED_S_MAX)["ring"] or {"sequence": 0})["sequence"])

    before = ring()
    voting.command("cmap", "set", "runtime.force_gather", "str", "yes")
    wait_for(ring, lambda seen: seen > before, "another ring", ANSWERED_S_MAX)
    assert voting.command("cmap", "get", "runtime.force_gather").stdout == "runtime.force_gather (str) = no\n"
    refused = voting.command("cmap", "set", "totem.token", "u32", "1500", check=False)
    assert "change the file, then `rondo reload`" in refused.stderr


def test_services_log_as_the_keys_say(voting: Node) -> None:
    def levels() -> dict[str, str]:
        answers = {name: survey.ask_one(voting.run_dir, name, LOOK_S) or {} for name in services}
        return {name: str(answer.get("log_level")) for name, answer in answers.items()}

    services = ("totem", "cpg", "control", "ipc_gateway", "sam")
    everywhere = dict.fromkeys(services, "info")
    wait_for(levels, everywhere.__eq__, "the file's levels at first", ANSWERED_S_MAX)
    voting.command("cmap", "set", "logging.logger_subsys.CPG.debug", "str", "on")
    wait_for(levels, lambda seen: seen == everywhere | {"cpg": "debug"}, "cpg's level", ANSWERED_S_MAX)
    voting.command("cmap", "set", "logging.logfile_priority", "str", "err")
    quiet = dict.fromkeys(everywhere, "error") | {"cpg": "debug"}
    wait_for(levels, lambda seen: seen == quiet, "the others' levels", ANSWERED_S_MAX)
    for name in ("totem", "control"):
        kill_and_wait_for_the_next(voting, name)
    wait_for(levels, lambda seen: seen == quiet, "the levels of those that were started since", ANSWERED_S_MAX)
    wait_until_whole(voting)
    refused = voting.command("cmap", "set", "logging.debug", "str", "loud", check=False)
    assert refused.returncode == 1
    assert "logging.debug is a str, one of off, on, trace; not 'loud'" in refused.stderr
    voting.command("reload")
    wait_for(levels, lambda seen: seen == everywhere, "the file's levels", ANSWERED_S_MAX)


def test_without_a_provider(node: Node) -> None:
    node.start()
    status = json.loads(node.command("quorum", "--json", "--check").stdout)
    assert (status["provider"], status["quorate"]) == (None, True)
    assert "no quorum" in node.command("quorum", "expected", "2", check=False).stderr


def test_what_cannot_be_counted_keeps_the_node_from_starting(node: Node) -> None:
    with node.config.open("a") as config:
        config.write(QUORUM.replace("}", "auto_tie_breaker: 1\nlast_man_standing: 1\n}"))
    refused = node.start(check=False)
    assert refused.returncode == 1
    assert "needs wait_for_all: 1" in refused.stderr


def test_python(voting: Node) -> None:
    with rondo.connect(voting.endpoint) as cluster:
        assert cluster.quorum.status().quorate
        cluster.cmap.set("my.counter", rondo.cmap.U8(254))
        changes = cluster.cmap.watch("my.")
        assert [cluster.cmap.increment("my.counter") for _ in range(2)] == [255, 0]
        change = next(changes)
        assert (change.key, change.old, change.new) == ("my.counter", 254, 255)
        assert cluster.cmap.get("my.counter").type == "u8"
        with pytest.raises(rondo.InvalidParameter, match=r"rondo\.cmap\.U32"):
            cluster.cmap.set("my.key", 3)  # type: ignore[arg-type]
        with pytest.raises(rondo.NotExist):
            cluster.cmap.get("not.there")
        with pytest.raises(rondo.AccessDenied):
            cluster.cmap.delete("totem.transport")
        assert [each.node for each in cluster.nodes()] == [1]
        for_quorum = cluster.quorum.watch()
        asking = threading.Thread(target=lambda: list(for_quorum))
        asking.start()
        for_quorum.close()
        asking.join(ANSWERED_S_MAX)
        assert not asking.is_alive(), "a watch can be closed while a thread waits for it"
        waiting = threading.Thread(target=lambda: list(changes))
        waiting.start()
        cluster.close()
        waiting.join(ANSWERED_S_MAX)
        assert not waiting.is_alive(), "a watch ends with its cluster"


def test_asyncio(voting: Node) -> None:
    async def use() -> None:
        async with rondo.aio.connect(voting.endpoint) as cluster:
            now = await anext(cluster.quorum.watch(current=True))
            assert isinstance(now, rondo.quorum.Quorate)
            assert now.quorate
            changes = cluster.cmap.watch("my.")

            async def one() -> rondo.cmap.Change:
                return await anext(changes)

            first = asyncio.create_task(one())
            # The watch begins with its first call, and does not report what was set before.
            for value in itertools.count():
                await cluster.cmap.set("my.key", rondo.cmap.U64(value))
                if first.done():
                    break
            assert (await first).key == "my.key"
            assert (await cluster.cmap.items("my.")).keys() == {"my.key"}
            assert len(await cluster.nodes()) == 1
            rings = asyncio.ensure_future(anext(cluster.cmap.watch("stats.srp.gather_entered", which="stats")))
            while not rings.done():
                await cluster.cmap.set("runtime.force_gather", "yes")
                await asyncio.wait({rings}, timeout=LOOK_S)
            counted = await rings
            assert counted.old is not None
            assert counted.new is not None
            assert int(counted.new) > int(counted.old)

    asyncio.run(use())


def test_quorum_in_its_place_among_memberships(voting: Node) -> None:
    with rondo.connect(voting.endpoint) as cluster:
        ring = cluster.quorum.status().ring
    shown = [json.loads(line) for line in voting.command("cpg", "join", "g", "--json", "--quorum").stdout.splitlines()]
    assert [event["event"] for event in shown] == ["quorum", "membership", "membership"]
    assert shown[0] == {
        "event": "quorum",
        "quorate": True,
        "ring": {"representative": ring.representative, "sequence": ring.sequence},
        "members": [1],
    }


def test_watches_of_statistics_outlive_control(voting: Node) -> None:
    with rondo.connect(voting.endpoint) as cluster:
        group = cluster.cpg.join("counted")
        with pytest.raises(rondo.InvalidParameter, match="which: one of icmap and stats"):
            cluster.cmap.watch(which="other")
        changes = cluster.cmap.watch("stats.srp.messages_tx", which="stats")
        values: list[rondo.cmap.Value | None] = []
        for _ in range(2):
            group.mcast(b"counted").ordered(ANSWERED_S_MAX)
            change = next(changes)
            assert change.key == "stats.srp.messages_tx"
            assert change.old is not None
            assert change.new is not None
            assert int(change.new) > int(change.old)
            values += [change.old, change.new]
            kill_and_wait_for_the_next(voting, "control")
        assert values[1] == values[2], "what happened while control was away is in the next change"

        watch = [sys.executable, "-m", "rondo.cli.main", "cmap", "watch", "stats.srp.messages_tx", "--map", "stats"]
        with subprocess.Popen([*watch, "--json", "--socket", voting.endpoint], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            poller = select.poll()
            poller.register(process.stdout, select.POLLIN)
            until_s = time.monotonic() + STARTED_S_MAX
            try:
                while not poller.poll(100):
                    assert time.monotonic() < until_s, "the command has shown nothing"
                    group.mcast(b"counted").ordered(ANSWERED_S_MAX)
                shown = json.loads(process.stdout.readline())
            finally:
                process.kill()
        assert (shown["event"], shown["key"]) == ("modify", "stats.srp.messages_tx")


def test_watches_and_keys_outlive_control(voting: Node) -> None:
    """A counter is set again and again meanwhile. No change is reported twice or left out, and no ring is formed."""
    seen: list[int] = []
    stop = threading.Event()
    with rondo.connect(voting.endpoint) as cluster, rondo.connect(voting.endpoint) as watching:
        ring = cluster.quorum.status().ring
        group = watching.cpg.join("bystanders")
        changes = watching.cmap.watch("my.counter")

        def watch() -> None:
            for change in changes:
                assert change.new is not None
                seen.append(int(change.new))
                if change.new == rondo.cmap.U32(0):
                    return

        def load() -> None:
            for value in itertools.count(1):
                if stop.is_set():
                    cluster.cmap.set("my.counter", rondo.cmap.U32(0), timeout=60)
                    return
                cluster.cmap.set("my.counter", rondo.cmap.U32(value), timeout=60)

        threads = [threading.Thread(target=each) for each in (watch, load)]
        for thread in threads:
            thread.start()
        for _ in range(KILLS):
            kill_and_wait_for_the_next(voting, "control")
            started = voting.pids()["control"]
            os.kill(started, signal.SIGSTOP)
            group.mcast(b"nobody else waits").ordered(ANSWERED_S_MAX)
            os.kill(started, signal.SIGCONT)
        stop.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert seen == [*range(1, len(seen)), 0]
        assert cluster.quorum.status().ring == ring
    wait_until_whole(voting)
    assert voting.status()["services"]["control"]["restarts"] == KILLS
