"""The pytest plugin: the fixture `rondo_cluster`, which makes clusters of real nodes and ends them after the test.

def test_my_application(rondo_cluster):
    c = rondo_cluster(nodes=3)
    with c[1].connect() as cluster: ...
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rondo.testing.cluster import TestCluster


@pytest.fixture
def rondo_cluster() -> Iterator[Callable[..., TestCluster]]:
    """A function that makes a cluster: `rondo_cluster(nodes=3)`. If the system cannot do what a test asks
    for, the test is skipped with the reason."""
    from rondo.testing import cluster

    with contextlib.ExitStack() as stack:

        def make(nodes: int = 3, *, network: bool = True) -> TestCluster:
            return stack.enter_context(cluster.rondo_cluster(nodes, network=network, unsupported=pytest.skip))

        yield make
