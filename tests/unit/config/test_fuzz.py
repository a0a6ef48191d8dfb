"""Whatever a file holds, `load` and `resolve` end with a configuration or with ConfigError."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rondo.config import ConfigError, NodeConfig, option
from rondo.config.reader import load, load_text
from rondo.config.resolver import resolve, resolve_as_first_node
from rondo.config.schema_node import Config
from tests.unit.config.machines import FakeMachine

MACHINE = FakeMachine("alpha", addresses=("10.0.0.1/24", "fd00::1/64", "fe80::1%eth0/64"), names={"b": ["10.0.0.1"]})

SOME_WORDS = """
yes no on off none 0 1 2 30 128 3000 5405 4294967295 18446744073709551616 -1 1.5 0x10 udp udpu knet aes256 sha256
10.0.0.1 10.0.0.0 10.0.0.2 239.1.1.1 127.0.0.1 localhost alpha b fd00::1 fe80::1%eth0 ff15::1 ::1 a..b CPG trace 0-3 /x
"""
WORDS = st.sampled_from(SOME_WORDS.split())
BASES = (
    "totem { cluster_name: c }\nnodelist {\nnode {\nring0_addr: 10.0.0.1\n}\n}\n",
    "totem {\ncluster_name: c\ntransport: udp\ninterface {\nbindnetaddr: 10.0.0.0\n}\n}\n",
    "totem {\ninterface {\nmember { memberaddr: 10.0.0.1 }\n}\n}\n",
)
VALUES = WORDS | st.text(max_size=20)


def _section(model: type[option.Section], name: str, draw: st.DrawFn) -> list[str]:
    """Lines of a section with some of its keys, some of its sub-sections, and sometimes a key that is none."""
    fields = model.model_fields
    lines = [f"{name} {{"] if name else []
    for key in draw(st.lists(st.sampled_from([*fields, "nodeidd", "ring1_addr", "knet_mtu"]), max_size=8)):
        kind = option.subsection(fields[key]) if key in fields else None
        lines += _section(kind, key, draw) if kind else [f"{key}: {draw(VALUES)}"]
    return [*lines, "}"] if name else lines


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file that looks like a corosync.conf; every other one could be good but for what is added."""
    return draw(st.sampled_from(["", *BASES])) + "\n".join(_section(Config, "", draw))


def refusal(text: str) -> ConfigError | None:
    """The error with which a text was refused; None if it gave a configuration, which was then resolved."""
    try:
        loaded = load_text(text, "f")
        node = resolve_as_first_node(loaded, MACHINE)
        assert NodeConfig.from_msgpack(node.to_msgpack()) == node
        resolve(loaded, MACHINE)
    except ConfigError as error:
        return error
    return None


def assert_told_well(error: ConfigError | None) -> None:
    """A refusal names faults, each in one line."""
    lines = [str(fault) for fault in error.faults] if error else ["no fault"]
    assert lines
    assert all(line.isprintable() for line in lines), lines


@settings(max_examples=400, deadline=None)
@given(files())
def test_files_that_look_like_a_configuration(text: str) -> None:
    assert_told_well(refusal(text))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    assert_told_well(refusal(text))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.conf"
    file.write_bytes(content)
    told = ""
    try:
        load(file)
    except ConfigError as error:
        told = str(error)
    assert not told or told.startswith(str(file))


def test_a_large_file_is_refused_in_bearable_time() -> None:
    nodes = "".join(f"node {{ nodeid: {n} }}\n" for n in range(1, 5000))
    error = refusal("totem {\ntransport: udpu\n}\nnodelist {\n" + nodes + "}\n")
    assert error is not None
    assert len(error.faults) == 4999
    assert_told_well(refusal("a {}" * 2000))
