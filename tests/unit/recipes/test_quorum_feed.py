"""The thread that asks for quorum is there while recipes need it, and keeps no connection alive after that."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import rondo
from rondo.recipes import Counter, Dict
from rondo.testing import Loopback
from tests.unit.recipes.conftest import cluster_on, eventually

NAME = "rondo-recipes-quorum"


def feeds() -> set[threading.Thread]:
    """The threads that ask. One of an earlier test may still be ending."""
    return {thread for thread in threading.enumerate() if thread.name == NAME}


def is_gone(connection: weakref.ref[Any]) -> bool:
    gc.collect()
    return connection() is None


def is_refused(counter: Counter) -> bool:
    """Whether it has heard that this side has no quorum."""
    try:
        counter.add(timeout=0.05)
    except rondo.NoQuorum:
        return True
    except rondo.Timeout:
        pass
    return False


def test_a_connection_whose_recipes_are_closed_can_be_forgotten() -> None:
    loopback = Loopback(nodes=1)
    connection = cluster_on(loopback)
    forgotten = weakref.ref(connection)
    before = feeds()
    with Counter(connection, "steps") as counter, Dict(connection, "settings") as settings:
        assert counter.add() == 1
        assert len(feeds() - before) == 1, "one for all recipes of a connection"
    del counter, settings
    eventually(lambda: feeds() <= before)
    del connection
    eventually(lambda: is_gone(forgotten))


def test_the_feed_goes_on_for_the_recipes_that_are_left_and_begins_anew() -> None:
    loopback = Loopback(nodes=3)
    with cluster_on(loopback) as connection, Counter(connection, "one") as one:
        with Counter(connection, "two"):
            pass
        loopback.partition({1}, {2, 3})
        eventually(lambda: is_refused(one))
        loopback.heal()
        eventually(lambda: one.is_ready)
        one.close()
        with Counter(connection, "three") as three:
            loopback.partition({1}, {2, 3})
            eventually(lambda: is_refused(three))


def test_a_connection_that_is_closed_before_its_recipes_ends_the_feed() -> None:
    loopback = Loopback(nodes=1)
    before = feeds()
    connection = cluster_on(loopback)
    counter = Counter(connection, "steps")
    connection.close()
    eventually(lambda: feeds() <= before)
    forgotten = weakref.ref(connection)
    counter.close()
    del connection, counter
    eventually(lambda: is_gone(forgotten))


def test_closing_a_watch_ends_the_loop_of_another_thread() -> None:
    loopback = Loopback(nodes=1)
    with loopback.connect(1) as connection:
        changes = connection.quorum.watch(current=True)
        assert isinstance(next(changes), rondo.quorum.Quorate)
        waiting = threading.Thread(target=lambda: list(changes), daemon=True)
        waiting.start()
        changes.close()
        waiting.join(60)
        assert not waiting.is_alive()
        assert not connection.is_closed
