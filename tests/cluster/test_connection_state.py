"""What an application hears of its connection to a real node: kills, stops, and its own slowness. Needs no root."""

import asyncio
import os
import queue
import select
import signal
import threading

import pytest

import rondo
import rondo.aio
from rondo.events import ConnectionChange, ConnectionState
from tests.cluster.test_node import Node, make_nodes, node

__all__ = ["make_nodes", "node"]

LONG_S = 60.0
CONNECTED, SUSPENDED, LOST = ConnectionState
BLOCK = bytes(64 * 1024)


@pytest.mark.slow
def test_listeners_of_all_kinds_hear_what_becomes_of_a_node(node: Node) -> None:
    """A killed gateway, a killed ring process, an orderly stop and a start, for threads and for asyncio."""
    node.start()
    told: queue.Queue[ConnectionState] = queue.Queue()
    told_aio: queue.Queue[ConnectionState] = queue.Queue()
    is_over = threading.Event()

    def note(event: rondo.ConnectionEvent) -> None:
        assert isinstance(event, ConnectionChange)
        told.put(event.state)

    def note_aio(event: rondo.ConnectionEvent) -> None:
        assert isinstance(event, ConnectionChange)
        told_aio.put(event.state)

    async def connected() -> None:
        async with rondo.aio.connect(node.endpoint, LONG_S) as cluster:
            cluster.add_listener(note_aio)
            told_aio.put(cluster.state)
            await asyncio.to_thread(is_over.wait)

    def expect(*states: ConnectionState) -> None:
        for state in states:
            assert [each.get(timeout=LONG_S) for each in (told, told_aio)] == [state, state]

    thread = threading.Thread(target=lambda: asyncio.run(connected()))
    thread.start()
    policy = rondo.RetryPolicy(deadline_s=LONG_S)
    try:
        with rondo.connect(node.endpoint, retry=policy) as cluster:
            cluster.add_listener(note)
            told.put(cluster.state)
            expect(CONNECTED)
            os.kill(node.pids()["ipc_gateway"], signal.SIGKILL)
            expect(SUSPENDED, CONNECTED)
            os.kill(node.pids()["totem"], signal.SIGKILL)
            expect(LOST, CONNECTED)
            node.command("stop")
            expect(LOST)
            node.start()
            expect(CONNECTED)
            group = cluster.cpg.join("g")
            assert group.members == (group.me,)
            is_over.set()
        expect(LOST)
    finally:
        is_over.set()
        thread.join()
    assert told.empty()
    assert told_aio.empty()


def test_who_takes_nothing_is_warned_and_goes_on_if_it_does(node: Node) -> None:
    node.start()
    warned: queue.Queue[rondo.ConnectionEvent] = queue.Queue()
    with rondo.connect(node.endpoint, LONG_S) as cluster:
        cluster.add_listener(warned.put)
        group = cluster.cpg.join("g")
        sent = 0
        while warned.empty():
            group.mcast(BLOCK)
            sent += 1
        warning = warned.get()
        assert isinstance(warning, rondo.SlowConsumer)
        assert warning.cut_bytes / 2 < warning.held_bytes < warning.cut_bytes
        assert group.poll(0) == warning
        taken = 0
        while taken < sent:
            assert select.select([group], [], [], LONG_S)[0]
            while (event := group.poll(0)) is not None:
                assert not isinstance(event, rondo.Disconnected)
                taken += isinstance(event, rondo.Message)
        group.mcast(b"goes on").ordered()
