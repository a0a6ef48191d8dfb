"""One other node: its links, which of them carry data, the numbers it sent, and doubts whether a link still works.

**Doubt.** The ping timer finds a dead link after a second or more. Tokens find it sooner, because Rondo nodes send them
on every link that is up. A node doubts when two tokens in a row come on one link but not on another that should bring
them too, or when it has to send a token again for the second time. It doubts all hosts, because the fault is often on
its own side, and pings them out of turn on all links. A node that gets such a ping doubts its sender: the same fault
may affect it. A link that does not answer within `VERDICT_NS`, while another one does, is down. Several pings are sent,
some milliseconds apart, so that the loss of one proves nothing. Until the verdict, or until all links have answered,
data leaves on every link that is up. So nobody waits for the verdict, and it can be patient with a busy host.

ICMP's "port unreachable" starts a doubt too, even if no other link answers. It is no proof, because anybody who sees
the traffic can forge it, but it is checked at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.totem.transport.knet.fragments import Joiner
from services.totem.transport.knet.link_options import KnetOptions, LinkMode
from services.totem.transport.knet.numbers import ReceiveWindow
from services.totem.transport.knet.path_mtu import NEVER_NS, path_mtu
from services.totem.transport.knet.peer_link import Address, PeerLink

DOUBT_PINGS: Final = 4
DOUBT_PAUSE_NS: Final = 6_000_000
VERDICT_NS: Final = 30_000_000
"""Time from the first ping of a doubt to its verdict. Twice the link's latency is added."""
DOUBT_INTERVAL_NS: Final = 50_000_000
"""Shortest interval between doubts, whatever others send; four times the latency, if that is more. Pings out of turn
cause pings out of turn, so their number must be limited."""
MISSED_TOKENS: Final = 2
RESENT_IN_DOUBT: Final = 2
"""So often in a row a token is sent again before there is a doubt. Once is usual in a ring under load, whose rotations
differ. With once there were 26 doubts a second (64 KiB messages), and in each all data leaves on every link."""

LIFE_NS: Final = 60_000_000_000
"""Time stamps of pings that differ by more than this come from before and after a restart."""


