"""What real nodes sent is what our state machine sends, byte for byte, when it is put in their place."""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from services.control.quorum.events import Ring
from services.control.quorum.settings import reloaded, settle
from services.control.quorum.votequorum import Votequorum
from services.control.quorum.wire import NodeInfo, decode
from services.totem.wire.packets import Group
from services.totem.wire.syncmsg import Barrier, ServiceBuild, decode_sync
from tests.unit.control.captures import CapturedRing, rings
from tests.unit.control.ring import options

_HEAD = struct.Struct("<i4xi4x")
_VOTEQUORUM, _RELOAD_CONFIG = 5, 1 << 16 | 3
_STEPS_BEFORE = 3
"""Services in the sync before votequorum: cmap, cpg, quorum."""


def _without_padding(data: bytes) -> bytes:
    """A message with its padding zeroed: real nodes have garbage there."""
    ident, size = _HEAD.unpack_from(data)
    body = data[16:28] + bytes(4) if ident == _VOTEQUORUM << 16 | 1 else data[16:]
    return _HEAD.pack(ident, size) + body


Command = Callable[[Votequorum], None]


@dataclass
class Replay:
    """All nodes of a capture. What they send by themselves is predicted; what clients of theirs asked for is given."""

    written: dict[str, object]
    nodelist: dict[int, int]
    reloads: deque[tuple[dict[int, int], int]] = field(default_factory=deque)
    """(votes by node, quorum.expected_votes) of the file at each reload, in order."""
    commands: dict[tuple[int, int], tuple[int, Command]] = field(default_factory=dict)
    """By (ring sequence, packet that carries its outcome): node, and what its client did."""
    nodes: dict[int, Votequorum] = field(default_factory=dict)
    predicted: dict[int, deque[bytes]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    done: set[tuple[int, int]] = field(default_factory=set)

    def run(self, captured: list[CapturedRing]) -> None:
        for ring in captured:
            self._ring(ring)

    def _ring(self, ring: CapturedRing) -> None:
        first: dict[int, tuple[Group, bytes]] = {}
        for _, sender, group, payload in ring.messages:
            first.setdefault(sender, (group, payload))
        for node in ring.members:
            group, payload = first[node]
            if group is Group.EXECUTIVE or node not in self.nodes:
                assert isinstance(decode(payload), NodeInfo), "a node's first message introduces it"
                self._start(node)
        for node in ring.members:
            self.nodes[node].sync_init(Ring(ring.representative, ring.sequence), ring.members, 0)
        barriers: Counter[int] = Counter()
        step = 0
        for number, sender, group, payload in ring.messages:
            if group is Group.SYNC:
                message = decode_sync(payload)
                if isinstance(message, ServiceBuild):
                    assert message.services == (0, 2, 3, 5)
                elif isinstance(message, Barrier):
                    barriers[sender] += 1
                    if all(barriers[node] > step for node in ring.members):
                        step += 1
                        self._step_done(ring, step)
            else:
                self._message(ring, number, sender, payload)

    def _start(self, node: int) -> None:
        settings, _ = settle(options(**self.written), node, self.nodelist)
        self.nodes[node] = Votequorum(node, settings)
        self.predicted[node] = deque()
        self.nodes[node].start()

    def _step_done(self, ring: CapturedRing, step: int) -> None:
        for node in ring.members:
            if step == _STEPS_BEFORE:
                self.predicted[node].extend(self.nodes[node].sync_step())
            elif step == _STEPS_BEFORE + 1:
                self.nodes[node].sync_activate()

    def _message(self, ring: CapturedRing, number: int, sender: int, payload: bytes) -> None:
        ident, _ = _HEAD.unpack_from(payload)
        if ident == _RELOAD_CONFIG:
            votes, expected = self.reloads.popleft()
            for node in ring.members:
                self._reload(node, votes, expected)
        if ident >> 16 != _VOTEQUORUM:
            return
        if (ring.sequence, number) in self.commands and (ring.sequence, number) not in self.done:
            self.done.add((ring.sequence, number))
            node, command = self.commands[ring.sequence, number]
            command(self.nodes[node])
        for node in ring.members:
            votes_of = self.nodes[node]
            self.predicted[node].extend(votes_of.outbox)
            votes_of.outbox.clear()
        assert self.predicted[sender], f"node {sender} sent what was not foreseen in packet {number} of {ring.sequence}"
        assert self.predicted[sender].popleft() == _without_padding(payload), (ring.sequence, number, sender)
        message = decode(payload)
        self.seen[type(message).__name__] += 1
        for node in ring.members:
            self.nodes[node].message(sender, payload)

    def _reload(self, node: int, votes: dict[int, int], expected: int) -> None:
        start = options(**self.written)
        settled, _ = settle(start, node, self.nodelist)
        now = options(**(self.written | {"expected_votes": expected}))
        settings, _ = settle(reloaded(start, settled, now), node, votes)
        self.nodes[node].reload(settings)


def _check_all_used(replay: Replay) -> None:
    assert not replay.reloads
    assert set(replay.commands) == replay.done
    for node, left in replay.predicted.items():
        assert not left, f"node {node} was foreseen to send more"
        assert not replay.nodes[node].refused


def test_three_nodes_start_die_and_return() -> None:
    replay = Replay({}, {1: 1, 2: 1, 3: 1})
    replay.run(rings("basic"))
    _check_all_used(replay)
    assert replay.seen == {"NodeInfo": 34}


def test_two_nodes_that_wait_for_each_other() -> None:
    replay = Replay({"two_node": True}, {1: 1, 2: 1})
    replay.commands[18, 9] = 1, Votequorum.cancel_wait_for_all
    replay.run(rings("twonode-wfa"))
    _check_all_used(replay)
    assert replay.seen == {"NodeInfo": 24, "Reconfigure": 1}


def _set_expected(votes: int) -> Command:
    def command(node: Votequorum) -> None:
        assert node.set_expected(votes)

    return command


def _set_votes(of: int, votes: int) -> Command:
    def command(node: Votequorum) -> None:
        assert node.set_votes(of, votes)

    return command


def test_votes_and_expected_votes_are_changed_at_run_time() -> None:
    same = {1: 1, 2: 1, 3: 1}
    replay = Replay({}, same)
    replay.reloads.extend([({1: 1, 2: 1, 3: 2}, 0), ({1: 1, 2: 1, 3: 2}, 7), (same, 0)])
    replay.commands |= {
        (13, 22): (2, _set_expected(5)),
        (13, 23): (2, _set_expected(4)),
        (13, 24): (2, _set_expected(5)),
        (13, 25): (1, _set_votes(2, 3)),
        (13, 26): (1, _set_votes(2, 9)),
        (13, 39): (1, lambda node: node.reload(settle(options(expected_votes=5), 1, same)[0])),
    }
    replay.run(rings("reconfigure"))
    _check_all_used(replay)
    assert replay.seen["NodeInfo"] == 37


@pytest.mark.parametrize("name", ["basic", "twonode-wfa", "reconfigure"])
def test_the_capture_is_whole(name: str) -> None:
    """No packet is missing in a ring, or the replay would prove less than it says."""
    for ring in rings(name):
        assert ring.numbers == list(range(1, len(ring.numbers) + 1))
