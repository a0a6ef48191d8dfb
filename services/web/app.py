"""What there is at which path: the page, the metrics, the status, the events as they happen, and whether it is well."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from rondo.metrics.collect import collect
from rondo.metrics.looker import Looker
from rondo.metrics.render import CONTENT_TYPE, CONTENT_TYPE_OPENMETRICS, render
from services.web.exchange import Exchange
from services.web.figures import figures_of
from services.web.hub import Hub
from services.web.limits import EVENTS_PATH
from services.web.peers import Peers
from services.web.wire import LogLine

STREAMS_MAX = 32
NODE_DIGITS_MAX = 10
EVENTS_TYPE = "text/event-stream"
QUIET_S = 10.0
"""So often a stream says something, so that a connection that broke is noticed."""

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/log.js": ("log.js", "text/javascript; charset=utf-8"),
    "/plots.js": ("plots.js", "text/javascript; charset=utf-8"),
}


def make_app(looker: Looker, peers: Peers, run_dir: Path) -> Starlette:
    """The application. What blocks is done in a thread of the hub's."""
    hub = Hub(looker)
    exchange = Exchange(hub, peers, run_dir)
    streams = Streams(hub, peers)

    async def metrics(request: Request) -> Response:
        wanted = "application/openmetrics-text" in request.headers.get("accept", "")
        text = await hub.get(f"metrics {wanted}", lambda each: render(collect(each.see()), is_openmetrics=wanted))
        return Response(text, media_type=CONTENT_TYPE_OPENMETRICS if wanted else CONTENT_TYPE)

    async def status(_request: Request) -> Response:
        return JSONResponse(await hub.get("status", lambda each: each.status()))

    async def cluster(_request: Request) -> Response:
        await exchange.ask()
        own = await hub.get("status", lambda each: each.status())
        told = {"node": own["status"]["node"], "age_seconds": 0.0, **figures_of(own).as_json()}
        nodes = [told, *peers.as_json(time.monotonic())]
        return JSONResponse({"schema": 1, "node": told["node"], "time": own["time"], "nodes": nodes})

    async def log(_request: Request) -> Response:
        return JSONResponse(log_json(peers.own_node, await exchange.own_log()))

    async def log_of(request: Request) -> Response:
        asked = request.path_params["node"]
        node = int(asked) if asked.isascii() and asked.isdigit() and len(asked) <= NODE_DIGITS_MAX else None
        if node is None or node not in peers.others():
            return PlainTextResponse("no other node with a page has that id\n", 404)
        lines = await exchange.log_of(node)
        if lines is None:
            return PlainTextResponse("the page of that node does not answer\n", 504)
        return JSONResponse(log_json(node, lines))

    async def healthz(_request: Request) -> Response:
        healthy = await hub.get("healthy", lambda each: each.healthy())
        return PlainTextResponse("ok\n" if healthy else "not well\n", 200 if healthy else 503)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        exchange.start()
        yield
        await exchange.close()
        await hub.close()

    files = [Route(path, _file(f"page/{name}", kind)) for path, (name, kind) in FILES.items()]
    routes = [
        Route("/metrics", metrics),  # first: it is asked for most, and paths are compared one after the other
        *files,
        Route("/api/v1/openapi.json", _file("openapi.json", "application/json")),
        Route("/healthz", healthz),
        Route("/api/v1/status", status),
        Route("/api/v1/cluster", cluster),
        Route(EVENTS_PATH, streams.answer),
        Route("/api/v1/log", log),
        Route("/api/v1/nodes/{node}/log", log_of),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def log_json(node: int | None, lines: tuple[LogLine, ...]) -> dict[str, Any]:
    """The log of a node."""
    return {"schema": 1, "node": node, "lines": [line.as_json() for line in lines]}


def _file(name: str, kind: str) -> Any:
    """An endpoint that gives one file, read once."""
    content = (resources.files("services.web") / name).read_bytes()

    async def answer(_request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


class Streams:
    """Server-sent events: `status` whenever it was looked, `happened` for each event of the time line."""

    def __init__(self, hub: Hub, peers: Peers) -> None:
        self._hub = hub
        self._peers = peers
        self._count = 0

    async def answer(self, request: Request) -> Response:
        """GET /api/v1/events; Last-Event-ID goes on after that event."""
        if request.method == "HEAD":
            # A stream without a body writes nothing, so that nobody would notice that its client is gone.
            return Response(media_type=EVENTS_TYPE)
        if self._count >= STREAMS_MAX:
            return PlainTextResponse("too many are watching\n", 503, {"retry-after": "10"})
        # Those that have not begun yet count, too.
        self._count += 1
        last = request.headers.get("last-event-id", "0")
        after = int(last) if last.isascii() and last.isdigit() and len(last) < 16 else 0
        return _Counted(self._stream(after), self._ended)

    def _ended(self) -> None:
        self._count -= 1

    async def _stream(self, after: int) -> AsyncIterator[bytes]:
        seen = 0
        yield b"retry: 1000\n\n"
        while True:
            try:
                seen = await asyncio.wait_for(self._hub.watch(seen), QUIET_S)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            for event in self._hub.recent.after(after):
                after = event["id"]
                yield message("happened", event, after)
            yield message("status", {**self._hub.status, "others": self._peers.as_json(time.monotonic())})


class _Counted(StreamingResponse):
    """A stream of events that tells when it has ended, also where it ends before it has begun."""

    def __init__(self, content: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        super().__init__(content, media_type=EVENTS_TYPE)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


def message(name: str, data: dict[str, Any], number: int | None = None) -> bytes:
    """One server-sent event. JSON has no line breaks of its own."""
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode(errors="backslashreplace")
