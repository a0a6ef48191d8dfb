"""A trace with the indexes that the properties share, built in one pass over the events.

The vocabulary is that of extended virtual synchrony. An incarnation (one life of a node) goes through stays: a stay is
one regular configuration c together with the transitional configuration that closes it, written com(c). Where an
event belongs is decided by its place in the trace, not by the label it carries; that the labels agree with the
places is itself a property (A2, C6, C7).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.checker.base import Event, MessageId, Ring
    from tests.checker.ordering import Overtaken

NO_MEMBERS: frozenset[int] = frozenset()


class Sent:
    """A message at the moment it got its place in the order."""

    __slots__ = ("event", "index", "msg", "rank", "ring", "safe", "sender", "seq", "stay")

    def __init__(self, index: int, event: Event, msg: MessageId, stay: Stay | None) -> None:
        self.index = index
        self.event = event
        self.msg = msg
        self.sender = msg[0]
        self.ring: Ring = tuple(event["ring"])
        self.seq: int = event["seq"]
        self.safe = is_safe(event)
        self.stay = stay
        """The sender's stay in which it was sent."""
        self.rank = -1
        """Place among all messages of its ring; messages in one packet are ordered as they were put into it."""


class Delivery:
    """A message handed to the application of one node."""

    __slots__ = ("event", "index", "msg", "sent", "stay", "transitional")

    def __init__(self, index: int, event: Event, msg: MessageId, stay: Stay | None, transitional: bool) -> None:
        self.index = index
        self.event = event
        self.msg = msg
        self.stay = stay
        self.transitional = transitional
        self.sent: Sent | None = None


class Stay:
    """A regular configuration at one incarnation, and the transitional configuration that closes it."""

    __slots__ = (
        "conf",
        "conf_index",
        "delivered",
        "following",
        "incarnation",
        "members",
        "regular",
        "ring",
        "sent",
        "trans",
        "trans_index",
        "trans_members",
        "transitional",
    )

    def __init__(self, incarnation: Incarnation, ring: Ring, members: frozenset[int], conf: Event | None) -> None:
        self.incarnation = incarnation
        self.ring = ring
        self.members = members
        self.conf = conf
        """The regular configuration's event; None for the nothing that a life begins with."""
        self.conf_index = -1
        self.trans: Event | None = None
        self.trans_index = -1
        self.trans_members = NO_MEMBERS
        self.regular: list[Delivery] = []
        self.transitional: list[Delivery] = []
        self.delivered: dict[MessageId, Delivery] = {}
        """First delivery of each message in com(c)."""
        self.sent: list[Sent] = []
        self.following: Stay | None = None
        """The next stay; None while this one is open, or if the incarnation ended in it."""

    @property
    def node(self) -> int:
        """The node whose stay it is."""
        return self.incarnation.node


class Incarnation:
    """One life of a node."""

    __slots__ = ("confs", "deliveries", "ended", "first", "inc", "node", "pauses", "recoveries", "start", "stays")

    def __init__(self, node: int, inc: int) -> None:
        self.node = node
        self.inc = inc
        self.start: Event | None = None
        self.first: Event | None = None
        """The first conf, send or deliver."""
        self.ended: Event | None = None
        """fail or stop."""
        self.stays: list[Stay] = []
        self.confs: list[Event] = []
        self.deliveries: list[Delivery] = []
        self.pauses: list[tuple[int, int, Stay | None]] = []
        """(index of freeze, index of thaw or of the end of the trace, stay at the freeze)"""
        self.recoveries: list[tuple[int, Ring, Stay | None]] = []
        """(index, ring, stay it came from) of each entry into Recovery; empty also if the core was not observed."""

    @property
    def stay(self) -> Stay | None:
        """The stay it is in."""
        return self.stays[-1] if self.stays else None


