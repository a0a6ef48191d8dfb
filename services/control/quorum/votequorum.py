"""Votequorum as a state machine: which side of a split may act.

A node has votes. A side of the cluster is quorate if its members' votes reach the quorum, which is more than half of
the votes that are expected. All the rest are exceptions that the configuration asks for:

    two_node            one of two is enough
    wait_for_all        after a start not before all votes were there once
    last_man_standing   a window after a loss, expected votes sink to those that are present
    auto_tie_breaker    exactly half is enough if a certain node is in it
    allow_downscale     who leaves in order takes its votes along

**How nodes agree.** In the sync of each ring every node says its votes, its expected votes and whether it was quorate;
all evaluate all of it in the same order. A node that is not quorate takes over the expected votes of one that is. In a
ring that stands nothing is said: that a node became quorate its peers learn in the next sync only.

Nodes of one ring may differ, where one has lowered its expected votes and another has never been quorate since.
Corosync's nodes decide by exactly these rules, and in a ring with them a node that knew better would be the one that is
wrong. So the rules are theirs to the letter, also where another one would be nicer. Two differences: quorum is not
counted in eight bits (`settings.VOTES_MAX` keeps clear of that), and the barrier of expected_votes_tracking is really
stored.

**Use.** The caller hands in the ring's configurations, the steps of the sync, messages in their order and the time; it
takes messages for the ring out of `outbox`, and out of `events` what is to be told and stored. The whole state is in
`snapshot`, at any moment. Times are nanoseconds of a clock that does not jump.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from services.control.quorum.events import (
    Event,
    ExpectedVotes,
    NodeState,
    Notice,
    QuorumChanged,
    Ring,
    StoreBarrier,
    VotesChanged,
    VotesNodelist,
)
from services.control.quorum.nodes import NODES_MAX, Node, Nodes, Tally
from services.control.quorum.settings import VOTES_MAX, Settings, TieBreaker, pack_settings, unpack_settings
from services.control.quorum.tie_breaker import has_tie_breaker
from services.control.quorum.wire import (
    Flag,
    NodeInfo,
    Parameter,
    QdeviceReconfigure,
    QdeviceReg,
    Reconfigure,
    WireError,
    decode,
    encode,
)

_MS_NS = 1_000_000
_U32_MAX = 0xFFFFFFFF
_SNAPSHOT_VERSION = 1


class Votequorum:
    """One node's view of the votes."""

    def __init__(self, node: int, settings: Settings, stored_barrier: int = 0) -> None:
        """`stored_barrier`: what the last `StoreBarrier` event said, in an earlier life; 0 = nothing."""
        self.settings = settings
        own = Node(node, NodeState.MEMBER, settings.votes, settings.expected_votes, Flag.FIRST)
        self.nodes = Nodes(own)
        self.quorum = 0
        """Votes that are needed; 0 = nothing was counted yet."""
        self.quorate = False
        self.device_name = b""
        """Of the quorum device that other nodes have."""
        self.members: tuple[int, ...] = ()
        self.previous_members: tuple[int, ...] = ()
        """Of the ring before."""
        self.ring = Ring(0, 0)
        self.waiting_for_all = settings.wait_for_all
        self.last_man_standing = settings.last_man_standing
        """Off once a node with more than one vote was heard of."""
        self.barrier = settings.expected_votes
        """Below it expected votes do not sink when nodes leave (allow_downscale)."""
        self.tracking_barrier = stored_barrier
        """The highest expected votes ever seen (expected_votes_tracking)."""
        self.lowest: int | None = None
        self.highest: int | None = None
        """Lowest and highest node id when this node was quorate last."""
        self.syncing = False
        self.window_ends_ns: int | None = None
        """When last_man_standing lowers the expected votes; None = no loss is pending."""
        self.outbox: list[bytes] = []
        """Messages for the ring, in order; the caller empties it."""
        self.events: list[Event] = []
        """In order; the caller empties it."""
        self.refused: Counter[str] = Counter()
        """Messages that had no effect, by reason."""
        self._set_own_flag(Flag.WAITING_FOR_ALL, self.waiting_for_all)

    @property
    def own(self) -> Node:
        """This node."""
        return self.nodes.own

    # What the ring gives.

    def start(self) -> None:
        """The service starts: this node introduces itself, before its first ring."""
        self._send_own()

    def sync_init(self, ring: Ring, members: Sequence[int], now_ns: int) -> None:
        """A ring was installed; nothing of it was delivered yet."""
        self.syncing = True
        if len(members) > 1:
            self._set_own_flag(Flag.FIRST, False)
        lost = set(self.members).difference(members)
        for node in self.nodes:
            if node.node in lost:
                node.state = NodeState.DEAD
        self._watch_losses(len(members), bool(lost), self.lowest in members, now_ns)
        self.previous_members, self.members = self.members, tuple(sorted(members))
        self.ring = ring

    def _watch_losses(self, count: int, has_lost: bool, has_lowest: bool, now_ns: int) -> None:
        """Begin the window of last_man_standing, if this ring is a reason."""
        if not self.last_man_standing:
            return
        breaks_ties = self.settings.tie_breaker != TieBreaker.NONE
        if (count >= self.quorum and has_lost) or (count <= self.quorum and breaks_ties and has_lowest):
            self.window_ends_ns = now_ns + self.settings.last_man_standing_window_ms * _MS_NS

    def sync_step(self) -> list[bytes]:
        """This node's messages of votequorum's step in the sync. The device comes after the node: C nodes abort when
        they hear of the device of a node that they do not know."""
        self.events.append(VotesNodelist(self.ring, self.members))
        messages = [self._own_info(), encode(NodeInfo(0, self.nodes.device_votes, 0, 0))]
        if self.device_name:
            messages.append(encode(QdeviceReg(True, self.device_name)))
        return messages

    def sync_activate(self) -> None:
        """All members have said their votes."""
        self._recalculate()
        self._tell()
        self.syncing = False

    def message(self, sender: int, data: bytes) -> None:
        """A message of service 5 in its place in the order."""
        try:
            message = decode(data)
        except WireError as error:
            self.refused[str(error)] += 1
            return
        if isinstance(message, NodeInfo):
            if message.node == 0:
                self._device_info(sender, message)
            elif message.node != sender:
                self.refused["speaks for another node"] += 1
            else:
                self._node_info(message)
        elif isinstance(message, Reconfigure):
            self._reconfigure(sender, message)
        elif isinstance(message, QdeviceReg):
            self._device_registered(message)
        elif message.old == self.device_name:
            self._device_renamed(message)

    # Time.

    def next_deadline_ns(self) -> int | None:
        """When `advance` is to be called; None: no need."""
        return self.window_ends_ns

    def advance(self, now_ns: int) -> None:
        """The time has come that `next_deadline_ns` gave."""
        if self.window_ends_ns is None or now_ns < self.window_ends_ns:
            return
        self.window_ends_ns = None
        if self.quorate and self.last_man_standing:
            self._recalculate(decrease=True, by_members=True)

    # Commands. Each changes this node at once, and all nodes by its message.

    def set_expected(self, expected_votes: int) -> bool:
        """Set the expected votes of the cluster. False: refused, because it would end quorum, or is less than the
        votes that are there."""
        if not 0 < expected_votes <= VOTES_MAX:
            return False
        tally = self.nodes.count(
            self.quorum, decrease=True, expected_votes=expected_votes, two_node=self.settings.two_node
        )
        if expected_votes < tally.total_votes or (self.quorate and tally.quorum > tally.total_votes):
            return False
        for node in self.nodes.members():
            node.expected_votes = expected_votes
        self.outbox.append(encode(Reconfigure(self.own.node, expected_votes, Parameter.EXPECTED_VOTES)))
        return True

    def set_votes(self, node: int, votes: int) -> bool:
        """Set the votes of a node; 0 = the quorum device. False: refused, because quorum would be out of reach, or far
        below half, or the number is none of votes. Raises KeyError if the node is not known."""
        known = self.nodes.get(node)
        if known is None and node != 0:
            raise KeyError(node)
        if not 0 <= votes <= VOTES_MAX:
            return False
        before = self.nodes.device_votes if known is None else known.votes
        self._assign_votes(known, votes)
        tally = self._count(decrease=True, expected_votes=0)
        is_wrong = tally.quorum < tally.total_votes // 2 or tally.quorum > tally.total_votes
        if is_wrong or tally.total_votes > VOTES_MAX:
            self._assign_votes(known, before)
            return False
        self.outbox.append(encode(Reconfigure(node, votes, Parameter.VOTES)))
        return True

    def cancel_wait_for_all(self) -> None:
        """Have all nodes stop waiting. The two introductions are what a C node sends when that key is set."""
        self._introduce()
        self.outbox.append(encode(Reconfigure(self.own.node, 0, Parameter.CANCEL_WAIT_FOR_ALL)))

    def reload(self, settings: Settings) -> None:
        """The configuration was read again. `settings`: those of `settings.reloaded`, in which nothing is different but
        what may change at run time."""
        votes_changed = settings.votes != self.own.votes
        expected_changed = settings.expected_votes != self.own.expected_votes
        self.settings = settings
        self.own.votes = settings.votes
        self.own.expected_votes = settings.expected_votes
        self._introduce()
        if votes_changed:
            self.outbox.append(encode(Reconfigure(self.own.node, settings.votes, Parameter.VOTES)))
        if expected_changed:
            self.outbox.append(encode(Reconfigure(self.own.node, settings.expected_votes, Parameter.EXPECTED_VOTES)))

    def leave(self) -> None:
        """This node is going to leave in order, after what is now in `outbox`."""
        if self.settings.allow_downscale:
            self._set_own_flag(Flag.LEAVING, True)
            self._send_own()

    def stay(self) -> None:
        """This node has said that it leaves, and does not."""
        if self.own.flags & Flag.LEAVING:
            self._set_own_flag(Flag.LEAVING, False)
            self._send_own()

    # Messages.

    def _own_info(self) -> bytes:
        own = self.own
        return encode(NodeInfo(own.node, own.votes, own.expected_votes, own.flags))

    def _send_own(self) -> None:
        self.outbox.append(self._own_info())

    def _introduce(self) -> None:
        self._send_own()
        self.outbox.append(encode(NodeInfo(0, self.nodes.device_votes, 0, 0)))

    def _node_info(self, info: NodeInfo) -> None:
        node = self.nodes.get(info.node)
        is_new = node is None
        if node is None:
            if len(self.nodes) >= NODES_MAX:
                self.refused["too many nodes"] += 1
                return
            node = Node(info.node, NodeState.MEMBER, info.votes, info.expected_votes, info.flags)
            self.nodes.add(node)
        before = (node.state, node.votes, node.expected_votes, node.flags)
        is_leaving = bool(info.flags & Flag.LEAVING)
        is_quorate = bool(info.flags & Flag.QUORATE)
        decrease = is_leaving
        node.flags, node.votes = info.flags, info.votes
        node.state = NodeState.LEAVING if is_leaving else NodeState.MEMBER
        if not self.quorate and is_quorate:
            decrease = True
            self.own.expected_votes = info.expected_votes
        if is_quorate or self.settings.expected_votes_tracking:
            node.expected_votes = info.expected_votes
        else:
            node.expected_votes = self.own.expected_votes
        if self.last_man_standing and info.votes > 1:
            self.last_man_standing = False
            self.events.append(Notice(f"last_man_standing is off: node {info.node} has more than one vote"))
        changed = before != (node.state, node.votes, node.expected_votes, node.flags)
        if is_new or node is self.own or info.flags & Flag.FIRST or changed:
            self._recalculate(decrease=decrease, by_members=is_leaving)
        if self.settings.wait_for_all and is_quorate and not info.flags & Flag.WAITING_FOR_ALL:
            self._wait_for_all(False)

    def _device_info(self, sender: int, info: NodeInfo) -> None:
        node = self.nodes.get(sender)
        if node is None:
            self.refused["device of an unknown node"] += 1
            return
        before = self.nodes.device_votes
        if not self.quorate and node.flags & Flag.QUORATE:
            self.nodes.device_votes = info.votes
        else:
            self.nodes.device_votes = max(before, info.votes)
        if self.nodes.device_votes != before:
            self._recalculate()

    def _reconfigure(self, sender: int, message: Reconfigure) -> None:
        if message.parameter == Parameter.EXPECTED_VOTES:
            for node in self.nodes.members():
                node.expected_votes = message.value
            self.events.append(ExpectedVotes(message.value))
            self.barrier = message.value
            if self.settings.expected_votes_tracking:
                self.own.expected_votes = max(self.own.expected_votes, self.tracking_barrier)
            self._recalculate(decrease=True)
        elif message.parameter == Parameter.VOTES:
            known = self.nodes.get(message.node)
            if known is None and message.node != 0:
                self.refused["votes of an unknown node"] += 1
                return
            self._assign_votes(known, message.value)
            self._recalculate(decrease=True)
        elif message.parameter == Parameter.CANCEL_WAIT_FOR_ALL:
            self._wait_for_all(False)
            self.events.append(Notice(f"wait_for_all_status reset by user on node {sender}."))
            self._recalculate()
        else:
            self.refused["unknown parameter"] += 1

    def _assign_votes(self, node: Node | None, votes: int) -> None:
        """Set votes of a node, or of the device if it is None."""
        if node is None:
            self.nodes.device_votes = votes
        else:
            node.votes = votes

    def _device_registered(self, message: QdeviceReg) -> None:
        if message.registered:
            self.device_name = self.device_name or message.name
        elif not any(node.flags & Flag.DEVICE_REGISTERED for node in self.nodes.members()):
            self.device_name = b""

    def _device_renamed(self, message: QdeviceReconfigure) -> None:
        if self.device_name:
            self.device_name = message.new

    # The rules.

    def _count(self, *, decrease: bool, expected_votes: int) -> Tally:
        if self.settings.allow_downscale and decrease and expected_votes:
            expected_votes = max(self.barrier, expected_votes)
        return self.nodes.count(
            self.quorum, decrease=decrease, expected_votes=expected_votes, two_node=self.settings.two_node
        )

    def _recalculate(self, *, decrease: bool = False, by_members: bool = False) -> None:
        """Count again. `decrease`: quorum may sink. `by_members`: as many votes are expected as there are members."""
        nodes, own = self.nodes, self.own
        # In 32 bits, as Corosync counts: votes that nodes claim may add up to more than a message can carry.
        present = (nodes.member_votes() + nodes.device_votes) & _U32_MAX
        if present > own.expected_votes:
            own.expected_votes = present
            self.events.append(ExpectedVotes(present))
        if self.settings.expected_votes_tracking and own.expected_votes > self.tracking_barrier:
            self.tracking_barrier = own.expected_votes
            self.events.append(StoreBarrier(self.tracking_barrier))
        expected = len(nodes.members()) + (nodes.device_votes > 0) if by_members else 0
        tally = self._count(decrease=decrease, expected_votes=expected)
        self.quorum = tally.quorum
        if expected:
            for node in nodes.members():
                node.expected_votes = expected
        self._judge(tally.total_votes)

    def _judge(self, total_votes: int) -> None:
        """Decide whether these votes are enough."""
        own = self.own
        waits = self.settings.wait_for_all
        if waits and self.waiting_for_all:
            # Equality, as in Corosync: with more votes than expected it waits on.
            if total_votes != own.expected_votes:
                self.events.append(
                    Notice(
                        "Waiting for all cluster members. "
                        f"Current votes: {total_votes} expected_votes: {own.expected_votes}"
                    )
                )
                return
            self._wait_for_all(False)
        quorate = self.quorum <= total_votes
        if quorate:
            ids = [node.node for node in self.nodes.members()] + [own.node]
            self.lowest, self.highest = min(ids), max(ids)
        if (
            self.settings.tie_breaker != TieBreaker.NONE
            and total_votes == own.expected_votes // 2
            and len(self.previous_members) - len(self.members) < self.quorum
            and has_tie_breaker(
                self.settings, self.members, self.previous_members, self.nodes, (self.lowest, self.highest)
            )
        ):
            quorate = True
        self._set_own_flag(Flag.QUORATE, quorate)
        if waits:
            self._wait_for_all(not quorate)
        changed, self.quorate = quorate != self.quorate, quorate
        if changed and not self.syncing:
            self._tell()

    def _wait_for_all(self, waiting: bool) -> None:
        self.waiting_for_all = waiting
        self._set_own_flag(Flag.WAITING_FOR_ALL, waiting)

    def _set_own_flag(self, flag: Flag, is_set: bool) -> None:
        self.own.flags = int(self.own.flags | flag if is_set else self.own.flags & ~flag)

    def _tell(self) -> None:
        self.events.append(QuorumChanged(self.quorate, self.ring, self.members))
        nodes = [(node.node, int(node.state)) for node in self.nodes]
        if self.device_name:
            nodes.append((0, 0))
        self.events.append(VotesChanged(self.quorate, tuple(nodes)))

    # Snapshots.

    def snapshot(self) -> list[Any]:
        """The whole state, `outbox` and `events` left out, as numbers, texts and lists."""
        return [
            _SNAPSHOT_VERSION,
            pack_settings(self.settings),
            self.nodes.snapshot(),
            [self.quorum, self.quorate, self.syncing, self.waiting_for_all, self.last_man_standing],
            [self.barrier, self.tracking_barrier, self.lowest, self.highest, self.window_ends_ns],
            [list(self.ring), list(self.members), list(self.previous_members), self.device_name],
        ]

    @classmethod
    def restore(cls, snapshot: list[Any]) -> Votequorum:
        """The state of a snapshot. Raises ValueError, TypeError, KeyError or IndexError if it is not one."""
        version, settings, nodes, switches, numbers, view = snapshot
        if version != _SNAPSHOT_VERSION:
            raise ValueError(f"snapshot of version {version}")
        found = cls(nodes[0], unpack_settings(settings))
        found.nodes.restore(nodes)
        found.quorum, found.quorate, found.syncing, found.waiting_for_all, found.last_man_standing = switches
        found.barrier, found.tracking_barrier, found.lowest, found.highest, found.window_ends_ns = numbers
        ring, members, previous, found.device_name = view
        found.ring, found.members, found.previous_members = Ring(*ring), tuple(members), tuple(previous)
        return found
