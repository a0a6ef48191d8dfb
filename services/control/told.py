"""The form of events and values for clients and in the log file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.control.cmap.keymap import Change
from services.control.cmap.values import Value
from services.control.quorum.events import ExpectedVotes, Nodelist, QuorumChanged, Ring, VotesChanged, VotesNodelist
from services.control.quorum.settings import Options

PRIMARY = "This node is within the primary component and will provide service."
NOT_PRIMARY = "This node is within the non-primary component and will NOT provide any services."


def ring(found: Ring) -> dict[str, int]:
    """A ring identifier, for clients."""
    return {"representative": found.representative, "sequence": found.sequence}


def event(found: QuorumChanged | VotesChanged | ExpectedVotes | Nodelist | VotesNodelist) -> dict[str, Any]:
    """A quorum event, for clients."""
    if isinstance(found, QuorumChanged):
        return {
            "event": "quorum",
            "quorate": found.quorate,
            "ring": ring(found.ring),
            "members": list(found.members),
        }
    if isinstance(found, VotesChanged):
        nodes = [{"node": node, "state": state} for node, state in found.nodes]
        return {"event": "votes", "quorate": found.quorate, "nodes": nodes}
    if isinstance(found, ExpectedVotes):
        return {"event": "expected_votes", "expected_votes": found.expected_votes}
    if isinstance(found, Nodelist):
        return {
            "event": "nodelist",
            "ring": ring(found.ring),
            "members": list(found.members),
            "joined": list(found.joined),
            "left": list(found.left),
        }
    return {"event": "votes_nodelist", "ring": ring(found.ring), "members": list(found.members)}


def lines(found: QuorumChanged | VotesChanged | ExpectedVotes | Nodelist | VotesNodelist) -> list[str]:
    """The log lines of an event, in Corosync's words."""
    if isinstance(found, QuorumChanged):
        return [PRIMARY if found.quorate else NOT_PRIMARY, _counted("Members", found.members)]
    if isinstance(found, Nodelist):
        some = [("Sync members", found.members), ("Sync joined", found.joined), ("Sync left", found.left)]
        return [_counted(what, nodes) for what, nodes in some if nodes]
    return []


def _counted(what: str, nodes: tuple[int, ...]) -> str:
    return f"{what}[{len(nodes)}]: {' '.join(map(str, nodes))}"


def value(found: Value | None) -> list[Any] | None:
    """A key's value, for clients: `[type, value]`."""
    return None if found is None else [int(found.type), found.value]


def change(found: Change) -> tuple[dict[str, Any], int]:
    """A change of a key, for clients, and its approximate size in bytes."""
    size = 64 + len(found.key) + sum(each.bytes for each in (found.old, found.new) if each is not None)
    return {"key": found.key, "old": value(found.old), "new": value(found.new)}, size


def with_keys(options: Options, keys: Mapping[str, Value | None]) -> Options:
    """The options, with the values of these `quorum.` keys."""
    changed = {
        key.removeprefix("quorum."): bool(found.value) if key == "quorum.two_node" else found.value
        for key, found in keys.items()
        if found is not None
    }
    return replace(options, **changed)  # type: ignore[arg-type]  # the keys' types were checked
