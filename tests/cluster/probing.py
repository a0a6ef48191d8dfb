"""The test's side of `udp_probe.py`: listeners in hosts, and what they have heard."""

import json
import sys
from typing import Any

from rondo.testing.lab.corosync import whole_lines
from rondo.testing.lab.netns import Host
from rondo.testing.lab.waiting import wait_for
from tests.cluster import udp_probe

PORT = 9000
READY_TIMEOUT_S = 60.0
RECEIVE_TIMEOUT_S = 60.0


class Listener:
    """A process in a host that receives datagrams on PORT, for a multicast group or for the host itself."""

    def __init__(self, host: Host, group: str | None = None) -> None:
        arguments = [str(PORT)] if group is None else [str(PORT), group, host.address]
        self.host = host
        self._process = host.start([sys.executable, udp_probe.__file__, "listen", *arguments], "listener")
        wait_for(self._process.output, lambda text: "listening" in text, "the listener's start", READY_TIMEOUT_S)

    def heard(self) -> list[dict[str, Any]]:
        """Return what was received so far, oldest first: `from`, `size`, `number` of each datagram."""
        return [json.loads(line) for line in whole_lines(self._process.output()) if line.startswith("{")]

    def wait(self, count: int) -> list[dict[str, Any]]:
        """Wait for `count` datagrams in all, and return them."""
        what = f"{count} datagrams at {self.host.name}"
        return wait_for(self.heard, lambda heard: len(heard) >= count, what, RECEIVE_TIMEOUT_S)


def send(host: Host, destination: str, count: int = 1, size: int = 100) -> None:
    """Send numbered datagrams from a host to PORT at the destination; returns when the last was sent."""
    arguments = [destination, str(PORT), str(count), str(size), host.address]
    host.run([sys.executable, udp_probe.__file__, "send", *arguments])
