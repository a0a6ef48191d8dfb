"""Votequorum as a state machine: decides which side of a split may act.

A node has votes. A side of the cluster is quorate if its members' votes reach the quorum, which is more than half of
the expected votes. Options add exceptions:

    two_node            one node of two is enough
    wait_for_all        after a start, no quorum before all votes were there once
    last_man_standing   some time after a loss, expected votes sink to those that are present
    auto_tie_breaker    exactly half is enough if a certain node is in it
    allow_downscale     a node that leaves in an orderly way takes its votes along

**How nodes agree.** In the sync of each ring every node sends its votes, its expected votes and whether it was quorate.
All nodes evaluate all of that in the same order. A node that is not quorate takes over the expected votes of one that
is. Between syncs nothing is sent: other nodes learn only in the next sync that a node became quorate.

Nodes of one ring may differ, if one has lowered its expected votes and another has not been quorate since. Corosync's
nodes decide by exactly these rules. In a ring with them, a node with better rules would be the wrong one. So the rules
are theirs to the letter, even where another rule would be better. There are two differences: quorum is not counted in
eight bits (`settings.VOTES_MAX` avoids that), and the barrier of expected_votes_tracking is really stored.

**Use.** The caller hands in the ring's configurations, the sync steps, messages in order, and the time. It takes
messages for the ring from `outbox`, and from `events` what to tell and to store. `snapshot` is the whole state, at any
moment. Times are nanoseconds of a clock that does not jump.
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
        """`stored_barrier`: from the last `StoreBarrier` event before a restart; 0 = none."""
        self.settings = settings
        own = Node(node, NodeState.MEMBER, settings.votes, settings.expected_votes, Flag.FIRST)
        self.nodes = Nodes(own)
        self.quorum = 0
        """Votes needed for quorum; 0 = not counted yet."""
        self.quorate = False
        self.device_name = b""
        """Name of the quorum device that other nodes have."""
        self.members: tuple[int, ...] = ()
        self.previous_members: tuple[int, ...] = ()
        """Members of the previous ring."""
        self.ring = Ring(0, 0)
        self.waiting_for_all = settings.wait_for_all
        self.last_man_standing = settings.last_man_standing
        """Off once a node with more than one vote was seen."""
        self.barrier = settings.expected_votes
        """Expected votes do not sink below this when nodes leave (allow_downscale)."""
        self.tracking_barrier = stored_barrier
        """The highest expected votes ever seen (expected_votes_tracking)."""
        self.lowest: int | None = None
        self.highest: int | None = None
        """Lowest and highest node id when this node was last quorate."""
        self.syncing = False
        self.window_ends_ns: int | None = None
        """When last_man_standing lowers the expected votes; None: no loss is pending."""
        self.outbox: list[bytes] = []
        """Messages for the ring, in order. The caller empties the list."""
        self.events: list[Event] = []
        """Events in order. The caller empties the list."""
        self.refused: Counter[str] = Counter()
        """Messages that had no effect, by reason."""
        self._set_own_flag(Flag.WAITING_FOR_ALL, self.waiting_for_all)

    @property
    def own(self) -> Node:
        """This node."""
        return self.nodes.own

    # Input from the ring.

    def start(self) -> None:
        """The service starts: this node announces its votes, before its first ring."""
        self._send_own()

    def sync_init(self, ring: Ring, members: Sequence[int], now_ns: int) -> None:
        """A ring was installed. Nothing was delivered in it yet."""
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
        """Start last_man_standing's window, if this ring is a reason for it."""
        if not self.last_man_standing:
            return
        breaks_ties = self.settings.tie_breaker != TieBreaker.NONE
        if (count >= self.quorum and has_lost) or (count <= self.quorum and breaks_ties and has_lowest):
            self.window_ends_ns = now_ns + self.settings.last_man_standing_window_ms * _MS_NS

    def sync_step(self) -> list[bytes]:
        """This node's messages in votequorum's sync step. The device comes after the node: C nodes abort if they get
        the device of an unknown node."""
        self.events.append(VotesNodelist(self.ring, self.members))
        messages = [self._own_info(), encode(NodeInfo(0, self.nodes.device_votes, 0, 0))]
        if self.device_name:
            messages.append(encode(QdeviceReg(True, self.device_name)))
        return messages

    def sync_activate(self) -> None:
        """All members have sent their votes."""
        self._recalculate()
        self._tell()
        self.syncing = False

    def message(self, sender: int, data: bytes) -> None:
        """A message of service 5 was delivered."""
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
        """The time of `next_deadline_ns` has come."""
        if self.window_ends_ns is None or now_ns < self.window_ends_ns:
            return
        self.window_ends_ns = None
        if self.quorate and self.last_man_standing:
            self._recalculate(decrease=True, by_members=True)

    # Commands. Each changes this node at once, and all nodes by its message.

    def set_expected(self, expected_votes: int) -> bool:
        """Set the expected votes of the cluster. False: refused, because quorum would be lost, or more votes are
        present."""
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
        """Set the votes of a node; 0 = the quorum device. False: refused, because the number is invalid, or quorum
        would be out of reach or far below half. Raises KeyError if the node is unknown."""
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
        """End wait_for_all on all nodes. C nodes send these two introductions too when that key is set."""
        self._introduce()
        self.outbox.append(encode(Reconfigure(self.own.node, 0, Parameter.CANCEL_WAIT_FOR_ALL)))

    def reload(self, settings: Settings) -> None:
        """The configuration was reloaded. `settings`: made by `settings.reloaded`; they only differ in what may change
        at run time."""
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
        """This node will leave in an orderly way, after the messages that are now in `outbox`."""
        if self.settings.allow_downscale:
            self._set_own_flag(Flag.LEAVING, True)
            self._send_own()

    def stay(self) -> None:
        """This node has announced that it leaves, but stays."""
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
        """Set the votes of a node; None: of the device."""
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
        """Count again. `decrease`: quorum may sink. `by_members`: expected votes become the number of members."""
        nodes, own = self.nodes, self.own
        # Count in 32 bits, as Corosync does: the votes that nodes claim may add up to more than a message can carry.
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
            # Equality, as in Corosync: with more votes than expected it goes on waiting.
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
        """The state without `outbox` and `events`, as numbers, texts and lists."""
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
