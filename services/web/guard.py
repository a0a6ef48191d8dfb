"""Who may ask, and how. Everything is refused that a browser may have been talked into by another site.

- Host has to be a name of this server: another one is what DNS rebinding brings. A server on all addresses of its
  machine may be asked for by any address: what a name resolves to is not in Host, but the name.
- Origin, where there is one, has to be this server; so has Sec-Fetch-Site, except for following a link to the page.
- With a token every request has it, as Bearer or as the password of Basic (a browser asks for that by itself, also for
  its event stream; Prometheus has both).
- GET and HEAD without a body, and nothing else; paths as they are, without encoded or empty parts.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import time
from collections import Counter
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATH_BYTES_MAX = 256

REFUSALS = {
    "refused_header": (400, "a header is given twice"),
    "refused_body": (400, "a request has no body here"),
    "refused_host": (421, "this server has another name; --name, or web.names, gives it more"),
    "refused_site": (403, "another site asks"),
    "refused_method": (405, "this server only shows"),
    "refused_path": (404, "there is nothing"),
    "refused_token": (401, "a token is needed"),
}
"""Counters of refusals, the status of each, and what the answer says."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


_HEADERS = tuple((name.encode(), value.encode()) for name, value in HEADERS.items())


@lru_cache(1)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


@dataclass(frozen=True, slots=True)
class Hosts:
    """What a Host header, or an Origin, may say."""

    names: frozenset[str]
    """With the port, in lower case."""
    ends: frozenset[str] = frozenset()
    """What may follow any IP address, such as `:5480`; empty: no address but those among the names."""

    def __contains__(self, host: str) -> bool:
        if host in self.names:
            return True
        address, bracket, end = host.rpartition("]") if host.startswith("[") else (host, "", "")
        if not bracket:
            address, colon, port = host.partition(":")
            end = colon + port
        if end not in self.ends:
            return False
        try:
            return ipaddress.ip_address(address.removeprefix("[")).version == (6 if bracket else 4)
        except ValueError:
            return False


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts, token: bytes = b"") -> None:
        self._app = app
        self._hosts = hosts
        self._token = token
        self.refused: Counter[str] = Counter(dict.fromkeys(REFUSALS, 0))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS, (b"date", _date(int(time.time())))]}
            await send(message)

        refusal = self._judge(scope)
        if refusal is None:
            await self._app(scope, receive, guarded)
            return
        self.refused[refusal] += 1
        status, why = REFUSALS[refusal]
        headers = {"www-authenticate": 'Basic realm="rondo", charset="UTF-8"'} if status == 401 else {}
        if status == 400:
            headers["connection"] = "close"  # what follows may be meant as something else
        if status == 405:
            headers["allow"] = "GET, HEAD"
        await PlainTextResponse(f"{why}\n", status, headers)(scope, receive, guarded)

    def _judge(self, scope: Scope) -> str | None:
        """One of `REFUSALS`, or None."""
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in headers and name in (b"host", b"origin", b"authorization"):
                return "refused_header"
            headers[name] = value
        if b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0":
            return "refused_body"
        if headers.get(b"host", b"").decode("latin-1").lower() not in self._hosts:
            return "refused_host"
        origin = headers.get(b"origin")
        if origin is not None and not self._is_own(origin.decode("latin-1")):
            return "refused_site"
        if headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site") and not (
            headers.get(b"sec-fetch-mode") == b"navigate" and scope["path"] == "/"
        ):
            return "refused_site"
        if scope["method"] not in ("GET", "HEAD"):
            return "refused_method"
        raw: bytes = scope.get("raw_path") or b""
        if len(raw) > PATH_BYTES_MAX or b"%" in raw or b"//" in raw or b".." in raw or b"\\" in raw:
            return "refused_path"
        if self._token and not self._has_token(headers.get(b"authorization", b"")):
            return "refused_token"
        return None

    def _is_own(self, origin: str) -> bool:
        try:
            return urlsplit(origin).netloc.lower() in self._hosts
        except ValueError:
            return False

    def _has_token(self, authorization: bytes) -> bool:
        kind, _, value = authorization.partition(b" ")
        given = value.strip()
        if kind.lower() == b"basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif kind.lower() != b"bearer":
            return False
        return hmac.compare_digest(given, self._token)
