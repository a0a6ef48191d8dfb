"""How each kind of fault is done to the nodes of a run, and undone."""

import contextlib
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from rondo.testing.lab.faults import Fault, Faults
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from tests.cluster.chaos.plan import Step

LOSS_PERCENT = (1.0, 30.0)


class Applications(Protocol):
    """The operations of faults on applications."""

    def kill(self, node: int, draw: int) -> str:
        """Kill one application of a node. Returns its name."""
        ...

    def start(self, name: str) -> None: ...

    def send(self, node: int, draw: int, number: signal.Signals) -> str: ...

    def send_all(self, node: int, number: signal.Signals) -> None: ...


Undo = Callable[[], None]


def _ignore(function: Callable[..., object], *arguments: object) -> None:
    function(*arguments)


class Mischief:
    """Carries out faults. `do` returns the function that undoes a fault, or None."""

    def __init__(
        self, lab: Lab, nodes: Mapping[int, Node], applications: Applications, note: Callable[..., None]
    ) -> None:
        self._lab = lab
        self._nodes = nodes
        self._applications = applications
        self._note = note
        self._network = Faults(lab)
        self._cuts: list[list[Fault]] = []
        self._crashed: Counter[int] = Counter()
        """By node: the number of crashes that are not undone yet."""

    def do(self, step: Step) -> Undo | None:
        """Carry out a fault."""
        action: Callable[[Step, Node], Undo | None] = getattr(self, f"_{step.kind}")
        return action(step, self._nodes[step.node])

    def _kill(self, step: Step, node: Node) -> None:
        if node.send(signal.SIGKILL, step.argument) and step.argument == "totem":
            self._note("ringkill", node=node.number)

    def _kill_member(self, step: Step, node: Node) -> Undo:
        name = self._applications.kill(node.number, step.draw)
        return lambda: self._applications.start(name)

    def _freeze(self, step: Step, node: Node) -> Undo:
        # Only these processes are thawed. A service that was killed meanwhile has a successor that is not frozen.
        node.send(signal.SIGSTOP, step.argument)
        return partial(_ignore, node.send, signal.SIGCONT, step.argument)

    def _freeze_member(self, step: Step, node: Node) -> Undo:
        self._applications.send(node.number, step.draw, signal.SIGSTOP)
        return partial(_ignore, self._applications.send, node.number, step.draw, signal.SIGCONT)

    def _freeze_node(self, step: Step, node: Node) -> Undo:
        self._note("freeze", node=node.number)
        node.send(signal.SIGSTOP)
        self._applications.send_all(node.number, signal.SIGSTOP)

        def thaw() -> None:
            self._note("thaw", node=node.number)
            self._applications.send_all(node.number, signal.SIGCONT)
            node.send(signal.SIGCONT)

        return thaw

    def _crash_node(self, step: Step, node: Node) -> Undo:
        self._note("ringkill", node=node.number)
        self._crashed[node.number] += 1
        node.kill()

        def launch() -> None:
            # Crashes overlap: the node stays down until the last of them is over.
            self._crashed[node.number] -= 1
            if not self._crashed[node.number]:
                node.launch()

        return launch

    def _lose_state(self, step: Step, node: Node) -> Undo:
        undo = self._crash_node(step, node)
        shutil.rmtree(node.state_dir, ignore_errors=True)
        return undo

    def _interface_down(self, step: Step, node: Node) -> Undo:
        node.host.interface_down()
        return node.host.interface_up

    def _unplug(self, step: Step, node: Node) -> Undo:
        link = self._link(step)
        self._lab.unplug(node.number, link)
        return lambda: self._lab.plug(node.number, link)

    def _unplug_all(self, step: Step, node: Node) -> Undo:
        for link in self._lab.links:
            self._lab.unplug(node.number, link)

        def plug() -> None:
            for link in self._lab.links:
                self._lab.plug(node.number, link)

        return plug

    def _cut_link(self, step: Step, node: Node) -> Undo:
        """Cut a node off by a filter. Its interface keeps the carrier, so the node gets no notification."""
        return self._cut([Fault(one, other, link=self._link(step)) for one, other in self._pairs(node)])

    def _cut_link_one_way(self, step: Step, node: Node) -> Undo:
        comes = bool(step.draw & 1024)
        chosen = [pair for pair in self._pairs(node) if (pair[1] == node.number) == comes]
        return self._cut([Fault(one, other, link=self._link(step)) for one, other in chosen])

    def _lose_on_link(self, step: Step, node: Node) -> Undo:
        percent = random.Random(step.draw).uniform(*LOSS_PERCENT)
        return self._cut([Fault(one, other, percent, link=self._link(step)) for one, other in self._pairs(node)])

    def _link(self, step: Step) -> int:
        return step.draw // 2 % len(self._lab.links)

    def _pairs(self, node: Node) -> list[tuple[int, int]]:
        """Lose frames between a node and all others, in both directions."""
        others = [number for number in self._nodes if number != node.number]
        return [(node.number, other) for other in others] + [(other, node.number) for other in others]

    def _one_way(self, step: Step, node: Node) -> Undo:
        others = [number for number in self._nodes if number != node.number]
        chosen = others[: 1 + step.draw % len(others)]
        if step.draw & 1024:
            return self._cut([Fault(node.number, other) for other in chosen])
        return self._cut([Fault(other, node.number) for other in chosen])

    def _loss(self, step: Step, node: Node) -> Undo:
        percent = random.Random(step.draw).uniform(*LOSS_PERCENT)
        pairs = [(one, other) for one in self._nodes for other in self._nodes if one != other]
        chosen = pairs if step.draw & 1 else [pair for pair in pairs if node.number in pair]
        return self._cut([Fault(one, other, percent) for one, other in chosen])

    def _partition(self, step: Step, node: Node) -> Undo:
        return self._cut([Fault(one, other) for one, other in self._pairs(node)])

    def _cut(self, faults: list[Fault]) -> Undo:
        self._cuts.append(faults)
        self._apply()

        def heal() -> None:
            with contextlib.suppress(ValueError):
                self._cuts.remove(faults)
            self._apply()

        return heal

    def _apply(self) -> None:
        self._network.replace(fault for faults in self._cuts for fault in faults)
