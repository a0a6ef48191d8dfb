"""How SAM learns of quorum: it watches control's events, and queries control when it may have missed some.

Events come in order and once each, even if control is killed in between. They are numbered, and SAM asks for those
after the last one that it had. They show even a short loss of quorum. The present state is queried when the watch has
begun, when events were left out, when the connection broke, and after 30 s without any news.
"""

from collections.abc import Callable
from typing import Any

from rondo.node.control_link import ControlLink
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op


class QuorumWatch:
    """Forwards control's reports. `news` is called with each report whether there is quorum."""

    def __init__(self, link: ControlLink, news: Callable[[bool], object]) -> None:
        self._link = link
        self._news = news
        self._breaks = 0
        self._is_asking = False
        link.watch("quorum", self._on_events)

    def tend(self) -> None:
        """Query again if the connection broke. Call it after the link's own `tend`."""
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
        # If control dies before it has answered, the link repeats the query.
        if not self._is_asking:
            self._is_asking = True
            self._link.ask(Op.QUORUM, {}, self._answered)

    def _answered(self, code: int, found: Any) -> None:
        self._is_asking = False
        if code == Code.OK:
            # Without a quorum provider control says "quorate", but nothing counts votes.
            self._news(found["provider"] is not None and bool(found["quorate"]))
