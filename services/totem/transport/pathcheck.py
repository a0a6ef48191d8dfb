"""Whether packets of full size reach each of the other Rondo nodes, and multicast at all: asked at the start, then from
time to time.

A path that loses large packets only (a tunnel's MTU, a firewall that drops fragments), or multicast only (no IGMP
querier), lets a ring form and then fall apart again and again, with log lines that name everything but the cause. So
nodes send each other probes, beside the ring, and say in plain words what does not come through.

    greet    a small probe by unicast, until it is answered: the node runs Rondo and can be reached. A C node never
             answers, so nothing more is sent to it
    full     a probe of full size, the way the ring's data goes, a few times
    ladder   to find out what does come through: the small one again, full size again, and sizes in between

A verdict needs that the small probe was answered in the same minute and none of many full ones was: random loss, or a
node that has just died, is not taken for a bad path. Probes and answers are few (two small and one full one a minute
and node while all is well) and never wait for anything. An answer is small and goes to the configured address, so
nobody can use it to amplify anything.

No I/O in here: time and answers are arguments; what is to be sent, and what is to be said, is left in lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from services.totem.wire.notices import Probe

EVERYBODY = -1
"""In place of a node: by multicast."""

GREET_NS_MIN, GREET_NS_MAX = 500_000_000, 30_000_000_000
"""Pause between greetings that are not answered: twice as long each time."""

TRY_NS = 300_000_000
FULL_TRIES, LADDER_TRIES = 6, 8
"""Probes of one size, and the pause between them."""

SMALL_ANSWERED_MIN = 4
"""Of the small ones of a ladder, for a verdict."""

AGAIN_NS = 60_000_000_000
"""Pause between two checks of a node."""

SAY_AGAIN_NS = 600_000_000_000
"""Pause between two log lines about the same."""

PROBE_BYTES = 100
"""No less than the smallest probe, sealed or not."""

ECHOES_PER_SECOND = 400

LADDER = (8972, 8952, *range(1472, 1271, -20), 1232, 1132, 1032, 932, 732, 548)
"""Sizes that tell something: jumbo frames and Ethernet less IP and UDP headers, tunnels, the least of IPv4."""

LOOK_NS = 10_000_000_000
"""Pause after which it is asked again which nodes there are: without a nodelist that changes."""

_SECOND_NS = 1_000_000_000
_NEVER_NS = 1 << 62


class Stage(StrEnum):
    """How far the check of a node is."""

    GREET = "greet"
    FULL = "full"
    LADDER = "ladder"
    DONE = "done"


class Path(StrEnum):
    """What is known of the way to a node."""

    UNKNOWN = "unknown"
    GOOD = "good"
    LOSES_LARGE = "loses_large"
    NO_MULTICAST = "no_multicast"


class Finding(NamedTuple):
    """Something to say about the way to a node. `passes`: bytes of the largest packet that came through."""

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
        """Times that something was sent to it for this."""
        self.answered: set[int] = set()
        """Sizes that came through in this check, the way the data goes."""
        self.path = Path.UNKNOWN
        self.passes = 0
        self.said_ns = -_NEVER_NS


class PathCheck:
    """The checks of all other nodes. `size_max`: bytes of a full datagram; `multicast`: how the data goes."""

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
        """Number of the last question about each size, and when it was asked."""
        self._echo_second = 0
        self._echoes = 0

    def set_peers(self, nodes: Iterable[int], now_ns: int) -> None:
        """Whom to check: those that have an address."""
        wanted = set(nodes)
        for gone in self._peers.keys() - wanted:
            del self._peers[gone]
        for new in sorted(wanted - self._peers.keys()):
            self._peers[new] = _Peer(now_ns)
        self._look_ns = now_ns + LOOK_NS
        self._set_due()

    def start_over(self, now_ns: int) -> None:
        """The own address has changed: nothing is known any more."""
        self.set_peers((), now_ns)

    def may_echo(self, now_ns: int) -> bool:
        """Whether one more probe of another node is to be answered."""
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
        """Ask what is to be asked now."""
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
        """What is known, by node."""
        return {
            str(node): {"path": peer.path, "passes": peer.passes, "asked": peer.asked}
            for node, peer in sorted(self._peers.items())
        }

    # -- one node

    def _due(self, node: int, peer: _Peer, now_ns: int) -> tuple[int, ...]:
        """The sizes to ask this node for now; moves it on."""
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
        """The ladder is over and full size did not come through."""
        passes = max(peer.answered, default=-1)
        if peer.small < SMALL_ANSWERED_MIN or (passes < 0 and not self._multicast):
            self._enter(peer, Stage.GREET, now_ns + GREET_NS_MIN)  # it has gone, or the network is bad altogether
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
        """Answers to questions that are older than a few seconds do not count."""
        for number in [number for number, (_, at_ns) in self._asked.items() if now_ns - at_ns > 5 * _SECOND_NS]:
            del self._asked[number]

    def _set_due(self) -> None:
        self.due_ns = min(self._look_ns, *(peer.at_ns for peer in self._peers.values()), _NEVER_NS)
