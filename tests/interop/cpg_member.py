"""The test's side of `cpg_client.py`: a member of a process group on a C node, what it is told to do and what it has
seen."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, Any

from rondo.testing.lab.netns import Host
from rondo.testing.lab.waiting import wait_for
from tests.interop import cpg_client

EVENT_TIMEOUT_S = 60.0

Event = dict[str, Any]


class CpgMember:
    """A process in the host of a C node that is a member of one group."""

    def __init__(self, host: Host, group: str, name: str = "cpg") -> None:
        """Start the client; it joins the group at once. `name` tells apart several clients on one host."""
        self.host = host
        self.group = group
        self._output_path = host.directory / f"{name}.out"
        self._read_bytes = 0
        self._events: list[Event] = []
        with self._output_path.open("ab") as output:
            self._popen = self._launch(output)

    def _launch(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        argv = [sys.executable, cpg_client.__file__, self.group]
        return self.host.popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)

    @property
    def address(self) -> list[int]:
        """The member as the group knows it: [node, pid]."""
        return [self.host.number, self._popen.pid]

    def tell(self, **command: Any) -> None:
        """Give a command; its answer comes as an event."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(command).encode() + b"\n")
        self._popen.stdin.flush()

    def send(self, tag: str, sizes: Sequence[int]) -> None:
        """Multicast messages of these sizes; they are those of `expected_messages`."""
        self.tell(do="send", tag=tag, sizes=list(sizes))

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._popen.kill()
        self._popen.wait()

    def wait_end(self) -> int:
        """Wait until the process has ended; return its exit status."""
        return self._popen.wait(EVENT_TIMEOUT_S)

    def events(self, kind: str | None = None) -> list[Event]:
        """Return the events so far, oldest first, or those of one kind.

        Other lines are skipped: `libcpg` prints some of its own, such as `sleep. counter=0`.
        """
        self._read_new()
        return [event for event in self._events if kind in (None, event["event"])]

    def _read_new(self) -> None:
        """Read what was written since the last time: with thousands of events it would be too much to read it all."""
        with self._output_path.open("rb") as output:
            output.seek(self._read_bytes)
            content = output.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        self._events += [json.loads(line) for line in whole.split(b"\n") if line.startswith(b"{")]

    def wait_messages(self, count: int, timeout_s: float = EVENT_TIMEOUT_S) -> list[Event]:
        """Wait until at least so many messages were delivered, in all; return them."""
        what = f"{count} messages at {self.host.name}"
        return wait_for(lambda: self.events("message"), lambda seen: len(seen) >= count, what, timeout_s)

    def wait_members(self, *members: "CpgMember", timeout_s: float = EVENT_TIMEOUT_S) -> Event:
        """Wait until the last membership of the group is exactly these; return that event."""
        wanted = sorted(member.address for member in members)
        what = f"the group {self.group} to be {wanted} at {self.host.name}"

        def is_wanted(seen: list[Event]) -> bool:
            return bool(seen) and sorted(seen[-1]["members"]) == wanted

        return wait_for(lambda: self.events("membership"), is_wanted, what, timeout_s)[-1]

    def wait_answer(self, do: str, timeout_s: float = EVENT_TIMEOUT_S) -> Event:
        """Wait for the answer to the last command of this kind, if it is the first such; return it."""
        answers = wait_for(lambda: self._answers(do), bool, f"answer to {do} at {self.host.name}", timeout_s)
        return answers[-1]

    def _answers(self, do: str) -> list[Event]:
        return [event for event in self.events("answer") if event["do"] == do]


def expected_messages(sender: CpgMember, tag: str, sizes: Sequence[int]) -> list[Event]:
    """Return the message events that `sender.send(tag, sizes)` must cause at every member."""
    contents = [cpg_client.message_bytes(tag, number, size) for number, size in enumerate(sizes)]
    node, pid = sender.address
    return [
        {
            "event": "message",
            "group": sender.group,
            "node": node,
            "pid": pid,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "head": content[: cpg_client.HEAD_SIZE].decode("ascii", errors="replace"),
        }
        for content in contents
    ]
