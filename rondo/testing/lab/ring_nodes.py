"""What the tests ask of any member of a ring, C or Rondo, and when several of them agree on one ring."""

import re
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rondo.testing.lab.netns import Host
from rondo.testing.lab.process import Process
from rondo.testing.lab.waiting import wait_for

RING_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
LOG_TAIL_SIZE = 2000


@dataclass(frozen=True)
class View:
    """A ring as one member sees it. `ready`: its services have synchronized there, or, for Rondo, it is operational."""

    representative: int
    sequence: int
    members: tuple[int, ...]
    ready: bool


class RingNode(ABC):
    """A member of a ring, in a host of a lab; its node identifier is the number of that host.

    It keeps account of ends that the test did not cause: they are among what is `suspicious`.
    """

    may_start_with_others = True
    """False: it must not start while the other nodes form a ring (see `Cluster.start`)."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._process: Process | None = None
        self._meant_to_run = False
        self._faults: list[str] = []

    @property
    def process(self) -> Process:
        """The running, or last, process; it must have been started."""
        assert self._process is not None, f"{self.host.name} was not started"
        return self._process

    def start(self) -> None:
        """Start it, for the first time or again, with the state that its former lives have left."""
        assert not self._meant_to_run, f"{self.host.name} was started already"
        self._process = self._launch()
        self._meant_to_run = True

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._note_unexpected_end()
        self._meant_to_run = False
        self.process.kill()

    def stop(self) -> None:
        """Let it leave the ring and end; an exit status other than 0 is noted."""
        self._note_unexpected_end()
        self._meant_to_run = False
        self._leave()
        status = self.process.wait(STOP_TIMEOUT_S)
        if status != 0:
            self._faults.append(f"exit status {status} when it was to leave")

    def freeze(self) -> None:
        """Stop it with SIGSTOP."""
        self.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        self.process.signal(signal.SIGCONT)

    def suspicious(self, *allowed: str) -> list[str]:
        """Return what a healthy node would not have logged, except what matches one of these regular expressions.

        Ends that the test did not cause are listed too.
        """
        self._note_unexpected_end()
        permitted = [re.compile(expression) for expression in allowed]
        lines = [line for line in self._suspicious_lines() if not any(one.search(line) for one in permitted)]
        return lines + self._faults

    def check_running(self) -> None:
        """Raise AssertionError if it has ended and the test did not cause that."""
        self._note_unexpected_end()
        said = f"{self.log()[-LOG_TAIL_SIZE:]}\n{self.process.output()[-LOG_TAIL_SIZE:]}"
        assert self._meant_to_run, f"{self.host.name} does not run: {self._faults}\n{said}"

    def start_after_known_abort(self) -> bool:
        """Start it again if it died of an error of its own that is known and not the test's; whether that was so."""
        return False

    def _note_unexpected_end(self) -> None:
        if self._meant_to_run and not self.process.alive:
            self._meant_to_run = False
            self._faults.append(f"ended by itself, with exit status {self.process.exit_status}")

    @abstractmethod
    def view(self) -> View | None:
        """Return the ring it is in by its own account; None while it is in none or does not answer."""

    @abstractmethod
    def log(self) -> str:
        """Return its log so far, of all its lives."""

    @abstractmethod
    def _launch(self) -> Process:
        """Start the process."""

    @abstractmethod
    def _leave(self) -> None:
        """Ask the process to leave the ring and end."""

    @abstractmethod
    def _suspicious_lines(self) -> list[str]:
        """Return the lines of the log that a healthy node would not have written."""


class Cluster:
    """The nodes of a lab that may form rings."""

    def __init__(self, nodes: Iterable[RingNode]) -> None:
        self.nodes: Mapping[int, RingNode] = {node.host.number: node for node in nodes}

    def start(self) -> View:
        """Start the nodes and return the ring of all. Nodes of C start one after the other, others all at once."""
        if all(node.may_start_with_others for node in self.nodes.values()):
            for node in self.nodes.values():
                node.start()
            return self.wait_ring(*self.nodes)
        return self._start_one_by_one()

    def _start_one_by_one(self) -> View:
        """Start each node into the ring of those before it.

        Over multicast, about one in forty starts of three C nodes at once ends with the abort of one. Its assertion in
        `orf_token_rtr` does not hold if a join arrives while it takes the token of a ring in which nothing was sent
        yet. One by one that is rare, but it happens. A node that died of it is started again.
        """
        started: list[int] = []
        for number, node in self.nodes.items():
            node.start()
            started.append(number)
            try:
                view = self.wait_ring(*started)
            except AssertionError:
                if not any(self.nodes[each].start_after_known_abort() for each in started):
                    raise
                view = self.wait_ring(*started)
        return view

    def wait_ring(self, *members: int, timeout_s: float = RING_TIMEOUT_S) -> View:
        """Wait until these nodes agree that they are in one ring, of exactly them, and ready; return it.

        That they name the same ring identifier matters: the same list of members may come from different rings.
        """
        wanted = tuple(sorted(members))

        def is_wanted(view: View | None) -> bool:
            return view is not None and view.ready and view.members == wanted

        def look() -> dict[int, View | None]:
            views: dict[int, View | None] = {}
            for number in members:
                self.nodes[number].check_running()
                view = views[number] = self.nodes[number].view()
                if not is_wanted(view):
                    break  # a question takes time from the nodes: the others are asked when this one has got there
            return views

        def agree(views: dict[int, View | None]) -> bool:
            return len(views) == len(wanted) and len(set(views.values())) == 1 and is_wanted(views[wanted[0]])

        views = wait_for(look, agree, f"a ring of exactly {sorted(members)}", timeout_s)
        agreed = views[members[0]]
        assert agreed is not None
        return agreed

    def suspicious(self, *allowed: str) -> dict[str, list[str]]:
        """Return the suspicious lines of each node that has any, by the name of its host."""
        found = {node.host.name: node.suspicious(*allowed) for node in self.nodes.values()}
        return {name: lines for name, lines in found.items() if lines}
