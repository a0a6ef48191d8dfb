"""Sends a goodbye for a killed totem the moment it is dead. The other nodes then treat it as a node that left.

SAM asks totem for the goodbye, and totem sends a new one on each ring. Here it is only bytes and addresses. With it
totem names the UDP ports that are to be held after its death (held_ports.py). SAM learns of the death by a pidfd; on a
kernel without pidfds the other nodes find out by themselves.
"""

from __future__ import annotations

import logging
import math
import socket
import time
from pathlib import Path
from typing import Any

from rondo.ipc import control
from rondo.ipc.local_dealer import LocalDealer
from rondo.node.process_watch import ProcessWatch
from rondo.protocol.envelope import BusError, is_bytes, is_u32, pack, unpack
from services.sam.held_ports import PORTS_MAX, HeldPorts
from services.sam.loop import Loop

HOLD_S = 10.0
"""How long the ports of a dead totem are held. It is back within a second, or something is wrong with it."""
ADDRESSES_MAX = 384
DATAGRAM_BYTES_MAX = 65_507
ASK = pack({"op": "last_words"})
ASK_INTERVAL_S = 0.5
CONNECT_INTERVAL_S = 0.2

log = logging.getLogger("SAM")


class LastWords:
    """The goodbye of the living totem process. `tick` asks for it while it is missing."""

    def __init__(self, run_dir: Path, loop: Loop) -> None:
        """Raises SocketError, PathError."""
        self.sent = 0
        """Goodbyes sent for a dead totem."""
        self.refused = 0
        """Invalid answers of totem."""
        self.held = HeldPorts()
        """Ports that must not be closed when totem dies."""
        self._loop = loop
        self._release_at_s = math.inf
        self._ask_at_s = 0.0
        self._was_connected = False
        self._watch: ProcessWatch | None = None
        self._words: dict[str, Any] = {}
        self._totem = LocalDealer(control.endpoint(run_dir, "totem"))
        loop.watch(self._totem.fileno(), self._receive)
        self._ask()

    @property
    def watched(self) -> int:
        """Process id of the totem whose goodbye is here; 0 = none."""
        return self._watch.pid if self._watch is not None else 0

    @property
    def datagram(self) -> bytes:
        """The datagram that would be sent."""
        words: bytes = self._words.get("datagram", b"")
        return words

    @property
    def wait_s(self) -> float:
        """After so long `tick` has something to do: a totem that comes back is asked soon, lest it die untold."""
        return math.inf if self._totem.is_connected else CONNECT_INTERVAL_S

    def tick(self) -> None:
        """Call it in every turn of the loop: it asks again at intervals, until totem has answered."""
        self._totem.tend(time.monotonic())
        if self._totem.is_connected and not self._was_connected:
            self._ask_at_s = 0.0
        self._was_connected = self._totem.is_connected
        if self._watch is None and time.monotonic() >= self._ask_at_s:
            self._ask()
        if time.monotonic() >= self._release_at_s:
            self._release_at_s = math.inf
            self.held.close()

    def _ask(self) -> None:
        self._ask_at_s = time.monotonic() + ASK_INTERVAL_S
        if self._totem.is_connected:
            self._totem.send(ASK)

    def _receive(self) -> None:
        for frame in self._totem.receive():
            try:
                words = unpack(frame)
            except BusError:
                words = None
            if _are_words(words):
                self._take(words)
            else:
                self.refused += 1

    def _take(self, words: dict[str, Any]) -> None:
        if self._watch is None or self._watch.pid != words["pid"]:
            self._forget()
            watch = ProcessWatch(words["pid"])
            if watch.fileno() < 0:
                # Dead already, or the kernel has no pidfds.
                watch.close()
                return
            self._watch = watch
            self._loop.watch(watch.fileno(), self._died)
        self._words = words
        self._release_at_s = math.inf
        if words["ports"]:  # a totem without sockets names no ports, and still needs the old ones held
            self.held.hold([(version, port) for version, port in words["ports"]])

    def _died(self) -> None:
        """Totem has died: send the goodbye."""
        words = self._words
        self._forget()
        self.sent += 1
        self._release_at_s = time.monotonic() + HOLD_S
        say(words["datagram"], words["source"], words["addresses"])
        log.warning("The ring process (%d) died: told %d members", words["pid"], len(words["addresses"]))
        self._ask()

    def _forget(self) -> None:
        if self._watch is not None:
            self._loop.forget(self._watch.fileno())
            self._watch.close()
        self._watch, self._words = None, {}

    def close(self) -> None:
        """Stop: send nothing any more."""
        self._forget()
        self.held.close()
        self._loop.forget(self._totem.fileno())
        self._totem.close()


def say(datagram: bytes, source: list[Any], addresses: list[list[Any]]) -> None:
    """Send a datagram to some addresses. If that fails, the other nodes find out by themselves."""
    family = socket.AF_INET6 if len(source) == 4 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as out:
            out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the port may be held
            out.bind(tuple(source))
            for address in addresses:
                try:
                    out.sendto(datagram, tuple(address))
                except OSError as error:
                    log.info("The death of the ring process could not be told to %s: %s", address[0], error.strerror)
    except OSError as error:
        log.info("The death of the ring process could not be told: %s", error.strerror)


def _are_words(words: Any) -> bool:
    """True if this is a valid answer of totem."""
    if not isinstance(words, dict):
        return False
    pid: Any = words.get("pid")
    datagram: Any = words.get("datagram")
    source: Any = words.get("source")
    addresses: Any = words.get("addresses")
    ports: Any = words.get("ports")
    return (
        is_u32(pid)
        and pid > 1
        and is_bytes(datagram)
        and len(datagram) <= DATAGRAM_BYTES_MAX
        and _is_address(source)
        and isinstance(addresses, list)
        and len(addresses) <= ADDRESSES_MAX
        and all(_is_address(address) for address in addresses)
        and isinstance(ports, list)
        and len(ports) <= PORTS_MAX
        and all(_is_port(port) for port in ports)
    )


def _is_port(port: Any) -> bool:
    """IP version and UDP port."""
    return isinstance(port, list) and len(port) == 2 and port[0] in (4, 6) and is_u32(port[1]) and 0 < port[1] <= 0xFFFF


def _is_address(address: Any) -> bool:
    """An address for bind() and sendto(): `[host, port]`, for IPv6 `[host, port, flow, scope]`."""
    return (
        isinstance(address, list)
        and len(address) in (2, 4)
        and isinstance(address[0], str)
        and all(is_u32(number) for number in address[1:])
        and address[1] <= 0xFFFF
    )
