"""The sync barrier: after each ring change all services of all members exchange their state in step.

Every member multicasts a SERVICE_BUILD with its services. The union of all lists, ascending, is gone through one by
one: a member multicasts the service's messages and then a BARRIER; when all members' barriers are in, the service is
active and the next one's turn has come. Services that only others have are passed with a BARRIER alone. As all of it
goes through the total order every member is at the same step; what is left out by one blocks all, so nothing is.
While this goes on nothing else is sent.

A member that waits for what never comes would hold up all for ever, and in an honest ring that cannot be. But a forged
message can put one member out of step. A message that cannot be then (a second BUILD, a BARRIER of a step that is over)
says that its sender is elsewhere in the sync than we are, and the sync is begun anew, in a new ring.
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
    """How far the sync is, as this node knows. Only this module writes it."""

    __slots__ = ("active", "asked", "assembler", "building", "marks", "packer", "ring", "services")

    def __init__(self, packet_size_max: int, counters: Counters) -> None:
        self.active = False
        """From the transitional configuration until the sync is complete."""
        self.ring: RingId | None = None
        self.services: list[int] = []
        """Union of all members' services that are still to be done; the first one is under way."""
        self.building = False
        """Not all members' BUILDs have come."""
        self.marks: set[int] = set()
        """Members that have done the step that is under way."""
        self.asked = False
        """The first service is one of ours, and the host has been asked for its messages."""
        self.packer = Packer(packet_size_max)
        """What is sent while the sync is under way: its own messages only."""
        self.assembler = Assembler(counters)


def abort(s: RingState) -> None:
    """The ring is gone: give up the sync that was under way, if any."""
    if s.sync.active and s.sync.ring is not None and not s.sync.building:
        service = s.sync.services[0]
        if service in s.options.sync_services:
            s.emit(SyncAbort(s.sync.ring, service))
    s.sync.ring = None
    s.sync.asked = False


def _ring(s: RingState) -> RingId:
    """The ring whose sync is under way. It is not the one of whose id packets are now where its last barriers are
    delivered while the next ring is being installed."""
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
    """The sender is at another step than we are: have the sync begun anew, as soon as timers are looked at."""
    s.counters.drop(Reason.BAD_STATE)
    s.start_timer(Timer.SYNC, 0)


def on_message(s: RingState, sender: int, payload: bytes) -> None:
    """A message of group "sync", in its place in the order."""
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
    """Begin the first service that is left, or end the sync."""
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
    """The host's answer to a SyncStep; one that is out of date is ignored."""
    if not s.sync.asked or ring != s.sync.ring or service != s.sync.services[0]:
        return
    s.sync.asked = False
    for message in messages:
        s.sync.packer.add(EXECUTIVE_PREFIX + message, None)
    _send_barrier(s)


def _send_barrier(s: RingState) -> None:
    s.sync.packer.add(SYNC_PREFIX + encode_barrier(Barrier(_ring(s))), None)
