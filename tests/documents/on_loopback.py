"""Runs a Python block of a document: what `rondo.connect()` finds is a node in this process."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import rondo
import rondo.aio
from rondo.testing import Loopback
from rondo.testing.loopback import LoopbackCluster
from tests.documents.blocks import Block


@contextlib.contextmanager
def one_node() -> Iterator[Loopback]:
    """While it lasts connections go to the only node of a loopback."""
    loopback = Loopback(nodes=1)

    def connect(*_: Any, **__: Any) -> LoopbackCluster:
        return loopback.connect(1)

    @contextlib.asynccontextmanager
    async def connect_aio(*_: Any, **__: Any) -> Any:
        async with await loopback.connect_aio(1) as cluster:
            yield cluster

    with (
        mock.patch.object(rondo, "connect", connect),
        mock.patch.object(rondo.aio, "connect", connect_aio),
    ):
        yield loopback


def run(block: Block) -> None:
    """Raises what the block raises."""
    with one_node():
        exec(compile(block.text, block.place, "exec"), {"__name__": "block"})
