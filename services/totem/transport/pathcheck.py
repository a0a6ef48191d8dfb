"""Checks whether packets of full size, and multicast, reach each other Rondo node: at the start, then from time to
time.

Some paths lose only large packets (a tunnel's MTU, a firewall that drops fragments), or only multicast (no IGMP
querier). Then a ring forms and falls apart again and again, and no log line names the cause. So nodes send each other
probes, outside the ring, and log in plain words what does not get through.

    greet    a small probe by unicast, until it is answered: the node runs Rondo and is reachable. A C node never
             answers, so it gets no other probes
    full     a probe of full size, sent like the ring's data, a few times
    ladder   finds the largest size that gets through: the small probe again, full size again, and sizes in between

For a verdict the small probe must have been answered in the same minute, and none of many full ones. So random loss, or
a node that has just died, does not count as a bad path. Probes and answers are few (two small and one full one a minute
and node while all is well), and nothing waits for them. An answer is small and goes to the configured address, so
nobody can use it for amplification.

No I/O in here: time and answers are arguments; probes to send and findings to log are left in lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from services.totem.wire.notices import Probe

EVERYBODY = -1
"""Instead of a node: by multicast."""

GREET_NS_MIN, GREET_NS_MAX = 500_000_000, 30_000_000_000
"""Pause between unanswered greetings; it doubles each time."""

TRY_NS = 300_000_000
FULL_TRIES, LADDER_TRIES = 6, 8
"""Probes of one size, and the pause between them."""

SMALL_ANSWERED_MIN = 4
"""Small probes of a ladder that must be answered for a verdict."""

AGAIN_NS = 60_000_000_000
"""Pause between two checks of a node."""

SAY_AGAIN_NS = 600_000_000_000
"""Pause between two log lines about the same finding."""

PROBE_BYTES = 100
"""At least the size of the smallest probe, sealed or not."""

ECHOES_PER_SECOND = 400

LADDER = (8972, 8952, *range(1472, 1271, -20), 1232, 1132, 1032, 932, 732, 548)
"""Typical sizes: jumbo frames and Ethernet minus IP and UDP headers, tunnels, the minimum of IPv4."""

LOOK_NS = 10_000_000_000
"""Interval at which the list of nodes is updated: without a nodelist it changes."""

_SECOND_NS = 1_000_000_000
_NEVER_NS = 1 << 62


class Stage(StrEnum):
    """The stage of a node's check."""

    GREET = "greet"
    FULL = "full"
    LADDER = "ladder"
    DONE = "done"


class Path(StrEnum):
    """The known state of the path to a node."""

    UNKNOWN = "unknown"
    GOOD = "good"
    LOSES_LARGE = "loses_large"
    NO_MULTICAST = "no_multicast"


class Finding(NamedTuple):
    """A finding to log about the path to a node. `passes`: bytes of the largest packet that got through."""

    node: int
    path: Path
    passes: int


class Question(NamedTuple):
    """A probe to send: to one node or `EVERYBODY`; `size`: bytes of the datagram, 0: as small as it can be."""

    node: int
    number: int
    size: int


class _Peer:
    """One other node."""

    __slots__ = ("answered", "asked", "at_ns", "passes", "path", "pause_ns", "said_ns", "small", "stage", "tries")

    def __init__(self, now_ns: int) -> None:
        self.stage = Stage.GREET
        self.at_ns = now_ns
        self.pause_ns = GREET_NS_MIN
        self.tries = 0
        self.small = 0
        self.asked = 0
        """How often probes were sent to it."""
        self.answered: set[int] = set()
        """Sizes that got through in this check, sent like the ring's data."""
        self.path = Path.UNKNOWN
        self.passes = 0
        self.said_ns = -_NEVER_NS


