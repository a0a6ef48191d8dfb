"""`cluster.cfg`: what is done to nodes. Kill one, shut this one down, have a say in that, open log files anew."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rondo._client.arguments import check_seconds, number_of, text_of, truth_of
from rondo._client.ask_link import TIMEOUT_S
from rondo._client.control import NODE_MAX, Control, ControlLink
from rondo.errors import BadHandle, FailedOperation
from rondo.protocol.control_gateway import Op

SHUTDOWN_TIMEOUT_S = 30.0
"""Those who have a say are given five seconds."""
RELOAD_TIMEOUT_S = 60.0
"""Nodes are given half a minute to read their file."""


class Cfg:
    """Nodes: `cluster.cfg`."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def kill(self, node: int, reason: str = "", timeout: float | None = TIMEOUT_S) -> None:
        """Have a member of the ring leave it at once and stop; its log and ours say why. Raises NotExist: it is no
        member; Disconnected if nobody knows whether it was done."""
        number_of(node, "node", 1, NODE_MAX)
        text_of(reason, "reason")
        self._control.ask(Op.KILL, node=node, reason=reason, timeout=timeout, may_repeat=False)

    def reload(self, timeout: float | None = RELOAD_TIMEOUT_S) -> tuple[str, ...]:
        """Have all nodes read their configuration anew, and change together. The options that have changed. Raises
        FailedOperation if nothing has: its text says which nodes have what against it, with file and line."""
        said = _ask_alone(self._control, Op.RELOAD, {}, timeout)
        if said["faults"]:
            raise FailedOperation("; ".join(f"node {each['node']}: {each['fault']}" for each in said["faults"]))
        return tuple(said["changed"])

    def reopen_logs(self, timeout: float | None = TIMEOUT_S) -> None:
        """Have every process of this node open its log files anew."""
        self._control.ask(Op.REOPEN_LOGS, timeout=timeout)

    def shut_down(self, *, force: bool = False, timeout: float | None = SHUTDOWN_TIMEOUT_S) -> None:
        """Stop this node, unless a program that watches shutdowns objects: Busy. `force`: nobody is asked. Raises Exist
        while another request waits for answers; Disconnected if nobody knows whether it was done."""
        flags = 2 if truth_of(force, "force") else 0
        _ask_alone(self._control, Op.SHUTDOWN, {"flags": flags}, timeout, may_repeat=False)

    def watch_shutdowns(self) -> Iterator["ShutdownRequest"]:
        """Requests to shut this node down, from now on, until the cluster is closed: each is to be answered within five
        seconds. Who answers nothing objects; who ends the iteration agrees with everything."""
        tracker = Tracker(self._control)
        try:
            while not tracker.is_closed:
                request = tracker.next()
                if request is not None:
                    yield request
        finally:
            tracker.close()


def _ask_alone(
    control: Control, op: Op, arguments: dict[str, Any], timeout: float | None = TIMEOUT_S, *, may_repeat: bool = True
) -> Any:
    """Ask on a connection of its own: the answer may take long, or be what another one waits for. It is closed with
    the cluster, too."""
    check_seconds(timeout)
    control.check()
    link = ControlLink(control.endpoint)
    control.keep(link)
    try:
        return link.ask(op, arguments, timeout, may_repeat=may_repeat)
    finally:
        control.forget(link)
        link.close()


class Tracker:
    """Somebody who has a say in shutdowns."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._name = secrets.token_hex(16)
        self._link = ControlLink(control.endpoint)
        self._after = 0
        self.is_closed = False
        control.keep(self)

    def next(self) -> "ShutdownRequest | None":
        """The next request; None: there is none yet, ask again. Raises rondo.Error."""
        try:
            told = self._link.ask(Op.TRACK_SHUTDOWN, {"tracker": self._name, "after": self._after}, None)
        except BadHandle:
            if self.is_closed:
                return None
            raise
        self._after = told["number"]
        return ShutdownRequest(self, told["flags"] == 1) if told["event"] == "asked" else None

    def vote(self, *, agrees: bool) -> None:
        """Answer the last request. Raises AccessDenied: it does not wait for that any more."""
        _ask_alone(self._control, Op.VOTE_ON_SHUTDOWN, {"tracker": self._name, "agrees": agrees})

    def close(self) -> None:
        """Have no more say."""
        self.is_closed = True
        self._control.forget(self)
        self._link.close()

    def shut(self) -> None:
        """The same, without waiting."""
        self.is_closed = True
        self._control.forget(self)
        self._link.shut()


@dataclass(frozen=True, slots=True)
class ShutdownRequest:
    """Somebody wants this node to stop."""

    _tracker: Tracker
    is_certain: bool
    """It will, whatever is answered: this is the time to prepare for it."""

    def agree(self) -> None:
        """The node may stop. Raises AccessDenied: that comes too late."""
        self._tracker.vote(agrees=True)

    def refuse(self) -> None:
        """It must not. Raises AccessDenied: that comes too late."""
        self._tracker.vote(agrees=False)
