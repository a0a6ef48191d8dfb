"""`cluster.quorum`, `cluster.cmap` and `cluster.nodes()`: requests to the node's control process.

They use a separate connection, which is made when it is first needed: they need neither a session nor a ring. Each
watch has a connection of its own, so that it may wait.
"""

import contextlib
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from rondo import cmap, quorum
from rondo._client.arguments import check_seconds, number_of, text_of, truth_of
from rondo._client.ask_link import TIMEOUT_S, AskLink
from rondo._client.endpoint import Endpoint
from rondo._client.unpicklable import Unpicklable
from rondo.errors import BadHandle, InvalidParameter, NoResources
from rondo.protocol.client_gateway import Kind
from rondo.protocol.control_gateway import REQUEST_BYTES_MAX, Keys, Op, changes_between, encode_request

T = TypeVar("T")
NODE_MAX = 0xFFFFFFFF
VOTES_MAX = 255
STEP_MAX = 1 << 63
MAPS = ("icmap", "stats")
QUORUM, KEYS, STATISTICS = "quorum", "keys", "stats"
"""What can be watched."""


def map_of(which: str) -> str:
    """One of the two maps. Raises InvalidParameter."""
    if text_of(which, "which") not in MAPS:
        raise InvalidParameter(f"which: one of {' and '.join(MAPS)}; not {which!r:.80}")
    return which


def watched(which: str) -> str:
    """What a watch of that map is of. Raises InvalidParameter."""
    return KEYS if map_of(which) == "icmap" else STATISTICS


class ControlLink(AskLink):
    """A connection to the node's control process."""

    request_kind = Kind.CONTROL_REQUEST
    reply_kind = Kind.CONTROL_REPLY
    request_bytes_max = REQUEST_BYTES_MAX

    def ask(
        self, op: Op, arguments: dict[str, Any], timeout: float | None = TIMEOUT_S, *, may_repeat: bool = True
    ) -> Any:
        """Send a request and wait for the answer. Raises rondo.Error."""
        try:
            blob = encode_request(op, arguments)
        except UnicodeEncodeError:
            for name, value in arguments.items():
                if isinstance(value, str):
                    text_of(value, name)
            raise
        return self.send(blob, timeout, may_repeat=may_repeat)


class Closable(Protocol):
    """An object with a connection of its own, such as a watch."""

    def close(self) -> None:
        """Close it."""

    def shut(self) -> object:
        """The same, without waiting for a thread that uses it."""