class RemoteHost:
    """The state of another node."""

    __slots__ = (
        "_doubted_ns", "_last_stamp_ns",
        "_last_token", "_rr", "_verdict_ns", "answered_zero", "carriers", "doubt_due_ns", "joiner",
        "last_timed", "links", "mode", "node_id", "pings_left", "senders", "window",
    )  # fmt: skip

    def __init__(self, node_id: int, mode: LinkMode) -> None:
        self.node_id = node_id
        self.mode = mode
        self.links: dict[int, PeerLink] = {}
        self.carriers: tuple[PeerLink, ...] = ()
        """The links that carry data; empty: the host is unreachable. With `rr` they take turns."""
        self.senders: tuple[PeerLink, ...] = ()
        """The links on which data leaves now: `carriers`, or during a doubt all that are up."""
        self.window = ReceiveWindow()
        self.joiner = Joiner()
        self.last_timed = -1
        """Number in its last timed ping; -1: none came yet."""
        self.answered_zero = False
        """Whether it has answered a ping with number 0: it knows that this node's numbers start again."""
        self.doubt_due_ns = NEVER_NS
        """When the next ping of a doubt, or its verdict, is due."""
        self.pings_left = 0
        self._doubted_ns = -NEVER_NS
        self._last_stamp_ns = 0
        self._verdict_ns = NEVER_NS
        self._last_token: tuple[int, PeerLink] | None = None
        self._rr = 0

    @property
    def is_reachable(self) -> bool:
        """Whether any link is up."""
        return bool(self.carriers)

    def place(
        self, addresses: Mapping[int, Address], ceilings: Mapping[int, int], options: KnetOptions, now_ns: int
    ) -> tuple[list[PeerLink], list[PeerLink]]:
        """Set the host's links and their addresses; `choose` follows.

        Returns the links that were up and are gone, and the links that stay up on a new, unknown path.
        """
        self.mode = options.mode
        former = [link for number, link in self.links.items() if addresses.get(number) != link.address]
        gone = [link for link in former if link.up]
        for link in former:
            link.up = False
            del self.links[link.number]
        unknown = []
        for number, address in addresses.items():
            path = path_mtu(address[0], ceilings.get(number, 1500), options)
            found = self.links.get(number)
            if found is None:
                self.links[number] = PeerLink(number, address, options.links[number], path, now_ns)
                continue
            found.options = options.links[number]
            if (found.path.floor, found.path.ceiling, found.path.interval_ns) != (
                path.floor, path.ceiling, path.interval_ns,
            ):  # fmt: skip
                found.path = path
                if found.up:
                    unknown.append(found)
        return gone, unknown

    def choose(self) -> bool:
        """Choose the links that carry data, after one went up or down. True: they have changed."""
        up = sorted((link for link in self.links.values() if link.up), key=lambda each: each.number)
        in_doubt = tuple(up) if self.in_doubt else None
        if up and self.mode is LinkMode.PASSIVE:
            up = [max(up, key=lambda each: (each.options.priority, -each.number))]
        before, self.carriers = self.carriers, tuple(up)
        self.senders = self.carriers if in_doubt is None else in_doubt
        if before and not up:
            self.forget()
        return self.carriers != before

    @property
    def in_doubt(self) -> bool:
        """Whether a doubt is in progress."""
        return self._verdict_ns != NEVER_NS

    def next_in_turn(self) -> tuple[PeerLink, ...]:
        """With `rr`: the link of the next frame; none if no link is up."""
        self._rr = (self._rr + 1) % max(1, len(self.carriers))
        return self.carriers[self._rr : self._rr + 1]

    def forget(self) -> None:
        """Forget its numbers: they mean nothing any more."""
        self.window.forget()
        self.joiner.forget()
        self._last_token = None

    def fade(self, now_ns: int) -> None:
        """Drop numbers and fragments that are too old."""
        self.joiner.expire(now_ns)
        self.window.fade(now_ns)

    def pinged(self, number: int, stamp_ns: int, *, timed: bool) -> bool:
        """A ping of the host came; it has reached this number. True: it has restarted, and its number is 0.

        A host may restart again before it has sent a ping with another number. The time stamp shows that, if it is
        Rondo.
        """
        begun = False
        if timed:
            other_life = abs(stamp_ns - self._last_stamp_ns) > LIFE_NS
            begun = number == 0 and (self.last_timed != 0 or other_life)
            if begun:
                self.forget()
            self.last_timed, self._last_stamp_ns = number, stamp_ns
        self.window.reached(number)
        return begun

    # -- doubt

    def token_came(self, number: int, link: PeerLink, *, copy: bool) -> bool:
        """An urgent frame came, or a copy of one. True: another link should have brought it too."""
        link.missed_tokens = 0
        if copy:
            if self._last_token is not None and self._last_token[0] == number and self._last_token[1] is not link:
                link.copies_seen = self._last_token[1].copies_seen = True
            return False
        self._last_token = (number, link)
        missing = False
        for other in self.links.values():
            if other is not link and other.up and other.copies_seen:
                other.missed_tokens += 1
                missing = missing or other.missed_tokens >= MISSED_TOKENS
        return missing

    def doubt(self, now_ns: int) -> bool:
        """Start a doubt: check whether the links work, unless that was done just now. True: it starts."""
        up = [link for link in self.links.values() if link.up]
        slowest_ns = max((link.expected_ns for link in up), default=0)
        if not up or now_ns - self._doubted_ns < max(DOUBT_INTERVAL_NS, 4 * slowest_ns):
            return False
        self._doubted_ns = now_ns
        self.pings_left = DOUBT_PINGS
        for link in up:
            link.asked_ns = now_ns
        self._verdict_ns = now_ns + VERDICT_NS + 2 * slowest_ns
        self.senders = tuple(up)
        self.doubt_due_ns = now_ns
        return True

    def answered(self) -> None:
        """A pong came. Once every link that is up has answered, the doubt ends."""
        if self.in_doubt and all(link.asked_ns == NEVER_NS for link in self.links.values() if link.up):
            self._end_doubt()

    def _end_doubt(self) -> None:
        self._verdict_ns = self.doubt_due_ns = NEVER_NS
        self.pings_left = 0
        self.senders = self.carriers

    def ping_of_doubt(self, now_ns: int) -> bool:
        """Whether to ping all links now, because of a doubt."""
        if self.pings_left <= 0:
            return False
        self.pings_left -= 1
        self.doubt_due_ns = now_ns + DOUBT_PAUSE_NS if self.pings_left else self._verdict_ns
        return True

    def verdict(self, now_ns: int) -> list[PeerLink]:
        """The links that have not answered a doubt in time. Their state is not changed yet."""
        if now_ns < self._verdict_ns:
            return []
        self._end_doubt()
        up = [link for link in self.links.values() if link.up]
        silent = [link for link in up if link.asked_ns != NEVER_NS]
        if len(silent) == len(up):
            # No link answers, so the host may be busy. Only a link where nobody listens counts as dead.
            silent = [link for link in silent if link.refused]
        for link in up:
            link.asked_ns = NEVER_NS
        return silent
