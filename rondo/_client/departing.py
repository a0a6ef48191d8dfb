"""Connections of this process that the application has dropped, and that are just being closed.

A process is a member of a group once. Who drops a connection without closing it and joins its group again would be
refused while the first is on its way out. So a join waits for those that left before it.
"""

import asyncio
import contextlib
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING

from rondo._client import descriptors
from rondo.errors import Timeout

if TYPE_CHECKING:
    from rondo._client.aio_link import Link as LoopLink
    from rondo._client.link import Link

_served: "set[Link]" = set()
"""Links whose worker runs. Changed and copied by single operations, so no lock is needed."""
_in_loops: "set[weakref.ref[LoopLink]]" = set()
"""Links of event loops. A loop that ended takes its links with it."""
WAIT_S = 1.0
"""A worker says goodbye within half a second, whatever the node does."""


def begins(link: "Link") -> None:
    """The worker of this link runs."""
    _served.add(link)


def is_over(link: "Link") -> None:
    """The worker of this link has ended."""
    _served.discard(link)


def wait_for_departing(joining: "Link", deadline_s: float | None) -> None:
    """Wait until connections to the same node that nobody uses any more are closed; until `deadline_s` at most."""
    me = threading.get_ident()
    for link in tuple(_served):
        if link is joining or not (link.is_closing or link.is_forgotten) or link.forks != descriptors.forks:
            continue
        if link.endpoint.url != joining.endpoint.url or me in (link.holder, link.worker.ident):
            continue
        end_s = time.monotonic() + WAIT_S
        with contextlib.suppress(Timeout):
            link.wait(partial(_has_ended, link), end_s if deadline_s is None else min(end_s, deadline_s), "")


def _has_ended(link: "Link") -> bool:
    return link.is_over


def begins_in_loop(link: "LoopLink") -> None:
    """An event loop serves this link."""
    _in_loops.add(weakref.ref(link, _in_loops.discard))


async def close_departing(joining: "LoopLink", deadline_s: float | None, what: str) -> None:
    """Close the connections to the same node that nobody in this event loop uses any more. Raises Timeout, with the
    text `what`."""
    departing = [link for ref in tuple(_in_loops) if (link := ref()) is not None and link.is_dropped]
    if not departing:
        return
    try:
        async with asyncio.timeout(None if deadline_s is None else deadline_s - time.monotonic()):
            for link in departing:
                if link is not joining and link.endpoint.url == joining.endpoint.url:
                    await link.depart()
    except TimeoutError:
        raise Timeout(what) from None
