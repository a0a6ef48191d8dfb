"""The state of one node's ring: its parts, the time, and the output for the host.

Each part is a class of the module that owns it. Only that module writes it; all may read it. The rules (gather, commit,
recovery, install, token, delivery, sync) are modules of functions over this state, one concern each. They call only
downwards: gather -> commit -> recovery -> install, so that each can be read by itself.

Names follow the Totem papers and Corosync: proc and failed lists, consensus, aru, received_flg, install_seq.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from services.totem.ring.capabilities import Features
from services.totem.ring.consensus import Consensus
from services.totem.ring.counters import Counters
from services.totem.ring.delivery import Delivery
from services.totem.ring.events import EVERYBODY, Event, Notice, NoticeCode, Output, State
from services.totem.ring.flow import FlowControl
from services.totem.ring.hold import Hold
from services.totem.ring.membership import Membership
from services.totem.ring.options import (
    RingOptions,
)
from services.totem.ring.packing import Packer
from services.totem.ring.pause import PauseDetector
from services.totem.ring.recovery import Recovery
from services.totem.ring.requests import Requests
from services.totem.ring.rotation import Rotation
from services.totem.ring.secrecy import Keeper, Secrecy
from services.totem.ring.sequences import RingSequences
from services.totem.ring.sizing import PacketSize
from services.totem.ring.sync import Sync
from services.totem.ring.timers import MS, Timer, Timers
from services.totem.wire.base import RingId

STANDSTILL_JOINS: Final = 8
"""The formation of a ring must advance one step within so many join intervals, or within two for each node if that is
more: a commit token that comes round has visited every node. The ring is given up before the token that forms it would
be sent again. On machines so slow that each ring is given up, the patience grows each time."""

Observer = Callable[[str, dict[str, object]], None]
"""Called with each internal event, for tests: its name and its fields. None in production."""

Handler = Callable[..., None]
"""Handles an event: a function of the state, and of the frame or the arguments of the call."""


class RingState:
    """The whole state. Only the modules of this package touch it."""

    def __init__(
        self,
        options: RingOptions,
        node_id: int,
        ring_sequence: int,
        now_ns: int,
        jitter: Callable[[int], int],
        observer: Observer | None,
        frame_handlers: Mapping[State, tuple[Handler, ...]],
        keeper: Keeper | None = None,
    ) -> None:
        """`frame_handlers`: for each state the handlers of frames, indexed by kind."""
        self.options = options
        self.node_id = node_id
        self.jitter = jitter
        self.observer = observer
        self.now_ns = now_ns
        self.output = Output()
        self.counters = Counters()
        self.timers = Timers()

        self.state = State.STARTING
        self._frame_handlers: Final = frame_handlers
        self.handlers = frame_handlers[State.STARTING]
        """The handlers of frames in this state."""
        self.standstills = 0
        """Rings in a row that were given up because they made no progress."""

        # The parts. Only its own module writes each.
        self.membership: Final = Membership(node_id, RingId(node_id, ring_sequence + 1))
        self.sequences: Final = RingSequences(self.membership.ring_id.sequence, now_ns)
        self.consensus: Final = Consensus(node_id, options, now_ns)
        self.pause: Final = PauseDetector(options.token_timeout_ms, now_ns)
        self.recovery: Final = Recovery(options.initial_sequence)
        self.rotation: Final = Rotation(options, now_ns)
        self.hold: Final = Hold(options.initial_sequence)
        self.flow: Final = FlowControl()
        self.requests: Final = Requests()
        self.secrecy: Final = Secrecy(keeper)
        self.features: Final = Features(options)
        self.packet_size: Final = PacketSize(options.packet_size_max)
        self.packer: Final = Packer(options.packet_size_max)
        self.sync: Final = Sync(options.packet_size_max, self.counters)
        self.delivery: Final = Delivery(self.membership.ring_id, options.initial_sequence, self.counters)

    def change_options(self, options: RingOptions) -> None:
        """Use another nodelist and other time-outs from now on. Running timers keep the time that they were started
        with."""
        self.options = options
        self.consensus.change_options(options)
        self.pause.change_timeout(options.token_timeout_ms)
        self.rotation.change_options(options)

    @property
    def is_representative(self) -> bool:
        """Whether this node is the representative of the ring that was committed to last."""
        return self.membership.is_representative

    def set_time(self, now_ns: int) -> None:
        """Set the present time, ns of the host's clock."""
        self.now_ns = now_ns

    def unicast(self, node: int, frame: bytes) -> None:
        """Send a packet to one node, which may be this one."""
        self.output.packets.append((node, frame))

    def multicast(self, frame: bytes) -> None:
        """Send a packet to everybody."""
        self.output.packets.append((EVERYBODY, frame))

    def emit(self, event: Event) -> None:
        """Hand an event to the host."""
        self.output.events.append(event)

    def notice(self, code: NoticeCode, *detail: object) -> None:
        """Tell the host something for its log."""
        self.output.events.append(Notice(code, detail))

    def start_timer(self, timer: Timer, after_ms: int) -> None:
        """Arm a timer that runs from now."""
        self.timers.start(timer, self.now_ns + after_ms * MS)

    def count_standstill(self) -> None:
        """A ring is given up because it makes no progress."""
        self.standstills += 1

    def forget_standstills(self) -> None:
        """A ring was installed."""
        self.standstills = 0

    def leave(self) -> None:
        """Nothing is sent or accepted any more."""
        self.timers.stop_all()
        self._change(State.LEFT)

    def expect_progress(self) -> None:
        """The ring that is being formed has advanced a step. The next step is due soon."""
        joins = max(STANDSTILL_JOINS, 2 * len(self.membership.new_members))
        patience_ms = joins * self.options.join_timeout_ms
        patience_ms += patience_ms * self.standstills // STANDSTILL_JOINS
        if self.state is State.RECOVERY and self.hold.may_be_held:
            patience_ms += self.options.token_hold_ms
        self.start_timer(Timer.STANDSTILL, patience_ms)

    def await_token(self, interval_ns: int) -> None:
        """Arm the timer that sends the token again."""
        self.timers.start(Timer.TOKEN_RETRANSMIT, self.now_ns + interval_ns)

    def enter(self, state: State, reason: int = 0) -> None:
        """Change the state. The caller does what the new state requires."""
        self._change(state)
        if self.observer is not None:
            self.observe_entry(reason)

    def _change(self, state: State) -> None:
        self.state = state
        self.handlers = self._frame_handlers[state]

    def observe_entry(self, reason: int) -> None:
        """Tell the observer with which lists this state was entered."""
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
        """Tell the observer which timers run and how full the buffers are."""
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
                "regular": len(self.delivery.regular.frames),
                "recovery": len(self.recovery.store.frames) if self.recovery.store is not None else 0,
                "new": self.packer.packets_queued(),
                "trans": self.sync.packer.packets_queued(),
                "retrans": len(self.recovery.retrans_queue),
                "assembly_bytes": self.delivery.assembler.size() + self.sync.assembler.size(),
            },
        )
