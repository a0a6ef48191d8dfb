"""A client and a gateway as docs/PROTOCOL.md describes them, as small as can be, for the tests of cpg."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any

from rondo.protocol import cpg_gateway as bus
from rondo.protocol import events as ev
from rondo.protocol.batch import decode_body, encode_body
from rondo.protocol.codes import Code
from rondo.protocol.cpg_gateway import CloseReason, OpenFlag
from rondo.protocol.envelope import PROTOCOL_VERSION
from rondo.protocol.requests import Op, decode_replies, encode_requests
from rondo.protocol.totem_reader import Again

if TYPE_CHECKING:
    from tests.unit.cpg.world import Node

GROUPS = (b"a", b"b")


class Client:
    """A process with one session. It keeps what it saw."""

    def __init__(self, session: int, node: int, pid: int) -> None:
        self.session = session
        self.node = node
        self.pid = pid
        self.alive = True
        self.open = False
        self.epoch = 0
        self.position = 0
        self.acked = 0
        self.next_request = 1
        self.settled = 0
        self.unsettled: dict[int, list[Any]] = {}
        self.requests: dict[int, list[Any]] = {}
        self.refused: dict[int, int] = {}
        self.answers: dict[int, Any] = {}
        self.unknown: set[int] = set()
        """Requests whose outcome is unknown because totem died."""
        self.wants: set[bytes] = set()
        self.stream: list[tuple[int, list[Any]]] = []
        """Epoch and event of all events, without duplicates."""
        self.sent_messages = 0
        self.cut: list[Any] | None = None

    def act(self, rng: random.Random, gateway: Gateway) -> None:
        """Do one thing that an application does, drawn by chance."""
        if not self.alive or not self.open or self.cut is not None:
            return
        what = rng.random()
        group = rng.choice(GROUPS)
        if what < 0.2:
            if group in self.wants:
                if rng.random() < 0.3:
                    self.wants.discard(group)
                    self.request(gateway, Op.LEAVE, group)
            else:
                self.wants.add(group)
                self.request(gateway, Op.JOIN, group)
        elif what < 0.75 and self.wants:
            group = rng.choice(sorted(self.wants))
            if rng.random() < 0.7:
                self.request(gateway, Op.MCAST, group, 2, self._text(rng))
            else:
                self._run(gateway, group, [self._text(rng) for _ in range(rng.randint(1, 4))])
        elif what < 0.8:
            self.request(gateway, Op.GROUPS)
        else:
            self.acknowledge(gateway)

    def _text(self, rng: random.Random) -> bytes:
        self.sent_messages += 1
        length = rng.choice((0, 3, 50, 200))
        return b"%d:%d:%d:" % (self.session, self.sent_messages, length) + b"x" * length

    def _run(self, gateway: Gateway, group: bytes, payloads: list[bytes]) -> None:
        """Multicast in a batch. If it has to be sent again it goes message by message."""
        first = self.next_request
        for data in payloads:
            self.requests[self.next_request] = self.unsettled[self.next_request] = [
                self.next_request, int(Op.MCAST), group, 2, data,
            ]  # fmt: skip
            self.next_request += 1
        batch = [first, int(Op.BATCH), group, 2, encode_body(payloads)]
        blob = encode_requests([batch])
        gateway.tell(bus.Request(gateway.epoch, [[self.session, first, self.next_request - 1, blob]]))

    def request(self, gateway: Gateway, op: Op, *arguments: Any) -> int:
        """Make a request. It is sent at once."""
        number = self.next_request
        self.next_request += 1
        request = [number, int(op), *arguments]
        self.requests[number] = self.unsettled[number] = request
        gateway.send_requests(self, [request])
        return number

    def acknowledge(self, gateway: Gateway) -> None:
        """Handle what came."""
        if self.alive and self.open and self.acked != self.position:
            self.acked = self.position
            gateway.tell(bus.EventAck(gateway.epoch, [[self.session, self.acked]]))

    def take_events(self, epoch: int, first: int, last: int, blob: bytes) -> None:
        """Take events. Duplicates are dropped by their position."""
        assert epoch == self.epoch
        had = self.position
        decoded = ev.decode_events(blob)
        assert [decoded[0][0], decoded[-1][0]] == [first, last]
        for event in decoded:
            if event[0] > had:
                self.stream.extend((epoch, each) for each in _messages(event))
                self.position = event[0]

    def settle(self, upto: int) -> None:
        """Requests up to this one are accepted or answered."""
        self.settled = max(self.settled, upto)
        for number in [number for number in self.unsettled if number <= upto]:
            del self.unsettled[number]

    def new_epoch(self, epoch: int) -> None:
        """Note that totem died: the outcome of all open requests is unknown."""
        self.epoch, self.position, self.acked = epoch, 0, 0
        done = {event[-1] for _, event in self.stream if event[1] in (ev.MESSAGE, ev.MEMBERSHIP)}
        done |= {event[2] for _, event in self.stream if event[1] == ev.FAILED}
        self.unknown |= {n for n in self.requests if n not in done and n not in self.refused}
        self.settle(self.next_request - 1)
        self.wants.clear()

    def die(self, gateway: Gateway) -> None:
        """Kill the process with SIGKILL."""
        self.alive = self.open = False
        gateway.tell(bus.Close(gateway.epoch, [[self.session, CloseReason.DIED]]))


def _messages(event: list[Any]) -> list[list[Any]]:
    """The event, or the messages of a batch."""
    if event[1] != ev.BATCH:
        return [event]
    n, _, *fields, body, first = event
    numbers = range(first, first + 1000) if first is not None else [None] * 1000
    return [[n, ev.MESSAGE, *fields, data, number] for data, number in zip(decode_body(body), numbers, strict=False)]


class Gateway:
    """One life of a gateway."""

    lives = 0

    def __init__(self, node: Node) -> None:
        self.node = node
        self.epoch = 0
        self.out: deque[bytes] = deque()
        self.heard: list[bus.Envelope] = []
        """What matters outside of the order: notices, and the loss of totem."""
        self.begin()

    def begin(self) -> None:
        """Connect anew and send a hello. Nothing of the old connection reaches cpg."""
        Gateway.lives += 1
        self.identity = b"gateway %d" % Gateway.lives
        self.out.clear()
        self.welcomed = False
        for client in self.node.clients:
            client.open = False
        self.tell(bus.GatewayHello(self.epoch, PROTOCOL_VERSION, 1, bus.GatewayKind.CLIENTS), always=True)

    def tell(self, envelope: bus.Envelope, *, always: bool = False) -> None:
        """Send an envelope to cpg."""
        if self.welcomed or always:
            self.out.append(bus.encode(envelope))

    def connect(self, client: Client) -> None:
        """Connect a client."""
        self._open([client])

    def send_requests(self, client: Client, requests: list[list[Any]]) -> None:
        """Pass requests on to cpg."""
        if requests:
            blob = encode_requests(requests)
            self.tell(bus.Request(self.epoch, [[client.session, requests[0][0], requests[-1][0], blob]]))

    def _open(self, clients: list[Client], *, always: bool = False) -> None:
        rows: list[list[Any]] = []
        for client in clients:
            client.open = False
            resume = [client.epoch, client.position, client.settled] if client.epoch else None
            rows.append([client.session, client.pid, 77, 0, 0, int(OpenFlag.RING_EVENTS), b"secret", resume])
        if rows or always:
            self.tell(bus.Open(self.epoch, rows))

    def receive(self, envelope: bus.Envelope) -> None:
        """Handle an envelope from cpg."""
        if isinstance(envelope, bus.Notice | bus.Lost):
            self.heard.append(envelope)
        clients = {client.session: client for client in self.node.clients}
        if isinstance(envelope, bus.CpgWelcome):
            self.epoch, self.welcomed = envelope.epoch, True
            alive = {client.session for client in clients.values() if client.alive}
            dead = [[row[0], int(CloseReason.DIED)] for row in envelope.sessions if row[0] not in alive]
            if dead:
                self.tell(bus.Close(self.epoch, dead))
            self._open([client for client in clients.values() if client.alive and client.cut is None], always=True)
        elif isinstance(envelope, Again):
            self.begin()
        elif isinstance(envelope, bus.Opened):
            for session, code, position, taken, _ in envelope.sessions:
                self._opened(clients[session], code, position, taken)
        elif isinstance(envelope, bus.Reopen):
            self._open([clients[session] for session in envelope.sessions if clients[session].alive])
        elif isinstance(envelope, bus.Settled):
            for session, request in envelope.sessions:
                clients[session].settle(request)
        elif isinstance(envelope, bus.Reply):
            for session, blob in envelope.replies:
                for number, code, result in decode_replies(blob):
                    (clients[session].answers if code == Code.OK else clients[session].refused)[number] = (
                        result if code == Code.OK else code
                    )
        elif isinstance(envelope, bus.Events):
            for session, first, last, blob in envelope.events:
                clients[session].take_events(envelope.epoch, first, last, blob)
        elif isinstance(envelope, bus.Notice):
            for session, what, detail in envelope.notices:
                if what == bus.NoticeKind.CUT:
                    clients[session].cut = detail
        elif isinstance(envelope, bus.Lost):
            self.welcomed = False

    def _opened(self, client: Client, code: int, position: int, taken: int) -> None:
        if not client.alive:
            return
        assert code == Code.OK, f"session of node {client.node} was not opened: {code}"
        if client.epoch and client.epoch != self.epoch:
            client.new_epoch(self.epoch)
        if not client.epoch:
            client.acked = position
        client.epoch = self.epoch
        client.position = max(client.position, position)
        client.open = True
        assert taken < client.next_request
        self.send_requests(client, [client.unsettled[n] for n in sorted(client.unsettled)])
