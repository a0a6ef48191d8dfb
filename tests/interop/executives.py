"""What C programs run on: a Rondo node or a node of C Corosync, driven in the same way."""

from collections.abc import Callable, Sequence
from typing import Protocol

from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Host
from rondo.testing.lab.node import Node
from rondo.testing.lab.ring_nodes import View
from rondo.testing.lab.waiting import wait_for

RING_TIMEOUT_S = 90.0


class Executive(Protocol):
    """A node on which C programs run."""

    host: Host

    def launch(self) -> None:
        """Start it, and do not wait."""

    def stop(self) -> None:
        """Have it leave the ring and end, as systemd does."""

    def kill(self) -> None:
        """Kill all of it."""

    def view(self) -> View | None:
        """Its ring if it serves C programs; None otherwise."""

    def suspicious(self) -> list[str]:
        """The log lines that it should not have written."""


class RondoExecutive:
    """A Rondo node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.host = node.host

    def launch(self) -> None:
        """`rondo start`."""
        self.node.launch()

    def stop(self) -> None:
        """`rondo stop`."""
        self.node.stop()

    def kill(self) -> None:
        """Kill all processes of the node."""
        self.node.kill()

    def view(self) -> View | None:
        """Its ring if its gateway for C programs works; None otherwise."""
        is_serving = self.node.status("qb_gateway").get("state") == "operational"
        return self.node.view() if is_serving else None

    def suspicious(self) -> list[str]:
        """The suspicious lines of all its logs."""
        return self.node.suspicious()


class CorosyncExecutive:
    """A node of C Corosync."""

    def __init__(self, node: CorosyncNode) -> None:
        self.node = node
        self.host = node.host

    def launch(self) -> None:
        """Start it."""
        self.node.start()

    def stop(self) -> None:
        """`corosync-cfgtool -H --force`."""
        self.node.stop()

    def kill(self) -> None:
        """Kill its only process."""
        self.node.kill()

    def view(self) -> View | None:
        """Its ring."""
        return self.node.view()

    def suspicious(self) -> list[str]:
        """Of its log, but for what it says of others that were killed or cut off, and of programs that ended while they
        connected."""
        return self.node.suspicious(
            r"host: \d+ (has no active links|\(passive\))", r"link: host", r"Error in connection setup .*Broken pipe"
        )


def wait_until_one_ring(executives: Sequence[Executive], meanwhile: Callable[[], None] = lambda: None) -> None:
    """Wait until these are in one ring, where C programs are served, and nobody else is.

    `meanwhile` is called again and again until then.
    """
    wanted = tuple(sorted(each.host.number for each in executives))

    def look() -> list[View | None]:
        meanwhile()
        return [each.view() for each in executives]

    def is_whole(views: list[View | None]) -> bool:
        return len(set(views)) == 1 and all(v is not None and v.ready and v.members == wanted for v in views)

    wait_for(look, is_whole, f"one ring of {wanted}", RING_TIMEOUT_S)
