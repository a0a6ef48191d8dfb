"""docker-compose.yml, with a real Docker: three nodes come up; one is killed, cut off, and all are upgraded in turn.

If no Docker answers, and this is root with dockerd at hand, one is started in namespaces of its own, and ended after.
Where `docker compose` is missing, the plugin of Debian's archive is used. Neither is installed.
"""

import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents import typed

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "compose"
NODES = ("node1", "node2", "node3")
PROJECT = "rondo-test"
START_S = 120.0
WAIT_S = 180.0
BUILD_S = 3000.0
PROGRESS = 20
MIB = 1024 * 1024
FILES = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
"""A daemon that runs without CAP_SYS_RESOURCE, as one that is started here may, cannot raise its own limit."""

APPLICATION = """\
import rondo
from rondo.recipes import Counter

with rondo.connect(timeout=120) as cluster, Counter(cluster, "steps", timeout=120) as counter:
    while True:
        print(counter.add(), flush=True)
"""

ASKS = """\
import urllib.request
url = "http://prometheus:9090/api/v1/query?query=rondo_totem_members"
print(urllib.request.urlopen(url, timeout=9).read().decode())
"""
"""What Prometheus knows of the rings."""


def run(*argv: str, timeout: float = 60.0, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout, env=os.environ | environment, cwd=ROOT, check=False
    )


def docker(*arguments: str, timeout: float = 60.0) -> str:
    """What it prints."""
    done = run("docker", *arguments, timeout=timeout)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}{done.stdout}"
    return done.stdout


