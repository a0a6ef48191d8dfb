"""How SAM learns of quorum: it watches control's events, and asks control for the truth when it may have missed some.

Events come in order, each once, also when control is killed in between: they are numbered, and SAM asks for those after
the last that it had. They tell of a loss that was over before anybody could ask. The truth is asked when the watch has
begun, when events were left out, when the connection broke, and when nothing was heard for 30 s.
"""

from collections.abc import Callable
from typing import Any

from rondo.node.control_link import ControlLink
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op


class QuorumWatch:
    """Says what control says. `news` is called with whether there is quorum, each time that control says so."""

    def __init__(self, link: ControlLink, news: Callable[[bool], object]) -> None:
        self._link = link
        self._news = news
        self._breaks = 0
        self._is_asking = False
        link.watch("quorum", self._on_events)

    def tend(self) -> None:
        """Ask anew if the connection broke. After the link's own `tend`."""
        if self._breaks != self._link.breaks:
            self._breaks = self._link.breaks
            self._ask()

    def _on_events(self, events: list[dict[str, Any]], is_lost: bool) -> None:
        for event in events:
            if event["event"] == "quorum":
                self._news(bool(event["quorate"]))
        if is_lost or not events:
            self._ask()

    def _ask(self) -> None:
        # One that is on its way is asked again by the link, if control dies before it has answered.
        if not self._is_asking:
            self._is_asking = True
            self._link.ask(Op.QUORUM, {}, self._answered)

    def _answered(self, code: int, found: Any) -> None:
        self._is_asking = False
        if code == Code.OK:
            # Where nobody counts votes control says "quorate", and nobody vouches for it.
            self._news(found["provider"] is not None and bool(found["quorate"]))
