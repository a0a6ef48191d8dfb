"""Votequorum's visible state: the answer to getinfo, the numbers of `rondo quorum`, the keys `runtime.votequorum.*`.

As in Corosync, quorum, totals and settings are those of the node that answers. Votes and expected votes are what it
knows about the node in question; they may be out of date.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from services.control.quorum.events import NodeState
from services.control.quorum.settings import PROVIDER, TieBreaker
from services.control.quorum.votequorum import Votequorum
from services.control.quorum.wire import Flag

KEYS = "runtime.votequorum."


class Info(NamedTuple):
    """votequorum_getinfo of one node."""

    node: int
    state: NodeState
    votes: int
    expected_votes: int
    highest_expected: int
    total_votes: int
    quorum: int
    flags: int
    """As in votequorum.h: 1 two_node, 2 quorate, 4 wait_for_all, 8 last_man_standing, 16 auto_tie_breaker, 32
    allow_downscale. For the quorum device of node `node`: 64 registered, 128 alive, 256 casts its vote, 512 master
    wins."""
    device_votes: int
    device_name: bytes


def info(votes: Votequorum, node: int) -> Info | None:
    """The info of a node, 0 = this one; None if the node is unknown."""
    known = votes.nodes.get(node or votes.own.node)
    if known is None:
        return None
    members = votes.nodes.members()
    total = sum(each.votes for each in members)
    if known.flags & Flag.DEVICE_CASTS_VOTE:
        total += votes.nodes.device_votes
    return Info(
        known.node,
        known.state,
        known.votes,
        known.expected_votes,
        max((each.expected_votes for each in members), default=0),
        total,
        votes.quorum,
        _own_flags(votes) | (known.flags & _DEVICE_FLAGS) << 2,
        votes.nodes.device_votes,
        votes.device_name,
    )


_DEVICE_FLAGS = Flag.DEVICE_REGISTERED | Flag.DEVICE_ALIVE | Flag.DEVICE_CASTS_VOTE | Flag.DEVICE_MASTER_WINS
_FLAG_NAMES = ("two_node", "quorate", "wait_for_all", "last_man_standing", "auto_tie_breaker", "allow_downscale")


def _own_flags(votes: Votequorum) -> int:
    settings = votes.settings
    switches = (
        settings.two_node,
        votes.quorate,
        settings.wait_for_all,
        votes.last_man_standing,
        settings.tie_breaker != TieBreaker.NONE,
        settings.allow_downscale,
    )
    return sum(1 << bit for bit, is_set in enumerate(switches) if is_set)


def status(votes: Votequorum) -> dict[str, Any]:
    """The state for `rondo quorum`, without node names."""
    own = info(votes, 0)
    assert own is not None
    return {
        "provider": PROVIDER,
        "quorate": votes.quorate,
        "ring": {"representative": votes.ring.representative, "sequence": votes.ring.sequence},
        "node": own.node,
        "expected_votes": own.expected_votes,
        "highest_expected": own.highest_expected,
        "total_votes": own.total_votes,
        "quorum": own.quorum,
        "flags": [name for bit, name in enumerate(_FLAG_NAMES) if own.flags >> bit & 1],
        "nodes": [
            {
                "node": node.node,
                "state": node.state.name.lower(),
                "votes": node.votes,
                "expected_votes": node.expected_votes,
            }
            for node in votes.nodes
        ],
    }


def runtime_keys(votes: Votequorum) -> dict[str, tuple[str, int]]:
    """Corosync's keys below `runtime.votequorum.`: (type, value) by key. As there, keys of disabled features are left
    out, and the lowest and highest node before the first quorum."""
    settings = votes.settings
    keys = {
        "this_node_id": ("u32", votes.own.node),
        "ev_barrier": ("u32", votes.barrier),
        "two_node": ("u8", int(settings.two_node)),
    }
    if settings.wait_for_all:
        keys["wait_for_all_status"] = ("u8", int(votes.waiting_for_all))
    if votes.lowest is not None and votes.highest is not None:
        keys["lowest_node_id"] = ("u32", votes.lowest)
        keys["highest_node_id"] = ("u32", votes.highest)
    if settings.expected_votes_tracking:
        keys["ev_tracking_barrier"] = ("u32", votes.tracking_barrier)
    if settings.tie_breaker != TieBreaker.NONE:
        keys["atb_type"] = ("u32", int(settings.tie_breaker))
    return {KEYS + name: typed for name, typed in keys.items()}