def eventually(true: Callable[[], bool], what: Callable[[], str]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end_s, what()
        time.sleep(0.1)


@pytest.fixture(name="_plugin", scope="module", autouse=True)
def _plugin_fixture() -> Iterator[None]:
    """A client of Docker that knows `docker compose`."""
    if run("docker", "compose", "version").returncode == 0:
        yield
        return
    got = run(str(ROOT / "packaging" / "compose" / "plugin"), str(WORK), timeout=BUILD_S)
    assert got.returncode == 0, got.stderr
    os.environ["DOCKER_CONFIG"] = str(WORK / "docker")
    try:
        yield
    finally:
        del os.environ["DOCKER_CONFIG"]


@pytest.fixture(name="_daemon", scope="module", autouse=True)
def _daemon_fixture() -> Iterator[None]:
    """A Docker that answers."""
    if run("docker", "version").returncode == 0:
        yield
        return
    missing = [name for name in ("docker", "dockerd", "unshare") if shutil.which(name) is None]
    assert not missing, f"install {', '.join(missing)} (Debian: docker.io)"
    assert os.geteuid() == 0, "no Docker answers, and only root can start one"
    with tempfile.TemporaryDirectory(prefix="rondo-docker-", dir="/tmp") as name:
        host = f"unix://{name}/sock"
        # Bridges and rules for packets are its own, too.
        # Its loopback, on which ports are published, is down at first.
        argv = ["unshare", "--net", "--mount", "sh", "-c", 'ip link set lo up; exec dockerd "$@"', "dockerd"]
        argv += ["--data-root", f"{WORK}/data", "--exec-root", f"{name}/exec"]
        argv += ["--pidfile", f"{name}/pid", "--host", host]
        with open(WORK / "dockerd.log", "wb") as log:
            daemon = subprocess.Popen(argv, stdout=log, stderr=log)
        os.environ["DOCKER_HOST"] = host
        try:
            eventually(lambda: run("docker", "version").returncode == 0, (WORK / "dockerd.log").read_text)
            yield
        finally:
            del os.environ["DOCKER_HOST"]
            daemon.terminate()
            daemon.wait(60)


ENVIRONMENT = {
    "COMPOSE_PROJECT_NAME": PROJECT,
    "PROMETHEUS_IMAGE": "rondo-prometheus",
    "PYTHON_IMAGE": "rondo-base",
    "RONDO_IMAGE": "rondo:local",
    "RONDO_NOFILE": str(FILES),
}


def compose(*arguments: str, timeout: float = 60.0) -> None:
    """`docker compose`."""
    done = run("docker", "compose", *arguments, timeout=timeout, **ENVIRONMENT)
    assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"


def type_in(text: str, timeout: float) -> None:
    """What a document says, in a shell in this tree. `-T`: nobody looks at a terminal."""
    text = text.replace("docker compose exec ", "docker compose exec -T ")
    done = run("bash", "-e", "-c", text, timeout=timeout, **ENVIRONMENT)
    assert done.returncode == 0, f"{text}: {done.stdout[-3000:]}{done.stderr[-3000:]}"


def container(node: str) -> str:
    """Its id."""
    label = "label=com.docker.compose"
    found = docker(
        "ps", "--all", "--quiet", "--filter", f"{label}.project={PROJECT}", "--filter", f"{label}.service={node}"
    )
    (identity,) = found.split()
    return identity


def inspected(node: str) -> dict[str, Any]:
    (found,) = json.loads(docker("inspect", container(node)))
    return dict(found)


def rondo(node: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run("docker", "exec", container(node), "rondo", *arguments, timeout=WAIT_S)


def wait_members(count: int, *nodes: str) -> None:
    for node in nodes:
        done = rondo(node, "wait", "--members", str(count), "--timeout", "90")
        assert done.returncode == 0, f"{node}: {done.stderr}"


def wait_healthy(*nodes: str) -> None:
    """What `--wait` does, after other commands than that."""
    for node in nodes:
        eventually(functools.partial(is_healthy, node), functools.partial(rondo_log, node))


def is_healthy(node: str) -> bool:
    return bool(inspected(node)["State"]["Health"]["Status"] == "healthy")


def rondo_log(node: str) -> str:
    return docker("logs", "--tail", "30", container(node))


class Application:
    """Counts at a node, in its container."""

    def __init__(self, node: str) -> None:
        self._file = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the application
        argv = ["docker", "exec", "--interactive", container(node), "/opt/rondo/bin/python", "-c", APPLICATION]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._file, stderr=self._file)

    def text(self) -> str:
        self._file.seek(0)
        return self._file.read()

    def values(self) -> list[int]:
        """What it was given: whole lines only."""
        lines = self.text().splitlines(keepends=True)
        return [int(line) for line in lines if line.endswith("\n") and line.strip().isdigit()]

    def progress(self) -> None:
        """It goes on."""
        wanted = len(self.values()) + PROGRESS
        eventually(lambda: len(self.values()) >= wanted, self.text)

    def end(self) -> list[int]:
        """The client of Docker ends; what runs inside ends with its container, or with the test."""
        self._process.kill()
        self._process.wait()
        values = self.values()
        self._file.close()
        return values


@pytest.fixture(name="_up", scope="module", autouse=True)
def _up_fixture(_plugin: None, _daemon: None) -> Iterator[None]:
    """Three healthy nodes, of an image that is built here, as docs/OPERATING.md says. `make compose` has wheels."""
    first, *lines = typed.block(typed.WITH_DOCKER[0]).text.splitlines()
    assert first == "make wheels"
    try:
        type_in("\n".join(lines), BUILD_S)
        assert all(map(is_healthy, NODES)), "--wait did not wait"
        wait_members(3, *NODES)
        yield
    finally:
        compose("--profile", "watch", "down", "--volumes", timeout=WAIT_S)


def test_the_image_runs_machine_code_within_its_bounds() -> None:
    for node in NODES:
        services = json.loads(rondo(node, "status", "--json").stdout)["services"]
        assert services["totem"]["code"] == services["cpg"]["code"] == "compiled"
        host = inspected(node)["HostConfig"]
        assert host["PidsLimit"] == 1024
        assert host["Memory"] == 2048 * MIB
        assert set(host["Tmpfs"]) == {"/run/rondo", "/tmp"}
        assert host["CapDrop"] == ["ALL"]
        assert host["ReadonlyRootfs"] is True
    image = json.loads(docker("image", "inspect", "rondo:local"))[0]
    sys.stdout.write(f"rondo:local {image['Id']} {image['Size'] // MIB} MiB\n")
    assert image["Id"].startswith("sha256:")


def test_prometheus_is_beside_them_with_the_profile() -> None:
    """Debian's, where there is no registry of images. Asked from a node, for its port is the daemon's host's."""
    context = WORK / "prometheus"
    context.mkdir(exist_ok=True)
    program = shutil.which("prometheus")
    assert program is not None, "install prometheus"
    shutil.copy(program, context)
    (context / "Dockerfile").write_text(
        'FROM rondo-base\nCOPY prometheus /bin/prometheus\nENTRYPOINT ["/bin/prometheus"]\n'
    )
    docker("build", "--tag", "rondo-prometheus", str(context), timeout=BUILD_S)
    compose("--profile", "watch", "up", "--build", "--wait", timeout=BUILD_S)

    def members() -> list[str]:
        argv = ["docker", "exec", container("node1"), "/opt/rondo/bin/python", "-c", ASKS]
        done = run(*argv, timeout=WAIT_S)
        if done.returncode:
            return [done.stderr]
        return [each["value"][1] for each in json.loads(done.stdout)["data"]["result"]]

    eventually(lambda: members() == ["3", "3", "3"], lambda: f"{members()} {docker('logs', container('prometheus'))}")


def test_a_killed_node_is_missed_and_comes_back() -> None:
    application = Application("node1")
    application.progress()
    docker("kill", container("node3"))
    wait_members(2, "node1", "node2")
    application.progress()
    docker("start", container("node3"))
    wait_healthy("node3")
    wait_members(3, *NODES)
    application.progress()
    values = application.end()
    assert values == sorted(set(values))


def test_who_is_cut_off_has_no_quorum_and_takes_part_again_after_it() -> None:
    network = f"{PROJECT}_ring"
    inside, outside = Application("node1"), Application("node3")
    inside.progress()
    outside.progress()
    docker("network", "disconnect", network, container("node3"))
    wait_members(2, "node1", "node2")
    eventually(lambda: rondo("node3", "quorum", "--check").returncode == 1, lambda: "node 3 goes on")
    assert rondo("node1", "quorum", "--check").returncode == 0
    inside.progress()
    docker("network", "connect", "--ip", "172.28.66.13", network, container("node3"))
    wait_members(3, *NODES)
    outside_lines = outside.text()
    inside.progress()
    values = inside.end() + outside.end()
    assert len(values) == len(set(values)), "a number was given twice"
    assert "Traceback" not in outside_lines or "NoQuorum" in outside_lines


def test_one_node_after_the_other_gets_another_image_while_the_others_work() -> None:
    made = run(
        "sh", "-c", "printf 'FROM rondo:local\\nLABEL next=yes\\n' | docker build --tag rondo:next -", timeout=BUILD_S
    )
    assert made.returncode == 0, made.stderr
    given: list[int] = []
    for node in NODES:
        other = Application(NODES[NODES.index(node) - 1])
        other.progress()
        type_in(typed.block(typed.WITH_DOCKER[1]).text.replace("node1", node), WAIT_S)
        assert is_healthy(node), "--wait did not wait"
        wait_members(3, *NODES)
        other.progress()
        assert inspected(node)["Config"]["Labels"].get("next") == "yes"
        given += other.end()
    assert len(given) == len(set(given)), "a number was given twice"
