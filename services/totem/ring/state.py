"""The state of one node's ring: every variable of the protocol, and what all parts of it need to act.

The parts (gather, commit, recovery, install, token, delivery, sync) are modules of functions over this state, one
concern each. They call downwards only: gather -> commit -> recovery -> install, so that each can be read by itself.
Names follow the Totem papers and Corosync: proc and failed lists, consensus, aru, received_flg, install_seq.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.totem.ring.assembly import Assembler
from services.totem.ring.capabilities import Features
from services.totem.ring.consensus import Consensus
from services.totem.ring.counters import Counters
from services.totem.ring.events import EVERYBODY, Event, Notice, NoticeCode, Output, State
from services.totem.ring.flow import FlowControl
from services.totem.ring.membership import Membership
from services.totem.ring.options import (
    RingOptions,
)
from services.totem.ring.pace import Pace
from services.totem.ring.packing import Packer
from services.totem.ring.recovery import Recovery
from services.totem.ring.requests import Requests
from services.totem.ring.sequences import RingSequences
from services.totem.ring.sizing import PacketSize
from services.totem.ring.store import PacketStore
from services.totem.ring.sync import Sync
from services.totem.ring.timers import MS, Timer, Timers
from services.totem.wire.base import RingId
from services.totem.wire.frames import Token

STANDSTILL_JOINS = 8
"""Intervals between joins in which the forming of a ring must get one step further. Two for each node if that is more:
a commit token that comes round has been everywhere. It is given up sooner than the token that forms it would be sent
again; should the machines be so slow that each ring is given up, the patience grows with every one."""

Observer = Callable[[str, dict[str, object]], None]
"""Told of what happens inside, for proofs: name of the event and its fields. None in production."""


class RingState:
    """All of it. Only the modules of this package touch it."""

    def __init__(
        self,
        options: RingOptions,
        node_id: int,
        ring_sequence: int,
        now_ns: int,
        jitter: Callable[[int], int],
        observer: Observer | None,
    ) -> None:
        self.options = options
        self.node_id = node_id
        self.jitter = jitter
        self.observer = observer
        self.now_ns = now_ns
        self.output = Output()
        self.counters = Counters()
        self.timers = Timers()

        self.membership: Final = Membership(node_id, RingId(node_id, ring_sequence + 1))
        self.recovery: Final = Recovery(options.initial_sequence)

        self.sequences: Final = RingSequences(self.membership.ring_id.sequence, now_ns)
        self.consensus: Final = Consensus(node_id, options, now_ns)
        self.state = State.STARTING
        self.standstills = 0
        """Rings in a row whose forming was given up because it stood still."""
        self.paused = False
        """This process was not scheduled for so long that joins in its sockets are stale."""
        self.pause_checked_ns = now_ns

        # The way of the token.
        self.token_seq = -1
        """token_seq of the last token that was accepted."""
        self.passed_seq = options.initial_sequence
        """seq of the token that was passed on last."""
        self.discard_tokens = True
        self.last_frame: bytes = b""
        """The token, or commit token, that was passed on last: for the retransmit timer."""
        self.last_aru = -1
        """aru of the token at the visit before."""
        self.last_seq = -1
        self.seq_unchanged = 0
        self.aru_count = 0
        self.token_held = False
        """The ring is idle: the representative holds the token, others know that it does."""
        self.holding = False
        """This node is the representative and has the token."""
        self.held_token: Token | None = None
        """The token, while this node holds it."""
        self.lingered = 0
        """What this node has sent since, without passing on the token, in packets of netmtu."""
        self.linger_until_ns = 0
        self.wanted = False
        """The representative knows that somebody wants the token, which is on its way."""
        self.probes = 0
        """Visits for which the token is wanted although there is nothing to send."""
        self.cancel_sent = False
        self.token_at_ns = now_ns
        self.flow = FlowControl()

        self.pace = self.new_pace()
        self.hurried = False
        """Somebody has cancelled the hold since the last visit: the token is expected."""
        self.tokens_sent = 0
        """Tokens passed on in this ring, repetitions not counted: the round of what is sent until the next one."""
        self.tokens_received = 0
        """Tokens accepted in this ring: the predecessor's `tokens_sent`, unless one is on its way."""
        self.token_first = False
        """The predecessor sends behind the token already, so that is here too: read it before more data."""

        # Order.
        base = options.initial_sequence
        self.regular = PacketStore(self.membership.ring_id, base)
        self.this_seqno = 0
        self.sent_aru = base - 1
        """aru of the token as it was passed on last."""
        self.stable = base
        """Every member has all packets of the installed ring up to here, as far as this node knows."""

        # Messages.
        self.packet_size = PacketSize(options.packet_size_max)
        self.packer = Packer(options.packet_size_max)
        self.assembler = Assembler(self.counters)
        self.features: Final = Features(options)
        self.requests: Final = Requests()
        self.sync: Final = Sync(options.packet_size_max, self.counters)

    def new_pace(self) -> Pace:
        """A measure of rotation for a ring that is new."""
        return Pace(self.options.token_retransmit_ms * MS, fixed=self.options.like_corosync)

    def begin_ring(self) -> None:
        """A ring is being formed, of which no token has been seen yet."""
        base = self.options.initial_sequence
        self.token_seq = -1
        self.tokens_sent = self.tokens_received = 0
        self.token_first = self.hurried = self.wanted = False
        self.probes = 0
        self.sent_aru = base - 1
        self.pace = self.new_pace()

    @property
    def is_representative(self) -> bool:
        """Whether this node is the representative of the ring it is in."""
        return self.membership.is_representative

    def unicast(self, node: int, frame: bytes) -> None:
        """Ask for a packet to one node, which may be this one."""
        self.output.packets.append((node, frame))

    def multicast(self, frame: bytes) -> None:
        """Ask for a packet to everybody."""
        self.output.packets.append((EVERYBODY, frame))

    def emit(self, event: Event) -> None:
        """Tell the host."""
        self.output.events.append(event)

    def notice(self, code: NoticeCode, *detail: object) -> None:
        """Tell the host something for its log."""
        self.output.events.append(Notice(code, detail))

    def start_timer(self, timer: Timer, after_ms: int) -> None:
        """Arm a timer that runs from now."""
        self.timers.start(timer, self.now_ns + after_ms * MS)

    def expect_progress(self) -> None:
        """A step of the ring that is being formed was made; the next one is due soon."""
        joins = max(STANDSTILL_JOINS, 2 * len(self.membership.new_members))
        patience_ms = joins * self.options.join_timeout_ms
        patience_ms += patience_ms * self.standstills // STANDSTILL_JOINS
        if self.state is State.RECOVERY and self.token_held:
            patience_ms += self.options.token_hold_ms
        self.start_timer(Timer.STANDSTILL, patience_ms)

    def await_token(self, interval_ns: int) -> None:
        """Arm the timer that sends the token again."""
        self.timers.start(Timer.TOKEN_RETRANSMIT, self.now_ns + interval_ns)

    def enter(self, state: State, reason: int = 0) -> None:
        """Note the state; the caller does what it means."""
        self.state = state
        if self.observer is not None:
            self.observe_entry(reason)

    def observe_entry(self, reason: int) -> None:
        """Tell the observer what this state was entered with."""
        if self.observer is None:
            return
        self.observer(
            "state",
            {
                "state": str(self.state),
                "reason": reason,
                "proc": sorted(self.consensus.proc),
                "failed": sorted(self.consensus.failed),
                "ring": list(self.membership.ring_id),
            },
        )

    def observe_books(self) -> None:
        """Tell the observer what is stored and which timers run."""
        if self.observer is None:
            return
        self.observer("timers", {"armed": sorted(self.timers.deadlines_ns)})
        self.observe_buffers()

    def observe_buffers(self) -> None:
        """Tell the observer how full the buffers are."""
        if self.observer is None:
            return
        self.observer(
            "buffers",
            {
                "regular": len(self.regular.frames),
                "recovery": len(self.recovery.store.frames) if self.recovery.store is not None else 0,
                "new": self.packer.packets_queued(),
                "trans": self.sync.packer.packets_queued(),
                "retrans": len(self.recovery.retrans_queue),
                "assembly_bytes": self.assembler.size() + self.sync.assembler.size(),
            },
        )
