"""Who types the shell blocks of pages that do not teach: the page, how the block begins, and what runs it.

Each entry is a promise of the named test, which takes its blocks from here;
tests/unit/documents sees that none is missing.
"""

from tests.documents.blocks import Block, block_of

BY_MAKE = (("README.md", "make run"), ("bench/README.md", "make bench"))
"""Targets with their variables. What they do has tests of its own; here only that there are such targets."""

AT_THREE_NODES = (
    ("docs/METRICS.md", "cd /var/lib/node_exporter"),
    ("docs/OPERATING.md", "rondo sam run -- ./server --port"),
    ("README.md", "rondo sam run --interval-ms"),
    ("README.md", "rondo status"),
)
"""tests/cluster/test_documents.py, in this order, at the nodes of the tutorial."""

FROM_ANOTHER_HOST = ("docs/OPERATING.md", "RONDO_CLIENT_KEY_FILE=")
"""tests/cluster/test_node.py."""

IN_A_COPY_OF_THE_TREE = ("README.md", "python3 -m venv /opt/rondo")
"""tests/packages/test_newcomer.py."""

WITH_DOCKER = (("docs/OPERATING.md", "make wheels\npackaging/compose/base"), ("docs/UPGRADING.md", "RONDO_IMAGE="))
"""tests/packages/test_compose.py: a cluster comes up, and one node after the other gets another image."""

WITH_SYSTEMD = (
    ("docs/OPERATING.md", "systemctl stop pacemaker              #"),
    ("docs/OPERATING.md", "systemctl stop pacemaker\n"),
)
"""tests/packages/test_deb.py types what says which unit is in force. What starts and stops there is tried by
tests/interop/test_replacement.py, without systemd."""

UNDER_SAM = ("docs/PROTOCOL-CLIENT.md", "while work")
"""tests/unit/documents/test_health_lines.py."""

ALL = (
    *BY_MAKE, *AT_THREE_NODES, FROM_ANOTHER_HOST, IN_A_COPY_OF_THE_TREE, *WITH_DOCKER, *WITH_SYSTEMD, UNDER_SAM,
)  # fmt: skip


def block(entry: tuple[str, str]) -> Block:
    """The block that an entry means."""
    return block_of(*entry)
