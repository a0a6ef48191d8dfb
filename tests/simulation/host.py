"""One simulated node: a real `Ring`, and the work that the totem process does for it, in virtual time.

The host keeps the same rules as the totem process:

- Timers that are due expire before packets are read.
- The ring sequence is stored before anything else is done with the ring's output.
- Packets leave in the order of the ring's list. The process may die between any two of them.
- A frame for everybody also comes back to this node at once, unless it is an mcast.
- Data is read before the token where the two wait in different sockets.

A frozen process reads nothing. Packets fill its sockets up to their bound, and time goes on.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from services.totem.ring.events import (
    EVERYBODY,
    Message,
    RegularConfiguration,
    StoreSequence,
    SyncAbort,
    SyncActivate,
    SyncComplete,
    SyncStep,
    TransitionalConfiguration,
)
from services.totem.sequence_file import RESERVE
from services.totem.wire.frames import RTR_ENTRIES_MAX, Kind
from tests.simulation.network import OnLink, Sealed, kind_of
from tests.simulation.sendlog import SendLog
from tests.simulation.trace import (
    MESSAGE_SIZE_MIN,
    NodeObserver,
    SimulationError,
    make_message,
    message_hash,
    message_id,
    message_level,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.totem.ring.events import Event
    from services.totem.ring.options import RingOptions
    from services.totem.ring.ring import Ring
    from services.totem.wire.base import RingId
    from tests.simulation.crashes import CrashPoint
    from tests.simulation.knet_wires import KnetLife
    from tests.simulation.sealing import Life
    from tests.simulation.world import World

_KIND_AT = 3
_RTR_COUNT_AT = 53
_SETTLE_ROUNDS_MAX = 10_000
"""Rounds of one call of `settle`. A ring that needs more sends to itself without end."""
_RETRY_NS = 10_000_000
"""How soon a client tries again after it was told that the queue is full."""


class Host:
    """A node. It exists during the whole run. Its process starts and ends: `ring` is None while it is down."""

    def __init__(
        self, world: World, node: int, options: RingOptions, *,
        queue_bytes_max: int = 1 << 20, separate_sockets: bool = True, wake_latency_ns: int = 0, sync_delay_ns: int = 0,
        receive_bytes: int = 0,
    ) -> None:  # fmt: skip
        self.world = world
        self.node = node
        self.options = options
        self.queue_bytes_max = queue_bytes_max
        self.separate_sockets = separate_sockets
        self.wake_latency_ns = wake_latency_ns
        self.sync_delay_ns = sync_delay_ns
        self.receive_bytes = receive_bytes
        self.stored = 0
        self.inc = 0
        self.ring: Ring | None = None
        self.frozen = False
        self.crash_point: CrashPoint | None = None
        self.life: Life | None = None
        """Seals and opens packets. None while the process is down, or if packets are not sealed."""
        self.knet_life: KnetLife | None = None
        """This node's end of the links. None while the process is down, or if the run is without knet."""
        self.submitted = 0
        self._reset()

    def _reset(self) -> None:
        """Forget everything that a process has only in memory."""
        if self.life is not None:
            self.life.end()
            self.life = None
        if self.knet_life is not None:
            self.knet_life.end()
            self.knet_life = None
        self.synced_ring: RingId | None = None
        self.waiting: deque[tuple[int, bool]] = deque()
        self.outstanding: set[int] = set()
        self.frozen = False
        self.crash_point = None
        self._next_message = 1
        self._cfg = ""
        self._regular_ring: RingId | None = None
        self._transitional = False
        self._data: deque[bytes] = deque()
        self._tokens: deque[bytes] = deque()
        self._queued_bytes = 0
        self._own: deque[bytes] = deque()
        self._wake_at_ns: int | None = None
        self._deadline_ns: int | None = None
        self._reading_at_ns: int | None = None
        self._retrying = False
        self._deferred: list[Callable[[], None]] = []
        self._begun = False

    # -- life and death -----------------------------------------------------------------------------------------------

    def start(self, *, lost_state: bool = False, wall_clock_sequence: int = 0) -> None:
        """Start the process. If its state file is lost, it takes the ring sequence from the wall clock. If not, it
        skips the sequences that its last life had reserved (services/totem/sequence_file.py)."""
        if self.ring is not None:
            raise SimulationError(f"node {self.node} runs already")
        self._reset()
        self.inc += 1
        if lost_state:
            self.stored = wall_clock_sequence
        elif self.inc > 1:
            self.stored += RESERVE
        self._emit("start", {"stored": self.stored, "lost_state": lost_state})
        if self.world.sealing is not None:
            self.life = self.world.sealing.begin(self)
        observer = NodeObserver(self.world.trace, self.node, self.inc)
        self._send_log = SendLog(observer)
        self.ring = self.world.new_ring(self, observer)
        self.ring.set_receive_bytes(self.receive_bytes)
        if self.world.wires is None:
            self.begin_ring()
        else:
            self.knet_life = self.world.wires.begin(self)
            self.knet_life.begin()

    def begin_ring(self) -> None:
        """Frames can leave now: let the ring look for other nodes. This happens once in a life of the process."""
        if self.ring is not None and not self._begun:
            self._begun = True
            self.ring.start(self.world.now())
            self.settle()

    def crash(self) -> None:
        """The process dies at once. Packets that waited in its sockets are lost."""
        if self.ring is not None:
            self.ring = None
            self._reset()
            self._emit("fail", {})

    def leave(self) -> None:
        """Stop the process cleanly: the ring says goodbye, then the process ends."""
        if self.ring is None or self.frozen:
            return
        self.ring.leave(self.world.now())
        self.settle()
        if self.ring is not None:
            self.ring = None
            self._reset()
            self._emit("stop", {})

    def freeze(self) -> None:
        """The process is not scheduled any more."""
        if self.ring is not None and not self.frozen:
            self.frozen = True
            self._emit("freeze", {})

    def thaw(self) -> None:
        """The process runs again. Its timers come first, then the packets that its sockets kept."""
        if self.ring is None or not self.frozen:
            return
        self.frozen = False
        self._emit("thaw", {})
        self._wake()
        deferred, self._deferred = self._deferred, []
        for action in deferred:
            action()

    # -- calls from outside -------------------------------------------------------------------------------------------

    def submit(self, *sizes: int, safe: bool = False) -> None:
        """Clients of this node send messages of these sizes, in bytes. Messages wait while the ring's queue is full. A
        node that is like Corosync's has no SAFE messages, and sends AGREED ones instead."""
        safe = safe and not self.options.like_corosync
        if self.ring is not None:
            self.waiting.extend((max(size, MESSAGE_SIZE_MIN), safe) for size in sizes)
            self._when_awake(self._submit_waiting)

    def reform(self) -> None:
        """Ask for a new ring."""
        self.call(lambda ring, now_ns: ring.reform(now_ns))

    def member_dead(self, node: int) -> None:
        """The host tells the ring that this node is certainly gone."""
        self.call(lambda ring, now_ns: ring.member_dead(node, now_ns))

    def probe_ring(self) -> None:
        """The host asks the ring to let the token go round, even if it is held."""
        self.call(lambda ring, now_ns: ring.probe(now_ns))

    def interface_changed(self) -> None:
        """The host tells the ring that this node's address was lost or came back."""
        self.call(lambda ring, now_ns: ring.interface_changed(now_ns))

    def call(self, action: Callable[[Ring, int], None]) -> None:
        if self.ring is not None and not self.frozen:
            action(self.ring, self.world.now())
            self.settle()

    def _when_awake(self, action: Callable[[], None]) -> None:
        """Call `action` now or, if the process is frozen, when it runs again. A process that dies before that never
        calls it."""
        if self.frozen:
            self._deferred.append(action)
        else:
            action()

    def _submit_waiting(self) -> None:
        ring = self.ring
        if ring is None or self.frozen:
            return
        while self.waiting and ring.submit_space() >= self.waiting[0][0]:
            size, safe = self.waiting.popleft()
            data, n = self.make_message(size, safe=safe)
            self.outstanding.add(n)
            ring.submit(data, (self.inc, n), safe=safe)
        ring.flush(self.world.now())
        self.settle()
        if self.waiting and not self._retrying and self.ring is not None:
            self._retrying = True
            self.later(_RETRY_NS, self._retry)

    def _retry(self) -> None:
        self._retrying = False
        self._submit_waiting()

    def make_message(self, size: int, *, sync: bool = False, safe: bool = False) -> tuple[bytes, int]:
        """A new message of this size in bytes, and its number. A message has at least the size of its head. The trace
        gets a submit event for it."""
        n = self._next_message
        self._next_message += 1
        msg = (self.node, self.inc, n)
        data = make_message(msg, self.world.filler(max(0, size - MESSAGE_SIZE_MIN)), safe=safe)
        self.submitted += 1
        fields = {"msg": msg, "hash": message_hash(data), "size": len(data), "level": message_level(data)}
        self._emit("submit", {**fields, "sync": sync})
        return data, n

    def later(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Call `action` in `delay_ns`. A frozen process calls it when it runs again. A process that dies before that
        never calls it."""
        inc = self.inc

        def due() -> None:
            if self.inc == inc and self.ring is not None:
                self._when_awake(action)

        self.world.call_at(self.world.now() + delay_ns, due)

    # -- packets arrive -----------------------------------------------------------------------------------------------

    def arrive(self, data: bytes) -> None:
        """A datagram reaches this node's socket."""
        if self.ring is None:
            if self.world.wires is not None and isinstance(data, OnLink):
                self.world.wires.nobody_listens(data, self.node)
            return
        if not self.frozen and not self.wake_latency_ns:
            if self._deadline_ns is not None and self._deadline_ns <= self.world.trace.now_ns:
                self._timers_first()
            self._receive(data)
            return
        if self._queued_bytes + len(data) > self.queue_bytes_max:
            self.world.counts["queue_overflow"] += 1
            return
        self._queued_bytes += len(data)
        token = self.separate_sockets and kind_of(data) in (Kind.TOKEN, Kind.COMMIT)
        (self._tokens if token else self._data).append(data)
        if not self.frozen and self._reading_at_ns is None:
            delay_ns = self.world.draw(self.wake_latency_ns)
            self._reading_at_ns = self.world.now() + delay_ns
            self.later(delay_ns, self._wake)

    def _wake(self) -> None:
        """The process wakes up. Timers come first, then all data, then tokens. Data that comes meanwhile is read before
        the next token. A token is read before data only where the ring asks for it (`Ring.token_first`)."""
        self._reading_at_ns = None
        self._timers_first()
        while self.ring is not None and (self._data or self._tokens):
            data = (self._tokens if self._token_is_next() else self._data).popleft()
            self._queued_bytes -= len(data)
            self._receive(data)
        if self.ring is not None:
            self.settle()

    def _receive(self, data: bytes) -> None:
        """The process reads a datagram."""
        if self.knet_life is not None:
            if isinstance(data, OnLink):
                self.knet_life.open(data, self._hand_in)
        elif self.life is None:
            self._hand_in(data)
        elif isinstance(data, Sealed):
            self.life.open(data, self._hand_in)

    def _hand_in(self, frame: bytes) -> None:
        if self.ring is not None:
            if self.options.like_corosync and frame[_KIND_AT] == Kind.TOKEN:
                self._check_requests(frame)
            self.ring.receive(frame, self.world.now())
            self.settle()

    def _check_requests(self, token: bytes) -> None:
        """Raise SimulationError if a token has more requests than Corosync writes. A Corosync node would read past the
        end of its copy of such a token."""
        requests = int.from_bytes(token[_RTR_COUNT_AT : _RTR_COUNT_AT + 4], "little")
        if requests > RTR_ENTRIES_MAX:
            raise SimulationError(f"node {self.node}, like Corosync's, was given a token with {requests} requests")

    def _token_is_next(self) -> bool:
        if not self._tokens or not self._data or self.ring is None:
            return not self._data
        if self.ring.token_first:
            self.world.counts["token_read_first"] += 1
        return self.ring.token_first

    def _timers_first(self) -> None:
        if self.ring is not None and self._deadline_ns is not None and self._deadline_ns <= self.world.now():
            self.ring.advance(self.world.now())
            self.settle()

    def _timer(self) -> None:
        """A wake-up for timers. The deadline may have moved since this wake-up was asked for."""
        if self._wake_at_ns is not None and self._wake_at_ns > self.world.now():
            return
        self._wake_at_ns = None
        if self.ring is not None and not self.frozen:
            self._timers_first()
            self._set_timer()

    def _set_timer(self) -> None:
        deadline_ns = self._deadline_ns
        if deadline_ns is None or (self._wake_at_ns is not None and self._wake_at_ns <= deadline_ns):
            return
        self._wake_at_ns = at_ns = max(deadline_ns, self.world.now())
        inc = self.inc
        self.world.call_at(at_ns, lambda: self._timer() if self.inc == inc else None)

    # -- output of the ring -------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Do what the ring asks until it asks for nothing more, then set the timer."""
        for _ in range(_SETTLE_ROUNDS_MAX):
            ring = self.ring
            if ring is None:
                return
            output = ring.output
            if output.packets or output.events:
                events = output.take_events()
                for event in events:
                    if type(event) is StoreSequence:
                        self.stored = event.sequence
                if output.packets:
                    self._put_packets(output.take_packets())
                for event in events:
                    if self.ring is not None:
                        self._handle(event)
            elif self._own:
                ring.receive(self._own.popleft(), self.world.now())
            elif not self._data and not self._tokens:
                ring.input_drained(self.world.now())
                if not (output.packets or output.events):
                    break
            else:
                break
        else:
            raise SimulationError(f"node {self.node} does not come to rest")
        self._deadline_ns = ring.next_deadline_ns()
        self._set_timer()

    def _put_packets(self, packets: list[tuple[int, bytes]]) -> None:
        """Send these packets in order. A crash point may let the node die between two of them."""
        point = self.crash_point
        die_after = (
            point.among(self.ring.state, packets, self.world) if point is not None and self.ring is not None else None
        )
        world, node = self.world, self.node
        due = packets[:die_after]
        datagrams = [data for _, data in due] if world.sealing is None else world.sealing.seal(self, due)
        for (target, data), datagram in zip(due, datagrams, strict=True):
            if data[_KIND_AT] == Kind.MCAST:
                self._send_log.note(data)
            elif target == EVERYBODY:
                self._own.append(data)
            if target == node:
                self.later(10_000, partial(self._loop_back, data))
            elif self.knet_life is None:
                for other in world.everybody_else(node) if target == EVERYBODY else (target,):
                    world.transmit(node, other, datagram)
        if self.knet_life is not None:
            self.knet_life.send(due)
        if die_after is not None:
            self.crash()

    def _loop_back(self, data: bytes) -> None:
        """Hand the ring a packet that this node sent to itself, such as its token."""
        self._timers_first()
        if self.ring is not None:
            self.ring.receive(data, self.world.now())
            self.settle()

    def _handle(self, event: Event) -> None:
        if isinstance(event, SyncStep | SyncActivate | SyncAbort | SyncComplete) and event.ring != self._regular_ring:
            raise SimulationError(f"node {self.node}: {event} was told in ring {self._regular_ring}")
        match event:
            case Message():
                self._deliver(event)
            case SyncStep():
                self._sync_step(event)
            case TransitionalConfiguration():
                old, new = event.old_ring, event.new_ring
                self._cfg = f"t:{old[0]}:{old[1]}:{new[0]}:{new[1]}"
                self._transitional = True
                fields: dict[str, object] = {"kind": "trans", "ring": old, "old": old, "new": new}
                self._emit("conf", {"cfg": self._cfg, **fields, "members": event.members, "left": event.left})
            case RegularConfiguration():
                self._cfg = f"r:{event.ring[0]}:{event.ring[1]}"
                self._regular_ring = event.ring
                self._transitional = False
                change: dict[str, object] = {"joined": event.joined, "left": event.left}
                fields = {"kind": "reg", "ring": event.ring, "members": event.members, **change}
                self._emit("conf", {"cfg": self._cfg, **fields})
            case SyncComplete():
                self.synced_ring = event.ring
                self._emit("sync", {"phase": "complete", "ring": event.ring})
            case _:
                pass

    def _deliver(self, event: Message) -> None:
        data = event.data
        msg = message_id(data)
        if msg is None or msg[0] != event.sender:
            raise SimulationError(f"node {self.node} was handed what nobody sent: {data[:40]!r} from {event.sender}")
        if event.transitional != self._transitional:
            raise SimulationError(
                f"node {self.node}: message {msg} says transitional={event.transitional} in {self._cfg}"
            )
        own = msg[0] == self.node and msg[1] == self.inc
        if event.tag != ((self.inc, msg[2]) if own and msg[2] in self.outstanding else None):
            raise SimulationError(f"node {self.node}: message {msg} came back with the tag {event.tag!r}")
        if own:
            self.outstanding.discard(msg[2])
        fields = {"msg": msg, "cfg": self._cfg, "ring": event.ring, "seq": event.seq}
        self._emit("deliver", {**fields, "level": message_level(data), "hash": message_hash(data), "size": len(data)})

    def _sync_step(self, step: SyncStep) -> None:
        """It is this service's turn in the sync. It answers at once, or some time later, because real services are
        other processes."""
        if step.service not in self.options.sync_services:
            raise SimulationError(f"node {self.node} was asked to sync service {step.service}, which it does not have")
        delay_ns = self.world.draw(self.sync_delay_ns) if self.sync_delay_ns else 0
        if delay_ns:
            self.later(delay_ns, lambda: self._sync_answer_late(step))
        else:
            self._sync_answer(step)

    def _sync_answer_late(self, step: SyncStep) -> None:
        self._sync_answer(step)
        self.settle()

    def _sync_answer(self, step: SyncStep) -> None:
        """Give the ring this service's messages. If the ring has changed since the question, the answer is too late: it
        is empty, and the ring must ignore it."""
        draw = self.world.draw
        if self.ring is not None:
            current = step.ring == self.ring.ring_id
            sizes = [draw(600) for _ in range(draw(3))] if current else []
            self.ring.sync_reply(step.ring, step.service, [self.make_message(size, sync=True)[0] for size in sizes])

    def _emit(self, name: str, fields: dict[str, object]) -> None:
        self.world.trace.emit(self.node, self.inc, name, fields)
