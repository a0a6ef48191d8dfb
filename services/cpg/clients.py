"""The sessions, and what the gateway says and is told about them.

A session outlives the gateway's connection, the gateway and this process. Whoever restarts says hello and opens its
sessions anew; requests and events have numbers, so that nothing is done twice and nothing is left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from rondo.protocol import cpg_gateway as bus
from rondo.protocol.codes import Code
from rondo.protocol.cpg_gateway import KIND_SHIFT, CloseReason, GatewayKind, NoticeKind
from rondo.protocol.envelope import ENVELOPE_BYTES_TARGET, PROTOCOL_VERSION, BusError, unpack
from rondo.protocol.events import Reason, encode_events
from rondo.protocol.requests import (
    REQUEST_CLOSE,
    Guarantee,
    Op,
    decode_requests,
    expand_batches,
)
from rondo.protocol.totem_reader import Again, request_cost
from services.cpg import wire
from services.cpg.accounts import EVENTS_PER_USER, Account
from services.cpg.answers import Answers
from services.cpg.evaluate import evaluate, evaluate_batch, evaluate_mcast
from services.cpg.gateways import Gateways, kinds_of
from services.cpg.numbering import check_numbers
from services.cpg.quotas import may_have_another_group
from services.cpg.session_table import SessionTable
from services.cpg.sessions import Blob, Queued, Session

_MCAST: Final = int(Op.MCAST)
_BATCH: Final = int(Op.BATCH)
_ORDERED: Final = frozenset((int(Op.JOIN), int(Op.LEAVE), _MCAST, _BATCH))

TURN_BYTES: Final = 64 * 1024
"""What one session may submit before the others get their turn."""


@dataclass(frozen=True, slots=True)
class Options:
    """Bounds, bytes."""

    message_size_max: int = 64 * 1024 * 1024
    """Larger messages are refused (cpg.message_size_max)."""
    client_bytes_max: int = 64 * 1024 * 1024
    """A session with more events outstanding, besides the largest, is cut off (cpg.client_bytes_max)."""
    log_bytes_max: int = 128 * 1024 * 1024
    """Of totem's log (system.log_bytes_max)."""