class Trace:
    """All that the properties look at."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.incarnations: dict[tuple[int, int], Incarnation] = {}
        self.submits: dict[MessageId, Event] = {}
        self.submit_index: dict[MessageId, int] = {}
        self.resubmits: list[tuple[Event, Event]] = []
        self.sent: dict[MessageId, Sent] = {}
        self.resent: list[tuple[Event, Event]] = []
        self.order: dict[Ring, list[Sent]] = {}
        """Messages of each ring in the order of the ring."""
        self.members: dict[Ring, frozenset[int]] = {}
        """Members of each ring, as the first node that installed it says."""
        self.stable: list[Event] = []
        self.end: Event | None = None
        self.posthumous: list[tuple[Event, Event]] = []
        """(fail or stop, a later event of the same incarnation)"""
        self.tokens: list[Event] = []
        """token_in, token_out"""
        self.packets: list[Event] = []
        """packet_in, packet_out, discard"""
        self.membership: list[Event] = []
        """start, state, join_seen, commit_in, commit_out"""
        self.requests: list[Event] = []
        """token_out and discard"""
        self.timers: list[Event] = []
        """state, timers"""
        self.buffers: list[Event] = []
        self.nodes: set[int] = set()
        """Nodes that left a trace. Others (C nodes in an interop run) are not held to anything."""
        self.not_held: list[tuple[Delivery, frozenset[int]]] = []
        """(delivery of a SAFE message in the regular configuration, members that do not have its packet then)"""
        self._observed: set[Ring] = set()
        """Rings of which packets were seen."""
        self._holders: defaultdict[tuple[Ring, int], set[int]] = defaultdict(set)
        self.faults: list[tuple[Stay, Overtaken]] | None = None
        """Faults of order, once they were looked for; four properties share them."""
        self._deliveries: list[Delivery] = []
        self._paused: dict[tuple[int, int], tuple[int, Stay | None]] = {}
        self._read(events)
        self._link()

    def _read(self, events: Iterable[Event]) -> None:
        """Sort the events into lists and stays."""
        lists: dict[str, tuple[list[Event], ...]] = {
            "token_in": (self.tokens,),
            "token_out": (self.tokens, self.requests),
            "packet_in": (self.packets,),
            "packet_out": (self.packets,),
            "discard": (self.packets, self.requests),
            "start": (self.membership,),
            "state": (self.membership, self.timers),
            "join_seen": (self.membership,),
            "commit_in": (self.membership,),
            "commit_out": (self.membership,),
            "timers": (self.timers,),
            "buffers": (self.buffers,),
        }
        readers: dict[str, Any] = {
            "deliver": self._read_deliver,
            "send": self._read_send,
            "submit": self._read_submit,
            "packet_in": self._read_packet,
            "packet_out": self._read_packet,
            "conf": self._read_conf,
            "state": self._read_state,
        } | dict.fromkeys(("start", "fail", "stop", "freeze", "thaw"), self._read_life)
        index = -1
        for index, event in enumerate(events):
            kind = event["ev"]
            for bucket in lists.get(kind, ()):
                bucket.append(event)
            reader = readers.get(kind)
            if reader is not None:
                reader(index, event, self._incarnation(event))
            elif kind == "stable":
                self.stable.append(event)
            elif kind == "end":
                self.end = event
        for key, (start, stay) in self._paused.items():
            self.incarnations[key].pauses.append((start, index + 1, stay))

    def _incarnation(self, event: Event) -> Incarnation:
        key = (event["node"], event["inc"])
        incarnation = self.incarnations.get(key)
        if incarnation is None:
            incarnation = self.incarnations[key] = Incarnation(*key)
            self.nodes.add(key[0])
        if incarnation.ended is not None:
            self.posthumous.append((incarnation.ended, event))
        return incarnation

    def _read_life(self, index: int, event: Event, incarnation: Incarnation) -> None:
        kind = event["ev"]
        key = (incarnation.node, incarnation.inc)
        if kind == "start":
            incarnation.start = event
        elif kind == "freeze":
            self._paused[key] = (index, incarnation.stay)
        elif kind == "thaw":
            start = self._paused.pop(key, None)
            if start is not None:
                incarnation.pauses.append((start[0], index, start[1]))
        elif incarnation.ended is None:
            incarnation.ended = event

    def _read_submit(self, index: int, event: Event, incarnation: Incarnation) -> None:
        msg = message_id(event)
        first = self.submits.setdefault(msg, event)
        if first is event:
            self.submit_index[msg] = index
        else:
            self.resubmits.append((first, event))

    def _read_send(self, index: int, event: Event, incarnation: Incarnation) -> None:
        if incarnation.first is None:
            incarnation.first = event
        msg = message_id(event)
        known = self.sent.get(msg)
        if known is not None:
            self.resent.append((known.event, event))
            return
        stay = incarnation.stay
        sent = self.sent[msg] = Sent(index, event, msg, stay)
        if stay is not None:
            stay.sent.append(sent)

    def _read_deliver(self, index: int, event: Event, incarnation: Incarnation) -> None:
        if incarnation.first is None:
            incarnation.first = event
        stay = incarnation.stay
        msg = message_id(event)
        delivery = Delivery(index, event, msg, stay, stay is not None and stay.trans is not None)
        incarnation.deliveries.append(delivery)
        self._deliveries.append(delivery)
        if stay is not None:
            (stay.transitional if delivery.transitional else stay.regular).append(delivery)
            stay.delivered.setdefault(msg, delivery)

            if is_safe(event) and not delivery.transitional and tuple(event["ring"]) in self._observed:
                missing = stay.members - self._holders[tuple(event["ring"]), event["seq"]]
                if missing:
                    self.not_held.append((delivery, missing))

    def _read_packet(self, index: int, event: Event, incarnation: Incarnation) -> None:
        ring = tuple(event["ring"])
        self._observed.add(ring)
        self._holders[ring, event["seq"]].add(event["node"])

    def _read_conf(self, index: int, event: Event, incarnation: Incarnation) -> None:
        if incarnation.first is None:
            incarnation.first = event
        incarnation.confs.append(event)
        stay = incarnation.stay
        members = frozenset(event["members"])
        if event["kind"] == "trans":
            if stay is None:
                stay = Stay(incarnation, tuple(event["old"]), frozenset((incarnation.node,)), None)
                incarnation.stays.append(stay)
            stay.trans, stay.trans_index, stay.trans_members = event, index, members
            return
        ring: Ring = tuple(event["ring"])
        self.members.setdefault(ring, members)
        following = Stay(incarnation, ring, members, event)
        following.conf_index = index
        if stay is not None:
            stay.following = following
        incarnation.stays.append(following)

    def _read_state(self, index: int, event: Event, incarnation: Incarnation) -> None:
        if event["state"] == "recovery":
            incarnation.recoveries.append((index, tuple(event["ring"]), incarnation.stay))

    def _link(self) -> None:
        """Join deliveries to sends, and give each message its rank."""
        for delivery in self._deliveries:
            sent = self.sent.get(delivery.msg)
            if sent is None and delivery.msg[0] not in self.nodes:
                sent = self.sent[delivery.msg] = Sent(delivery.index, delivery.event, delivery.msg, None)
            delivery.sent = sent
        rings: defaultdict[Ring, list[Sent]] = defaultdict(list)
        for sent in self.sent.values():
            rings[sent.ring].append(sent)
        for ring, messages in rings.items():
            messages.sort(key=lambda sent: (sent.seq, sent.index))
            for rank, sent in enumerate(messages):
                sent.rank = rank
            self.order[ring] = messages

    def deliveries(self) -> list[Delivery]:
        """All deliveries, in the order of the trace."""
        return self._deliveries

    def stays(self) -> Iterator[Stay]:
        """All stays, one incarnation after the other."""
        for incarnation in self.incarnations.values():
            yield from incarnation.stays

    def stays_by_ring(self) -> dict[Ring, list[Stay]]:
        """The stays in each ring."""
        result: defaultdict[Ring, list[Stay]] = defaultdict(list)
        for stay in self.stays():
            result[stay.ring].append(stay)
        return result

    def fully_traced(self, ring: Ring) -> bool:
        """Whether every member of the ring left a trace."""
        return self.members.get(ring, NO_MEMBERS) <= self.nodes

    def all_members(self) -> frozenset[int]:
        """Every node that was ever a member of a ring, or left a trace."""
        return frozenset(self.nodes).union(*self.members.values())

    def live(self, node: int) -> Incarnation | None:
        """The incarnation of the node that lives at the end of the trace."""
        lives = [incarnation for (n, _), incarnation in self.incarnations.items() if n == node]
        last = max(lives, key=lambda incarnation: incarnation.inc, default=None)
        return last if last is not None and last.ended is None else None


def message_id(event: Event) -> MessageId:
    """The message that a submit, send or deliver is about."""
    sender, inc, number = event["msg"]
    return (sender, inc, number)


def is_safe(event: Event) -> bool:
    """Whether a send or deliver is of level SAFE."""
    return str(event.get("level", "")).lower() == "safe"


def name(msg: MessageId) -> str:
    """A message as violations call it: sender.incarnation.number."""
    return ".".join(map(str, msg))


def ring_name(ring: Ring) -> str:
    """A ring as violations call it."""
    return f"{ring[0]}:{ring[1]}"


def closed_ring(cfg: str) -> Ring | None:
    """The ring of reg(cfg): that of a regular configuration, or the one that a transitional configuration closes."""
    parts = cfg.split(":")
    if (parts[0], len(parts)) not in {("r", 3), ("t", 5)}:
        return None
    return (int(parts[1]), int(parts[2]))
