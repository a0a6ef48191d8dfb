"""Replicated state and coordination on top of process groups.

    from rondo.recipes import Dict, Lock

    with rondo.connect() as cluster:
        with Dict(cluster, "settings") as settings:
            settings["colour"] = "blue"
        with Lock(cluster, "backup") as token:
            back_up(token.fencing)

docs/RECIPES.md says what each recipe promises. `rondo.aio.recipes` has the same names for asyncio. The recipes use only
the public interface of `rondo`.
"""

from rondo.recipes.blocking import (
    Barrier,
    Counter,
    Dict,
    Election,
    Job,
    Lock,
    Once,
    Permit,
    Queue,
    Semaphore,
)
from rondo.recipes.errors import Refused, StoreError
from rondo.recipes.state_machine import Replicated, StateMachine, replicated
from rondo.recipes.store import Store

__all__ = [
    "Barrier",
    "Counter",
    "Dict",
    "Election",
    "Job",
    "Lock",
    "Once",
    "Permit",
    "Queue",
    "Refused",
    "Replicated",
    "Semaphore",
    "StateMachine",
    "Store",
    "StoreError",
    "replicated",
]
