"""docs/CLIENT.md names what there is, and no call waits without an end that it does not name."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rondo
import rondo.aio
from rondo._client import cfg, cfg_aio, control, control_aio
from rondo._client.arguments import DEFAULT
from rondo._client.connection import Cpg

TEXT = (Path(__file__).parents[3] / "docs" / "CLIENT.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
CLASSES = (
    rondo.Cluster, rondo.Group, rondo.Request, Cpg, control.Quorum, control.Cmap, cfg.Cfg,
    rondo.aio.Cluster, rondo.aio.Group, rondo.aio.Request, rondo.aio.Cpg, control_aio.Quorum, control_aio.Cmap,
    cfg_aio.Cfg,
)  # fmt: skip
WITHOUT_END = {"poll"}


def attributes_of(source: str, name: str) -> Iterator[str]:
    """The attributes that the code asks of the variable of this name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name:
            yield node.attr


@pytest.mark.parametrize("block", BLOCKS)
def test_the_examples_use_what_there_is(block: str) -> None:
    kinds = {"rondo": rondo, "cluster": rondo.Cluster, "group": rondo.Group, "policy": rondo.RetryPolicy}
    for name, kind in kinds.items():
        for attribute in attributes_of(block, name):
            assert hasattr(kind, attribute) or attribute == "cpg", f"{name}.{attribute}"


def test_all_states_and_events_are_named() -> None:
    names = {*rondo.ConnectionState.__members__, "ConnectionChange", "SlowConsumer", "RetryPolicy", "rondo.client"}
    assert not {name for name in names if name not in TEXT}


@pytest.mark.parametrize("kind", CLASSES)
def test_no_call_waits_without_an_end_unless_told(kind: type) -> None:
    for name, function in inspect.getmembers(kind, inspect.isfunction):
        parameter = inspect.signature(function).parameters.get("timeout")
        if parameter is not None and not name.startswith("_") and name not in WITHOUT_END:
            assert parameter.default is DEFAULT or isinstance(parameter.default, float), f"{kind.__name__}.{name}"


@pytest.mark.parametrize("kind", [rondo.Group, rondo.aio.Group, rondo.Cluster, rondo.aio.Cluster])
def test_threads_and_asyncio_have_the_same_names(kind: type) -> None:
    """Names that only one of them needs are left out."""
    other = {rondo.Group: rondo.aio.Group, rondo.Cluster: rondo.aio.Cluster}.get(kind)
    if other is not None:
        names = {name for name in dir(kind) if not name.startswith("_")}
        assert names - set(dir(other)) == ({"fileno"} if kind is rondo.Group else set())
    assert "__repr__" in vars(kind)
