"""What belongs to a connection cannot be given to another process, and says what to do instead. Needs no root."""

import asyncio
import contextlib
import multiprocessing
import pickle
from typing import Any

import pytest

import rondo
import rondo.aio
import rondo.aio.recipes
import rondo.recipes
from tests.cluster.test_node import Node, make_nodes, node

__all__ = ["make_nodes", "node"]

LONG_S = 60.0
MEND = r"^a \w+ cannot be pickled or copied: .* Call rondo\.connect\(\) in the other process$"


def refuse(*things: Any) -> None:
    for thing in things:
        with pytest.raises(TypeError, match=MEND):
            pickle.dumps(thing)


def test_nothing_of_a_connection_can_be_pickled_and_the_error_says_what_to_do(node: Node) -> None:
    node.start()

    async def of_asyncio() -> None:
        async with rondo.aio.connect(node.endpoint, LONG_S) as cluster:
            group = await cluster.cpg.join("g")
            refuse(cluster, cluster.cpg, cluster.quorum, cluster.cmap, cluster.cfg, group, await group.mcast(b"m"))
            async with rondo.aio.recipes.Counter(cluster, "c", timeout=LONG_S) as counter:
                refuse(counter)

    with rondo.connect(node.endpoint, LONG_S) as cluster:
        group = cluster.cpg.join("g")
        refuse(cluster, cluster.cpg, cluster.quorum, cluster.cmap, cluster.cfg, group, group.mcast(b"m"))
        with contextlib.closing(cluster.quorum.watch()) as watch:
            refuse(watch)
        with rondo.recipes.Counter(cluster, "c", timeout=LONG_S) as counter:
            refuse(counter)
        process = multiprocessing.get_context("spawn").Process(target=print, args=(cluster,))
        with pytest.raises(TypeError, match=MEND):
            process.start()
    asyncio.run(of_asyncio())
