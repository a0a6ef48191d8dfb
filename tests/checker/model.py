"""An ideal ring, as small as can be, that writes good traces for the tests of the checker.

It knows what everybody knows: there is no timer and no lost packet that the story did not ask for. One token goes
round each ring; nodes send, lack packets, ask for them, free them; rings form, split, lose members and merge, with
recovery of the old rings' messages. It shares nothing with the real ring but the rules of the protocol.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.checker.resources import TIMERS

if TYPE_CHECKING:
    from tests.checker.base import Event, Limits, MessageId, Ring

Lost = Callable[[int, int], bool]
"""Whether the packet with this sequence number is lost on its way to this node."""

REASON_TOKEN_LOST = 2
ARMED = {
    "gather": ("join", "consensus", "pause"),
    "commit": ("token", "token_retransmit", "pause"),
    "recovery": ("token", "token_retransmit", "pause"),
    "operational": ("token", "token_retransmit", "merge", "pause"),
}


def nothing_lost(seq: int, receiver: int) -> bool:
    """A network that loses nothing."""
    return False


@dataclass(slots=True)
class Packet:
    """A packet of a ring; one without messages holds a fragment that ends in a later one, or an old packet."""

    origin: int
    hash: str
    messages: tuple[tuple[MessageId, str], ...] = ()
    encapsulated: bool = False

    @property
    def safe(self) -> bool:
        """Whether it must be stable before it is delivered."""
        return any(level == "safe" for _, level in self.messages)


@dataclass(slots=True)
class Token:
    """The token of one ring, which also knows all packets of the ring."""

    ring: Ring
    members: tuple[int, ...]
    token_seq: int = 0
    seq: int = 0
    aru: int = 0
    aru_addr: int = 0
    fcc: int = 0
    wanted: list[int] = field(default_factory=list)
    packets: dict[int, Packet] = field(default_factory=dict)


class Node:
    """One node, in one of its lives."""

    def __init__(self, node: int, inc: int, stored: int, initial_sequence: int) -> None:
        self.node = node
        self.inc = inc
        self.frozen = False
        self.stored = stored
        self.ring: Ring = (node, stored + 1)
        self.members: tuple[int, ...] = (node,)
        self.installed = False
        self.highest = stored + 1
        """Highest ring sequence that it was in."""
        self.proc = {node}
        self.failed: set[int] = set()
        self.queue: deque[tuple[tuple[MessageId, str], ...]] = deque()
        self.count = 0
        self.initial_sequence = initial_sequence
        self.enter_ring()

    def enter_ring(self) -> None:
        """Forget the packets of the ring before."""
        self.have: dict[int, Packet] = {}
        self.aru = self.delivered = self.discarded = self.last_aru = self.stable = self.initial_sequence
        self.last_packets = 0


class World:
    """The nodes, their rings and the trace."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.max_messages = limits.max_messages
        self.t = 0.0
        self.events: list[Event] = []
        self.nodes: dict[int, Node] = {}
        self.tokens: dict[Ring, Token] = {}
        self.disks: dict[int, int] = {}
        self.lives: dict[int, int] = {}

    def emit(self, node: int, ev: str, **fields: Any) -> None:
        """Write an event of a node."""
        self.t += 0.0001
        self.events.append({"t": round(self.t, 6), "node": node, "inc": self.lives.get(node, 0), "ev": ev, **fields})

    # The life of a node

    def start(self, node: int) -> None:
        """A node comes up, with what its last life stored."""
        self.lives[node] = self.lives.get(node, 0) + 1
        stored = self.disks.get(node, 0)
        self.nodes[node] = Node(node, self.lives[node], stored, self.limits.initial_sequence)
        self.emit(node, "start", stored=stored, lost_state=False)

    def end_life(self, node: int, how: str = "fail") -> None:
        """A node crashes, or says goodbye (`stop`)."""
        self.emit(node, how)
        del self.nodes[node]

    def freeze(self, node: int) -> None:
        """The process of a node is stopped for a while."""
        self.nodes[node].frozen = True
        self.emit(node, "freeze")

    def thaw(self, node: int) -> None:
        """It goes on."""
        self.nodes[node].frozen = False
        self.emit(node, "thaw")

    def submit(self, node: int, level: str = "agreed", pieces: int = 1, fragments: int = 0) -> None:
        """The application sends `pieces` messages that share a packet, the first after `fragments` packets of it."""
        state = self.nodes[node]
        messages = []
        for _ in range(pieces):
            state.count += 1
            msg = (node, state.inc, state.count)
            messages.append((msg, level))
            self.emit(node, "submit", msg=list(msg), hash=content(msg), size=state.count % 7 + 1, level=level)
        state.queue.extend(() for _ in range(fragments))
        state.queue.append(tuple(messages))

    # The token

    def rotate(self, ring: Ring, rotations: int = 1, lost: Lost = nothing_lost) -> None:
        """The token visits all members of the ring, beginning with the representative."""
        token = self.tokens[ring]
        for _ in range(rotations):
            for node in token.members:
                self.visit(node, token, lost)

    def visit(self, node: int, token: Token, lost: Lost = nothing_lost, recovery: deque[Packet] | None = None) -> None:
        """The token is at one node, which sends what it has; in Recovery the packets of `recovery`."""
        state, ring = self.nodes[node], list(token.ring)
        self.emit(node, "token_in", ring=ring, rtr=len(token.wanted), **_numbers(token))
        token.token_seq += 1
        before, state.last_aru = state.last_aru, token.aru
        state.stable = max(state.stable, min(token.aru, before))
        if recovery is None:
            self._free(state, ring, min(state.stable, state.delivered))
        allowed = max(0, min(self.max_messages, self.limits.window_size - token.fcc))
        answered = [seq for seq in token.wanted if seq in state.have][:allowed]
        for seq in answered:
            token.wanted.remove(seq)
            self._multicast(state, token, seq, state.have[seq], lost, new=False)
        known = range(state.aru + 1, token.seq + 1)
        requested = [seq for seq in known if seq not in state.have and seq not in token.wanted]
        token.wanted.extend(requested)
        new = 0
        while new < allowed - len(answered) and (state.queue if recovery is None else recovery):
            new += 1
            token.seq += 1
            self._multicast(state, token, token.seq, self._next_packet(state, token, recovery), lost, new=True)
        self._update(state, token, len(answered) + new)
        position = token.members.index(node)
        self.emit(
            node,
            "token_out",
            ring=ring,
            my_aru=state.aru,
            backlog=len(state.queue),
            new=new,
            retransmitted=len(answered),
            allowed=allowed,
            to=token.members[(position + 1) % len(token.members)],
            requested=requested,
            held=False,
            **_numbers(token),
        )
        if recovery is None:
            self._deliver(state)
        self.buffers(state)

    def _next_packet(self, state: Node, token: Token, recovery: deque[Packet] | None) -> Packet:
        if recovery is not None:
            return recovery.popleft()
        ring = token.ring
        messages = state.queue.popleft()
        for msg, level in messages:
            cfg = f"r:{ring[0]}:{ring[1]}"
            self.emit(state.node, "send", msg=list(msg), cfg=cfg, ring=list(ring), seq=token.seq, level=level)
        return Packet(state.node, f"{ring}-{token.seq}", messages)

    def _multicast(self, state: Node, token: Token, seq: int, packet: Packet, lost: Lost, new: bool) -> None:
        where = {"ring": list(token.ring), "seq": seq, "origin": packet.origin, "hash": packet.hash}
        token.packets[seq] = state.have[seq] = packet
        self.emit(state.node, "packet_out", new=new, **where)
        for member in token.members:
            other = self.nodes.get(member)
            if other is None or other.frozen or seq in other.have or lost(seq, member):
                continue
            other.have[seq] = packet
            while other.aru + 1 in other.have:
                other.aru += 1
            self.emit(member, "packet_in", encapsulated=packet.encapsulated, **where)
            if not packet.encapsulated:
                self._deliver(other)

    def _update(self, state: Node, token: Token, packets: int) -> None:
        while state.aru + 1 in state.have:
            state.aru += 1
        token.fcc += packets - state.last_packets
        state.last_packets = packets
        if state.aru < token.aru or token.aru_addr in (state.node, 0):
            token.aru = state.aru
            token.aru_addr = 0 if token.aru == token.seq else state.node

    def _free(self, state: Node, ring: list[int], upto: int) -> None:
        if upto > state.discarded:
            state.discarded = upto
            self.emit(state.node, "discard", ring=ring, upto=upto)

    # Delivery

    def _deliver(self, state: Node) -> None:
        """Deliver in order up to the first hole, or the first SAFE packet that is not known to be stable."""
        while (packet := state.have.get(state.delivered + 1)) is not None:
            if packet.safe and state.delivered + 1 > state.stable:
                return
            state.delivered += 1
            self.hand_up(state, state.delivered, f"r:{state.ring[0]}:{state.ring[1]}")

    def hand_up(self, state: Node, seq: int, cfg: str) -> None:
        """Deliver the messages of one packet."""
        for msg, level in state.have[seq].messages:
            self.emit(
                state.node,
                "deliver",
                msg=list(msg),
                cfg=cfg,
                ring=list(state.ring),
                seq=seq,
                level=level,
                hash=content(msg),
                size=msg[2] % 7 + 1,
            )

    def deliver_rest(self, state: Node, regular_only: bool, cfg: str, moved: Collection[int]) -> None:
        """At the end of a ring: first what is in order, then in the transitional configuration the rest."""
        if regular_only:
            self._deliver(state)
            return
        hole = False
        for seq in range(state.delivered + 1, max(state.have, default=0) + 1):
            packet = state.have.get(seq)
            hole = hole or packet is None
            if packet is not None and (not hole or packet.origin in moved):
                self.hand_up(state, seq, cfg)

    # What the observer sees besides

    def buffers(self, state: Node) -> None:
        """Fill levels."""
        queued = len(state.queue)
        levels = {"regular": len(state.have), "recovery": 0, "new": queued, "trans": 0, "retrans": 0}
        self.emit(state.node, "buffers", assembly_bytes=100, **levels)

    def state(self, state: Node, name: str, ring: Ring, reason: int = 0) -> None:
        """A state is entered."""
        lists = {"proc": sorted(state.proc), "failed": sorted(state.failed)}
        self.emit(state.node, "state", state=name, reason=reason, ring=list(ring), **lists)
        assert TIMERS[name].issuperset(ARMED[name])
        self.emit(state.node, "timers", armed=list(ARMED[name]))
        self.buffers(state)


def content(msg: MessageId) -> str:
    """Stands for the hash of what is in a message."""
    return f"h{msg[0]}-{msg[1]}-{msg[2]}"


def _numbers(token: Token) -> dict[str, int]:
    return {"token_seq": token.token_seq, "seq": token.seq, "aru": token.aru, "fcc": token.fcc}
