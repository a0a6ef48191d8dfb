"""Members that may be dead, because ICMP says so: each is watched for a moment, and given up unless it is heard.

"Port unreachable" arrives microseconds after a ring process has died. But anybody who sees the traffic can forge it, so
it proves nothing. It only makes this node look: it lets go of the token of an idle ring. A token that comes round twice
has passed through the hands of every member, which proves that all live. So does a frame from the member itself. Both
are authentic where there is a key. If neither comes within PROBE_NS, the member counts as dead.

At most one hint per member and second is taken. A flood of hints makes the token of an idle ring go round, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass

PROBE_NS = 50_000_000
"""How long a member that may be dead has to be heard."""
HINT_INTERVAL_NS = 1_000_000_000
TOKENS_OF_PROOF = 2
"""The first one may have passed the member before it died."""


@dataclass(slots=True)
class _Suspect:
    until_ns: int
    tokens: int
    """Tokens received when the hint came."""
    fresh: bool = False
    """Whether all has been read that had arrived before the hint."""


class Suspicion:
    """The members that are being watched. `next_deadline_ns` is when `dead` wants to be asked; None: nobody is."""

    def __init__(self) -> None:
        self.next_deadline_ns: int | None = None
        self.hints = 0
        """Hints that were followed."""
        self._suspects: dict[int, _Suspect] = {}
        self._hinted_ns: dict[int, int] = {}

    def hint(self, node: int, tokens: int, now_ns: int) -> bool:
        """Nobody listens where this member should be. True: it is watched from now on, and should be probed."""
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
        """A frame came from it."""
        suspect = self._suspects.get(node)
        if suspect is not None and suspect.fresh:
            del self._suspects[node]
            self._plan()

    def dead(self, tokens: int, now_ns: int) -> list[int]:
        """Those whose time is over and who were not heard; they are watched no more."""
        due = {node: suspect for node, suspect in self._suspects.items() if suspect.until_ns <= now_ns}
        for node in due:
            del self._suspects[node]
        self._plan()
        return [node for node, suspect in due.items() if tokens - suspect.tokens < TOKENS_OF_PROOF]

    def clear(self) -> None:
        """There is another ring: what was suspected of the old one is settled."""
        self._suspects.clear()
        self.next_deadline_ns = None

    def _plan(self) -> None:
        self.next_deadline_ns = min((suspect.until_ns for suspect in self._suspects.values()), default=None)
