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

    def connect(**_options: object) -> LoopbackCluster:
        return loopback.connect(1)

    @contextlib.asynccontextmanager
    async def connect_aio(**_options: object) -> Any:
        async with await loopback.connect_aio(1) as cluster:
            yield cluster

    with (
        mock.patch.object(rondo, "connect", connect),
        mock.patch.object(rondo.aio, "connect", connect_aio),
    ):
        yield loopback


class _Heard(Exception):  # noqa: N818 - it is what happened
    """A block that goes on for ever has shown what it is for."""


def run(block: Block) -> None:
    """Raises what the block raises."""
    with one_node():
        exec(compile(block.text, block.place, "exec"), {"__name__": "block"})


def run_until(block: Block, last: object) -> list[tuple[object, ...]]:
    """What a block that goes on for ever prints, up to this value. AssertionError: it ended before that."""
    printed = []

    def say(*values: object) -> None:
        printed.append(values)
        if last in values:
            raise _Heard

    with one_node(), contextlib.suppress(_Heard):
        exec(compile(block.text, block.place, "exec"), {"__name__": "block", "print": say})
        raise AssertionError(f"{block.place}: it ended without {last!r}")
    return printed
