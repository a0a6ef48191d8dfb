"""The supervised process: the server of `rondo web`, on what every service stands on.

Its loop is asyncio's, for uvicorn's sake. The chassis brings a poll of its own (epoll(7)), and that is one descriptor
that the loop waits for.

An address that is taken, or not there yet, is tried again now and then: that others have it is no reason to be started
again once a second, with all that Python loads for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rondo.config.node import NodeConfig, NodeConfigError, WebSettings
from rondo.node.chassis import Chassis
from rondo.node.instance import InstanceLock
from rondo.node.logs import notice
from rondo.node.placement import come_after_the_ring, stay_off_the_ring
from rondo.node.service import Start
from services.web.peers import Peers
from services.web.server import (
    Options,
    QuietServer,
    WebError,
    bind,
    check,
    make_guarded,
    read_token,
    server_config,
    url,
)

SERVICE = "web"
RETRY_S = 5.0
"""How often an address that cannot be had is tried again."""

log = logging.getLogger("WEB")


def options_of(settings: WebSettings, run_dir: Path) -> Options:
    """What web{} says, with what is in the files. Raises WebError."""
    token = read_token(Path(settings.token_file)) if settings.token_file else b""
    options = Options(
        run_dir, settings.address, settings.port, settings.names, token,
        settings.tls_cert, settings.tls_key, settings.tls_clients,
    )  # fmt: skip
    check(options)
    return options


class Process:
    """Everything of one running web service. `run` returns when a signal asked it to stop."""

    def __init__(self, start: Start) -> None:
        """Raises NodeConfigError, InstanceError, SocketError."""
        self._config: NodeConfig = start.config
        self._lock = InstanceLock(start.run_dir, SERVICE)
        self._peers = Peers()
        try:
            self._options = options_of(start.config.web, start.run_dir)
            self._guard = make_guarded(self._options, self._options.port, self._peers)
            self._server = Supervised(server_config(self._options, self._guard))
        except WebError as error:
            raise NodeConfigError(str(error)) from None
        self._chassis = Chassis(SERVICE, start)
        self._chassis.open_control(self._status)
        self._why_waiting = "it is being started"

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        self._chassis.catch_signals()
        stay_off_the_ring(self._config, log)
        come_after_the_ring()
        try:
            asyncio.run(self._serve())
        finally:
            self._chassis.close()
            self._lock.close()
        notice(log, "Stopped.")

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._chassis.poll.fileno(), self._turn)
        try:
            listening = await self._listen()
            if listening is not None:
                with listening:
                    self._why_waiting = ""
                    notice(log, "Serving %s.", url(self._options, self._options.port))
                    await self._server.serve(sockets=[listening])
        finally:
            self._loop.remove_reader(self._chassis.poll.fileno())

    async def _listen(self) -> socket.socket | None:
        """The socket, once it can be had; None if the service is to stop before."""
        while not self._chassis.stopping:
            try:
                return bind(self._options)
            except WebError as error:
                if self._why_waiting != str(error):
                    log.warning("%s; it is tried again", error)
                self._why_waiting = str(error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), RETRY_S)
        return None

    def _turn(self) -> None:
        """What is there for the chassis: a signal, a question, a heartbeat."""
        self._chassis.serve({descriptor for descriptor, _ in self._chassis.poll.poll(0)})
        if self._chassis.has_more:
            self._loop.call_soon(self._turn)
        if self._chassis.stopping:
            self._stopped.set()
            self._server.stop()

    def _status(self) -> dict[str, Any]:
        return {
            "state": "waiting" if self._why_waiting else "operational",
            "why": self._why_waiting,
            "address": self._options.host,
            "port": self._options.port,
            "counters": {
                **self._guard.refused,
                **self._server.turned_away,
                "messages_refused": sum(self._peers.refused.values()),
            },
            "messages_refused": dict(self._peers.refused),
            "nodes_known": sorted(self._peers.known),
        }


class Supervised(QuietServer):
    """Signals are the chassis's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them as they are."""
        yield
