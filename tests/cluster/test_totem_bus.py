"""The bus of real totem processes, seen from where cpg is: sync, order, requests taken once, recovery after a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from rondo.ipc import zmq_sockets
from rondo.protocol import totem_reader
from rondo.protocol.totem_reader import Ack, Submit
from rondo.testing.lab.totem_nodes import TotemNode, eventually, totem_ring
from tests.cluster.cpg_side import CpgSide, executive, serve_until
from tests.ports import reserve_port

Attach = Callable[..., "CpgSide"]
CALM_MS = 10_000
"""A token time-out that a busy machine does not reach: nothing here is about a ring that is formed anew."""


def synchronized(*sides: CpgSide) -> bool:
    return serve_until(lambda: all(totem_reader.SYNC_COMPLETE in each.kinds() for each in sides), *sides)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def attach(stack: ExitStack) -> Attach:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stack.callback(context.term)

    def attach(node: TotemNode, sync_message: bytes = b"") -> CpgSide:
        side = CpgSide(context, node.run_dir, executive(sync_message))
        stack.callback(side.socket.close)
        return side

    return attach


def ring(stack: ExitStack, directory: Path, nodes: int) -> list[TotemNode]:
    made = totem_ring(stack, directory, reserve_port(stack), nodes=nodes, token_ms=CALM_MS)
    everybody = tuple(range(1, nodes + 1))
    for node in made:
        node.start()
    for node in made:
        assert eventually(lambda node=node: node.is_in_ring_of(*everybody)), node.lines()  # type: ignore[misc]
    return made


def test_the_first_cpg_sees_one_sync_from_its_beginning(stack: ExitStack, attach: Attach, tmp_path: Path) -> None:
    one, two = ring(stack, tmp_path, 2)
    cpg = attach(one, b"from cpg of 1")
    assert synchronized(cpg), one.lines()
    kinds = [kind for kind in cpg.kinds() if kind != totem_reader.MESSAGE]
    assert kinds == [
        totem_reader.TRANSITIONAL, totem_reader.REGULAR, totem_reader.SYNC_STEP, totem_reader.SYNC_ACTIVATE,
        totem_reader.SYNC_COMPLETE,
    ]  # fmt: skip
    assert cpg.payloads() == [b"from cpg of 1"]
    regular = cpg.entries[cpg.kinds().index(totem_reader.REGULAR)]
    assert regular[2:] == [[1, 2], [], []]
    assert eventually(lambda: one.is_in_ring_of(1, 2) and two.is_in_ring_of(1, 2))


def test_requests_come_back_in_order_with_their_tags_and_count_once(
    stack: ExitStack, attach: Attach, tmp_path: Path
) -> None:
    one, two = ring(stack, tmp_path, 2)
    first, second = attach(one), attach(two)
    assert synchronized(first, second)
    for request in range(1, 101):
        first.submit(7, request, b"a%d" % request, b"b%d" % request)
    first.submit(7, 50, b"twice")
    first.submit(7, 101, bytes(700_000))
    sent = [b"%c%d" % (letter, request) for request in range(1, 101) for letter in b"ab"] + [bytes(700_000)]

    def own(cpg: CpgSide) -> list[bytes]:
        return [payload for payload in cpg.payloads() if payload]

    assert serve_until(lambda: all(len(own(each)) >= len(sent) for each in (first, second)), first, second)
    for cpg in (first, second):
        assert own(cpg) == sent
    assert first.taken == {7: 101}
    tags = [entry[2] for entry in first.entries if entry[0] == totem_reader.MESSAGE and entry[4][16:]]
    assert tags[:4] == [[7, 1, 1], [7, 1, 0], [7, 2, 1], [7, 2, 0]]
    assert all(entry[2] is None for entry in second.entries if entry[0] == totem_reader.MESSAGE and entry[1] == 1)


def test_a_cpg_that_was_killed_is_given_what_follows_its_acknowledgement(
    stack: ExitStack, attach: Attach, tmp_path: Path
) -> None:
    (node,) = ring(stack, tmp_path, 1)
    cpg = attach(node)
    assert synchronized(cpg)
    for request in range(1, 11):
        cpg.submit(7, request, b"%d" % request)
    assert serve_until(lambda: len(cpg.payloads()) >= 11, cpg)
    acknowledged = cpg.position - 3
    cpg.send(Ack(cpg.epoch, acknowledged, b"snapshot", b"table", [], []))
    cpg.submit(7, 11, b"11")
    assert serve_until(lambda: cpg.taken.get(7) == 11, cpg)
    ring_before = (node.status() or {})["ring"]
    cpg.socket.close()

    successor = attach(node)
    assert serve_until(lambda: len(successor.payloads()) == 4, successor)
    assert successor.payloads() == [b"8", b"9", b"10", b"11"]
    assert successor.welcome is not None
    assert (successor.welcome.core, successor.welcome.sessions) == (b"snapshot", b"table")
    assert successor.welcome.taken == [[7, 11]]
    assert successor.position == acknowledged + 4
    assert (node.status() or {})["ring"] == ring_before, "nobody else noticed"


def test_an_envelope_of_another_epoch_is_answered_by_again_and_nonsense_is_counted(
    stack: ExitStack, attach: Attach, tmp_path: Path
) -> None:
    (node,) = ring(stack, tmp_path, 1)
    cpg = attach(node)
    assert synchronized(cpg)
    cpg.send(Submit(1, [[7, 1, 2, None, [executive(b"lost")]]]))
    assert serve_until(lambda: cpg.again == 1, cpg)
    for nonsense in (b"", b"\xc1", b"\x93\x06\x01\x02", b"\x90", b"x" * 1000):
        assert zmq_sockets.send(cpg.socket, nonsense)
    assert eventually(lambda: (node.status() or {}).get("counters", {}).get("bus_refused") == 5)
    cpg.submit(7, 1, b"fine")
    assert serve_until(lambda: b"fine" in cpg.payloads(), cpg)


def test_thousands_of_messages_at_a_time(stack: ExitStack, attach: Attach, tmp_path: Path) -> None:
    one, two = ring(stack, tmp_path, 2)
    first, second = attach(one), attach(two)
    assert synchronized(first, second)
    count = 3000
    first.send(Submit(first.epoch, [[7, n, 2, None, [executive(bytes(1000))]] for n in range(1, count + 1)]))
    assert serve_until(lambda: min(len(each.payloads()) for each in (first, second)) >= count, first, second)
    assert first.taken == {7: count}
    assert one.is_in_ring_of(1, 2)
    assert two.is_in_ring_of(1, 2)


def test_a_cpg_that_acknowledges_nothing_slows_the_ring_and_breaks_nothing(
    stack: ExitStack, attach: Attach, tmp_path: Path
) -> None:
    one, two = totem_ring(stack, tmp_path, reserve_port(stack), nodes=2, token_ms=CALM_MS)
    config = tmp_path / "corosync.conf"
    config.write_text(config.read_text() + "system {\n  log_bytes_max: 4194304\n}\n")
    for node in (one, two):
        node.start()
    assert eventually(lambda: one.is_in_ring_of(1, 2) and two.is_in_ring_of(1, 2))
    fast, slow = attach(one), attach(two)
    assert synchronized(fast, slow)
    ring_before = (one.status() or {})["ring"]
    fast.acknowledges = True
    count, size = 60, 50_000
    for request in range(1, count + 1):
        fast.submit(7, request, bytes(size))
        assert serve_until(lambda request=request: fast.taken.get(7, 0) >= request, fast)  # type: ignore[misc]
    # The sync messages of the ring's members count as payloads too: what is waited for is the last entry, not a number.
    assert serve_until(lambda: all(sum(map(len, each.payloads())) >= count * size for each in (fast, slow)), fast, slow)
    status = two.status() or {}
    assert status["brake_pauses"] > 0
    assert status["ring"] == ring_before
    # Once it has acknowledged, the ring is as fast as before.
    slow.send(Ack(slow.epoch, slow.position, b"", b"", [], []))
    assert eventually(lambda: (two.status() or {})["log"]["bytes"] == 0)
    fast.submit(7, count + 1, b"the last")
    assert serve_until(lambda: slow.payloads()[-1] == b"the last", fast, slow)
    assert (one.status() or {})["brake_pauses"] == 0
