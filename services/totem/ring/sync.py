"""The sync barrier: after each ring change the services of all members exchange their state, step by step.

Every member multicasts a SERVICE_BUILD with its services. The union of all lists is processed one service at a time, in
ascending order. A member multicasts the service's messages and then a BARRIER. When all members' barriers are in, the
service is active, and the next one follows. A member that does not have the service sends only a BARRIER. Everything
goes through the total order, so every member is at the same step. A member that left out a step would block all others.
While the sync runs, nothing else is sent.

In an honest ring no member waits for ever. But a forged message can put one member out of step. Then a message comes
that is impossible at this member's step: a second BUILD, or a BARRIER of a step that is over. Its sender is at another
step of the sync than this node, so the sync is started again in a new ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.totem.ring import capabilities
from services.totem.ring.assembly import Assembler
from services.totem.ring.counters import Counters
from services.totem.ring.events import SyncAbort, SyncActivate, SyncComplete, SyncStep
from services.totem.ring.packing import Packer
from services.totem.ring.timers import Timer
from services.totem.wire.base import Malformed, Reason, RingId
from services.totem.wire.packets import EXECUTIVE_PREFIX, SYNC_PREFIX
from services.totem.wire.syncmsg import Barrier, ServiceBuild, decode_sync, encode_barrier, encode_service_build

if TYPE_CHECKING:
    from services.totem.ring.state import RingState


class Sync:
    """State of the sync on this node. Only this module writes it."""

    __slots__ = ("active", "asked", "assembler", "building", "marks", "packer", "ring", "services")

    def __init__(self, packet_size_max: int, counters: Counters) -> None:
        self.active = False
        """From the transitional configuration until the sync is complete."""
        self.ring: RingId | None = None
        self.services: list[int] = []
        """Services of all members that are still to be synchronised; the first one is in progress."""
        self.building = False
        """Not all members' BUILDs have come yet."""
        self.marks: set[int] = set()
        """Members that have completed the current step."""
        self.asked = False
        """The current service is one of ours, and the host has been asked for its messages."""
        self.packer = Packer(packet_size_max)
        """The queue that is sent during the sync: only the sync's own messages."""
        self.assembler = Assembler(counters)


def abort(s: RingState) -> None:
    """The ring ended: give up its sync, if one is in progress."""
    if s.sync.active and s.sync.ring is not None and not s.sync.building:
        service = s.sync.services[0]
        if service in s.options.sync_services:
            s.emit(SyncAbort(s.sync.ring, service))
    s.sync.ring = None
    s.sync.asked = False


def _ring(s: RingState) -> RingId:
    """The ring whose sync is in progress. While the next ring is being installed, the last barriers of this one are
    delivered: then this differs from the ring id of new packets."""
    assert s.sync.ring is not None
    return s.sync.ring


def start(s: RingState) -> None:
    """A ring was installed: begin its sync."""
    s.sync.active = True
    s.timers.stop(Timer.SYNC)
    s.sync.ring = s.membership.ring_id
    s.sync.services = list(s.options.sync_services)
    s.sync.building = True
    s.sync.marks.clear()
    s.sync.assembler.clear()
    s.sync.packer.clear()
    own = capabilities.own_announcement(s)
    tail = capabilities.encode(own) if own is not None else ()
    build = encode_service_build(ServiceBuild(s.membership.ring_id, s.options.sync_services, tail))
    s.sync.packer.add(SYNC_PREFIX + build, None)


def _contradict(s: RingState) -> None:
    """The sender is at another step than this node: start the sync again, as soon as timers are checked."""
    s.counters.drop(Reason.BAD_STATE)
    s.start_timer(Timer.SYNC, 0)


def on_message(s: RingState, sender: int, payload: bytes) -> None:
    """A message of group "sync" is delivered."""
    try:
        message = decode_sync(payload)
    except Malformed as fault:
        s.counters.drop(fault.reason)
        return
    if message is None or message.ring != s.sync.ring:
        return
    if sender not in s.membership.members:
        s.counters.drop(Reason.UNKNOWN_MEMBER)
        return
    if isinstance(message, ServiceBuild):
        _on_build(s, sender, message)
    elif isinstance(message, Barrier):
        _on_barrier(s, sender)


def _on_build(s: RingState, sender: int, build: ServiceBuild) -> None:
    if not s.sync.building or sender in s.sync.marks:
        _contradict(s)
        return
    s.sync.services = sorted({*s.sync.services, *build.services})
    s.sync.marks.add(sender)
    capabilities.note(s, sender, build.tail)
    if s.sync.marks.issuperset(s.membership.members):
        s.sync.building = False
        capabilities.agree(s)
        _next_step(s)


def _on_barrier(s: RingState, sender: int) -> None:
    if s.sync.building or not s.sync.active or sender in s.sync.marks:
        _contradict(s)
        return
    s.sync.marks.add(sender)
    if not s.sync.marks.issuperset(s.membership.members):
        return
    service = s.sync.services.pop(0)
    if service in s.options.sync_services:
        s.emit(SyncActivate(_ring(s), service))
    _next_step(s)


def _next_step(s: RingState) -> None:
    """Begin the next service, or end the sync."""
    s.sync.marks.clear()
    s.sync.asked = False
    if not s.sync.services:
        s.sync.active = False
        s.emit(SyncComplete(_ring(s)))
        if s.observer is not None:
            s.observer("sync", {"phase": "complete", "ring": list(_ring(s))})
        return
    service = s.sync.services[0]
    if service in s.options.sync_services:
        s.sync.asked = True
        s.emit(SyncStep(_ring(s), service))
    else:
        _send_barrier(s)


def reply(s: RingState, ring: RingId, service: int, messages: Sequence[bytes]) -> None:
    """The host's answer to a SyncStep. An outdated one is ignored."""
    if not s.sync.asked or ring != s.sync.ring or service != s.sync.services[0]:
        return
    s.sync.asked = False
    for message in messages:
        s.sync.packer.add(EXECUTIVE_PREFIX + message, None)
    _send_barrier(s)


def _send_barrier(s: RingState) -> None:
    s.sync.packer.add(SYNC_PREFIX + encode_barrier(Barrier(_ring(s))), None)
