"""control processes with totem's end of their log, in rings that are formed here.

A control can be killed at any moment: what it has sent, totem has; what it had in its hands is gone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from rondo.protocol import control_gateway as gateway
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from rondo.protocol.envelope import unpack
from services.control.machine import Machine
from services.control.quorum.settings import Options
from services.control.setup import Setup
from services.totem.control_reader import ControlReader
from tests.unit.control.ring import options

SERVICES = (0, 3, 5)
GATEWAY = b"gateway"


class Host:
    """A node: its totem's end, and its control, which may be dead."""

    def __init__(self, world: World, node: int) -> None:
        self.world = world
        self.node = node
        self.epoch = 0
        self.ring: tuple[int, int] = (0, 0)
        self.answers: dict[int, tuple[Code, Any]] = {}
        self.boot()

    def boot(self) -> None:
        """Start totem anew."""
        self.epoch += 1
        self.reader = ControlReader(self.epoch, self.node, 100 + self.epoch)
        self._positions = itertools.count(1)
        self.start()

    def start(self) -> None:
        """Start control anew."""
        self.machine = Machine(self.world.setup(self.node), 9, 0)
        self.machine.hello()
        self.pump()

    def position(self) -> int:
        """The next place in the log; those of groups' messages are left out."""
        return next(self._positions) * 3

    def pump(self) -> None:
        """Let control and totem say what they have to say."""
        machine, reader = self.machine, self.reader
        is_busy = True
        while is_busy:
            is_busy = False
            machine.flush(self.world.now_ns)
            while machine.to_totem:
                reader.receive(machine.to_totem.popleft())
                is_busy = True
            while (frame := reader.next_frame()) is not None:
                machine.receive_totem(frame, self.world.now_ns)
                is_busy = True
        self.take_answers()

    def take_answers(self) -> None:
        """Take control's answers to clients."""
        for _, frame in self.machine.answers:
            answer = gateway.decode(frame)
            assert isinstance(answer, gateway.Answer)
            assert answer.number not in self.answers, "answered twice"
            self.answers[answer.number] = Code(answer.code), unpack(answer.blob)
        self.machine.answers.clear()

    def send(self, op: Op, **arguments: Any) -> int:
        """Have a client send a request. Returns its number."""
        number = next(self.world.numbers)
        blob = gateway.encode_request(op, arguments)
        ask = gateway.encode(gateway.Ask(0, b"client", number, blob))
        self.machine.receive_gateway(GATEWAY, ask, self.world.now_ns)
        return number

    def ask(self, op: Op, **arguments: Any) -> tuple[Code, Any]:
        """Have a client send a request. Returns the answer."""
        number = self.send(op, **arguments)
        self.pump()
        self.world.deliver()
        return self.answers.pop(number)


class World:
    """Some nodes, and a clock."""

    def __init__(
        self,
        *nodes: int,
        written: Options | None = None,
        has_provider: bool = True,
        versions: dict[int, int] | None = None,
    ) -> None:
        """`versions`: config_version by node."""
        self.written = (written or options()) if has_provider else None
        self.versions = versions or {}
        self.nodelist = dict.fromkeys(nodes, 1)
        self.now_ns = 1_000_000_000
        self.numbers = itertools.count(1)
        self._rings = itertools.count(1)
        self.hosts = {node: Host(self, node) for node in nodes}

    def setup(self, node: int) -> Setup:
        """The set-up of a node's control."""
        return Setup(node, self.versions.get(node, 0), self.written, self.nodelist)

    def form(self, *nodes: int, until_step: int = 99) -> None:
        """A ring of these nodes, and its sync. `until_step`: steps that are done before the next ring comes."""
        hosts = [self.hosts[node] for node in nodes]
        ring = (min(nodes), 4 * next(self._rings))
        for host in hosts:
            host.ring = ring
            host.reader.transitional(host.position(), nodes, ())
            host.reader.regular(host.position(), ring, nodes)
            host.pump()
        self.deliver()
        for service in SERVICES[:until_step]:
            self._step(hosts, ring, service)
        for host in hosts:
            if until_step >= len(SERVICES):
                host.reader.sync_complete(host.position(), ring)
            else:
                host.reader.sync_abort(host.position(), ring)
            host.pump()
        self.deliver()

    def _step(self, hosts: list[Host], ring: tuple[int, int], service: int) -> None:
        for host in hosts:
            host.reader.sync_step(host.position(), ring, service)
            host.pump()
            for replied, of, messages in host.reader.take_sync_replies():
                assert (replied, of) == (ring, service)
                for data in messages:
                    self._multicast(hosts, host.node, data)
        for host in hosts:
            host.reader.sync_activate(host.position(), ring, service)
            host.pump()

    def deliver(self) -> None:
        """Deliver what was committed for the rings."""
        is_busy = True
        while is_busy:
            is_busy = False
            for host in self.hosts.values():
                while (data := host.reader.next_message()) is not None:
                    self._multicast([each for each in self.hosts.values() if each.ring == host.ring], host.node, data)
                    is_busy = True

    def _multicast(self, hosts: Iterable[Host], sender: int, data: bytes) -> None:
        for host in hosts:
            host.reader.message(host.position(), sender, data)
            host.pump()
