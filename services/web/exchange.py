"""The page's membership in the group of all pages: what comes is taken, and what is due is said (`peers`).

It needs the gateway of its node like every application. While that is away, or does not let this user in, the page
shows its own node alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import rondo
import rondo.aio
from rondo.errors import Disconnected
from rondo.events import Member, Membership, Message
from rondo.paths import PathError, socket_endpoint
from services.web.figures import figures_of
from services.web.hub import Hub
from services.web.peers import Peers
from services.web.wire import GROUP, LOG_LINES_MAX, LogLine, bounded_log, pack_wanted

RETRY_S = 10.0
ASKED_S, WATCHED_S = 0.25, 1.0
"""How often it is looked what is due, while somebody waits for an answer of this page; while somebody looks at it."""
ANSWER_S = 3.0
"""How long the others have, for somebody who asks once."""
LOG_ANSWER_S = 5.0
"""How long another page has for the log of its node."""
LOG_FRESH_S = 1.0
"""Who asks within that time after somebody else is told the same."""


class _Asked:
    """What a node's page has answered, and who waits for that."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.at_s = -1e9
        self.lines: tuple[LogLine, ...] | None = None


class Exchange:
    """Belongs to the event loop."""

    def __init__(self, hub: Hub, peers: Peers, run_dir: Path) -> None:
        self._hub = hub
        self._run_dir = run_dir
        self.peers = peers
        self._group: rondo.aio.Group | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._asked_until_s = 0.0
        self._heard = asyncio.Condition()
        self._logs: dict[int, _Asked] = {}
        """By node, of nodes that have a page."""
        self._wanted = asyncio.Event()
        """Something may be due."""
        hub.on_look = self._wanted.set
        hub.on_events = self.peers.happened

    def start(self) -> None:
        """From now on."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._speak())]

    async def ask(self) -> None:
        """Return when the other pages have said how it is, or have had the time to."""
        self._asked_until_s = time.monotonic() + ANSWER_S
        self.peers.look_at_once()
        self._wanted.set()
        asked_s = time.monotonic()

        def are_all_new() -> bool:
            return all(
                (peer := self.peers.known.get(node)) is not None and peer.seen_s >= asked_s
                for node in self.peers.others()
            )

        with contextlib.suppress(TimeoutError):
            async with self._heard:
                await asyncio.wait_for(self._heard.wait_for(are_all_new), ANSWER_S)

    async def own_log(self) -> tuple[LogLine, ...]:
        """The last lines of this node's log."""
        return bounded_log(await self._hub.get("log", lambda looker: looker.last_lines(LOG_LINES_MAX)))

    async def log_of(self, node: int) -> tuple[LogLine, ...] | None:
        """The last lines of the log of a node that has a page; None if it does not answer."""
        self._logs = {each: asked for each, asked in self._logs.items() if each in self.peers.others()}
        asked = self._logs.setdefault(node, _Asked())
        async with asked.lock:
            if time.monotonic() - asked.at_s > LOG_FRESH_S:
                asked.lines = await self._fetch_log(node)
                asked.at_s = time.monotonic()
            return asked.lines

    async def _fetch_log(self, node: int) -> tuple[LogLine, ...] | None:
        group, awaited = self._group, self.peers.awaited_logs
        if group is None:
            return None
        awaited[node] = None
        try:
            with contextlib.suppress(TimeoutError, rondo.Error):
                await group.mcast(pack_wanted(node))
                async with self._heard:
                    await asyncio.wait_for(self._heard.wait_for(lambda: awaited[node] is not None), LOG_ANSWER_S)
            return awaited[node]
        finally:
            del awaited[node]

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(rondo.Error, PathError):
                endpoint = socket_endpoint(self._run_dir, "gateway.sock")
                async with rondo.aio.connect(endpoint, timeout=None) as cluster:
                    await self._take_part(cluster)
            self._group = None
            await asyncio.sleep(RETRY_S)

    async def _take_part(self, cluster: rondo.aio.Cluster) -> None:
        own = Member(cluster.node_id, cluster.pid)
        self._group = group = await cluster.cpg.join(GROUP)
        async for event in group:
            now_s = time.monotonic()
            if isinstance(event, Message):
                new = self.peers.on_message(event.sender, event.data, now_s)
                self._hub.recent.add_of_peer(event.sender.node, new)
                if self._is_asked:
                    self._wanted.set()
                async with self._heard:
                    self._heard.notify_all()
            elif isinstance(event, Membership):
                self.peers.on_members(event.members, own)
            elif isinstance(event, Disconnected):
                self.peers.on_members((), own)

    async def _speak(self) -> None:
        """Say what is due, at once; sleep while nobody looks."""
        rest_s: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), rest_s)
            self._wanted.clear()
            now_s = time.monotonic()
            is_watched = self._hub.is_watched or now_s < self._asked_until_s
            with contextlib.suppress(rondo.Error):
                await self._say(now_s, is_watched)
            rest_s = ASKED_S if self._is_asked else WATCHED_S if is_watched else None

    @property
    def _is_asked(self) -> bool:
        return self._group is not None and (self.peers.are_figures_wanted or self.peers.is_log_wanted)

    async def _say(self, now_s: float, is_watched: bool) -> None:
        group = self._group
        if group is None:
            return
        if (word := self.peers.look(now_s, is_watched)) is not None:
            await group.mcast(word)
        if self.peers.are_figures_due(now_s):
            await self._hub.refresh_events()
            figures = figures_of(await self._hub.latest_status())
            await group.mcast(self.peers.figures(figures, now_s))
        if self.peers.is_log_due(now_s):
            await group.mcast(self.peers.log(await self.own_log(), now_s))

    async def close(self) -> None:
        """Leave."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
