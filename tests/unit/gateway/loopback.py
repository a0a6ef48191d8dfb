"""A cpg of one node in a thread, as far as the gateway can tell: every request that it takes is ordered at once.

It speaks the bus protocol (docs/PROTOCOL.md) over a real socket, keeps the events that are not acknowledged, checks
request numbers, and cuts off who does not acknowledge. Tests reach into it through `call`, which runs in its thread.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from rondo.ipc import endpoints, zmq_sockets
from rondo.protocol import cpg_gateway, events
from rondo.protocol.codes import Code
from rondo.protocol.envelope import BusError, pack
from rondo.protocol.requests import GROUP_NAME_BYTES_MAX, HIDDEN_PREFIX, Op, decode_requests, expand_batches

UNACKNOWLEDGED_BYTES_MAX = 4 * 1024 * 1024
Key = tuple[int, int]


@dataclass
class Session:
    """The state of a session in cpg."""

    who: list[Any]
    settled: int = 0
    position: int = 0
    outstanding: list[tuple[int, list[Any], int]] = field(default_factory=list)
    """Position, event and size in bytes of what is not acknowledged."""
    sent: int = 0
    """The last position that was sent."""

    @property
    def key(self) -> Key:
        return (1, int(self.who[1]))


class Loopback:
    """Node 1's cpg. Its state outlives `stop_serving`, like that of a real cpg in totem's care."""

    def __init__(self, run_dir: Path, client_bytes_max: int = 8 * 1024 * 1024) -> None:
        self.endpoint = f"ipc://{run_dir / 'cpg.sock'}"
        self.client_bytes_max = client_bytes_max
        self.epoch = 1000
        self.head = 0
        self.sessions: dict[int, Session] = {}
        self.groups: dict[bytes, dict[Key, int]] = {}
        self.closed: list[tuple[int, int]] = []
        """Session and CloseReason of each close, in their order."""
        self.taken: list[tuple[int, int, bytes]] = []
        """Session, request and data of each multicast that was ordered."""
        self.is_stalled = False
        """True: it takes no requests, as if totem gave no credit."""
        self.slow_told: set[int] = set()
        self.stalled: list[Any] = []
        self._gateway: bytes | None = None
        self._unsent: deque[bytes] = deque()
        self._calls: queue.Queue[tuple[Callable[[], Any], queue.Queue[Any]]] = queue.Queue()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._start()

    # -- for tests -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._stopping = False
        endpoints.remove_stale(self.endpoint)
        self._socket = zmq_sockets.bind_router(self._context, self.endpoint)
        self._socket.copy_threshold = UNACKNOWLEDGED_BYTES_MAX  # pyzmq would start a thread for what it does not copy
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function in the thread. Returns its value."""
        answer: queue.Queue[Any] = queue.Queue()
        self._calls.put((function, answer))
        return answer.get(timeout=60)

    def stop_serving(self) -> None:
        """End as by SIGKILL."""
        self._stopping = True
        self._thread.join()
        self._socket.close(linger=0)
        self._gateway = None

    def serve_again(self) -> None:
        """Serve again, with the state of before."""
        for session in self.sessions.values():
            session.sent = session.position
        self._start()

    def close(self) -> None:
        """End the thread."""
        if not self._stopping:
            self.stop_serving()
        self._context.term()

    def stall(self, stalled: bool) -> None:
        """Stop taking requests, or take them again."""

        def change() -> None:
            self.is_stalled = stalled
            if not stalled:
                waiting, self.stalled = self.stalled, []
                for request in waiting:
                    self._request(request)

        self.call(change)

    def lose_totem(self, unknown: dict[int, list[int]]) -> None:
        """The epoch is over; requests that were not taken are refused, `unknown` have an unknown outcome."""

        def lose() -> None:
            for number, first, last, _ in self.stalled:
                blob = pack([[r, Code.LIBRARY, None] for r in range(first, last + 1)])
                self._send(cpg_gateway.Reply(self.epoch, [[number, blob]]))
            self.stalled.clear()
            listed = [[number, unknown.get(number, [])] for number in self.sessions]
            self._send(cpg_gateway.Lost(self.epoch, "totem died", listed))
            self.is_stalled = False
            self.groups.clear()
            self.epoch += 1
            self.head = 0
            for session in self.sessions.values():
                session.outstanding.clear()
                session.position = session.sent = 0
            self._welcome()

        self.call(lose)

    # -- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            while not self._calls.empty():
                function, answer = self._calls.get()
                answer.put(function())
            self._flush()
            if not self._socket.poll(5):
                continue
            for identity, frame in zmq_sockets.receive_all_routed(self._socket):
                self._on_frame(identity, frame)

    def _on_frame(self, identity: bytes, frame: bytes) -> None:
        envelope = cpg_gateway.decode(frame)
        if isinstance(envelope, cpg_gateway.GatewayHello):
            self._gateway = identity
            self._unsent.clear()
            self._welcome()
        elif envelope.epoch != self.epoch or identity != self._gateway:
            return
        elif isinstance(envelope, cpg_gateway.Open):
            for item in envelope.sessions:
                self._open(item)
        elif isinstance(envelope, cpg_gateway.Request):
            for request in envelope.requests:
                self.stalled.append(request) if self.is_stalled else self._request(request)
        elif isinstance(envelope, cpg_gateway.EventAck):
            for number, n in envelope.sessions:
                self._acknowledged(number, n)
        elif isinstance(envelope, cpg_gateway.Close):
            for number, reason in envelope.sessions:
                self.closed.append((number, reason))
                self.over(number)

    def _send(self, envelope: cpg_gateway.Envelope) -> None:
        self._unsent.append(cpg_gateway.encode(envelope))
        self._flush()

    def _flush(self) -> None:
        """Send as much as there is room for: a gateway that is slow must not miss anything."""
        while self._unsent:
            if self._gateway is not None and not zmq_sockets.send(self._socket, self._unsent[0], self._gateway):
                return
            self._unsent.popleft()

    def _welcome(self) -> None:
        who = [session.who for session in self.sessions.values()]
        self._send(cpg_gateway.CpgWelcome(self.epoch, 1, 1, 1, who))

    def _open(self, item: list[Any]) -> None:
        *who, resume = item
        session = self.sessions.get(who[0])
        if session is None:
            session = self.sessions[who[0]] = Session(who, position=self.head, sent=self.head)
        if resume is not None:
            epoch, position, settled = resume
            if epoch == self.epoch:
                self._acknowledged(who[0], position)
            else:
                session.settled = settled
                position = self.head
            session.sent = session.position = max(position, session.position)
        opened = [who[0], Code.OK, session.position, session.settled, None]
        self._send(cpg_gateway.Opened(self.epoch, [opened]))
        self._send_events(who[0], session)

    def _request(self, item: list[Any]) -> None:
        number, first, _, blob = item
        session = self.sessions.get(number)
        if session is None or first > session.settled + 1:
            self._send(cpg_gateway.Reopen(self.epoch, [number]))
            return
        try:
            requests = expand_batches(decode_requests(blob))
        except BusError as error:
            self._send(cpg_gateway.Notice(self.epoch, [[number, cpg_gateway.NoticeKind.CUT, [22, str(error)]]]))
            return
        for request in requests:
            if request[0] > session.settled or request[1] >= Op.GROUPS:
                self._evaluate(number, session, request)
            session.settled = max(session.settled, request[0])
        self._send(cpg_gateway.Settled(self.epoch, [[number, session.settled]]))
        for each, other in list(self.sessions.items()):
            self._send_events(each, other)

    def _evaluate(self, number: int, session: Session, request: list[Any]) -> None:
        r, op, *arguments = request
        if op == Op.GROUPS:
            shown = sorted((name, sorted(members)) for name, members in self.groups.items())
            if arguments != [True]:
                shown = [(name, members) for name, members in shown if not name.startswith(HIDDEN_PREFIX)]
            groups = [[name, [list(key) for key in members]] for name, members in shown]
            self._reply(number, r, Code.OK, groups)
            return
        if op == Op.RING:
            self._reply(number, r, Code.OK, None)
            return
        group = arguments[0]
        members = self.groups.get(group, {})
        if not group or len(group) > GROUP_NAME_BYTES_MAX:
            self._reply(number, r, Code.NAME_TOO_LONG if group else Code.INVALID_PARAM, None)
        elif op == Op.JOIN and session.key in members:
            self._reply(number, r, Code.EXIST, None)
        elif op in (Op.LEAVE, Op.MCAST) and members.get(session.key) != number:
            self._reply(number, r, Code.NOT_EXIST, None)
        elif op == Op.JOIN:
            self.groups.setdefault(group, {})[session.key] = number
            self._membership(group, [[*session.key, events.Reason.JOIN]], [], number, r)
        elif op == Op.LEAVE:
            self._membership(group, [], [[*session.key, events.Reason.LEAVE]], number, r)
        else:
            self.taken.append((number, r, arguments[2]))
            self._order(group, [events.MESSAGE, group, *session.key, False, arguments[2]], number, r)

    def _membership(self, group: bytes, joined: list[Any], left: list[Any], number: int, r: int | None) -> None:
        members = self.groups[group]
        staying = sorted(key for key in members if [*key] not in [change[:2] for change in left])
        self._order(group, [events.MEMBERSHIP, group, [list(k) for k in staying], joined, left], number, r)
        for node, pid, _ in left:
            del members[node, pid]
        if not members:
            del self.groups[group]

    def _order(self, group: bytes, event: list[Any], number: int, r: int | None) -> None:
        self.head += 1
        for each in self.groups[group].values():
            session = self.sessions[each]
            size = len(event[5]) + 64 if event[0] == events.MESSAGE else 64
            session.outstanding.append((self.head, [self.head, *event, r if each == number else None], size))

    def _send_events(self, number: int, session: Session) -> None:
        held = sum(size for _, _, size in session.outstanding)
        if held > self.client_bytes_max:
            reason = f"{held} bytes of events are not acknowledged"
            self._send(cpg_gateway.Notice(self.epoch, [[number, cpg_gateway.NoticeKind.CUT, [23, reason]]]))
            self.over(number)
            return
        if held * 2 > self.client_bytes_max and number not in self.slow_told:
            self.slow_told.add(number)
            detail = [held, self.client_bytes_max]
            self._send(cpg_gateway.Notice(self.epoch, [[number, cpg_gateway.NoticeKind.SLOW, detail]]))
        room = UNACKNOWLEDGED_BYTES_MAX - sum(size for n, _, size in session.outstanding if n <= session.sent)
        batch = []
        for n, event, size in session.outstanding:
            if n > session.sent and room > 0:
                batch.append(event)
                room -= size
        if batch:
            session.sent = batch[-1][0]
            blob = events.encode_events(batch)
            self._send(cpg_gateway.Events(self.epoch, [[number, batch[0][0], batch[-1][0], blob]]))

    def _acknowledged(self, number: int, n: int) -> None:
        session = self.sessions.get(number)
        if session is not None:
            session.outstanding = [item for item in session.outstanding if item[0] > n]
            session.position = max(session.position, n)
            self._send_events(number, session)

    def _reply(self, number: int, request: int, code: int, result: Any) -> None:
        self._send(cpg_gateway.Reply(self.epoch, [[number, pack([[request, code, result]])]]))

    def over(self, number: int) -> None:
        session = self.sessions.pop(number, None)
        if session is None:
            return
        for group in [g for g, members in self.groups.items() if members.get(session.key) == number]:
            self.groups[group].pop(session.key)
            if self.groups[group]:
                left = [[*session.key, events.Reason.PROCDOWN]]
                self.groups[group][session.key] = number
                self.sessions[number] = session
                self._membership(group, [], left, number, None)
                del self.sessions[number]
            else:
                del self.groups[group]
        for each, other in list(self.sessions.items()):
            self._send_events(each, other)