class Clients(SessionTable):
    """All sessions of this node."""

    def __init__(self, options: Options, pid: int) -> None:
        super().__init__()
        self.options = options
        self.pid = pid
        self.ready = False
        """Whether requests are evaluated: totem is there, and its log has been evaluated up to its head."""
        self.awaited: set[int] = set()
        """Gateways that have not opened their sessions since this became ready: they may know some that are not known
        here."""
        self.gateways = Gateways()
        self.frames = self.gateways.frames
        """(identity, envelope) for the gateways."""
        self.gone: list[int] = []
        """Sessions that totem may forget."""
        self.counters = dict.fromkeys(
            (
                "requests", "refused", "refused_for_quota", "events", "messages_submitted", "sessions_cut",
                "sessions_cut_for_quota", "sessions_detached", "bus_errors",
            ), 0
        )  # fmt: skip
        self._turns: deque[Session] = deque()
        """Sessions with requests that wait, whose turn it is first."""
        self._to_send: dict[int, Session] = {}
        self._to_settle: dict[int, Session] = {}
        self.answers = Answers()

    # The gateway.

    def receive(self, identity: bytes, frame: bytes) -> None:
        """One envelope from a gateway. Raises `BusError`."""
        envelope = bus.decode(frame)
        if isinstance(envelope, bus.GatewayHello):
            if envelope.version != PROTOCOL_VERSION:
                raise BusError(f"the gateway speaks version {envelope.version} of the bus, not {PROTOCOL_VERSION}")
            self.gateways.arrive(envelope.gateway, identity)
            self.greet(envelope.gateway)
            return
        kind = self.gateways.kind_of(identity)
        if kind is None:
            self.gateways.answer(identity, Again(self.epoch))
        elif not self.ready or envelope.epoch != self.epoch:
            # A welcome is on its way, or will be; the gateway then begins anew.
            return
        elif isinstance(envelope, bus.Request):
            for session, first, last, blob in envelope.requests:
                self._request(session, first, last, blob)
        elif isinstance(envelope, bus.EventAck):
            self._event_ack(envelope.sessions)
        elif isinstance(envelope, bus.Open):
            self._open(kind, envelope.sessions)
        elif isinstance(envelope, bus.Close):
            for ident, reason in envelope.sessions:
                if ident in self.table:
                    self.close(self.table[ident], finish=reason == CloseReason.LEFT)
        else:
            raise BusError(f"{type(envelope).__name__} is not for cpg")

    def get_ready(self) -> None:
        """The log is evaluated up to its head: requests are served from here on."""
        self.ready = True
        self.awaited = {int(GatewayKind.CLIENTS)} | kinds_of(self.table)
        for kind in self.gateways.kinds:
            self.greet(kind)

    def greet(self, kind: int) -> None:
        """Welcome a gateway, if both sides are there; it opens its sessions anew then."""
        self.answers.forget(kind)
        who: list[list[Any]] = []
        for session in self.table.values():
            if session.ident >> KIND_SHIFT == kind and not session.closing:
                session.attached = False
                session.drop_queue()
                who.append(session.who())
        if self.ready:
            self.gateways.tell(kind, bus.CpgWelcome(self.epoch, PROTOCOL_VERSION, self.core.node_id, self.pid, who))

    # Sessions come and go.

    def _open(self, kind: int, rows: list[list[Any]]) -> None:
        self.awaited.discard(kind)
        opened: list[list[Any]] = []
        for row in rows:
            code, position = self.open_one(row)
            session = self.table.get(row[0])
            if session is not None and code == Code.OK:
                self._to_settle[row[0]] = self._to_send[row[0]] = session
            ring = self.core.ring
            opened.append([
                row[0], int(code), position, session.taken if session is not None and code == Code.OK else 0,
                None if ring is None else [ring[0], ring[1], list(ring[2])],
            ])  # fmt: skip
        self.gateways.tell(kind, bus.Opened(self.epoch, opened))

    def close(self, session: Session, *, finish: bool) -> None:
        """End a session: it leaves its groups. `finish`: after what it requested before."""
        if session.closing:
            return
        session.closing = True
        session.attached = False
        session.drop_events()
        self.changed = True
        self.core.ring_listeners.discard(session.ident)
        groups = set(self.core.groups_of(session.ident)) | _joins_in_flight(session)
        if finish:
            groups |= session.intended
        else:
            session.drop_queue()
        if not groups:
            self.remove(session)
            return
        messages = [wire.encode_proc_leave(group, session.pid, Reason.PROCDOWN) for group in sorted(groups)]
        self._enqueue(session, Queued(REQUEST_CLOSE, request_cost(messages), Guarantee.AGREED, None, messages, None))

    def remove(self, session: Session) -> None:
        """Forget a session that is in no group any more."""
        session.drop_queue()
        if self.take_out(session.ident):
            self.changed = True
            self.gone.append(session.ident)
            self.core.ring_listeners.discard(session.ident)

    def cut(self, session: Session, code: Code, reason: str) -> None:
        """End a session and say why."""
        if not session.closing:
            self.counters["sessions_cut"] += 1
            self._notice([session.ident, int(NoticeKind.CUT), [int(code), reason]])
            self.close(session, finish=False)

    def warn(self, session: Session, held_bytes: int, bytes_max: int) -> None:
        """Tell a session, once, that it is getting too slow."""
        if not session.warned:
            session.warned = True
            self._notice([session.ident, int(NoticeKind.SLOW), [held_bytes, bytes_max]])

    def _notice(self, row: list[Any]) -> None:
        self.gateways.tell_rows([row], lambda own: bus.Notice(self.epoch, own))

    def lose(self, reason: str) -> None:
        """Totem died: the epoch is over."""
        lost: list[list[Any]] = []
        for session in list(self.table.values()):
            if session.closing:
                self.remove(session)
                continue
            # What is neither to be submitted nor a query was refused before.
            for queued in session.queue:
                if queued.messages is not None or queued.query is not None:
                    self.answers.refuse(session.ident, queued.request, queued.requests, Code.LIBRARY)
            lost.append([session.ident, session.unseen()])
            session.begin_epoch()
        self._send_replies()
        for kind in self.gateways.kinds:
            own = [row for row in lost if row[0] >> KIND_SHIFT == kind]
            self.gateways.tell(kind, bus.Lost(self.epoch, reason, own))
        self.laggards.clear()
        self._turns.clear()
        self._to_send.clear()
        self._to_settle.clear()
        self.taken_of_unknown.clear()
        self.gone.clear()
        self.ready = False
        self.awaited.clear()

    # Requests.

    def _request(self, ident: int, first: int, last: int, blob: bytes | memoryview) -> None:
        session = self.table.get(ident)
        if session is not None and session.closing:
            return
        if session is None or not session.attached or first > max(session.expected, session.taken + 1):
            if session is not None:
                session.attached = False
                session.drop_queue()
            self.gateways.tell(ident >> KIND_SHIFT, bus.Reopen(self.epoch, [ident]))
            return
        try:
            requests = decode_requests(blob)
            numbers = check_numbers(requests, first, last, self.options.message_size_max)
        except BusError as error:
            self.cut(session, Code.INVALID_PARAM, f"what this client sent is not a list of requests: {error}")
            return
        self.counters["requests"] += last - first + 1
        known = max(session.taken, session.submitted)
        if first <= known or first < session.expected:
            # Sent again. What of a batch was taken before can be left out only if it is taken apart.
            requests = expand_batches(requests)
            numbers = [1] * len(requests)
        for request, count in zip(requests, numbers, strict=True):
            number = request[0]
            if number < session.expected:
                continue
            session.expected = number + count
            # Ordered requests that totem has already are duplicates; queries are simply answered again.
            if number > known or request[1] not in _ORDERED:
                self._evaluate(session, request, count)
        self._to_settle[ident] = session

    def _evaluate(self, session: Session, request: list[Any], count: int) -> None:
        if request[1] == _MCAST:
            result = evaluate_mcast(session, request, self.core.node_id, self.options.message_size_max)
        elif request[1] == _BATCH:
            result = evaluate_batch(session, request, self.core.node_id, count)
        else:
            result = evaluate(session, request, self._may_join)
        if isinstance(result, Code):
            self.counters["refused"] += count
            if result == Code.TOO_MANY_GROUPS or (result == Code.TRY_AGAIN and session.account.is_full()):
                self.counters["refused_for_quota"] += count
            last = request[0] + count - 1
            self.answers.refuse(session.ident, last, count, result)
            if session.queue:
                self._enqueue(session, Queued(last, 0, 0, None, None, None, count))
        else:
            self._enqueue(session, result)

    def _enqueue(self, session: Session, queued: Queued) -> None:
        if not session.queue:
            self._turns.append(session)
        session.enqueue(queued)

    def _may_join(self, session: Session, group: bytes) -> Code:
        """Whether the user may be in one more group, and no other session of this process is in this one."""
        if (code := may_have_another_group(session.account, self.accounts)) != Code.OK:
            return code
        for other in self.siblings(session):
            if other is not session:
                if group in other.intended and not other.closing:
                    return Code.EXIST
                if self.core.is_in(other.ident, group) or group in _joins_in_flight(other):
                    # It is leaving just now.
                    return Code.TRY_AGAIN
        return Code.OK

    def next_requests(self, credit_left: int) -> tuple[list[list[Any]], int]:
        """Requests to submit, about an envelope full, and what they cost. Queries whose turn it is are answered."""
        requests: list[list[Any]] = []
        cost = 0
        for _ in range(len(self._turns)):
            session = self._turns.popleft()
            turn_end = cost + TURN_BYTES
            while session.queue and self._is_due(session, session.queue[0], cost, min(credit_left, turn_end)):
                queued = session.dequeue()
                if queued.messages is not None:
                    requests.append(_submit(session, queued))
                    cost += queued.cost
                    self.counters["messages_submitted"] += queued.requests
                elif queued.query is not None:
                    self.answers.answer(session.ident, queued.query, self.core)
            self._to_settle[session.ident] = session
            if session.queue:
                self._turns.append(session)
            if cost >= ENVELOPE_BYTES_TARGET:
                break
        return requests, cost

    def _is_due(self, session: Session, queued: Queued, cost: int, cost_max: int) -> bool:
        """Whether the request's turn has come: a message while there is credit, a query while there is room for its
        answer, what was refused at once."""
        if queued.messages is not None:
            return cost < cost_max
        return queued.query is None or self.answers.has_room(is_congested=self.gateways.is_congested(session.ident))

    def taken(self, pairs: Iterable[list[int]]) -> None:
        """Totem accepted requests."""
        for ident, request in pairs:
            session = self.table.get(ident)
            if session is not None:
                session.taken = max(session.taken, request)
                self._to_settle[ident] = session

    # Events.

    def distribute(self) -> None:
        """Take the events that the core made since the last time, and note which requests it saw ordered."""
        core = self.core
        for ident, request in core.ordered.items():
            session = self.table.get(ident)
            if session is not None:
                session.seen(request)
                if request == REQUEST_CLOSE:
                    self.remove(session)
        core.ordered.clear()
        for ident, events in core.out.items():
            session = self.table.get(ident)
            if session is None:
                groups = core.groups_of(ident)
                if not groups:
                    continue
                session = self.adopt(ident, next(iter(groups.values())))
            if session.closing:
                continue
            if events[0][0] <= session.floor:
                events = [event for event in events if event[0] > session.floor]
            if events:
                self.counters["events"] += len(events)
                session.put(Blob(events[0][0], events[-1][0], encode_events(events)))
                self.laggards.add(session)
                self._to_send[ident] = session
                self._check_pace(session)
        core.out.clear()
        for ident in core.failed:
            if ident in self.table:
                self._intend_again(self.table[ident])
        core.failed.clear()

    def _intend_again(self, session: Session) -> None:
        """An accepted request had no effect: what was built on it is evaluated when its turn comes."""
        session.intend(self.core.groups_of(session.ident))
        for queued in session.queue:
            if queued.note is not None:
                session.intend_as(queued.note)

    def _check_pace(self, session: Session) -> None:
        bytes_max = self.options.client_bytes_max
        if session.account.has_too_many_events(bytes_max):
            self._cut_for_quota(session.account)
        if 2 * session.event_bytes <= bytes_max:
            return
        held = session.backlog_bytes()
        if held > bytes_max:
            self.cut(session, Code.NO_RESOURCES, f"too slow: {held} bytes of events wait, {bytes_max} may")
        elif 2 * held > bytes_max:
            self.warn(session, held, bytes_max)

    def _cut_for_quota(self, account: Account) -> None:
        """Of the sessions of one user, the one that holds most has to go. The last one has the bound of a session."""
        most = self.hoarder(account)
        if most is not None:
            self.counters["sessions_cut_for_quota"] += 1
            held, bytes_max = account.event_bytes, EVENTS_PER_USER * self.options.client_bytes_max
            why = f"too slow: {held} bytes of events wait for the sessions of this user, {bytes_max} may"
            self.cut(most, Code.NO_RESOURCES, f"{why}; this one has most, {most.event_bytes}")

    def _event_ack(self, pairs: list[list[int]]) -> None:
        for ident, n in pairs:
            session = self.table.get(ident)
            if session is not None and session.attached:
                session.acknowledge(min(n, self.core.n))
                if session.is_detached and session.handled(self.core.n) >= self.core_floor:
                    session.is_detached = False
                    if session.event_bytes:
                        self.laggards.add(session)
                self._to_send[ident] = session
                if 4 * session.event_bytes < self.options.client_bytes_max:
                    session.warned = False

    def flush(self) -> None:
        """Make the envelopes that are due: replies, then what is settled, then events."""
        self._send_replies()
        settled: list[list[int]] = []
        for ident, session in self._to_settle.items():
            now = session.settled()
            if session.attached and now > session.settled_told:
                session.settled_told = now
                settled.append([ident, now])
        self._to_settle.clear()
        if settled:
            self.gateways.tell_rows(settled, lambda own: bus.Settled(self.epoch, own))
        if self._to_send:
            self._send_events()

    def _send_replies(self) -> None:
        if replies := self.answers.take():
            self.gateways.tell_rows(replies, lambda own: bus.Reply(self.epoch, own))

    def _send_events(self) -> None:
        batch: list[list[Any]] = []
        size = 0
        for ident, session in self._to_send.items():
            while session.attached and (blob := session.next_blob()) is not None:
                batch.append([ident, *blob])
                size += len(blob.data)
                if size >= ENVELOPE_BYTES_TARGET:
                    self.gateways.tell_rows(batch, lambda own: bus.Events(self.epoch, own))
                    batch, size = [], 0
        if batch:
            self.gateways.tell_rows(batch, lambda own: bus.Events(self.epoch, own))
        self._to_send.clear()


def _submit(session: Session, queued: Queued) -> list[Any]:
    """The SUBMIT item of a request, which is in flight from here on."""
    session.submitted = queued.request
    session.inflight.append((queued.request - queued.requests + 1, queued.request))
    if queued.note is not None:
        session.notes[queued.request] = queued.note
    return [session.ident, queued.request, int(queued.guarantee), queued.note, queued.messages]


def _joins_in_flight(session: Session) -> set[bytes]:
    return {group for op, group in map(unpack, session.notes.values()) if op == Op.JOIN}
