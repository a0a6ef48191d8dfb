"""A loopback keeps the order, the memberships and the guarantees that a real cluster gives, and fails as it fails."""

from __future__ import annotations

import asyncio
import random
import select
from collections import defaultdict

import pytest

import rondo
from rondo.testing import Loopback
from rondo.testing.loopback import LoopbackCluster, LoopbackGroup


def events_of(group: LoopbackGroup) -> list[rondo.Event]:
    found = []
    while (event := group.poll(0)) is not None:
        found.append(event)
    return found


def payloads(events: list[rondo.Event]) -> list[bytes]:
    return [event.data for event in events if isinstance(event, rondo.Message)]


def test_messages_and_memberships_come_in_one_order() -> None:
    loopback = Loopback(nodes=2)
    one, two = loopback.connect(1), loopback.connect(2)
    first = one.cpg.join("g")
    second = two.cpg.join("g")
    request = first.mcast(b"a")
    second.mcast(b"b")
    assert request.ordered(0).is_done
    seen = events_of(second)
    assert payloads(seen) == [b"a", b"b"]
    (joined,) = [event for event in seen if isinstance(event, rondo.Membership)]
    assert [member.node for member in joined.members] == [1, 2]
    assert events_of(first)[-2:] == [
        rondo.Message("g", rondo.Member(1, one.pid), b"a", rondo.Configuration.REGULAR, request.number),
        rondo.Message("g", rondo.Member(2, two.pid), b"b", rondo.Configuration.REGULAR, None),
    ]
    with pytest.raises(rondo.Exists):
        one.cpg.join("g")


def test_a_split_tells_who_left_and_which_side_may_act() -> None:
    loopback = Loopback(nodes=3)
    clusters = {node: loopback.connect(node) for node in (1, 2, 3)}
    groups = {node: cluster.cpg.join("g") for node, cluster in clusters.items()}
    for group in groups.values():
        events_of(group)
    loopback.partition({1}, {2, 3})
    left, ring = events_of(groups[1])
    assert isinstance(left, rondo.Membership)
    assert {(change.node, change.reason) for change in left.left} == {(2, "nodedown"), (3, "nodedown")}
    assert isinstance(ring, rondo.RingChange)
    assert ring.members == (1,)
    assert not clusters[1].quorum.status().quorate
    assert clusters[2].quorum.status().quorate
    groups[1].mcast(b"alone")
    groups[2].mcast(b"together")
    assert payloads(events_of(groups[3])) == [b"together"]
    loopback.heal()
    assert len(groups[1].members) == 1  # as of the last event taken
    assert payloads(events_of(groups[1])) == [b"alone"]
    assert len(groups[1].members) == 3


def test_a_process_that_dies_is_told_as_such() -> None:
    loopback = Loopback(nodes=1)
    one, two = loopback.connect(), loopback.connect()
    group, other = one.cpg.join("g"), two.cpg.join("g")
    loopback.kill(two)
    last = events_of(group)[-1]
    assert isinstance(last, rondo.Membership)
    assert [change.reason for change in last.left] == [rondo.Reason.PROCDOWN]
    with pytest.raises(rondo.Disconnected):
        other.poll(0)


def test_a_lost_session_has_unknown_outcomes_and_comes_back() -> None:
    loopback = Loopback(nodes=1)
    one = loopback.connect()
    group = one.cpg.join("g")
    events_of(group)
    loopback.suspend(one, "broken")
    loopback.resume(one)
    loopback.hold()
    request = group.mcast(b"lost?")
    loopback.disconnect(one, "gone")
    seen = events_of(group)
    assert seen == [
        rondo.Suspended("broken"),
        rondo.Resumed(),
        rondo.Disconnected("gone"),
        rondo.UnknownOutcome((request.number,)),
    ]
    assert isinstance(request.error, rondo.Disconnected)
    assert not one.is_connected
    loopback.reconnect(one)
    loopback.release()
    seen = events_of(group)
    assert seen[0] == rondo.Reconnected()
    assert isinstance(seen[-1], rondo.Membership)


def test_a_node_that_dies_takes_its_processes_out_and_back_in() -> None:
    loopback = Loopback(nodes=2)
    one, two = loopback.connect(1), loopback.connect(2)
    groups = [one.cpg.join("g"), two.cpg.join("g")]
    loopback.kill_node(2)
    assert rondo.Disconnected("node 2 is down") in events_of(groups[1])
    assert events_of(groups[0])
    assert [member.node for member in groups[0].members] == [1]
    loopback.start_node(2)
    assert rondo.Reconnected() in events_of(groups[1])
    assert [member.node for member in groups[1].members] == [1, 2]


def test_safe_messages_that_not_all_have_are_transitional() -> None:
    seen = set()
    for seed in range(60):
        loopback = Loopback(nodes=2, seed=seed)
        groups = [loopback.connect(node).cpg.join("g") for node in (1, 2)]
        loopback.hold()
        groups[0].mcast(b"safe", rondo.Guarantee.SAFE)
        for _ in range(seed % 5):
            loopback.step()
        loopback.partition({1}, {2})
        loopback.settle()
        got = [_configurations_before_the_split(group) for group in groups]
        seen.add(tuple(map(tuple, got)))
        if rondo.Configuration.REGULAR in got[0] + got[1]:
            assert all(got), "who delivers it as regular knows that all have it"
    assert ((rondo.Configuration.REGULAR,), (rondo.Configuration.TRANSITIONAL,)) in seen
    assert ((rondo.Configuration.TRANSITIONAL,), ()) in seen
    assert ((rondo.Configuration.TRANSITIONAL,), (rondo.Configuration.TRANSITIONAL,)) in seen


