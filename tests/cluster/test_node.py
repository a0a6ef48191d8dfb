"""A node of real processes under supervisord, handled by the commands as an operator would. Needs no root."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import rondo
from rondo.demo.cluster import free_port
from rondo.node.supervision import OPTIONAL, SERVICES, processes
from rondo.node.supervision.halt import kill
from rondo.node.supervision.launch import READY_SECONDS
from rondo.node.supervision.survey import is_healthy
from rondo.sam.commands import Sam
from rondo.testing.lab.waiting import wait_for
from tests.documents import typed
from tests.ports import free_tcp_port

CONFIGURATION = """\
totem {{
    version: 2
    cluster_name: test
    transport: udpu
    secauth: off
    token: 1000
    interface {{
        mcastport: {port}
    }}
}}
nodelist {{
{nodes}}}
system {{
    qb_ipc: no
}}
"""
NODE = "    node {{\n        nodeid: {0}\n        ring0_addr: 127.0.0.{0}\n    }}\n"
COMMAND_SECONDS = 120
SHOWN_SECONDS = 20
"""What a status may take on a busy machine where one service does not answer; it waits for it for a second."""


class Node:
    """One node and the commands that handle it."""

    def __init__(self, node_id: int, config: Path, directory: Path) -> None:
        self.node_id = node_id
        self.config = config
        self.run_dir = directory / f"r{node_id}"
        self.state_dir = directory / f"s{node_id}"
        self.endpoint = f"ipc://{self.run_dir}/gateway.sock"

    def command(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run `rondo ARGUMENTS` for this node."""
        done = subprocess.run(
            [*RONDO, *arguments, "--run-dir", str(self.run_dir)],
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert "Traceback" not in done.stderr
        if check:
            assert done.returncode == 0, done.stderr
        return done

    @property
    def start_arguments(self) -> list[str]:
        return ["start", "-c", str(self.config), "--state-dir", str(self.state_dir), "--nodeid", str(self.node_id)]

    def start(self, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self.command(*self.start_arguments, check=check)

    def status(self) -> dict[str, Any]:
        """The output of `rondo status --json`."""
        found: dict[str, Any] = json.loads(self.command("status", "--json", check=False).stdout)
        return found

    def pids(self) -> dict[str, int]:
        """The pids of all processes that belong to the node; each service once."""
        found = processes.find(self.run_dir)
        while len({each.name for each in found}) < len(found):
            # While /proc was looked through, one may have died and its successor been started.
            again = processes.find(self.run_dir)
            both = [each for each in found if each in again]
            assert len({each.name for each in both}) == len(both), f"something runs twice: {both}"
            found = again
        return {each.name: each.pid for each in found}


RONDO = [sys.executable, "-m", "rondo.cli.main"]
RUNNING = tuple(name for name in SERVICES if name not in OPTIONAL)
ALL = {*RUNNING, "supervisord"}
MakeNodes = Callable[[int], list[Node]]


@pytest.fixture
def make_nodes() -> Iterator[MakeNodes]:
    """A function that makes nodes of one cluster, not started. They are in /tmp: a socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="rondo-test-", dir="/tmp") as name:
        directory = Path(name)
        nodes: list[Node] = []

        def make(count: int) -> list[Node]:
            port = free_port([f"127.0.0.{node_id}" for node_id in range(1, count + 1)])
            config = directory / "corosync.conf"
            blocks = "".join(NODE.format(node_id) for node_id in range(1, count + 1))
            config.write_text(CONFIGURATION.format(port=port, nodes=blocks))
            nodes.extend(Node(node_id, config, directory) for node_id in range(1, count + 1))
            return nodes

        yield make
        for node in nodes:
            kill(node.run_dir)


@pytest.fixture
def node(make_nodes: MakeNodes) -> Node:
    """A cluster of one node, not started."""
    return make_nodes(1)[0]


def is_whole(node: Node) -> bool:
    return node.command("status", "--check", check=False).returncode == 0


def wait_until_whole(node: Node) -> None:
    wait_for(lambda: is_whole(node), bool, "the node is whole again", 60.0)


def whole_status(node: Node) -> dict[str, Any]:
    """A status in which all have answered. One that a busy machine holds for a second is shown as not answering."""
    return wait_for(node.status, is_healthy, "all services of the node answer", 60.0)


def debug(node: Node, name: str) -> dict[str, Any]:
    """What `rondo debug` prints of a process, once it has answered: a busy machine may hold it for longer than it is
    waited for."""
    done = wait_for(
        lambda: node.command("debug", name, "--json", check=False), lambda done: done.returncode == 0, name, 60.0
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def wait_for_log(node: Node, name: str, text: str) -> str:
    """Wait until a log of the node has a text: supervisord writes it down a little later. Returns the log."""
    return wait_for(lambda: node.command("logs", name).stdout, lambda log: text in log, f"the log of {name}", 60.0)


def test_from_start_to_stop(node: Node) -> None:
    assert "node 1 is in a ring" in node.start().stdout
    assert node.pids().keys() == ALL

    status = whole_status(node)
    assert status["schema"] == 1
    assert status["node"] == 1
    assert status["state"] == "operational"
    assert status["ring"]["representative"] == 1
    assert status["ring"]["members"] == status["members"] == [1]
    assert {name: (each["state"], each["restarts"]) for name, each in status["services"].items()} == {
        **dict.fromkeys(RUNNING, ("running", 0)),
        **dict.fromkeys(OPTIONAL, ("off", 0)),
    }
    assert status["counters"]["totem"]["orf_token_rx"] > 0
    with rondo.connect(node.endpoint) as cluster:
        cluster.cpg.join("bank")
        assert [group["group"] for group in whole_status(node)["groups"]] == ["bank"]
        wait_for(lambda: node.command("status", check=False).stdout, lambda shown: "bank" in shown, "it is shown", 60.0)

    assert node.command("wait", "--members", "1", "--timeout", "60").returncode == 0
    # A busy machine answers at least once in this time.
    refused = node.command("wait", "--members", "2", "--timeout", "5", check=False)
    assert refused.returncode == 1
    assert "members: 1" in refused.stderr
    wait_for(
        lambda: node.command("top", "--count", "2", "--interval", "0.1").stdout,
        lambda shown: shown.count("node 1: operational") == 2,
        "it is shown twice",
        60.0,
    )

    assert node.command("debug", "totem", "--log-level", "debug").returncode == 0
    told = {name: debug(node, name) for name in RUNNING}
    assert {name: told[name]["pid"] for name in RUNNING}.items() <= node.pids().items()
    for name in RUNNING:
        assert (told[name]["schema"], told[name]["service"], told[name]["state"]) == (1, name, "operational")
        assert told[name].keys() >= {"node_id", "uptime_seconds", "cpu_seconds", "log_lines_dropped", "counters"}
    assert node.command("debug", "cpg", "--log-level", "loud", check=False).returncode == 1
    log = node.command("logs").stdout
    assert "A new membership" in log
    assert "spawned: 'totem'" in log
    assert "spawned" not in node.command("logs", "totem").stdout

    assert node.command("stop").returncode == 0
    assert node.pids() == {}
    assert "Left the ring" in node.command("logs", "totem", "-n", "1").stdout
    assert not (node.run_dir / "node.msgpack").exists()
    assert node.status()["state"] == "stopped"


def kill_and_wait_for_the_next(node: Node, name: str) -> None:
    before = node.pids()[name]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: node.pids().get(name, before), lambda now: now != before, f"{name} is back", 60.0)


@pytest.mark.slow
def test_a_client_from_another_host(node: Node) -> None:
    directory = node.config.parent
    done = [
        subprocess.run(
            [*RONDO, "keygen", "--curve", "--json", "--key-file", str(directory / name)],
            capture_output=True,
            check=True,
        )
        for name in ("gateway.key", "client.key")
    ]
    server_key, client_key = (json.loads(each.stdout)["public_key"] for each in done)
    port = free_tcp_port()
    with node.config.open("a") as config:
        config.write(
            f"remote {{\n    address: 127.0.0.1\n    port: {port}\n    keyfile: {directory}/gateway.key\n"
            f"    clients: {directory}/clients\n}}\n"
        )
    refused = node.start(check=False)
    assert refused.returncode == 1
    assert f"{directory}/clients: there is no such file" in refused.stderr
    (directory / "clients").write_text(f"{client_key} a client\n")
    node.start()
    keys = {"RONDO_CLIENT_KEY_FILE": str(directory / "client.key"), "RONDO_SERVER_KEY": server_key}
    join = [*RONDO, "cpg", "join", "far", "--json", "--socket", f"tcp://127.0.0.1:{port}"]
    joined = subprocess.run(join, input=b"hello\n", capture_output=True, env=os.environ | keys, timeout=60, check=True)
    typed_too = typed.block(typed.FROM_ANOTHER_HOST).text
    for shown, real in (
        ("client.key", keys["RONDO_CLIENT_KEY_FILE"]),
        ("5f0c...", server_key),
        ("192.168.1.1:5410", f"127.0.0.1:{port}"),
        ("rondo cpg", f"{sys.executable} -m rondo.cli.main cpg"),
    ):
        assert shown in typed_too
        typed_too = typed_too.replace(shown, real)
    said = subprocess.run(
        ["bash", "-e", "-c", typed_too], input=b"hello\n", capture_output=True, timeout=60, check=True
    )
    assert b" hello\n" in said.stdout
    came, message, went = map(json.loads, joined.stdout.splitlines())
    assert (message["data"], message["sender"]) == ("hello", came["members"][0])
    assert came["members"][0]["pid"] >= 2**30
    assert went["members"] == []
    keys["RONDO_CLIENT_KEY_FILE"] = str(directory / "gateway.key")
    stranger = subprocess.run(join, input=b"", capture_output=True, env=os.environ | keys, timeout=60, check=False)
    assert (stranger.returncode, stranger.stdout) == (1, b"")
    assert b"does not let this client in" in stranger.stderr


def test_a_killed_service_comes_back_however_often(node: Node) -> None:
    node.start()
    for _ in range(5):  # more often than a service that gives up by itself may be restarted
        kill_and_wait_for_the_next(node, "cpg")
    for name in ("totem", "control", "ipc_gateway", "sam"):
        os.kill(node.pids()[name], signal.SIGKILL)
    wait_until_whole(node)
    restarts = {name: each["restarts"] for name, each in node.status()["services"].items()}
    assert restarts == dict.fromkeys(OPTIONAL, 0) | {"totem": 1, "cpg": 5, "control": 1, "ipc_gateway": 1, "sam": 1}
    rondo.connect(node.endpoint, timeout=60.0).close()


@pytest.mark.slow
def test_applications_outlive_supervisord_and_end_with_the_node(node: Node) -> None:
    node.start()
    with Sam(node.endpoint) as sam:
        ran = sam.run(["sh", "-c", "setsid sleep 1000 & exec sleep 1000"])
        os.kill(node.pids()["supervisord"], signal.SIGKILL)
        wait_for(node.pids, lambda now: "supervisord" not in now, "supervisord is dead", 60.0)
        node.start()
        (status,) = sam.status()
        assert (status["id"], status["pid"], status["instance"]) == (ran["id"], ran["pid"], 0)
    assert node.pids().keys() == {*ALL, processes.KEEPER}
    node.command("stop")
    assert node.pids() == {}
    assert processes.find_applications(node.run_dir) == []
    node.start()
    with Sam(node.endpoint) as sam:
        (status,) = sam.status()
        assert (status["state"], status["pid"]) == ("stopped", None)
        assert "the stop of the node" in status["message"]
        ran = sam.run(["sleep", "1000"])
    kill(node.run_dir)
    assert node.pids() == {}
    assert processes.find_applications(node.run_dir) == []


def test_a_killed_supervisord_is_replaced_and_nothing_runs_twice(node: Node) -> None:
    node.start()
    first = node.pids()
    os.kill(first.pop("supervisord"), signal.SIGKILL)
    wait_for(node.pids, lambda now: now == first, "supervisord is dead, its services live", 60.0)

    def only_supervisord_is_missing(status: dict[str, Any]) -> bool:
        return not status["supervisor"]["pid"] and is_healthy(status | {"supervisor": {"state": "running"}})

    status = wait_for(node.status, only_supervisord_is_missing, "all services answer", 60.0)
    assert status["state"] == "operational"
    assert status["supervisor"] == {"pid": None, "state": "stopped"}
    assert {each["state"] for each in status["services"].values()} <= {"running", "off"}
    assert not is_whole(node)

    assert "without its supervisord" in node.start().stderr
    second = node.pids()
    assert second.keys() == ALL
    assert not set(first.values()) & set(second.values())

    os.kill(second["supervisord"], signal.SIGKILL)
    stopped = node.command("stop")
    assert "stopped it too" in stopped.stderr
    assert node.pids() == {}


def test_one_node_per_directory(make_nodes: MakeNodes) -> None:
    one, other = make_nodes(2)
    one.start()
    refused = one.start(check=False)
    assert refused.returncode == 1
    assert "a node runs here already" in refused.stderr
    assert refused.stderr.count("\n") == 1
    other.state_dir = one.state_dir
    refused = other.start(check=False)
    assert refused.returncode == 1
    assert str(one.state_dir) in refused.stderr
    assert other.pids() == {}
    wait_until_whole(one)
    assert {each["restarts"] for each in one.status()["services"].values()} == {0}


@pytest.mark.slow
def test_the_node_stops_when_a_service_is_beyond_help(node: Node) -> None:
    node.start()
    (node.run_dir / "node.msgpack").write_bytes(b"not what it was")
    os.kill(node.pids()["cpg"], signal.SIGKILL)
    wait_for(node.pids, lambda now: now == {}, "all has stopped", 60.0)
    status = node.status()
    assert status["state"] == "stopped"
    assert status["why"].startswith("cpg exited with 8: ")
    node.start()
    wait_until_whole(node)


def test_a_start_that_fails_says_why_and_leaves_nothing(node: Node) -> None:
    config = node.config.read_text()
    port = int(config.split("mcastport: ")[1].split()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", port))
        began = time.monotonic()
        refused = node.start(check=False)
    assert time.monotonic() - began < READY_SECONDS, "it was not waited for"
    assert refused.returncode == 1
    assert f"127.0.0.1:{port} is in use" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert node.pids() == {}

    node.config.write_text(config.replace("transport: udpu", "transport: carrier-pigeon"))
    refused = node.start(check=False)
    assert refused.returncode == 1
    assert f"{node.config}:4" in refused.stderr


def test_a_frozen_service_is_shown_and_stopped(node: Node) -> None:
    with node.config.open("a") as config:
        config.write("system {\n    service_timeout: 600000\n}\n")  # or it would soon be killed
    node.start()
    frozen = node.pids()["cpg"]
    os.kill(frozen, signal.SIGSTOP)
    began = time.monotonic()
    assert node.status()["services"]["cpg"] == {
        "pid": frozen, "state": "not answering", "restarts": 0, "last_end": ""
    }  # fmt: skip
    assert time.monotonic() - began < SHOWN_SECONDS
    assert node.command("stop").returncode == 0
    assert node.pids() == {}


def test_in_the_foreground(node: Node, tmp_path: Path) -> None:
    notify_path = f"/tmp/rondo-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(notify_path)
        notify.settimeout(COMMAND_SECONDS)
        output = tmp_path / "output"
        try:
            with output.open("wb") as file:
                process = subprocess.Popen(
                    [*RONDO, *node.start_arguments, "--foreground", "--run-dir", str(node.run_dir)],
                    stdout=file,
                    stderr=file,
                    env=os.environ | {"NOTIFY_SOCKET": notify_path},
                )
            assert notify.recv(100) == b"READY=1"
            wait_until_whole(node)
            process.terminate()
            assert process.wait(COMMAND_SECONDS) == 0, output.read_text()
        finally:
            os.unlink(notify_path)
    assert node.pids() == {}
    text = output.read_text()
    assert "node 1 is in a ring" in text
    assert "Left the ring" in text


def next_message(group: rondo.Group) -> bytes:
    for event in group:
        if isinstance(event, rondo.Message):
            return event.data
    raise AssertionError("the group was left")


@pytest.mark.slow
def test_two_nodes_find_each_other_and_exchange_the_largest_message(make_nodes: MakeNodes) -> None:
    one, two = make_nodes(2)
    one.start()
    two.start()
    for node in (one, two):
        node.command("wait", "--members", "2", "--timeout", "60")
    largest = bytes(range(256)) * (64 * 1024 * 1024 // 256)
    with rondo.connect(one.endpoint, timeout=60) as here, rondo.connect(two.endpoint, timeout=60) as there:
        sender, receiver = here.cpg.join("large"), there.cpg.join("large")
        with pytest.raises(rondo.TooBig, match="at most 67108864 bytes"):
            sender.mcast(largest + b"x")
        sender.mcast(largest)
        # Both take events all the time. With this many messages the node would disconnect a client that does not.
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(next_message, (sender, receiver))) == [largest, largest]
    two.command("stop")
    one.command("wait", "--members", "1", "--timeout", "60")
