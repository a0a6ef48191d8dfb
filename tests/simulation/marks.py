"""Coverage marks: the rare paths that a run has taken, found in its trace and in the counters of network and hosts.

A test of rare events says nothing of those that do not occur in it. So a run of many seeds fails if there is a mark
that none of them reaches.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from services.totem.ring.events import GatherReason
from services.totem.wire.frames import RTR_ENTRIES_MAX
from tests.simulation.knet_wires import KNET_MARKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.trace import Event
    from tests.simulation.world import World

MARKS: dict[str, str] = {
    "token_lost_in_operational": "the token was lost in Operational",
    "token_lost_in_gather": "nobody sent the commit token that was waited for in Gather",
    "token_lost_in_commit": "the token was lost in Commit",
    "token_lost_in_recovery": "the token was lost in Recovery",
    "commit_token_lost": "the network lost a commit token",
    "token_sent_again": "a lost token was sent again by its timer, without a new ring",
    "old_messages_recovered": "messages of the old ring were sent again in Recovery",
    "hole_in_recovery": "messages beyond one that nobody has were delivered in a transitional configuration",
    "rings_merged": "two rings, each of several nodes, became one",
    "three_way_split": "one ring fell into three",
    "crash_between_data_and_token": "a node died after it had sent data, before the token",
    "crash_right_after_token": "a node died when the token had just left",
    "crash_between_token_and_data": "a node died after it had passed the token on, before the data that follow it",
    "data_after_token": "in a ring of Rondo nodes only, data followed the token",
    "token_read_first": "a token was read before data, because its sender sent behind it already",
    "mixed_ring": "a ring had members like Corosync's and Rondo members",
    "wide_windows": "the windows of a ring followed from its members' receive buffers",
    "safe_in_ring": "a SAFE message was delivered in the regular configuration",
    "safe_in_transition": "a SAFE message was delivered in a transitional configuration",
    "agreed_after_safe_in_transition": "so was an AGREED message that the SAFE one had held back",
    "asked_at_once": "a packet was asked for at the first visit of the token after its loss",
    "token_held_after_sending": "the representative sent a packet and went on holding the token",
    "hold_cancelled_again": "a hold was cancelled again, because the token did not come",
    "crash_in_commit": "a node died in Commit",
    "crash_in_recovery": "a node died in Recovery",
    "sequence_wrapped": "sequence numbers went past 2^32 within a ring",
    "rtr_list_full": "a token carried 30 requests",
    "paused_node_returned": "a node was frozen, left behind, and came back into the ring",
    "queue_overflow": "the sockets of a frozen node were full",
    "state_lost": "a node was started without its state file",
    "failed_to_receive": "a node gave itself up because it received nothing",
    "consensus_failed": "nodes that did not agree were counted as failed",
    "consensus_early": "a silent member was given up before the consensus time-out",
    "member_dead": "a ring was formed anew because a host knew that a member was gone",
    "node_left": "a node said goodbye",
    "sync_interrupted": "the ring changed before the sync of the ring before was complete",
    "token_held": "the representative of an idle ring held the token",
    "sent_while_held": "it sent something of its own before it let the token go",
    "large_message": "a message of almost 1 MiB was delivered",
    "long_message_again": "a message of which a part was sent before the ring changed was sent again as a whole",
    "sealed_challenged": "sealed packets: a node was asked which boot it has",
    "sealed_held_packets_released": "sealed packets: those of a restarted node were kept until it had answered",
    "sealed_replay_refused": "sealed packets: a recorded one was refused",
    "sealed_old_life_refused": "sealed packets: one of an earlier life, or from before the answer, was refused",
    "sealed_forgery_refused": "sealed packets: an altered one, or one under another key, was refused",
    "sealed_foreign_refused": "sealed packets: one of another cluster was refused",
    "secrecy_memories_stolen": "forward secrecy: a thief had the memory of a running node",
    "secrecy_present_ring_opened": "forward secrecy: with a node's memory he opened what belongs to its present ring",
    "secrecy_under_key_opened": "forward secrecy: with the key file he opened what is sealed with it, and nothing else",
    "secrecy_next_epoch": "forward secrecy: a ring went on to its next epoch",
    "secrecy_other_ring": "forward secrecy: a packet of a ring was refused in which the node was not",
    "secrecy_ring_without_secret": "forward secrecy: a ring had none, because a member did not have it",
    "sealed_key_changed": "sealed packets: the key was changed while nodes came and went",
} | KNET_MARKS  # fmt: skip

_LARGE = 1_000_000
_WRAP = 1 << 32

_REASONS = {
    GatherReason.TOKEN_LOST_IN_OPERATIONAL: "token_lost_in_operational",
    GatherReason.CONSENSUS_EXPIRED: "token_lost_in_gather",
    GatherReason.TOKEN_LOST_IN_COMMIT: "token_lost_in_commit",
    GatherReason.TOKEN_LOST_IN_RECOVERY: "token_lost_in_recovery",
    GatherReason.FAILED_TO_RECEIVE: "failed_to_receive",
    GatherReason.CONSENSUS_TIMEOUT: "consensus_failed",
    GatherReason.CONSENSUS_EARLY: "consensus_early",
    GatherReason.MEMBER_DEAD: "member_dead",
}

_COUNTED = (
    "crash_between_data_and_token", "crash_right_after_token", "crash_between_token_and_data", "queue_overflow",
    "token_read_first",
)  # fmt: skip


class _Reader:
    """Reads a trace once. It has one method for each kind of event."""

    def __init__(self, asks_early: frozenset[int]) -> None:
        self.found: set[str] = set()
        self.windows: set[tuple[int, int]] = set()
        self.state: dict[int, str] = {}
        self.regular: dict[int, tuple[Any, tuple[int, ...]]] = {}
        self.synced: dict[int, Any] = {}
        self.frozen: dict[int, Any] = {}
        self.left_behind: set[int] = set()
        self.came_from: dict[Any, set[tuple[Any, tuple[int, ...]]]] = defaultdict(set)
        self.packets: dict[Any, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        self.first_hole: dict[str, int] = {}
        self.last_seq: dict[tuple[int, Any], int] = {}
        self.holding: dict[int, int] = {}
        self.held_back: set[tuple[int, str]] = set()
        self.asks_early = asks_early
        self.successors: dict[Any, dict[int, Any]] = defaultdict(dict)
        self.handlers: dict[str, Callable[[Event], None]] = {
            name.removeprefix("on_"): getattr(self, name) for name in dir(self) if name.startswith("on_")
        }

    def on_state(self, event: Event) -> None:
        self.state[event["node"]] = event["state"]
        if event["state"] == "gather" and event["reason"] in _REASONS:
            self.found.add(_REASONS[event["reason"]])

    def on_token_in(self, event: Event) -> None:
        if event["rtr"] >= RTR_ENTRIES_MAX:
            self.found.add("rtr_list_full")

    def on_token_out(self, event: Event) -> None:
        if event["new"] and self.holding.get(event["node"]) == event["token_seq"]:
            self.found.add("sent_while_held")
        if event["held"]:
            self.found.add("token_held_after_sending" if event["new"] else "token_held")
            self.holding[event["node"]] = event["token_seq"]
        if event["after_token"]:
            self.found.add("data_after_token")
        key = (event["node"], tuple(event["ring"]))
        before = self.last_seq.get(key)
        early = event["requested"] and before is not None and max(event["requested"]) > before
        if early and event["node"] in self.asks_early:
            self.found.add("asked_at_once")
        self.last_seq[key] = event["seq"]

    def on_hold_cancelled_again(self, event: Event) -> None:
        self.found.add("hold_cancelled_again")

    def on_capabilities(self, event: Event) -> None:
        if 0 < len(event["rondo"]) < len(event["members"]):
            self.found.add("mixed_ring")
        self.windows.add((event["window_size"], event["max_messages"]))
        if len(self.windows) > 1:
            self.found.add("wide_windows")

    def on_token_resend(self, event: Event) -> None:
        if self.state.get(event["node"]) == "operational":
            self.found.add("token_sent_again")

    def on_packet_out(self, event: Event) -> None:
        if event["seq"] > _WRAP:
            self.found.add("sequence_wrapped")
        self.packets[tuple(event["ring"])][event["node"]].add(event["seq"])

    def on_packet_in(self, event: Event) -> None:
        if event["encapsulated"]:
            self.found.add("old_messages_recovered")
        self.packets[tuple(event["ring"])][event["node"]].add(event["seq"])

    def on_deliver(self, event: Event) -> None:
        if event["size"] > _LARGE:
            self.found.add("large_message")
        if event["seq"] > self.first_hole.get(event["cfg"], event["seq"]):
            self.found.add("hole_in_recovery")
        self._on_safe(event)

    def _on_safe(self, event: Event) -> None:
        transitional = event["cfg"].startswith("t")
        if event["level"] == "safe":
            self.found.add("safe_in_transition" if transitional else "safe_in_ring")
            self.held_back.add((event["node"], event["cfg"]))
        elif transitional and (event["node"], event["cfg"]) in self.held_back:
            self.found.add("agreed_after_safe_in_transition")

    def on_long_message_again(self, event: Event) -> None:
        self.found.add("long_message_again")

    def _on_transitional(self, event: Event) -> None:
        """Find the first sequence number of the old ring whose packet no member of this transitional configuration
        has."""
        holders = self.packets.get(tuple(event["ring"]))
        if holders and event["cfg"] not in self.first_hole:
            seq = min(map(min, holders.values()))
            known = set().union(*(holders.get(member, ()) for member in event["members"]))
            while seq in known:
                seq += 1
            self.first_hole[event["cfg"]] = seq

    def on_conf(self, event: Event) -> None:
        if event["kind"] == "trans":
            self._on_transitional(event)
        else:
            self._on_regular(event)

    def _on_regular(self, event: Event) -> None:
        node, ring = event["node"], tuple(event["ring"])
        before = self.regular.get(node)
        if before is not None:
            if self.synced.get(node) != before[0]:
                self.found.add("sync_interrupted")
            self.successors[before[0]][node] = ring
            if len(set(self.successors[before[0]].values())) > 2:
                self.found.add("three_way_split")
            self.came_from[ring].add(before)
            if sum(len(members) > 1 for _, members in self.came_from[ring]) > 1:
                self.found.add("rings_merged")
        self.regular[node] = (ring, tuple(event["members"]))
        for frozen, old in self.frozen.items():
            if node != frozen and old is not None and node in old[1] and frozen not in event["members"]:
                self.left_behind.add(frozen)
        if node in self.left_behind and node not in self.frozen and len(event["members"]) > 1:
            self.found.add("paused_node_returned")

    def on_sync(self, event: Event) -> None:
        self.synced[event["node"]] = tuple(event["ring"])

    def on_freeze(self, event: Event) -> None:
        self.frozen[event["node"]] = self.regular.get(event["node"])

    def on_thaw(self, event: Event) -> None:
        self.frozen.pop(event["node"], None)

    def on_start(self, event: Event) -> None:
        if event["lost_state"]:
            self.found.add("state_lost")

    def on_fail(self, event: Event) -> None:
        state = self.state.get(event["node"])
        if state in ("commit", "recovery"):
            self.found.add(f"crash_in_{state}")
        self._gone(event)

    def on_stop(self, event: Event) -> None:
        self.found.add("node_left")
        self._gone(event)

    def _gone(self, event: Event) -> None:
        for of_node in (self.state, self.regular, self.synced, self.frozen):
            of_node.pop(event["node"], None)
        self.left_behind.discard(event["node"])


def marks_of(world: World) -> set[str]:
    """The marks that a finished run has reached."""
    options = {node: host.options for node, host in world.hosts.items()}
    reader = _Reader(
        frozenset(n for n, each in options.items() if not each.like_corosync and each.miss_count_const > 1)
    )
    for event in world.trace.events:
        handler = reader.handlers.get(event["ev"])
        if handler is not None:
            handler(event)
    found = reader.found | {mark for mark in _COUNTED if world.counts[mark]}
    if world.network.dropped["COMMIT"]:
        found.add("commit_token_lost")
    if world.sealing is not None:
        found |= world.sealing.marks()
    if world.wires is not None:
        found |= world.wires.marks()
    return found