class PathCheck:
    """The checks of all other nodes. `size_max`: bytes of a full datagram; `multicast`: how the ring's data is sent."""

    def __init__(self, size_max: int, *, multicast: bool) -> None:
        self.size_max = size_max
        self.questions: list[Question] = []
        self.findings: list[Finding] = []
        self.due_ns = _NEVER_NS
        """When `advance` is to be called."""
        self._multicast = multicast
        self._ladder = tuple(size for size in LADDER if size < size_max)
        self._peers: dict[int, _Peer] = {}
        self._number = 0
        self._look_ns = _NEVER_NS
        self._asked: dict[int, tuple[int, int]] = {}
        """Size and time (ns) of each probe of the last seconds, by its number."""
        self._echo_second = 0
        self._echoes = 0

    def set_peers(self, nodes: Iterable[int], now_ns: int) -> None:
        """Set the nodes to check: those that have an address."""
        wanted = set(nodes)
        for gone in self._peers.keys() - wanted:
            del self._peers[gone]
        for new in sorted(wanted - self._peers.keys()):
            self._peers[new] = _Peer(now_ns)
        self._look_ns = now_ns + LOOK_NS
        self._set_due()

    def start_over(self, now_ns: int) -> None:
        """This node's address has changed: forget all results."""
        self.set_peers((), now_ns)

    def may_echo(self, now_ns: int) -> bool:
        """Whether the rate limit allows one more answer."""
        second = now_ns // _SECOND_NS
        if second != self._echo_second:
            self._echo_second, self._echoes = second, 0
        self._echoes += 1
        return self._echoes <= ECHOES_PER_SECOND

    def echoed(self, echo: Probe, now_ns: int) -> None:
        """A probe of ours was answered."""
        peer = self._peers.get(echo.sender)
        if peer is None or not self._is_answer(echo):
            return
        if not echo.multicast and echo.size == 0:
            peer.small += 1
            if peer.stage is Stage.GREET:
                self._enter(peer, Stage.FULL, now_ns)
        if echo.multicast == self._multicast:
            peer.answered.add(echo.size)
            if echo.size == self.size_max and peer.stage in (Stage.FULL, Stage.LADDER):
                self._conclude(echo.sender, peer, Path.GOOD, self.size_max, now_ns)
        self._set_due()

    def advance(self, now_ns: int) -> None:
        """Make the probes that are due."""
        wanted: dict[tuple[int, int], None] = {}
        for node, peer in self._peers.items():
            if peer.at_ns <= now_ns:
                peer.asked += 1
                for size in self._due(node, peer, now_ns):
                    small = size == 0
                    wanted[node if small or not self._multicast else EVERYBODY, size] = None
                    if small and self._multicast and peer.stage is Stage.LADDER:
                        wanted[EVERYBODY, 0] = None
        for node, size in wanted:
            self._number = (self._number + 1) & 0xFFFF_FFFF
            self._asked[self._number] = (size, now_ns)
            self.questions.append(Question(node, self._number, size))
        self._forget(now_ns)
        self._set_due()

    def status(self) -> dict[str, object]:
        """The results, by node."""
        return {
            str(node): {"path": peer.path, "passes": peer.passes, "asked": peer.asked}
            for node, peer in sorted(self._peers.items())
        }

    # -- one node

    def _due(self, node: int, peer: _Peer, now_ns: int) -> tuple[int, ...]:
        """The sizes to probe this node with now. Advances its stage."""
        if peer.stage is Stage.DONE:
            self._enter(peer, Stage.GREET, now_ns)
        if peer.stage is Stage.GREET:
            peer.at_ns = now_ns + peer.pause_ns
            peer.pause_ns = min(2 * peer.pause_ns, GREET_NS_MAX)
            return (0,)
        if peer.stage is Stage.FULL and peer.tries >= FULL_TRIES:
            self._enter(peer, Stage.LADDER, now_ns)
        elif peer.stage is Stage.LADDER and peer.tries >= LADDER_TRIES:
            self._judge(node, peer, now_ns)
            return ()
        peer.tries += 1
        peer.at_ns = now_ns + TRY_NS
        return (self.size_max,) if peer.stage is Stage.FULL else (0, self.size_max, *self._ladder)

    def _judge(self, node: int, peer: _Peer, now_ns: int) -> None:
        """The ladder is over, and full size did not get through."""
        passes = max(peer.answered, default=-1)
        if peer.small < SMALL_ANSWERED_MIN or (passes < 0 and not self._multicast):
            self._enter(peer, Stage.GREET, now_ns + GREET_NS_MIN)  # the node is gone, or the network loses all sizes
        elif passes < 0:
            self._conclude(node, peer, Path.NO_MULTICAST, 0, now_ns)
        else:
            self._conclude(node, peer, Path.LOSES_LARGE, passes, now_ns)

    def _conclude(self, node: int, peer: _Peer, path: Path, passes: int, now_ns: int) -> None:
        changed = (path, passes) != (peer.path, peer.passes)
        bad = path is not Path.GOOD
        if (changed and (bad or peer.path is not Path.UNKNOWN)) or (bad and now_ns - peer.said_ns >= SAY_AGAIN_NS):
            self.findings.append(Finding(node, path, passes))
            peer.said_ns = now_ns
        peer.path, peer.passes = path, passes
        peer.stage, peer.at_ns = Stage.DONE, now_ns + AGAIN_NS

    def _enter(self, peer: _Peer, stage: Stage, at_ns: int) -> None:
        peer.stage, peer.at_ns = stage, at_ns
        peer.tries = peer.small = 0
        peer.answered.clear()
        if stage is Stage.GREET:
            peer.pause_ns = GREET_NS_MIN

    # -- all of them

    def _is_answer(self, echo: Probe) -> bool:
        asked = self._asked.get(echo.number)
        return asked is not None and asked[0] == echo.size

    def _forget(self, now_ns: int) -> None:
        """Forget probes older than a few seconds: answers to them do not count."""
        for number in [number for number, (_, at_ns) in self._asked.items() if now_ns - at_ns > 5 * _SECOND_NS]:
            del self._asked[number]

    def _set_due(self) -> None:
        self.due_ns = min(self._look_ns, *(peer.at_ns for peer in self._peers.values()), _NEVER_NS)
