"""A cluster of three is upgraded from the last release to this tree, node by node, under load, and back.

The last release is a commit (packaging/last-release); a wheel of it is built here. Each node has a virtual environment
of its own, in which pip puts one wheel into the place of the other, as an operator does.
"""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rondo.demo.cluster import free_port
from rondo.node.supervision.halt import kill
from tests.documents.shell import clean_environment

ROOT = Path(__file__).parents[2]
LAST_RELEASE = ROOT / "packaging" / "last-release"
PARTS = ("rondo", "services", "config", "examples", "setup.py", "pyproject.toml", "README.md", "LICENSE")
NODES = (1, 2, 3)
COMMAND_S = 120
WAIT_S = 120.0
PROGRESS = 20

COUNTING = """\
import pathlib, sys, time
import rondo
from rondo.recipes import Counter

with rondo.connect(timeout=120) as cluster, Counter(cluster, sys.argv[2], timeout=120) as counter:
    while not pathlib.Path(sys.argv[1]).exists():
        print(counter.add(), flush=True)
        time.sleep(0.02)  # six of them share a machine with three nodes
"""
SENDING = """\
import pathlib, sys, time
import rondo

number = 0
with rondo.connect(timeout=120) as cluster:
    group = cluster.cpg.join(sys.argv[2])
    while not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.02)
        while group.poll(0) is not None:
            pass
        try:
            group.mcast(b"%d" % number).ordered(120)
        except rondo.Disconnected:
            continue  # its node is being upgraded
        number += 1
        print(number, flush=True)
"""
CONFIGURATION = """\
totem {{
    version: 2
    cluster_name: upgrade
    transport: udpu
    keyfile: authkey
    interface {{
        mcastport: {port}
    }}
}}
nodelist {{
{nodes}}}
quorum {{
    provider: corosync_votequorum
}}
"""
NODE = "    node {{\n        nodeid: {0}\n        ring0_addr: 127.0.0.{0}\n    }}\n"


def wheel_of(tree: Path, into: Path) -> Path:
    """Build it there, where nothing of the repository is in the way."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    environment = clean_environment(RONDO_WHEEL="pure")
    subprocess.run([*pip, "--wheel-dir", str(into), str(tree)], check=True, timeout=COMMAND_S, env=environment)
    (wheel,) = into.glob("*.whl")
    return wheel


@pytest.fixture(name="wheels", scope="module")
def _wheels() -> Iterator[dict[str, Path]]:
    """`old` and `new`."""
    with tempfile.TemporaryDirectory(prefix="rondo-wheels-") as name:
        directory = Path(name)
        old, new = directory / "old", directory / "new"
        old.mkdir()
        new.mkdir()
        commit = LAST_RELEASE.read_text().split()[-1]
        archive = subprocess.run(
            ["git", "-c", "safe.directory=*", "archive", commit, *PARTS], cwd=ROOT, capture_output=True, check=False
        )
        assert archive.returncode == 0, f"the history of {commit} is needed: {archive.stderr.decode()}"
        subprocess.run(["tar", "-x", "-C", str(old)], input=archive.stdout, check=True)
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, new / part, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy(ROOT / part, new / part)
        yield {each.name: wheel_of(each, directory / f"{each.name}-wheel") for each in (old, new)}


def modules(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist() if name.endswith(".py")}


class Node:
    """One node, in an environment of its own."""

    def __init__(self, number: int, directory: Path) -> None:
        self.number = number
        self.directory = directory / f"n{number}"
        self.run_dir = self.directory / "run"
        self.config = directory / "corosync.conf"
        venv = self.directory / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        self.python = venv / "bin" / "python"
        (self.packages,) = (venv / "lib").glob("python3.*/site-packages")
        # What Rondo depends on is not installed thrice.
        (self.packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))

    def install(self, wheel: Path) -> None:
        """In the place of what is there."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet", "--no-index"]
        subprocess.run(
            [*pip, "--no-deps", "--no-compile", "--force-reinstall", str(wheel)], check=True, timeout=COMMAND_S
        )
        for name, content in modules(wheel).items():
            assert (self.packages / name).read_bytes() == content

    def rondo(self, *arguments: str) -> str:
        """A command of this installation. What it prints."""
        argv = [str(self.python), "-P", "-m", "rondo.cli.main", *arguments]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=COMMAND_S, check=False, env=self.environment(), cwd="/"
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr}{done.stdout}"
        return done.stdout

    def start(self) -> None:
        state = str(self.directory / "state")
        self.rondo("start", "-c", str(self.config), "--nodeid", str(self.number), "--state-dir", state)

    def environment(self) -> dict[str, str]:
        return clean_environment(RONDO_RUN_DIR=str(self.run_dir))