def _configurations_before_the_split(group: LoopbackGroup) -> list[rondo.Configuration]:
    events = events_of(group)
    at = next(index for index, event in enumerate(events) if isinstance(event, rondo.RingChange))
    return [event.configuration for event in events[:at] if isinstance(event, rondo.Message)]


def _random_run(seed: int) -> dict[rondo.Member, list[rondo.Event]]:
    """Faults and messages as the seed has them; what each process saw."""
    draw, loopback = random.Random(seed), Loopback(nodes=3, seed=seed)
    members: list[tuple[LoopbackCluster, LoopbackGroup]] = []
    for node in (1, 2, 3):
        cluster = loopback.connect(node)
        members.append((cluster, cluster.cpg.join("g")))
    loopback.hold()
    for number in range(60):
        what = draw.random()
        if what < 0.5:
            draw.choice(members)[1].mcast(b"%d" % number, draw.choice(list(rondo.Guarantee)))
        elif what < 0.6:
            cut = draw.randint(1, 3)
            loopback.partition({cut}, {1, 2, 3} - {cut})
        elif what < 0.7:
            loopback.heal()
        elif what < 0.75:
            loopback.kill_node(draw.randint(1, 3))
        elif what < 0.8:
            for node in (1, 2, 3):
                loopback.start_node(node)
        for _ in range(draw.randint(0, 6)):
            loopback.step()
    loopback.heal()
    for node in (1, 2, 3):
        loopback.start_node(node)
    loopback.settle()
    return {rondo.Member(cluster.node_id, cluster.pid): events_of(group) for cluster, group in members}


@pytest.mark.parametrize("seed", range(60))
def test_random_faults_keep_the_order(seed: int) -> None:
    """SAFE delivered as regular is delivered by all of the ring; the order is one; the last memberships are equal."""
    seen = _random_run(seed)
    after: dict[bytes, set[bytes]] = defaultdict(set)
    for events in seen.values():
        mine = payloads(events)
        assert len(mine) == len(set(mine))
        for index, each in enumerate(mine):
            after[each].update(mine[index + 1 :])
    assert not any(each in after[later] for each, laters in after.items() for later in laters)
    last = {[event.members for event in events if isinstance(event, rondo.Membership)][-1] for events in seen.values()}
    assert last == {tuple(sorted(seen))}


def test_the_same_seed_gives_the_same_events() -> None:
    assert _random_run(7) == _random_run(7)
    assert _random_run(7) != _random_run(8)


def test_asyncio() -> None:
    async def run() -> list[rondo.Event]:
        loopback = Loopback(nodes=2)
        async with await loopback.connect_aio(1) as one, await loopback.connect_aio(2) as two:
            first, second = await one.cpg.join("g"), await two.cpg.join("g")
            waiting = asyncio.create_task(_until_message(second))
            await asyncio.sleep(0)
            await (await first.mcast(b"a")).ordered()
            assert await first.poll(0) is not None
            return await asyncio.wait_for(waiting, 10)

    assert payloads(asyncio.run(run())) == [b"a"]


async def _until_message(group: object) -> list[rondo.Event]:
    seen = []
    async for event in group:  # type: ignore[attr-defined]
        seen.append(event)
        if isinstance(event, rondo.Message):
            break
    return seen


def test_listeners_are_told_how_a_connection_stands() -> None:
    loopback = Loopback(nodes=1)
    told: list[rondo.ConnectionEvent] = []
    cluster = loopback.connect(1)
    assert cluster.cpg.join("g").me == rondo.Member(1, cluster.pid)
    cluster.add_listener(told.append)
    loopback.suspend(cluster, "why")
    loopback.resume(cluster)
    loopback.kill_node(1)
    loopback.start_node(1)
    cluster.close()
    connected, suspended, lost = rondo.ConnectionState
    changes = [(each.state, each.is_final) for each in told if isinstance(each, rondo.ConnectionChange)]
    assert changes == [(suspended, False), (connected, False), (lost, False), (connected, False), (lost, True)]
    assert cluster.state is lost


def test_listeners_of_asyncio_are_told_in_their_loop() -> None:
    async def run() -> None:
        loopback = Loopback(nodes=1)
        told: asyncio.Queue[rondo.ConnectionEvent] = asyncio.Queue()
        cluster = await loopback.connect_aio(1)
        assert (await cluster.cpg.join("g")).me == rondo.Member(1, cluster.pid)
        cluster.add_listener(told.put_nowait)
        await asyncio.to_thread(loopback.suspend, cluster.blocking, "why")
        assert await told.get() == rondo.ConnectionChange(rondo.ConnectionState.SUSPENDED, "why")
        assert cluster.state is rondo.ConnectionState.SUSPENDED
        cluster.remove_listener(told.put_nowait)
        await cluster.close()
        assert told.empty()

    asyncio.run(run())


def test_the_descriptor_of_a_group_is_readable_while_there_is_something_to_take() -> None:
    loopback = Loopback(nodes=1)
    one = loopback.connect(1)
    group = one.cpg.join("g")

    def is_readable() -> bool:
        return bool(select.select([group], [], [], 0)[0])

    assert is_readable()
    events_of(group)
    assert not is_readable()
    group.mcast(b"1")
    assert is_readable()
    assert payloads(events_of(group)) == [b"1"]
    assert not is_readable()
    one.close()
    assert is_readable()
