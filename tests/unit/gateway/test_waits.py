"""How long calls wait that are given no time, what they raise then, and who one is in a group."""

import asyncio
import copy
import pickle
from collections.abc import Awaitable, Callable

import pytest

import rondo
import rondo.aio
from tests.unit.gateway.conftest import GatewayProcess
from tests.unit.gateway.loopback import Loopback

LONG_S = 60
SHORT_S = 0.2


def fill(group: rondo.Group) -> None:
    """Send until there is no room."""
    while True:
        group.mcast(bytes(1 << 20))


async def fill_aio(group: rondo.aio.Group) -> None:
    """The same."""
    while True:
        await group.mcast(bytes(1 << 20))


def test_what_waits_for_the_node_has_an_end(loopback: Loopback, gateway: GatewayProcess) -> None:
    with rondo.connect(gateway.endpoint, LONG_S, default_timeout=SHORT_S) as cluster:
        group, other = cluster.cpg.join("g", LONG_S), cluster.cpg.join("other", LONG_S)
        loopback.stall(True)
        request = group.mcast(b"x")
        calls: list[Callable[[], object]] = [request.accepted, request.ordered, other.leave, cluster.cpg.groups]
        calls.append(lambda: cluster.cpg.join("new"))
        for call in calls:
            with pytest.raises(TimeoutError) as raised:
                call()
            assert type(raised.value) is rondo.Timeout
        with pytest.raises(rondo.TryAgain):
            fill(group)
        loopback.stall(False)
        request.ordered(LONG_S)


def test_what_waits_for_the_node_has_an_end_in_asyncio(loopback: Loopback, gateway: GatewayProcess) -> None:
    async def main() -> None:
        async with rondo.aio.connect(gateway.endpoint, LONG_S, default_timeout=SHORT_S) as cluster:
            group, other = await cluster.cpg.join("g", LONG_S), await cluster.cpg.join("other", LONG_S)
            loopback.stall(True)
            request = await group.mcast(b"x")
            calls: list[Callable[[], Awaitable[object]]] = [
                request.accepted, request.ordered, other.leave, cluster.cpg.groups, lambda: cluster.cpg.join("new")
            ]  # fmt: skip
            for call in calls:
                with pytest.raises(TimeoutError) as raised:
                    await call()
                assert type(raised.value) is rondo.Timeout
            with pytest.raises(rondo.TryAgain):
                await fill_aio(group)
            loopback.stall(False)
            await request.ordered(LONG_S)

    asyncio.run(main())


def test_a_time_of_its_own_or_none_wins_over_the_default(loopback: Loopback, gateway: GatewayProcess) -> None:
    with rondo.connect(gateway.endpoint, LONG_S, default_timeout=0) as cluster:
        for timeout in (LONG_S, None):
            group = cluster.cpg.join("g", timeout)
            group.mcast(b"x").ordered(timeout)
            assert cluster.cpg.groups(timeout)
            group.leave(timeout)
        with pytest.raises(rondo.Timeout):
            cluster.cpg.join("g")
    with pytest.raises(rondo.InvalidParameter, match=r"default_timeout.*nan"):
        rondo.connect(gateway.endpoint, default_timeout=float("nan"))


def test_to_wait_for_events_has_no_end(loopback: Loopback, gateway: GatewayProcess) -> None:
    """Unless the call says so: there need be none."""
    with rondo.connect(gateway.endpoint, LONG_S, default_timeout=0) as cluster:
        group = cluster.cpg.join("g", LONG_S)
        assert isinstance(group.poll(), rondo.Membership)
        loopback.stall(True)
        group.mcast(b"late")
        assert group.poll(SHORT_S) is None
        loopback.stall(False)
        assert isinstance(group.poll(), rondo.Message)


def test_one_knows_who_one_is(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        assert group.me == rondo.Member(cluster.node_id, cluster.pid)
        assert group.members == (group.me,)

    async def main() -> None:
        async with rondo.aio.connect(gateway.endpoint, LONG_S) as cluster:
            group = await cluster.cpg.join("g")
            assert group.members == (group.me,)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "python"),
    [(rondo.Timeout, TimeoutError), (rondo.Disconnected, ConnectionError), (rondo.AccessDenied, PermissionError)],
)
def test_errors_are_what_python_calls_so(error: type[rondo.Error], python: type[OSError]) -> None:
    raised = error("why")
    assert isinstance(raised, python)
    assert isinstance(raised, OSError)
    assert (str(raised), raised.code, raised.errno, str(error())) == ("why", error.code, None, error.meaning)
    for same in (copy.deepcopy(raised), pickle.loads(pickle.dumps(raised))):
        assert (type(same), str(same), same.code) == (error, "why", error.code)
