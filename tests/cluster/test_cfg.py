"""Nodes of real processes: one is killed, one is shut down unless somebody objects, log files are opened anew."""

import asyncio
import json
import os
import signal
import threading
from pathlib import Path

import pytest

import rondo
from rondo.ipc.control import ask
from rondo.node.supervision import processes
from rondo.testing.lab.waiting import wait_for
from tests.cluster.test_node import MakeNodes, Node, make_nodes, node, wait_for_log

__all__ = ["make_nodes", "node"]

ANSWERED_S_MAX = 60.0


def _is_gone(node: Node) -> bool:
    return not processes.find(node.run_dir)


def _wait_for_trackers(node: Node, count: int) -> None:
    def tracking() -> int:
        return int(ask(node.run_dir, "control", "status", ANSWERED_S_MAX)["shutdown_trackers"])

    wait_for(tracking, lambda found: found == count, "programs watch shutdowns", ANSWERED_S_MAX)


@pytest.mark.slow
def test_a_node_is_killed_by_another_one(make_nodes: MakeNodes) -> None:
    one, two = make_nodes(2)
    for each in (one, two):
        each.start()
    one.command("wait", "--members", "2", "--timeout", "60")
    # The ring process knows it before control does.
    wait_for(
        lambda: ask(one.run_dir, "control", "status", ANSWERED_S_MAX)["members"],
        [1, 2].__eq__,
        "control",
        ANSWERED_S_MAX,
    )
    assert "not in the ring" in one.command("kill", "9", check=False).stderr
    said = one.command("kill", "2", "--reason", "its disk is full", "--json")
    assert json.loads(said.stdout) == {"node": 2, "reason": "its disk is full"}
    wait_for(lambda: _is_gone(two), bool, "node 2 has stopped", ANSWERED_S_MAX)
    assert "Killed by node 1: its disk is full" in two.command("status", check=False).stderr
    one.command("wait", "--members", "1", "--timeout", "60")
    wait_for_log(one, "control", "Node 2 is killed by node 1: its disk is full")


@pytest.mark.slow
def test_a_program_has_a_say_in_the_shutdown_of_its_node(node: Node) -> None:
    node.start()
    asked: list[rondo.ShutdownRequest] = []
    has_refused_twice = threading.Event()
    with rondo.connect(node.endpoint) as cluster:

        def watch() -> None:
            for request in cluster.cfg.watch_shutdowns():
                asked.append(request)
                if len(asked) == 1:
                    request.refuse()
                    with pytest.raises(rondo.AccessDenied):
                        request.refuse()
                    has_refused_twice.set()
                else:
                    request.agree()

        watching = threading.Thread(target=watch)
        watching.start()
        _wait_for_trackers(node, 1)
        refused = node.command("stop", "--ask", check=False)
        assert refused.returncode == 1
        assert "objects" in refused.stderr
        # Its second answer would count for the next request, if it came as late as that.
        assert has_refused_twice.wait(ANSWERED_S_MAX)
        assert node.command("stop", "--ask").returncode == 0
        assert _is_gone(node)
        watching.join(ANSWERED_S_MAX)
        assert len(asked) == 2
    assert json.loads((node.run_dir / "supervision.json").read_text())["failure"] == ""


def test_asyncio(node: Node) -> None:
    node.start()

    async def use() -> None:
        async with rondo.aio.connect(node.endpoint) as cluster:
            requests = cluster.cfg.watch_shutdowns()

            async def refuse() -> None:
                request = await anext(requests)
                assert not request.is_certain
                await request.refuse()

            refusing = asyncio.create_task(refuse())
            await asyncio.to_thread(_wait_for_trackers, node, 1)
            with pytest.raises(rondo.Busy):
                await cluster.cfg.shut_down()
            await refusing
            with pytest.raises(rondo.NotExist):
                await cluster.cfg.kill(7)
            await cluster.cfg.reopen_logs()

    asyncio.run(use())


@pytest.mark.parametrize("by", ["signal", "command", "client"])
def test_log_files_are_opened_anew(node: Node, by: str) -> None:
    logfile = Path(f"{node.config}.log")
    with node.config.open("a") as config:
        config.write(f"logging {{\n    to_logfile: yes\n    logfile: {logfile}\n}}\n")
    node.start()
    logfile.rename(f"{logfile}.1")
    if by == "signal":
        os.kill(node.pids()["cpg"], signal.SIGHUP)
    elif by == "command":
        node.command("logs", "--reopen")
    else:
        with rondo.connect(node.endpoint) as cluster:
            cluster.cfg.reopen_logs()
    # Nobody has anything to log: it is the request that opens the file.
    wait_for(logfile.exists, bool, "the log file is there again", ANSWERED_S_MAX)
