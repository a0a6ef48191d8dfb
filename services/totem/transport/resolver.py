"""Looks up names in a thread of its own: a name server that does not answer must not delay the token.

Every name is looked up at once. After a failure it is looked up again with growing pauses; after a success from time to
time, because addresses change. Each result is logged once, until it changes.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

RETRY_SECONDS_MIN = 1.0
RETRY_SECONDS_MAX = 60.0
AGAIN_SECONDS = 60.0
"""Interval at which a resolved name is looked up again."""

Lookup = Callable[[str], list[str]]
_log = logging.getLogger("TOTEM")


class Resolver:
    """The addresses of names. `fileno` becomes readable when some of them have changed."""

    def __init__(
        self,
        names: Iterable[str],
        ip_version: str = "ipv4",
        lookup: Lookup | None = None,
        known: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """`known`: the addresses that another resolver has found."""
        self._lookup = lookup or (lambda name: look_up(name, ip_version))
        names = list(names)
        self._known = {name: found for name, found in (known or {}).items() if name in names}
        self._names: list[str] = []
        for name in dict.fromkeys(names):
            if (literal := literal_address(name)) is not None:
                self._known[name] = (literal,)
            else:
                self._names.append(name)
        self._changed = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stop = threading.Event()
        self._worker = threading.Thread(target=self._run, name="resolver", daemon=True)

    @property
    def known(self) -> Mapping[str, tuple[str, ...]]:
        """The known addresses of all names."""
        return dict(self._known)

    def start(self) -> None:
        """Start looking up, if there is any name."""
        if self._names:
            self._worker.start()

    def addresses(self, name: str) -> tuple[str, ...]:
        """The known addresses of `name`, the preferred one first; empty if there is none (yet)."""
        return self._known.get(name, ())

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._changed

    def clear(self) -> None:
        """Reset `fileno` after a change."""
        try:
            os.eventfd_read(self._changed)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Stop. A look-up under way is left to itself; the descriptor that it would report to is open until then."""
        self._stop.set()
        if self._worker.ident is None:
            os.close(self._changed)

    def _run(self) -> None:
        try:
            self._look_up_all()
        finally:
            os.close(self._changed)

    def _look_up_all(self) -> None:
        due = dict.fromkeys(self._names, 0.0)
        pause = dict.fromkeys(self._names, RETRY_SECONDS_MIN)
        failure: dict[str, str] = {}
        while not self._stop.is_set():
            name = min(due, key=due.__getitem__)
            if self._stop.wait(max(0.0, due[name] - time.monotonic())):
                return
            try:
                found = tuple(self._lookup(name))
                if not found:
                    raise OSError("no address of the wanted IP version")
            except (OSError, UnicodeError) as error:
                due[name] = time.monotonic() + pause[name]
                pause[name] = min(RETRY_SECONDS_MAX, 2 * pause[name])
                self._failed(name, error, failure)
                continue
            failure.pop(name, None)
            pause[name] = RETRY_SECONDS_MIN
            due[name] = time.monotonic() + AGAIN_SECONDS
            if found != self._known.get(name):
                _log.info("%s is %s", name, " ".join(found))
                self._known[name] = found
                os.eventfd_write(self._changed, 1)

    def _failed(self, name: str, error: Exception, failure: dict[str, str]) -> None:
        """Log the failure once. The known address of the name stays in use."""
        why = getattr(error, "strerror", None) or str(error)
        if failure.get(name) != why:
            failure[name] = why
            kept = self._known.get(name)
            known = f"its last known address {kept[0]} stays in use" if kept else "that node cannot be reached"
            _log.warning(
                "The name %s of the nodelist has no address: %s; %s; add it to /etc/hosts or write an address",
                name, why, known,
            )  # fmt: skip


def literal_address(text: str) -> str | None:
    """`text` in its usual form if it is an IP address, else None."""
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def look_up(name: str, ip_version: str) -> list[str]:
    """Addresses of `name` of the wanted kind (`ipv4`, `ipv6`, `ipv4-6`, `ipv6-4`), preferred ones first."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    order = [socket.AF_INET6 if each == "6" else socket.AF_INET for each in ip_version.removeprefix("ipv").split("-")]
    addresses: list[str] = []
    for wanted in order:
        for family, _, _, _, where in found:
            if family == wanted and str(where[0]) not in addresses:
                addresses.append(str(where[0]))
    return addresses
