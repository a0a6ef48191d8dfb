"""Connects the ring: its packets go to the link, and its events to their receivers:

    messages of CPG, configurations, CPG's sync    to the log that cpg reads
    messages and sync of the other services        to control, which reads the same log
    the sequence of a new ring                     to the sequence file
    notices and configurations                     to the log lines

Every call into the ring is followed by `settle`, which empties the ring's output.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from rondo.config import NodeConfig
from rondo.protocol import totem_control
from services.totem.absence import Absence
from services.totem.control_reader import ControlReader
from services.totem.knet_keys import KnetKeys
from services.totem.logtext import LogText
from services.totem.ordered_log import OrderedLog
from services.totem.protection import Protection, shared_key
from services.totem.ring.counters import Counters
from services.totem.ring.events import (
    Message,
    Notice,
    RegularConfiguration,
    State,
    StoreSequence,
    SyncAbort,
    SyncActivate,
    SyncComplete,
    SyncStep,
    TransitionalConfiguration,
)
from services.totem.ring.ring import Ring
from services.totem.secrecy_status import secrecy_status
from services.totem.sequence_file import SequenceFile
from services.totem.settings import knet_settings, link_settings, ring_options
from services.totem.suspicion import Suspicion
from services.totem.transport.knet_link import KnetLink
from services.totem.transport.link import Link
from services.totem.wire.base import RingId
from services.totem.wire.executive import HEADER_SIZE, Service

BY_KEY: Final = ("dropped", "packets_again", "tokens_again")
"""Counters of the ring that are tables."""
COUNTERS: Final = [field.name for field in dataclasses.fields(Counters) if field.name not in BY_KEY]

DATAGRAMS_PER_TURN: Final = 64
"""Most datagrams to handle before anything else gets its turn."""

FEW_PACKETS: Final = 2
FEW_BYTES: Final = 4096
"""A message or two and the token. If the packets are this few, they wait until cpg has its messages."""


MOVE_NS: Final = 500_000_000
"""When remaining nodes get new addresses, every node keeps the old ones this long: the message that starts the change
still travels over the old ones. Nodes may differ by as much in when they move."""

REFORM_WAIT_NS: Final = 250_000_000
"""When only one of cpg and control has attached to an older ring, wait this long for the other, so that the ring is
formed anew only once."""

_OF_CONTROL: Final = frozenset(totem_control.SERVICES)


class Node:
    """A ring, its link, and the log with its two readers."""

    def __init__(
        self, config: NodeConfig, sequence: SequenceFile, log: OrderedLog, now_ns: int,
        protection: Protection | None = None, knet_keys: KnetKeys | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.log = log
        self.counters: Counter[str] = Counter()
        """Packets that the link could not send or refused, by reason."""
        self._bytes_tx = 0
        """Of all frames that were handed to the link, each once."""
        self._bytes_rx = 0
        self.link: Link | KnetLink
        if config.transport == "knet":
            self.link = KnetLink(knet_settings(config, shared_key(config)), self.counters, now_ns, knet_keys)
        else:
            self.link = Link(link_settings(config), self.counters, protection)
        self.ring = Ring(
            ring_options(config, protection.overhead_bytes if protection is not None else 0),
            config.node_id,
            sequence.first,
            now_ns,
            lambda limit: random.randrange(limit),
            keeper=protection.security.agreement if protection is not None else None,
        )
        self.control = ControlReader(log.epoch, config.node_id, log.pid)
        self._knet_keys = knet_keys
        self._move_ns: int | None = None
        """When the link takes the addresses of `config`."""
        self._reform_ns: int | None = None
        """When the ring is formed anew for its readers."""
        self.suspicion = Suspicion()
        self._absence = Absence(config.members, now_ns)
        self.link.on_unreachable = self._unreachable
        self.death_notice_is_stale = True
        """True after the ring, the key or the address changed: sam holds the LEAVE frame of the old ring and must be
        sent a new one."""
        self._sequence = sequence
        self._text = LogText()
        self._now_ns = now_ns
        self._handlers: dict[type, Callable[[Any], None]] = {
            Message: self._message,
            TransitionalConfiguration: self._transitional,
            RegularConfiguration: self._regular,
            SyncStep: self._sync_step,
            SyncActivate: self._sync_activate,
            SyncAbort: self._sync_abort,
            SyncComplete: self._sync_complete,
            Notice: self._notice,
            StoreSequence: self._store_sequence,
        }

    # -- called by the loop

    def expire(self, now_ns: int) -> None:
        """Expire due timers. Call this before anything is received."""
        self._now_ns = now_ns
        deadline_ns = self.ring.next_deadline_ns()
        if deadline_ns is not None and deadline_ns <= now_ns:
            self.ring.advance(now_ns)
            self.settle()
        due_ns = self.suspicion.next_deadline_ns
        if due_ns is not None and due_ns <= now_ns:
            self._give_up_suspects(now_ns)

    def next_deadline_ns(self) -> int | None:
        """When `expire` is to be called; None if never."""
        dues = (self.ring.next_deadline_ns(), self.suspicion.next_deadline_ns, self._reform_ns, self._move_ns)
        return min((due_ns for due_ns in dues if due_ns is not None), default=None)

    def reform(self, now_ns: int) -> None:
        """Form the ring anew if a reader has attached that must see a ring from its beginning."""
        if not (self.log.reform_wanted or self.control.reform_wanted):
            self._reform_ns = None
            return
        if self._reform_ns is None:
            self._reform_ns = now_ns + REFORM_WAIT_NS
        if now_ns >= self._reform_ns or (self.log.attached_ever and self.control.attached_ever):
            self._reform_ns = None
            self.log.reform_wanted = self.control.reform_wanted = False
            self.ring.reform(now_ns)
            self.settle()

    def _give_up_suspects(self, now_ns: int) -> None:
        for node in self.suspicion.dead(self.ring.counters.orf_token_rx, now_ns):
            if node in self.ring.members:
                self.counters["member_unreachable"] += 1
                self.ring.member_dead(node, now_ns)
                self.settle()

    def _unreachable(self, address: str) -> None:
        """The network reports that nobody listens at this address."""
        node, ring = self.link.node_at(address), self.ring
        if node in ring.members and self.suspicion.hint(node, ring.counters.orf_token_rx, self._now_ns):
            ring.probe(self._now_ns)
            self.settle()

    def receive(self, readable: set[int], now_ns: int) -> None:
        """Handle this node's own frames, then datagrams. `readable`: descriptors from the last poll."""
        ring, link, suspicion = self.ring, self.link, self.suspicion
        if link.has_local:
            for frame in link.take_local():
                ring.receive(frame, now_ns)
                self.settle()
        for frame, source in link.receive(readable, DATAGRAMS_PER_TURN, now_ns):
            self._bytes_rx += len(frame)
            link.heard(frame, source[0])
            if suspicion.next_deadline_ns is not None and (node := link.node_at(source[0])) is not None:
                suspicion.heard(node)
            ring.receive(frame, now_ns)
            self.settle()
            if ring.token_first:
                self._receive_token(now_ns)
        if self._knet_keys is not None and self._knet_keys.follow(now_ns):
            self.death_notice_is_stale = True
        if link.drained:
            ring.input_drained(now_ns)
            suspicion.drained()

    def _receive_token(self, now_ns: int) -> None:
        """The ring knows that the token is here, and wants it before more data: read it."""
        for frame, _ in self.link.receive_token(now_ns):
            self.counters["token_read_first"] += 1
            self._bytes_rx += len(frame)
            self.ring.receive(frame, now_ns)
            self.settle()

    def tend_link(self, readable: set[int], now_ns: int) -> bool:
        """Look after the link's address. True: the descriptors to poll have changed. Raises `CannotBind` at the
        start."""
        self._now_ns = now_ns
        moved = self._move_ns is not None and self._move_ns <= now_ns
        if moved:
            self._change_link()
        if not self.link.tend(readable, now_ns):
            return moved
        self.ring.set_receive_bytes(self.link.receive_bytes())
        if self.ring.state is not State.STARTING:
            if isinstance(self.link, Link):  # the links of knet come and go without the ring
                self.ring.interface_changed(now_ns)
        elif self.link.is_up:
            self.ring.start(now_ns)
        self.settle()
        self.death_notice_is_stale = True
        return True

    def reconfigure(self, config: NodeConfig, now_ns: int) -> None:
        """Apply another configuration. Only its nodelist and time-outs may differ. The descriptors to poll may have
        changed."""
        self._now_ns = now_ns
        self.config = config
        protection = self.link.protection
        self.ring.change_options(ring_options(config, protection.overhead_bytes if protection is not None else 0))
        self._absence.set_nodes(config.members, self.ring.members, now_ns)
        self._move_ns = now_ns
        if self._moves():
            self._move_ns += MOVE_NS
            self.suspicion.members_move(self._move_ns + MOVE_NS)
        self.tend_link(set(), now_ns)

    def _moves(self) -> bool:
        link, config = self.link, self.config
        if isinstance(link, Link):
            return link.moves(link_settings(config))
        return link.moves(knet_settings(config, link.settings.key))

    def _change_link(self) -> None:
        link, config = self.link, self.config
        self._move_ns = None
        self.death_notice_is_stale = True
        if isinstance(link, Link):
            link.change_settings(link_settings(config), self._now_ns)
        else:
            link.change_settings(knet_settings(config, link.settings.key), self._now_ns)

    def begin_life(self) -> None:
        """This process may be a copy, restored from a snapshot: take a new boot identifier."""
        if self.link.protection is not None:
            self.link.protection.begin_life()
            self.death_notice_is_stale = True
            self.counters["lives_begun"] += 1

    def leave(self, now_ns: int) -> None:
        """Send a leave to the others."""
        self._now_ns = now_ns
        self.ring.leave(now_ns)
        self.settle()

    def settle(self) -> None:
        """Send the ring's packets and handle its events, and those that follow from them."""
        output = self.ring.output
        while output.packets or output.events:
            if output.packets:
                self._send(output.take_packets())
            for event in output.take_events():
                self._handlers[type(event)](event)

    def settle_own(self, hand_on: Callable[[], None]) -> None:
        """`settle` after messages of this node were submitted. If the ring delivers some at once, because the token is
        here, cpg gets them (`hand_on`) before the packets leave. Each packet costs a system call per member, and cpg
        can work meanwhile. If there are many packets, they go first, and the token before all."""
        output = self.ring.output
        packets, events = output.packets, output.events
        if (
            packets
            and events
            and len(packets) <= FEW_PACKETS
            and sum([len(datagram) for _, datagram in packets]) <= FEW_BYTES
            and all(type(event) is Message for event in events)
        ):
            packets = output.take_packets()
            for event in output.take_events():
                self._handlers[type(event)](event)
            hand_on()
            self._send(packets)
        self.settle()

    def _send(self, packets: list[tuple[int, bytes]]) -> None:
        size = self.ring.packet_size
        self._bytes_tx += sum([len(frame) for _, frame in packets])
        self.link.send(packets, packet_bytes_max=size.limit, parity=size.parity)

    def submit_of_control(self, now_ns: int) -> None:
        """Submit control's committed messages to the ring, as far as it has room."""
        ring, control = self.ring, self.control
        submitted = False
        while ring.submit_space() > 0 and (message := control.next_message()) is not None:
            ring.submit(message, safe=totem_control.is_safe(message))
            submitted = True
        self.answer_sync_steps()
        if submitted:
            ring.flush(now_ns)
        self.settle()

    def _control_position(self, *, shared: bool = False) -> int:
        """The position of an entry for control. `shared`: cpg got an entry at the same position just now, if it is
        attached."""
        if not self.control.attached_ever:
            return 0
        return self.log.head if shared and self.log.recording else self.log.skip()

    @property
    def pressure(self) -> float:
        """How full the log is (`OrderedLog.pressure`), for the reader that is further behind."""
        return max(self.log.pressure, self.control.pressure)

    # -- events of the ring

    def _message(self, event: Message) -> None:
        data = event.data
        if len(data) >= HEADER_SIZE and data[2] == Service.CPG and data[3] == 0:
            self.log.message(event.sender, data, event.transitional, event.tag)  # type: ignore[arg-type]  # our own tag
        elif len(data) >= HEADER_SIZE and data[3] == 0 and data[2] in _OF_CONTROL:
            self.control.message(self._control_position(), event.sender, data)
            if data[2] == Service.CFG and isinstance(self.link.keys, KnetKeys):
                self._told_of_keys(self.link.keys, event.sender, data)
        else:
            self.counters["foreign_service"] += 1

    def _told_of_keys(self, keys: KnetKeys, sender: int, data: bytes) -> None:
        """C Corosync changes the key by cfg messages."""
        keys.ring_changed(self.ring.members, self.ring.rondo_members, self._now_ns)
        if keys.message(sender, data, self._now_ns):
            self.death_notice_is_stale = True

    def _transitional(self, event: TransitionalConfiguration) -> None:
        self.log.transitional(event.old_ring, event.new_ring, event.members, event.left)
        self.control.transitional(self._control_position(shared=True), event.members, event.left)
        self._text.tell(event, self._now_ns)

    def _regular(self, event: RegularConfiguration) -> None:
        self._absence.ring(event.members, self._now_ns)
        self.suspicion.clear()
        self.death_notice_is_stale = True
        self.log.regular(event.ring, event.members, event.joined, event.left)
        self.control.regular(self._control_position(shared=True), event.ring, event.members)
        self._text.tell(event, self._now_ns)

    def _sync_step(self, event: SyncStep) -> None:
        if event.service == Service.CPG:
            self.log.sync_step(event.ring)
        else:
            self.control.sync_step(self._control_position(), event.ring, event.service)
        self.answer_sync_steps()

    def answer_sync_steps(self) -> None:
        """Hand the sync replies of cpg and control to the ring, if there are any."""
        for (representative, sequence), messages in self.log.take_sync_replies():
            self.ring.sync_reply(RingId(representative, sequence), Service.CPG, messages)
        for (representative, sequence), service, messages in self.control.take_sync_replies():
            self.ring.sync_reply(RingId(representative, sequence), service, messages)

    def _sync_activate(self, event: SyncActivate) -> None:
        if event.service == Service.CPG:
            self.log.sync_activate(event.ring)
        else:
            self.control.sync_activate(self._control_position(), event.ring, event.service)

    def _sync_abort(self, event: SyncAbort) -> None:
        if event.service == Service.CPG:
            self.log.sync_abort(event.ring)
        else:
            self.control.sync_abort(self._control_position(), event.ring)

    def _sync_complete(self, event: SyncComplete) -> None:
        self.log.sync_complete(event.ring)
        self.control.sync_complete(self._control_position(shared=True), event.ring)
        self._text.tell(event, self._now_ns)

    def _notice(self, event: Notice) -> None:
        self._text.tell(event, self._now_ns)

    def _store_sequence(self, event: StoreSequence) -> None:
        self._sequence.store(event.sequence)

    # -- called for the control socket

    def key(self, request: Mapping[str, Any], now_ns: int) -> dict[str, Any]:
        """Answer `rondo key`: show the keys, or change them. Raises ValueError to refuse."""
        keys = self.link.keys
        if keys is None:
            raise ValueError("packet security is switched off; there are no keys")
        if isinstance(keys, KnetKeys):
            keys.ring_changed(self.ring.members, self.ring.rondo_members, now_ns)
        others = [node for node in self.config.members or self.ring.members if node != self.config.node_id]
        do, key, force = request.get("do"), request.get("key"), request.get("force") is True
        if do == "install" and isinstance(key, bytes):
            return {"fingerprint": keys.install_key(key, now_ns)}
        if do in ("use", "remove") and isinstance(key, str):
            change = keys.use_key if do == "use" else keys.remove_key
            self.death_notice_is_stale = True  # the LEAVE that sam holds may be sealed with another key
            return {"fingerprint": change(key, others, now_ns, force=force)}
        if do == "status":
            return keys.key_status(others, now_ns) | {"key_file": self.config.security.key_file}
        raise ValueError("do: status, install, use or remove")

    def status(self) -> dict[str, Any]:
        """The state of this process for `rondo status`."""
        ring = self.ring
        counters = {name: getattr(ring.counters, name) for name in COUNTERS}
        counters |= self.counters | self.link.more_counters()
        counters |= {"frame_bytes_tx": self._bytes_tx, "frame_bytes_rx": self._bytes_rx}
        keys = self.link.keys
        return {
            "state": ring.state.value if self.link.is_up else "isolated",
            "ring": {"representative": ring.ring_id.representative, "sequence": ring.ring_id.sequence},
            "members": list(ring.members),
            "absent": self._absence.status(self._now_ns),
            "node": self.config.node_id,
            "syncing": ring.syncing,
            "rondo_members": list(ring.rondo_members),
            "accelerated": ring.accelerated,
            "window_size": ring.windows[0],
            "max_messages": ring.windows[1],
            "rotation_us": ring.rotation_ns // 1000,
            "token_age_ms": max(0, self._now_ns - ring.parts.rotation.token_at_ns) // 1_000_000,
            "rotations": ring.rotation_times.status(),
            "why_isolated": self.link.why_down,
            "counters": counters,
            "send_queue": {
                "packets": ring.parts.packer.packets_queued(),
                "packets_max": ring.parts.options.send_queue_packets,
            },
            "log": {"head": self.log.head, "acknowledged": self.log.acked, "bytes": self.log.bytes},
            "control": {"committed": self.control.position, "bytes": self.control.bytes},
            "security": keys.status() if keys is not None else None,
            "forward_secrecy": secrecy_status(self.config, ring),
            **self.link.status(self._now_ns),
            "sent_again": {
                "packets": {str(node): count for node, count in ring.counters.packets_again.items()},
                "tokens": {str(node): count for node, count in ring.counters.tokens_again.items()},
            },
            "dropped": {reason.value: count for reason, count in sorted(ring.counters.dropped.items())},
        }
