"""Clients, one gateway, one node: what the interface promises when nothing goes wrong, and what it refuses."""

import asyncio
import contextlib
import os
import threading
import warnings

import pytest

import rondo
from tests.unit.gateway.conftest import GatewayProcess, StartGateway, eventually
from tests.unit.gateway.loopback import Loopback


def messages(group: rondo.Group, count: int) -> list[rondo.Message]:
    """The next messages of a group."""
    found: list[rondo.Message] = []
    while len(found) < count:
        event = group.poll(timeout=60)
        assert event is not None, f"only {len(found)} of {count} messages came"
        if isinstance(event, rondo.Message):
            found.append(event)
    return found


def test_a_group_sees_members_and_messages_in_one_order(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        me = rondo.Member(1, os.getpid())
        group = cluster.cpg.join("bank")
        assert (cluster.node_id, cluster.pid, group.members) == (1, os.getpid(), (me,))
        request = group.mcast(b"deposit 10", guarantee=rondo.Guarantee.SAFE)
        assert request.accepted(10) is request
        assert request.ordered(60) is request
        joined = group.poll(60)
        assert joined == rondo.Membership("bank", (me,), (rondo.Change(me, rondo.Reason.JOIN),), ())
        message = group.poll(60)
        assert message == rondo.Message("bank", me, b"deposit 10", rondo.Configuration.REGULAR, request.number)
        assert group.poll(0) is None
        assert cluster.cpg.groups() == [{"group": "bank", "members": [{"node": 1, "pid": os.getpid()}]}]
        group.leave(10)
        left = list(group)
        assert left == [rondo.Membership("bank", (), (), (rondo.Change(me, rondo.Reason.LEAVE),))]
        assert cluster.cpg.groups() == []
    eventually(lambda: [reason for _, reason in loopback.closed] == [0])


def test_what_makes_no_sense_is_refused_by_its_own_error(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        with pytest.raises(rondo.NameTooLong) as long:
            cluster.cpg.join("x" * 129)
        assert long.value.code == 13
        with pytest.raises(rondo.NameTooLong):
            cluster.cpg.join("ü" * 65)
        with pytest.raises(rondo.InvalidParameter):
            cluster.cpg.join("")
        group = cluster.cpg.join("x" * 128)
        with pytest.raises(rondo.Exists) as twice:
            cluster.cpg.join("x" * 128)
        assert twice.value.code == 14
        with pytest.raises(rondo.TooBig) as big:
            group.mcast(bytes(64 * 1024 * 1024 + 1))
        assert big.value.code == 26
        group.leave(10)
        with pytest.raises(rondo.NotExist) as out:
            group.mcast(b"late")
        assert out.value.code == 12
        with pytest.raises(rondo.NotExist):
            group.leave()
        assert len(list(group)) == 2
        with pytest.raises(rondo.NotExist):
            group.poll(0)
        cluster.cpg.join("x" * 128).leave(10)
    with pytest.raises(rondo.Disconnected):
        cluster.cpg.join("y")


def test_two_connections_of_one_process_cannot_both_join(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as one, gateway.connect() as two:
        group = one.cpg.join("g")
        with pytest.raises(rondo.Exists):
            two.cpg.join("g", timeout=60)
        group.leave(10)
        two.cpg.join("g", timeout=60)


def test_the_largest_message_and_the_empty_one(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        large = os.urandom(1024 * 1024) * 6
        for data in (b"", large, bytearray(b"abc"), memoryview(b"def")):
            group.mcast(bytes(data) if isinstance(data, bytes) else data)  # type: ignore[arg-type]
        assert [m.data for m in messages(group, 4)] == [b"", large, b"abc", b"def"]


def test_several_groups_and_threads_on_one_connection(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        groups = [cluster.cpg.join(f"g{i}") for i in range(4)]
        got: dict[str, list[bytes]] = {}

        def take(group: rondo.Group) -> None:
            got[group.name] = [m.data for m in messages(group, 600)]

        def give(group: rondo.Group, who: int) -> None:
            for i in range(300):
                group.mcast(b"%d %d" % (who, i))

        threads = [threading.Thread(target=take, args=(g,)) for g in groups]
        threads += [threading.Thread(target=give, args=(g, who)) for g in groups for who in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        for group in groups:
            for who in (0, 1):
                mine = [data for data in got[group.name] if data.startswith(b"%d " % who)]
                assert mine == [b"%d %d" % (who, i) for i in range(300)]
        assert [group.poll(0) for group in groups] == [None] * 4  # which acknowledges the last ones
        eventually(lambda: all(not s.outstanding for s in loopback.sessions.values()))


def test_flow_control_is_felt_and_passes(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        loopback.stall(True)
        sent = 0
        with contextlib.suppress(rondo.TryAgain):
            while sent < 100:
                group.mcast(b"x" * 100_000, timeout=0)
                sent += 1
        assert 10 < sent < 100
        with pytest.raises(rondo.TryAgain) as full:
            group.mcast(b"x" * 100_000, timeout=0.01)
        assert full.value.code == 6
        with pytest.raises(rondo.Timeout):
            cluster.cpg.groups(timeout=0.05)
        loopback.stall(False)
        last = group.mcast(b"last", timeout=60)
        assert len(messages(group, sent + 1)) == sent + 1
        last.ordered(60)


def test_leaving_the_loop_acknowledges(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        group.mcast(b"1").ordered(60)
        for event in group:
            if isinstance(event, rondo.Message):
                break
        eventually(lambda: all(not s.outstanding for s in loopback.sessions.values()))


def test_a_forked_child_is_told(loopback: Loopback, gateway: GatewayProcess) -> None:
    with gateway.connect() as cluster:
        group = cluster.cpg.join("g")
        read, write = os.pipe()
        with warnings.catch_warnings():
            # Python from 3.12 on warns of forks beside threads; that is what this is about.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            try:
                group.mcast(b"x")
                os.write(write, b"sent")
            except rondo.BadHandle as error:
                os.write(write, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.close(write)
        with os.fdopen(read) as pipe:
            assert "fork" in pipe.read()
        group.mcast(b"y").ordered(60)


def test_without_a_node_the_error_says_what_to_do(run_dir: object) -> None:
    with pytest.raises(rondo.Timeout, match="is it running"):
        rondo.connect(f"ipc://{run_dir}/gateway.sock", timeout=0.2)
    with pytest.raises(rondo.InvalidParameter):
        rondo.connect("nonsense")
    with pytest.raises(rondo.InvalidParameter):
        rondo.connect("ipc:///" + "x" * 200)


def test_asyncio_has_the_same_names(loopback: Loopback, gateway: GatewayProcess) -> None:
    async def main() -> None:
        async with rondo.aio.connect(gateway.endpoint, timeout=60) as cluster:
            me = rondo.Member(1, os.getpid())
            group = await cluster.cpg.join("bank", timeout=60)
            assert group.members == (me,)
            requests = [await group.mcast(b"%d" % i) for i in range(1000)]
            await requests[-1].accepted(10)
            await requests[-1].ordered(60)
            assert isinstance(await group.poll(60), rondo.Membership)
            got = []
            async for event in group:
                assert isinstance(event, rondo.Message)
                got.append((event.data, event.request))
                if len(got) == 1000:
                    break
            assert got == [(b"%d" % i, request.number) for i, request in enumerate(requests)]
            assert await group.poll(0) is None
            assert await cluster.cpg.groups() == [{"group": "bank", "members": [{"node": 1, "pid": os.getpid()}]}]
            with pytest.raises(rondo.Exists):
                await cluster.cpg.join("bank")
            await group.leave(10)
            assert len([event async for event in group]) == 1
            with pytest.raises(rondo.NotExist):
                await group.mcast(b"late")
        cluster = await rondo.aio.connect(gateway.endpoint, timeout=60)
        await cluster.close()
        with pytest.raises(rondo.Disconnected):
            await cluster.cpg.join("x")

    asyncio.run(main())
    eventually(lambda: [reason for _, reason in loopback.closed] == [0, 0])


def test_asyncio_without_a_node(run_dir: object) -> None:
    async def main() -> None:
        with pytest.raises(rondo.Timeout):
            await rondo.aio.connect(f"ipc://{run_dir}/gateway.sock", timeout=0.1)
        with pytest.raises(rondo.InvalidParameter):
            await rondo.aio.connect("nonsense")

    asyncio.run(main())


def test_processes_start_in_any_order(run_dir: object, start_gateway: StartGateway) -> None:
    found: list[int] = []

    def connect() -> None:
        with rondo.connect(f"ipc://{run_dir}/gateway.sock", timeout=60) as cluster:
            found.append(cluster.node_id)

    thread = threading.Thread(target=connect)
    thread.start()
    gateway = start_gateway()
    eventually(lambda: (gateway.run_dir / "gateway.sock").exists())
    cpg = Loopback(gateway.run_dir)
    thread.join(timeout=60)
    cpg.close()
    assert found == [1]
