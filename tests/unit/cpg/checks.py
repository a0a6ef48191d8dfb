"""Judges what the clients of a `World` saw by the group properties B1 to B7 and B9. It knows nothing of the machine.

B1 every membership given to a member contains it, the first one as joined; B2 members change by exactly what joined and
left; B3 members on nodes that stay together see the same sequence; B4 no member of a node that is not in the ring, and
in the end exactly those that are there; B5 nothing from outside the group, nothing before joining or after leaving;
B6 the messages of a process in order and whole; B7 what was accepted is ordered, once; B9 no message of a new ring
before its sync is complete.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

from rondo.protocol import events as ev
from rondo.protocol.events import Reason
from rondo.protocol.requests import Op
from tests.unit.cpg.client import Client
from tests.unit.cpg.world import World

Event = list[Any]
RingIdent = tuple[int, int]


def check(world: World) -> list[str]:
    """What is wrong, one line for each violation; empty = nothing."""
    clients = [client for node in world.nodes.values() for client in node.clients]
    wrong: list[str] = []
    for client in clients:
        wrong += [f"{client.node}/{client.pid}: {text}" for text in _check_client(client)]
        wrong += [f"{client.node}/{client.pid}: {text}" for text in _check_barrier(world, client)]
    for one, other in combinations(clients, 2):
        wrong += [f"{one.node}/{one.pid} {other.node}/{other.pid}: {t}" for t in _check_agreement(world, one, other)]
    return wrong + _check_end(clients)


def _check_client(client: Client) -> list[str]:
    wrong: list[str] = []
    own = [client.node, client.pid]
    views: dict[bytes, list[list[int]]] = {}
    last_of: dict[bytes, int] = {}
    epoch = 0
    positions: list[tuple[int, int]] = []
    for at, event in client.stream:
        positions.append((at, event[0]))
        if at != epoch:
            epoch, views = at, {}
        if event[1] == ev.MEMBERSHIP:
            wrong += _check_membership(own, views, event)
        elif event[1] == ev.RING:
            for group, members in views.items():
                wrong += [f"B4 {group!r}: {m} is not in ring {event[4]}" for m in members if m[0] not in event[4]]
        elif event[1] == ev.MESSAGE:
            _, _, group, node, _, _, data, _ = event
            if group not in views or node not in [member[0] for member in views[group]]:
                wrong.append(f"B5 message {data[:30]!r} from outside of the view of {group!r}")
            sender, number, length, rest = data.split(b":")
            if rest != b"x" * int(length):
                wrong.append(f"B6 message {data[:30]!r} is not whole")
            if last_of.get(sender, 0) >= int(number):
                wrong.append(f"B6 message {number!r} of {sender!r} after {last_of[sender]}")
            last_of[sender] = int(number)
    if sorted(positions) != positions and len({at for at, _ in positions}) == 1:
        wrong.append("positions do not ascend")
    return wrong + _check_requests(client)


def _check_membership(own: list[int], views: dict[bytes, list[list[int]]], event: Event) -> list[str]:
    n, _, group, members, joined, left, _ = event
    wrong: list[str] = []
    came, gone = [m[:2] for m in joined], [m[:2] for m in left]
    if members != sorted(members):
        wrong.append(f"B2 {n}: members are not sorted")
    if group not in views:
        if [*own, Reason.JOIN] not in joined or own not in members:
            wrong.append(f"B1 {n}: the first membership of {group!r} is not the own join: {event}")
    else:
        before = views[group]
        if sorted([m for m in before if m not in gone] + came) != members or [m for m in gone if m not in before]:
            wrong.append(f"B2 {n}: {before} - {left} + {joined} is not {members}")
        if [m for m in came if m in before]:
            wrong.append(f"B2 {n}: {joined} were members before")
        if own not in members and own not in gone:
            wrong.append(f"B1 {n}: not a member of the own view: {event}")
    wrong += [f"B2 {n}: joined with reason {m}" for m in joined if m[2] not in (Reason.JOIN, Reason.NODEUP)]
    reasons = (Reason.LEAVE, Reason.NODEDOWN, Reason.PROCDOWN)
    wrong += [f"B2 {n}: left with reason {m}" for m in left if m[2] not in reasons]
    if own in members:
        views[group] = members
    else:
        views.pop(group, None)
    return wrong


def _check_requests(client: Client) -> list[str]:
    wrong: list[str] = []
    echoes: list[int] = []
    for _, event in client.stream:
        if event[1] == ev.FAILED:
            echoes.append(event[2])
        elif event[1] in (ev.MESSAGE, ev.MEMBERSHIP) and event[-1] is not None:
            echoes.append(event[-1])
            request = client.requests[event[-1]]
            if request[2] != event[2] or (request[1] == Op.MCAST and request[4] != event[6]):
                wrong.append(f"B7 request {request} came back as {event}")
    if echoes != sorted(set(echoes)):
        wrong.append(f"B6/B7 requests came back out of order or twice: {echoes}")
    wrong += [f"B7 request {n} was refused and is ordered" for n in echoes if n in client.refused]
    if client.alive and client.cut is None:
        if client.unsettled:
            wrong.append(f"B7 never settled: {sorted(client.unsettled)}")
        for number, request in client.requests.items():
            done = number in client.refused or number in client.unknown or number in echoes
            if request[1] == Op.GROUPS:
                done = done or number in client.answers
            # An answer may be lost with its process; the own later requests then tell that it was a refusal.
            lost_reply = any(later > number for later in echoes)
            if not done and not (lost_reply and request[1] != Op.MCAST):
                wrong.append(f"B7 request {request} has no outcome")
    return wrong


def _check_barrier(world: World, client: Client) -> list[str]:
    wrong: list[str] = []
    syncs = world.nodes[client.node].syncs
    for epoch, event in client.stream:
        if event[1] == ev.MESSAGE:
            for began, ended in syncs.get(epoch, []):
                if began < event[0] < ended:
                    wrong.append(f"B9 message at {event[0]}, in the sync from {began} to {ended}")
    return wrong


def _segments(client: Client, group: bytes) -> dict[RingIdent, list[Event]]:
    """What the client saw of the group in each ring, between that ring's sync and the next one's."""
    found: dict[RingIdent, list[Event]] = {}
    rings = [(epoch, e) for epoch, e in client.stream if e[1] == ev.RING]
    for (epoch, ring), following in [*pairwise(rings), *[(r, None) for r in rings[-1:]]]:
        upto = following[1][0] if following is not None and following[0] == epoch else float("inf")
        found[ring[2], ring[3]] = [
            e for at, e in client.stream
            if at == epoch and ring[0] < e[0] < upto and e[1] != ev.FAILED and e[2] == group
        ]  # fmt: skip
    return found


def _interval(client: Client, ring: RingIdent, events: list[Event]) -> tuple[bool, bool, list[Event]] | None:
    """(joined in it, left or died in it, events without what is the client's own), if it was a member once at most."""
    own = [client.node, client.pid]
    joins = [i for i, e in enumerate(events) if e[1] == ev.MEMBERSHIP and own in [m[:2] for m in e[4]]]
    leaves = [i for i, e in enumerate(events) if e[1] == ev.MEMBERSHIP and own in [m[:2] for m in e[5]]]
    if not events or len(joins) > 1 or len(leaves) > 1 or (joins and leaves and leaves[0] < joins[0]):
        return None
    epoch = next(at for at, e in client.stream if e[1] == ev.RING and (e[2], e[3]) == ring)
    ended = bool(leaves) or epoch != client.epoch or not client.alive or client.cut is not None
    return bool(joins), ended, [e[1:-1] for e in events]


def _check_agreement(world: World, one: Client, other: Client) -> list[str]:
    wrong: list[str] = []
    last = (min(world.nodes), world.sequence)
    for group in (b"a", b"b"):
        segments, others = _segments(one, group), _segments(other, group)
        for ring in segments.keys() & others.keys():
            if ring != last and (ring, one.node, other.node) not in world.pairs_together:
                continue
            mine, theirs = _interval(one, ring, segments[ring]), _interval(other, ring, others[ring])
            if mine is not None and theirs is not None and not _agree(mine, theirs):
                wrong.append(f"B3 {group!r} in ring {ring}: {mine} and {theirs}")
    return wrong


def _agree(mine: tuple[bool, bool, list[Event]], theirs: tuple[bool, bool, list[Event]]) -> bool:
    """Whether the two saw the same while both were members."""
    a, b = mine[2], theirs[2]
    if mine[0] and a[0] in b:
        b = b[b.index(a[0]) :]
    elif theirs[0] and b[0] in a:
        a = a[a.index(b[0]) :]
    elif mine[0] or theirs[0]:
        # One joined when the other had left.
        return mine[1] or theirs[1]
    size = min(len(a), len(b))
    if a[:size] != b[:size]:
        return False
    # The shorter one has to have a reason for being so.
    return len(a) == len(b) or (mine if len(a) < len(b) else theirs)[1]


def _check_end(clients: list[Client]) -> list[str]:
    """In the end everybody is in one ring: all have the same members, namely those that are there."""
    wrong: list[str] = []
    for group in (b"a", b"b"):
        views: dict[tuple[int, int], list[list[int]]] = {}
        for client in clients:
            if client.alive and client.cut is None:
                members = None
                for epoch, event in client.stream:
                    if epoch == client.epoch and event[1] == ev.MEMBERSHIP and event[2] == group:
                        members = event[3] if [client.node, client.pid] in event[3] else None
                if members is not None:
                    views[client.node, client.pid] = members
        real = [list(member) for member in sorted(views)]
        wrong += [
            f"B4 {who} has {members} in {group!r}, there are {real}"
            for who, members in views.items()
            if members != real
        ]
    return wrong