class Application:
    """Counts at a node, with the client of the node's installation as it was when this began, or with this tree's."""

    def __init__(self, node: Node, kind: str, python: Path, path: str, stop: Path) -> None:
        """`kind`: whose client it has. Recipes are not asked to speak another version's (docs/UPGRADING.md): those with
        the new client count together, those with the old one send messages."""
        self.kind = kind
        self._output = output = node.directory / f"{kind}.out"
        argv = [str(python), "-P", "-c", COUNTING if kind == "new" else SENDING, str(stop), f"steps of {kind}"]
        environment = node.environment() | {"PYTHONPATH": path}
        with output.open("wb") as file:
            self.process = subprocess.Popen(argv, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd="/")

    def text(self) -> str:
        return self._output.read_text()

    def values(self) -> list[int]:
        """What it was given: whole lines only."""
        return [int(value) for value in re.findall(r"^(\d+)\n", self.text(), re.MULTILINE)]


def eventually(true: Callable[[], bool], what: Callable[[], str]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end_s, what()
        time.sleep(0.02)


def progress(applications: list[Application]) -> None:
    """All of them go on."""
    for application in applications:
        wanted = len(application.values()) + PROGRESS
        eventually(lambda a=application, n=wanted: len(a.values()) >= n, application.text)  # type: ignore[misc]
        assert application.process.poll() is None, application.text()


@pytest.fixture(name="cluster")
def _cluster(wheels: dict[str, Path]) -> Iterator[list[Node]]:
    """Three nodes of the last release."""
    with tempfile.TemporaryDirectory(prefix="rondo-test-", dir="/tmp") as name:
        directory = Path(name)
        port = free_port([f"127.0.0.{number}" for number in NODES])
        text = CONFIGURATION.format(port=port, nodes="".join(map(NODE.format, NODES)))
        (directory / "corosync.conf").write_text(text)
        nodes = [Node(number, directory) for number in NODES]
        for node in nodes:
            node.install(wheels["old"])
        nodes[0].rondo("keygen", "--key-file", str(directory / "authkey"))
        try:
            for node in nodes:
                node.start()
            nodes[0].rondo("wait", "--members", "3", "--timeout", "60")
            yield nodes
        finally:
            for node in nodes:
                kill(node.run_dir)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_three_nodes_are_upgraded_and_back_under_load(wheels: dict[str, Path], cluster: list[Node]) -> None:
    assert modules(wheels["old"]) != modules(wheels["new"]), "the two are to differ"
    stop = cluster[0].config.with_name("stop")
    applications = []
    for node in cluster:
        for kind, python, path in (("old", node.python, ""), ("new", Path(sys.executable), str(ROOT))):
            applications.append(Application(node, kind, python, path, stop))
    try:
        progress(applications)
        for version in ("new", "old"):
            for node in cluster:
                node.rondo("stop")
                elsewhere = [a for i, a in enumerate(applications) if cluster[i // 2] is not node]
                progress(elsewhere)
                node.install(wheels[version])
                node.start()
                node.rondo("wait", "--members", "3", "--timeout", "60")
                progress(applications)
                status = json.loads(node.rondo("quorum", "--json"))
                assert (status["quorate"], status["total_votes"]) == (True, 3)
        stop.touch()
        for application in applications:
            assert application.process.wait(WAIT_S) == 0, application.text()
    finally:
        for application in applications:
            application.process.kill()
            application.process.wait()
    values = sorted(value for each in applications if each.kind == "new" for value in each.values())
    # Each call was done, once: what was lost would leave a hole, what was done twice as well.
    assert values == list(range(1, len(values) + 1))
    assert all(os.linesep in application.text() for application in applications)