class Control(Unpicklable):
    """The control connection of one cluster object."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._lock = threading.RLock()  # a signal handler may close what its thread is about to use
        self.link: ControlLink | None = None
        """Where all but watches ask, once somebody has asked."""
        self.watches: set[Closable] = set()
        self._is_closed = False

    def __del__(self) -> None:
        # Nobody can ask any more. A link is part of a cycle: its socket would stay open until the collector comes by.
        if self.link is not None and not self._is_closed and not sys.is_finalizing():
            self.link.shut()

    def ask(self, op: Op, *, timeout: float | None = TIMEOUT_S, may_repeat: bool = True, **arguments: Any) -> Any:
        """Ask, and wait for the answer. Raises rondo.Error."""
        check_seconds(timeout)
        with self._lock:
            self.check()
            if self.link is None:
                self.link = ControlLink(self.endpoint)
            link = self.link
        return link.ask(op, arguments, timeout, may_repeat=may_repeat)

    def check(self) -> None:
        """Raise BadHandle once the connection was closed."""
        if self._is_closed:
            raise BadHandle("this connection was closed")

    def watch(self, of: str, prefix: str = "") -> "Watch":
        """Begin to watch, from now on. `of`: `QUORUM`, `KEYS` or `STATISTICS`."""
        text_of(prefix, "prefix")
        self.check()
        watch = (StatisticsWatch if of == STATISTICS else Watch)(self, of, prefix)
        self.keep(watch)
        return watch

    def keep(self, watch: Closable) -> None:
        """Remember a watch, to close it with the connection. Raises BadHandle if that was closed meanwhile."""
        with self._lock:
            if not self._is_closed:
                self.watches.add(watch)
                return
        watch.close()
        self.check()

    def forget(self, watch: Closable) -> None:
        """Forget a watch that has ended."""
        with self._lock:
            self.watches.discard(watch)

    def close(self) -> None:
        """Close it, and all watches."""
        watches, link = self._shut()
        try:
            for watch in watches:
                watch.close()
        finally:
            if link is not None:
                link.close()

    def shut(self) -> None:
        """The same, without waiting for threads that use them: they are told, and let go of what there is."""
        watches, link = self._shut()
        for watch in watches:
            watch.shut()
        if link is not None:
            link.shut()

    def _shut(self) -> tuple[list[Closable], ControlLink | None]:
        self._is_closed = True
        with self._lock:
            return list(self.watches), self.link


class Watch(Unpicklable):
    """Events of the control process as they come. None comes twice, and none is left out without a word."""

    def __init__(self, control: Control, of: str, prefix: str) -> None:
        self._control = control
        self._of = of
        self._prefix = prefix
        self._link = ControlLink(control.endpoint)
        self._after: int | None = None
        self.is_closed = False
        try:
            self.begin()
        except BaseException:
            self._link.shut()
            raise

    def begin(self) -> None:
        """Begin here: what happened before is not reported."""
        self._after = self._link.ask(Op.WATCH, {"of": self._of})["number"]

    def next(self) -> list[dict[str, Any]] | None:
        """The next events, possibly none. None: some were lost. Raises rondo.Error."""
        arguments = {"of": self._of, "prefix": self._prefix, "after": self._after}
        told = self._link.ask(Op.WATCH, arguments, None)
        self._after = told["number"]
        events: list[dict[str, Any]] = told["events"]
        return None if told["lost"] else events

    def batches(self) -> Iterator[list[dict[str, Any]] | None]:
        """The results of `next`, until the watch or its cluster is closed."""
        try:
            while True:
                try:
                    events = self.next()
                except BadHandle:
                    if self.is_closed:
                        return
                    raise
                yield events
        finally:
            self.close()

    def close(self) -> None:
        """Close the watch."""
        self.is_closed = True
        self._control.forget(self)
        self._link.close()

    def shut(self) -> None:
        """The same, without waiting."""
        self.is_closed = True
        self._control.forget(self)
        self._link.shut()


class Changes(Iterator[T], Generic[T]):
    """What a watch tells, one after the other. The watch ends when this is forgotten, even if nobody has asked it for
    anything."""

    def __init__(self, watch: Watch, changes: Generator[T | None, None, None]) -> None:
        """`changes` gives None first: what a generator that was never begun has to end, it does not end."""
        next(changes)
        self._watch = watch
        self._changes = changes

    def __next__(self) -> T:
        return cast("T", next(self._changes))

    def close(self) -> None:
        """End it. A thread that waits for the next change gets no more: its loop ends."""
        self._watch.close()


class StatisticsWatch(Watch):
    """Statistics that differ from the last look. All that happened between two looks is one change."""

    def begin(self) -> None:
        """Begin here: what happened before is not reported."""
        self._known: Keys = _by_key(self._link.ask(Op.KEYS, {"map": "stats", "prefix": self._prefix}))

    def next(self) -> list[dict[str, Any]]:
        """The changes since the last call, possibly none, after a while. None is ever lost. Raises rondo.Error."""
        found = _by_key(self._link.ask(Op.SAMPLE, {"prefix": self._prefix}, None))
        changes = changes_between(self._known, found)
        self._known = found
        return changes


def _by_key(said: list[list[Any]]) -> Keys:
    return {key: value for key, *value in said}


class Quorum:
    """Votes and quorum: `cluster.quorum`."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def status(self, timeout: float | None = TIMEOUT_S) -> quorum.QuorumStatus:
        """The votes, and whether this node's partition is quorate."""
        return quorum.status_of(self._control.ask(Op.QUORUM, timeout=timeout))

    def set_expected(self, votes: int, timeout: float | None = TIMEOUT_S) -> None:
        """Set the expected votes of the cluster. Raises InvalidParameter if votequorum refuses, because quorum would be
        lost, or there are more votes; NotExist without a provider."""
        self._control.ask(Op.SET_EXPECTED, votes=number_of(votes, "votes", 1, VOTES_MAX), timeout=timeout)

    def set_votes(self, node: int, votes: int, timeout: float | None = TIMEOUT_S) -> None:
        """Set a node's votes. Raises InvalidParameter if votequorum refuses; NotExist for a node that it does not know,
        or without a provider."""
        number_of(node, "node", 0, NODE_MAX)
        self._control.ask(Op.SET_VOTES, node=node, votes=number_of(votes, "votes", 0, VOTES_MAX), timeout=timeout)

    def cancel_wait_for_all(self, timeout: float | None = TIMEOUT_S) -> None:
        """Cancel wait_for_all: the nodes of the ring stop waiting for nodes that were never seen."""
        self._control.ask(Op.CANCEL_WAIT_FOR_ALL, timeout=timeout)

    def watch(self, *, current: bool = False) -> Changes[quorum.Change]:
        """Changes from now on, until the iterator or the cluster is closed. `current`: the present state comes first.

        Whoever is so slow that the node does not keep all changes gets how it is now instead."""
        truth_of(current, "current")
        watch = self._control.watch(QUORUM)
        return Changes(watch, _quorum_changes(self, watch, current=current))


def now_of(status: quorum.QuorumStatus) -> quorum.Quorate:
    """The present state in the form of a change."""
    members = tuple(node.node for node in status.nodes if node.state == "member")
    return quorum.Quorate(status.quorate, status.ring, members)


def _quorum_changes(asked: Quorum, watch: Watch, *, current: bool) -> Generator[quorum.Change | None, None, None]:
    with contextlib.closing(watch):
        yield None
        if current:
            yield now_of(asked.status())
        for events in watch.batches():
            if events is None:
                yield now_of(asked.status())
            for event in events or ():
                change = quorum.change_of(event)
                if change is not None:
                    yield change


