"""`cluster.cfg`: operations on nodes. Kill a node, shut this one down, vote on its shutdown, reload, reopen log
files."""

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
"""The node gives those who vote on a shutdown five seconds."""
RELOAD_TIMEOUT_S = 60.0
"""The nodes get half a minute to read their file."""


class Cfg:
    """Operations on nodes: `cluster.cfg`."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def kill(self, node: int, reason: str = "", timeout: float | None = TIMEOUT_S) -> None:
        """Have a member of the ring leave it at once and stop; its log and ours say why. Raises NotExist: it is no
        member; Disconnected if nobody knows whether it was done."""
        number_of(node, "node", 1, NODE_MAX)
        text_of(reason, "reason")
        self._control.ask(Op.KILL, node=node, reason=reason, timeout=timeout, may_repeat=False)

    def reload(self, timeout: float | None = RELOAD_TIMEOUT_S) -> tuple[str, ...]:
        """Make all nodes read their configuration again and apply the changes together. Returns the options that have
        changed. Raises FailedOperation if none was applied; its text says which node objects to what, with file and
        line."""
        said = _ask_alone(self._control, Op.RELOAD, {}, timeout)
        if said["faults"]:
            raise FailedOperation("; ".join(f"node {each['node']}: {each['fault']}" for each in said["faults"]))
        return tuple(said["changed"])

    def reopen_logs(self, timeout: float | None = TIMEOUT_S) -> None:
        """Make every process of this node open its log files again."""
        self._control.ask(Op.REOPEN_LOGS, timeout=timeout)

    def shut_down(self, *, force: bool = False, timeout: float | None = SHUTDOWN_TIMEOUT_S) -> None:
        """Stop this node, unless a program that watches shutdowns objects: Busy. `force`: nobody is asked. Raises Exist
        while another request waits for answers; Disconnected if nobody knows whether it was done."""
        flags = 2 if truth_of(force, "force") else 0
        _ask_alone(self._control, Op.SHUTDOWN, {"flags": flags}, timeout, may_repeat=False)

    def watch_shutdowns(self) -> Iterator["ShutdownRequest"]:
        """Requests to shut this node down, from now until the cluster is closed. Each must be answered within five
        seconds. No answer is an objection. Ending the iteration agrees to every later request."""
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
    """A program that votes on shutdowns."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._name = secrets.token_hex(16)
        self._link = ControlLink(control.endpoint)
        self._after = 0
        self.is_closed = False
        control.keep(self)

    def next(self) -> "ShutdownRequest | None":
        """The next request; None if there is none yet. Raises rondo.Error."""
        try:
            told = self._link.ask(Op.TRACK_SHUTDOWN, {"tracker": self._name, "after": self._after}, None)
        except BadHandle:
            if self.is_closed:
                return None
            raise
        self._after = told["number"]
        return ShutdownRequest(self, told["flags"] == 1) if told["event"] == "asked" else None

    def vote(self, *, agrees: bool) -> None:
        """Answer the last request. Raises AccessDenied if the vote is over."""
        _ask_alone(self._control, Op.VOTE_ON_SHUTDOWN, {"tracker": self._name, "agrees": agrees})

    def close(self) -> None:
        """Stop voting."""
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
    """A request to stop this node."""

    _tracker: Tracker
    is_certain: bool
    """The node will stop whatever is answered. This is the time to prepare for it."""

    def agree(self) -> None:
        """Agree that the node stops. Raises AccessDenied if that comes too late."""
        self._tracker.vote(agrees=True)

    def refuse(self) -> None:
        """Object. Raises AccessDenied if that comes too late."""
        self._tracker.vote(agrees=False)
