"""web{} in corosync.conf: the page as a process beside the others. Killed, hung, or unable: nobody else notices."""

import dataclasses
import json
import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rondo.config.node import WebSettings
from rondo.demo.cluster import DemoCluster, DemoNode
from rondo.node.supervision import survey
from rondo.testing.lab.waiting import wait_for
from tests.ports import free_tcp_port

TIMEOUT_MS = 3000
"""Long enough for the others on a busy machine: who does not move for that time is killed."""
OTHERS = ("totem", "cpg", "control", "ipc_gateway", "sam")


@contextmanager
def running(settings: WebSettings) -> Iterator[DemoNode]:
    """A node of a cluster of its own with this web{}."""
    with DemoCluster(1) as cluster:
        node = cluster.nodes[1]
        node.config = dataclasses.replace(node.config, web=settings, service_timeout_ms=TIMEOUT_MS)
        cluster.start()
        yield node


def web_of(node: DemoNode) -> dict[str, Any]:
    found: dict[str, Any] = survey.status(node.run_dir)["services"]["web"]
    return found


def others_of(node: DemoNode) -> Any:
    # A busy machine may hold one for longer than it is waited for.
    found = wait_for(
        lambda: survey.status(node.run_dir),
        lambda found: found["ring"] and all(found["services"][name]["state"] == "running" for name in OTHERS),
        "the others answer",
        60.0,
    )
    return found["ring"], {
        name: (found["services"][name]["pid"], found["services"][name]["restarts"]) for name in OTHERS
    }


def is_served(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return bool(answer.read() == b"ok\n")
    except OSError:
        return False


def wait_until_served(port: int) -> None:
    wait_for(lambda: is_served(port), bool, "the page is served", 60.0)


def test_killed_or_hung_it_comes_back_and_nobody_else_notices() -> None:
    port = free_tcp_port()
    with running(WebSettings(enabled=True, port=port)) as node:
        wait_until_served(port)
        before = others_of(node)
        for number, restarts in ((signal.SIGKILL, 1), (signal.SIGSTOP, 2)):
            os.kill(web_of(node)["pid"], number)
            wait_for(lambda: web_of(node)["restarts"], restarts.__eq__, "it was started again", 60.0)
            wait_until_served(port)
        assert others_of(node) == before
        wait_for(lambda: web_of(node)["state"], lambda state: state == "running", "it answers", 60.0)


def test_while_another_has_its_port_the_node_does_its_work_and_status_says_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(WebSettings(enabled=True, port=port)) as node:
            found = wait_for(lambda: web_of(node), lambda each: "why" in each, "it says why", 60.0)
            assert (found["state"], found["restarts"]) == ("running", 0)
            assert found["why"] == f"127.0.0.1:{port}: Address already in use; choose another address or port"
            taken.close()
            wait_until_served(port)


def test_without_its_token_it_is_given_up_and_the_node_goes_on(tmp_path: Path) -> None:
    settings = WebSettings(enabled=True, port=free_tcp_port(), token_file=str(tmp_path / "token"))
    with running(settings) as node:
        found = wait_for(lambda: web_of(node), lambda each: each["state"] == "failed", "it is given up", 60.0)
        assert "token: No such file or directory; write a token there" in found["last_end"]
        assert survey.is_in_ring(survey.ask_one(node.run_dir, "totem", 60.0))
        assert "web" in json.dumps(survey.not_running(survey.status(node.run_dir)))


@pytest.mark.slow
def test_it_ends_with_the_node() -> None:
    port = free_tcp_port()
    with running(WebSettings(enabled=True, port=port)) as node:
        wait_until_served(port)
        node.stop()
        assert not is_served(port)
        assert "Stopped." in (node.run_dir / "log/web.log").read_text()
