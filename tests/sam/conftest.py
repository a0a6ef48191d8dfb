"""SAM, its keeper and a gateway as processes of their own, without a ring: SAM needs none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rondo import config
from tests.sam.bench import CONFIGURATION, Bench


@pytest.fixture(scope="session")
def resolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The resolved configuration of one node."""
    directory = tmp_path_factory.mktemp("sam")
    (directory / "corosync.conf").write_text(CONFIGURATION)
    config.resolve(config.load(directory / "corosync.conf")).save(directory / "node.msgpack")
    return directory / "node.msgpack"


@pytest.fixture
def bench(resolved: Path) -> Iterator[Bench]:
    """A SAM that serves."""
    made = Bench(resolved)
    try:
        yield made
        made.check()
    finally:
        made.close()
