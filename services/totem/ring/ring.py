"""The ring: the interface for the process loop and the simulator.

`Ring` takes datagrams, the time and messages. It leaves in `output` the packets to send and the events to hand on. It
has no socket, no clock and no randomness of its own. dispatch.py has the table of handlers by state and event; the
modules named there hold the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.totem.ring import capabilities, gather
from services.totem.ring.counters import Counters
from services.totem.ring.dispatch import FRAME_HANDLERS, Call, dispatch
from services.totem.ring.events import GatherReason, Output, State, Tag
from services.totem.ring.options import SEND_QUEUE_BYTES, RingOptions
from services.totem.ring.packing import Parts
from services.totem.ring.rotation_times import RotationTimes
from services.totem.ring.secrecy import Keeper, Secrecy
from services.totem.ring.sizing import PacketSize
from services.totem.ring.state import Observer, RingState
from services.totem.ring.timers import Timer
from services.totem.wire.base import Malformed, RingId
from services.totem.wire.frames import KIND_AT, decode
from services.totem.wire.packets import EXECUTIVE_PREFIX


class Ring:
    """One node of the Totem single-ring protocol.

    After every call the caller sends `output.packets` in order, and takes `output.events`. Packets to this node itself,
    and packets to EVERYBODY other than mcasts, must be given back to `receive` without loss. When the caller wakes up,
    it calls `advance` for timers that are due before it reads its sockets.
    """

    def __init__(
        self,
        options: RingOptions,
        node_id: int,
        ring_sequence: int,
        now_ns: int,
        jitter: Callable[[int], int],
        observer: Observer | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        """`ring_sequence`: from stable storage, 0 if there is none. `jitter(n)`: a random integer in [0, n). `keeper`:
        makes the secrets of forward secret rings; None: there are none."""
        self._s = RingState(options, node_id, ring_sequence, now_ns, jitter, observer, FRAME_HANDLERS, keeper)

    @property
    def parts(self) -> RingState:
        """The parts of the state, for status reports and tests to read. Nothing outside the ring changes them."""
        return self._s

    @property
    def output(self) -> Output:
        """Packets and events since the caller took them."""
        return self._s.output

    @property
    def counters(self) -> Counters:
        """Counts since the start."""
        return self._s.counters

    @property
    def state(self) -> State:
        """State of the membership protocol."""
        return self._s.state

    @property
    def ring_id(self) -> RingId:
        """The installed ring."""
        return self._s.membership.old_ring_id

    @property
    def members(self) -> tuple[int, ...]:
        """Members of the installed ring, ascending."""
        return self._s.membership.members

    @property
    def syncing(self) -> bool:
        """Whether the services' sync is under way; messages wait meanwhile."""
        return self._s.sync.active

    @property
    def rondo_members(self) -> tuple[int, ...]:
        """Members of the installed ring that have announced themselves as Rondo. Known once its sync has begun."""
        return tuple(sorted(self._s.features.announcements))

    @property
    def secrecy(self) -> Secrecy:
        """Whether the installed ring is forward secret, and if not, why."""
        return self._s.secrecy

    @property
    def accelerated(self) -> bool:
        """Whether data may follow the token in this ring."""
        return self._s.features.accelerated

    @property
    def windows(self) -> tuple[int, int]:
        """Packets that may be sent per rotation, and by one node per visit of the token, in this ring."""
        return self._s.features.window_size, self._s.features.max_messages

    @property
    def packet_size(self) -> PacketSize:
        """The present packet size, and how packets are sent. A larger packet that is sent again has a size that was
        given up because of losses."""
        return self._s.packet_size

    @property
    def rotation_ns(self) -> int:
        """The measured time of a rotation of the token, ns; 0 = not known (yet)."""
        return self._s.rotation.pace.rotation_ns

    @property
    def rotation_times(self) -> RotationTimes:
        """How long rotations took since the start."""
        return self._s.rotation.times

    @property
    def token_first(self) -> bool:
        """The token waits to be read, and nothing must be read before it: the caller reads the token first."""
        return self._s.rotation.token_first

    def set_receive_bytes(self, receive_bytes: int) -> None:
        """Set the size of the data socket's receive buffer, bytes as the kernel counts. The others learn of it in the
        next ring."""
        capabilities.set_receive_bytes(self._s, receive_bytes)

    def change_options(self, options: RingOptions) -> None:
        """Change the nodelist, the time-outs and the counts of rotations while the ring runs. Other options must stay
        the same: others were told of them, or buffers were sized by them, so a change has no effect or an undefined
        one."""
        self._s.change_options(options)

    def start(self, now_ns: int) -> None:
        """The interface is up: look for others."""
        s = self._s
        s.set_time(now_ns)
        dispatch(s, Call.START)

    def leave(self, now_ns: int) -> None:
        """Send a leave to the others. Nothing is sent or accepted afterwards."""
        self._s.set_time(now_ns)
        dispatch(self._s, Call.LEAVE)

    def last_words(self) -> bytes:
        """The frame that `leave` would send now. Another process sends it when this one has died. It is valid until the
        next ring is installed; members of other rings, and of later ones, ignore it."""
        return gather.leave_frame(self._s)

    def probe(self, now_ns: int) -> None:
        """If the token is held, make it go round: its return shows that every member lives."""
        self._s.set_time(now_ns)
        dispatch(self._s, Call.PROBE)

    def interface_changed(self, now_ns: int) -> None:
        """The address was lost or is back."""
        self._regather(now_ns, GatherReason.INTERFACE_CHANGE)

    def member_dead(self, node: int, now_ns: int) -> None:
        """The caller knows for certain that this node's process is gone or unreachable: a probe of it failed. The ring
        is formed anew at once without it. Nothing happens if the node is not in the ring or has failed already. If it
        lives after all, the rings merge again."""
        self._s.set_time(now_ns)
        dispatch(self._s, Call.MEMBER_DEAD, node)

    def reform(self, now_ns: int) -> None:
        """Form a new ring of the same members, so that services get a sync from its beginning."""
        self._regather(now_ns, GatherReason.REQUESTED)

    def _regather(self, now_ns: int, reason: GatherReason) -> None:
        self._s.set_time(now_ns)
        dispatch(self._s, Call.REGATHER, reason)

    def submit(self, message: bytes, tag: Tag = None, *, safe: bool = False, parts: Parts | None = None) -> None:
        """Queue an executive message (without group header, at most MESSAGE_SIZE_MAX - 5 bytes). `tag` comes back with
        the message when it is delivered here. The caller checks `submit_space` before, and calls `flush` after a batch.

        `safe`: Rondo members deliver it, and all messages after it, only when every member of the ring has it. `parts`:
        returns the messages and tags to send in its place where not all members understand it.
        """
        if parts is None:
            self._s.packer.add(EXECUTIVE_PREFIX + message, tag, safe=safe)
        else:
            self._s.packer.add(
                EXECUTIVE_PREFIX + message, tag, safe=safe,
                parts=lambda: [(EXECUTIVE_PREFIX + part, part_tag) for part, part_tag in parts()],
            )  # fmt: skip

    def submit_space(self) -> int:
        """Bytes of messages that may still be submitted; an empty queue always admits one message of any size."""
        packer = self._s.packer
        return max(0, SEND_QUEUE_BYTES - packer.bytes_queued)

    def flush(self, now_ns: int) -> None:
        """Messages were submitted: wake an idle ring."""
        self._s.set_time(now_ns)
        dispatch(self._s, Call.FLUSH)

    def sync_reply(self, ring: RingId, service: int, messages: Sequence[bytes]) -> None:
        """The messages of a local service for a requested sync step. A late reply is ignored."""
        dispatch(self._s, Call.SYNC_REPLY, ring, service, messages)
        dispatch(self._s, Call.FLUSH)

    def input_drained(self, now_ns: int) -> None:
        """The caller has read its sockets empty: joins that come from now on are fresh."""
        self._s.set_time(now_ns)
        self._s.pause.drained()

    def next_deadline_ns(self) -> int | None:
        """When `advance` is to be called; None if never."""
        return self._s.timers.next_deadline_ns()

    def advance(self, now_ns: int) -> None:
        """Expire the timers that are due, each at most once."""
        s = self._s
        s.set_time(now_ns)
        for _ in range(len(Timer)):
            timer = s.timers.take_due(now_ns)
            if timer is None:
                return
            dispatch(s, timer)

    def receive(self, datagram: bytes, now_ns: int) -> None:
        """Take a datagram. A bad one is counted by reason and has no effect."""
        s = self._s
        s.set_time(now_ns)
        handlers = s.handlers
        if not handlers:
            return
        try:
            frame = decode(datagram)
        except Malformed as fault:
            s.counters.drop(fault.reason)
            return
        handlers[datagram[KIND_AT]](s, frame)
