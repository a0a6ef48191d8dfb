"""Members that may be dead, according to ICMP: each is watched for a moment, and given up unless it is heard.

"Port unreachable" arrives microseconds after a ring process has died. But anybody who sees the traffic can forge it, so
it proves nothing. It only makes this node check: it releases the token of an idle ring. A token that comes round twice
has visited every member, which proves that all live. A frame from the member itself proves it, too. With a key, both
are authentic. If neither comes within PROBE_NS, the member counts as dead.

At most one hint per member and second is followed. A flood of hints only makes the token of an idle ring go round.

While members move to other addresses no hint is followed. A member that has moved is not dead at its old address, and
one that moves a moment later does not yet listen at its new one. A member that dies then is missed by the token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PROBE_NS: Final = 50_000_000
"""Time in which a suspected member must be heard."""
HINT_INTERVAL_NS: Final = 1_000_000_000
TOKENS_OF_PROOF: Final = 2
"""The first one may have passed the member before it died."""


@dataclass(slots=True)
class _Suspect:
    until_ns: int
    tokens: int
    """Tokens received when the hint came."""
    fresh: bool = False
    """Whether everything that arrived before the hint has been read."""


class Suspicion:
    """The members that are being watched. `next_deadline_ns`: when to call `dead`; None: nobody is watched."""

    def __init__(self) -> None:
        self.next_deadline_ns: int | None = None
        self.hints = 0
        """Hints that were followed."""
        self._suspects: dict[int, _Suspect] = {}
        self._hinted_ns: dict[int, int] = {}
        self._moving_until_ns = 0

    def hint(self, node: int, tokens: int, now_ns: int) -> bool:
        """ICMP says that nobody listens at this member's address. True: it is watched from now on, and should be
        probed."""
        if now_ns < self._moving_until_ns:
            return False
        last_ns = self._hinted_ns.get(node)
        if last_ns is not None and now_ns - last_ns < HINT_INTERVAL_NS:
            return False
        self._hinted_ns[node] = now_ns
        self.hints += 1
        self._suspects[node] = _Suspect(now_ns + PROBE_NS, tokens)
        self._plan()
        return True

    def drained(self) -> None:
        """The sockets have been read empty: what comes from now on was sent after the hints."""
        for suspect in self._suspects.values():
            suspect.fresh = True

    def heard(self, node: int) -> None:
        """A frame came from this node."""
        suspect = self._suspects.get(node)
        if suspect is not None and suspect.fresh:
            del self._suspects[node]
            self._plan()

    def dead(self, tokens: int, now_ns: int) -> list[int]:
        """The members whose time is over without a proof of life. They are watched no more."""
        due = {node: suspect for node, suspect in self._suspects.items() if suspect.until_ns <= now_ns}
        for node in due:
            del self._suspects[node]
        self._plan()
        return [node for node, suspect in due.items() if tokens - suspect.tokens < TOKENS_OF_PROOF]

    def members_move(self, until_ns: int) -> None:
        """Members move to other addresses: follow no hint until then, and forget those that came while they moved."""
        self._moving_until_ns = until_ns
        self.clear()

    def clear(self) -> None:
        """Forget the suspicions, such as those of an old ring when a new one is installed."""
        self._suspects.clear()
        self.next_deadline_ns = None

    def _plan(self) -> None:
        self.next_deadline_ns = min((suspect.until_ns for suspect in self._suspects.values()), default=None)