class Cmap:
    """Keys: `cluster.cmap`. `which` of the two maps: icmap, or stats, which is read-only but for `stats.clear.*`."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def get(self, key: str, *, which: str = "icmap", timeout: float | None = TIMEOUT_S) -> cmap.Value:
        """The value of a key. Raises NotExist."""
        value = cmap.value_of(self._control.ask(Op.GET, key=text_of(key, "key"), map=map_of(which), timeout=timeout))
        assert value is not None
        return value

    def items(
        self, prefix: str = "", *, which: str = "icmap", timeout: float | None = TIMEOUT_S
    ) -> dict[str, cmap.Value]:
        """Keys that begin with `prefix` and their values, ascending."""
        text_of(prefix, "prefix")
        return items_of(self._control.ask(Op.KEYS, prefix=prefix, map=map_of(which), timeout=timeout))

    def set(
        self,
        key: str,
        value: "cmap.Value | str | bytes",
        timeout: float | None = TIMEOUT_S,
        *,
        which: str = "icmap",
    ) -> None:
        """Set a key; it survives restarts of the node's processes, not of the node. Raises AccessDenied for a key that
        programs cannot change, NotSupported for one that would have no effect here, though it has one in Corosync,
        InvalidParameter, NameTooLong (which names are none), NoSpace."""
        self._control.ask(Op.SET, map=map_of(which), **set_arguments(key, value), timeout=timeout)

    def delete(self, key: str, timeout: float | None = TIMEOUT_S) -> None:
        """Delete a key. Raises NotExist, AccessDenied, NotSupported; Disconnected if nobody knows whether it was
        done."""
        self._control.ask(Op.DELETE, key=text_of(key, "key"), timeout=timeout, may_repeat=False)

    def increment(self, key: str, step: int = 1, timeout: float | None = TIMEOUT_S) -> cmap.Value:
        """Add to an integer, which wraps around; the new value. Raises NotExist, AccessDenied, NotSupported,
        InvalidParameter; Disconnected if nobody knows whether it was done."""
        number_of(step, "step", -STEP_MAX, STEP_MAX)
        said = self._control.ask(Op.INCREMENT, key=text_of(key, "key"), step=step, timeout=timeout, may_repeat=False)
        value = cmap.value_of(said)
        assert value is not None
        return value

    def watch(self, prefix: str = "", *, which: str = "icmap") -> Changes[cmap.Change]:
        """Changes of keys that begin with `prefix`, from now on, until it or the cluster is closed. The map stats is
        read every 1.5 s: what happened between two looks is one change, from the old value to the new one.

        Raises NoResources for whoever is so slow that the node does not keep all changes of the map icmap: read the
        keys anew."""
        watch = self._control.watch(watched(which), prefix)
        return Changes(watch, _key_changes(watch))


def _key_changes(watch: Watch) -> Generator[cmap.Change | None, None, None]:
    with contextlib.closing(watch):
        yield None
        for events in watch.batches():
            if events is None:
                raise NoResources(LOST)
            yield from map(cmap.change_of, events)


LOST = "there were more changes than the node keeps; read the keys anew, and watch again"


def set_arguments(key: str, value: object) -> dict[str, Any]:
    """The arguments of SET. Raises InvalidParameter."""
    typed = cmap.typed(value)
    return {"key": text_of(key, "key"), "type": typed.number, "value": cmap.plain(typed)}


def items_of(said: list[list[Any]]) -> dict[str, cmap.Value]:
    """The keys in a reply of the node."""
    found = {key: cmap.value_of([kind, value]) for key, kind, value in said}
    return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class NodeLink:
    """A knet link to another node."""

    link: int
    local: str
    remote: str
    port: int
    priority: int
    up: bool
    since_ms: int
    """Unix time in milliseconds since which it is up, or down."""
    ups: int
    """How often it came up."""
    downs: int
    """How often it went down."""
    mtu: int
    """The largest UDP datagram that passes, in bytes, as far as known."""
    latency_us: int
    """Running mean of the time between ping and pong; 0: no pong came yet."""
    tx_packets: int
    rx_packets: int
    tx_data_bytes: int
    rx_data_bytes: int
    tx_errors: int
    """Datagrams that the kernel failed to send."""
    rx_errors: int
    """Datagrams from the peer's address that were refused."""


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node of the configuration or of the ring."""

    node: int
    name: str
    member: bool
    software: str | None
    """`rondo ...` or `corosync`; None for nodes that are not in the ring."""
    addresses: tuple[str, ...]
    links: tuple[NodeLink, ...]


def nodes_of(said: list[dict[str, Any]]) -> tuple[NodeInfo, ...]:
    """The nodes in a reply of the node."""
    return tuple(
        NodeInfo(
            **node | {"addresses": tuple(node["addresses"]), "links": tuple(NodeLink(**link) for link in node["links"])}
        )
        for node in said
    )
