"""The resolved configuration as a file between processes."""

import stat
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rondo.config import NodeConfig, NodeConfigError
from rondo.config.reader import load_text
from rondo.config.resolver import resolve
from tests.unit.config.machines import FakeMachine

TEXT = f"""totem {{
 transport: udpu
 key: {"k" * 128}
}}
nodelist {{
 node {{
  name: alpha
  nodeid: 4294967295
  ring0_addr: 10.0.0.1
 }}
}}
logging {{
 logger_subsys {{
  subsys: CPG
  debug: trace
 }}
}}
system {{
 cpu_affinity: 0,2-3
}}
"""


@pytest.fixture(name="node")
def _node() -> NodeConfig:
    return resolve(load_text(TEXT, "caf\udcff.conf"), FakeMachine("alpha"))


def test_it_comes_back_as_it_was(node: NodeConfig) -> None:
    assert node.cpu_affinity == (0, 2, 3)
    assert NodeConfig.from_msgpack(node.to_msgpack()) == node


def test_a_file_of_it_is_for_the_owner_alone(node: NodeConfig, tmp_path: Path) -> None:
    path = tmp_path / "node.msgpack"
    path.write_bytes(b"old")
    path.chmod(0o644)
    node.save(path)
    assert NodeConfig.read(path) == node
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["node.msgpack"]


def test_the_key_is_only_in_the_file(node: NodeConfig) -> None:
    assert "kkk" not in repr(node)
    assert "key" not in node.to_dict()["security"]
    assert node.to_dict(with_key=True)["security"]["key"] == b"k" * 128


@pytest.mark.parametrize(
    "change",
    [
        {"node_id": "1"},
        {"node_id": True},
        {"transport": "iba"},
        {"members": {"1": ["10.0.0.1"]}},
        {"members": {1: "10.0.0.1"}},
        {"security": {}},
        {"unheard_of": 1},
    ],
)
def test_a_file_of_another_shape_is_refused(node: NodeConfig, change: dict[str, object]) -> None:
    packed = msgpack.packb(
        {"format": 1, "node": {**node.to_dict(with_key=True), **change}}, unicode_errors="surrogateescape"
    )
    with pytest.raises(NodeConfigError):
        NodeConfig.from_msgpack(packed)


def test_other_versions_and_broken_files_are_refused(node: NodeConfig, tmp_path: Path) -> None:
    packed = node.to_msgpack()
    for broken in (b"", packed[:-1], packed + b"x", msgpack.packb({"format": 2}), msgpack.packb([])):
        with pytest.raises(NodeConfigError):
            NodeConfig.from_msgpack(broken)
    with pytest.raises(NodeConfigError, match="No such file"):
        NodeConfig.read(tmp_path / "none")
    with pytest.raises(NodeConfigError, match="not a resolved configuration"):
        NodeConfig.read(Path("/dev/zero"))


@given(st.binary(max_size=60))
def test_random_bytes_are_refused(packed: bytes) -> None:
    with pytest.raises(NodeConfigError):
        NodeConfig.from_msgpack(packed)


def test_it_is_read_without_pydantic(node: NodeConfig, tmp_path: Path) -> None:
    path = tmp_path / "node.msgpack"
    node.save(path)
    program = (
        "import sys, pathlib; from rondo.config import NodeConfig;"
        "print(NodeConfig.read(pathlib.Path(sys.argv[1])).node_id, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == "4294967295 False\n"
