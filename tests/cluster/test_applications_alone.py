"""An installation for applications alone: Rondo's wheel and msgpack, and nothing of what only nodes need."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import msgpack
import pytest

from rondo.node.installation import ROOT
from tests.cluster.test_node import Node, make_nodes, node
from tests.documents.shell import clean_environment

__all__ = ["make_nodes", "node"]

COMMAND_S = 120
APPLICATION = """\
import asyncio, sys
import rondo, rondo.aio, rondo.sam
from rondo.recipes import Counter

with rondo.connect(timeout=60) as cluster, Counter(cluster, "steps", timeout=60) as counter:
    group = cluster.cpg.join("bank")
    group.mcast(b"hello", guarantee=rondo.Guarantee.SAFE)
    print(next(bytes(event.data).decode() for event in group if isinstance(event, rondo.Message)))
    print(counter.add())
    print(cluster.cmap.get("totem.cluster_name"))

async def asynchronous():
    async with rondo.aio.connect(timeout=60) as cluster:
        print(cluster.node_id)

asyncio.run(asynchronous())
places = [(name, getattr(module, "__file__", None) or "") for name, module in sys.modules.items()]
print(*sorted({name.partition(".")[0] for name, place in places if "site-packages" in place}))
"""
"""The program prints the packages that it has imported as its last line."""


class Alone:
    """An environment with what an application needs, and nothing else."""

    def __init__(self, directory: Path, node: Node) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
        self.python = directory / "bin" / "python"
        places = sysconfig.get_paths("venv", {"base": str(directory), "platbase": str(directory)})
        for source in (ROOT / "rondo", ROOT / "services", Path(msgpack.__file__).parent):
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, Path(places["purelib"]) / source.name, ignore=left_out)
        self.environment = clean_environment(RONDO_RUN_DIR=str(node.run_dir))

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """This environment's Python."""
        return subprocess.run(
            [str(self.python), "-I", *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=self.environment,
            timeout=COMMAND_S,
            check=False,
        )


@pytest.fixture
def alone(node: Node) -> Alone:
    return Alone(node.config.parent / "application", node)


@pytest.mark.slow
def test_an_application_and_its_commands_need_msgpack_alone(node: Node, alone: Alone) -> None:
    node.start()
    done = alone.run("-c", APPLICATION)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["hello", "1", "test", "1", "msgpack rondo"]
    listed = alone.run("-m", "rondo.cli.main", "cmap", "get", "totem.cluster_name")
    assert (listed.returncode, listed.stdout.split()[-1]) == (0, "test"), listed.stderr
    status = alone.run("-m", "rondo.cli.main", "status", "--json")
    assert (status.returncode, json.loads(status.stdout)["state"]) == (0, "operational"), status.stderr


def test_a_node_cannot_be_started_there_and_one_line_says_why(node: Node, alone: Alone) -> None:
    for command in (["start", "-c", str(node.config)], ["keygen", "--curve"]):
        done = alone.run("-m", "rondo.cli.main", *command)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert " is missing; a node needs all that Rondo depends on" in line, line
