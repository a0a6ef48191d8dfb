"""The checker of groups finds what it is there for: a good log, and for each property faults that it must find."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.checker.base import Event
from tests.checker.groups import GROUP_PROPERTIES, check
from tests.checker.groups.base import GroupLimits
from tests.checker.groups.stories import good

Mutate = Callable[[list[Event]], None]
MUTATIONS: list[tuple[str, str, Mutate]] = []
X1, X2, X3 = "n1x1#1", "n2x1#1", "n3x1#1"


def mutation(prop: str, name: str) -> Callable[[Mutate], Mutate]:
    """Decorator: enter a fault."""

    def enter(mutate: Mutate) -> Mutate:
        MUTATIONS.append((prop, name, mutate))
        return mutate

    return enter


def find(events: list[Event], nth: int = 0, **fields: Any) -> int:
    """Index of the nth event that has all these fields."""
    hits = [index for index, event in enumerate(events) if all(event.get(key) == fields[key] for key in fields)]
    return hits[nth]


def swap(events: list[Event], one: int, other: int) -> None:
    """Let two events of one log change places; each keeps the time of its place."""
    events[one]["t"], events[other]["t"] = events[other]["t"], events[one]["t"]
    events[one], events[other] = events[other], events[one]


@mutation("A1", "a message that nobody sent")
def _(events: list[Event]) -> None:
    del events[find(events, ev="gsend", proc=X2)]


@mutation("A1", "a message of another sender")
def _(events: list[Event]) -> None:
    events[find(events, ev="gdeliver", proc=X1, msg=f"{X2}/1")]["sender"] = [1, 101]


@mutation("C5", "a message twice")
def _(events: list[Event]) -> None:
    index = find(events, ev="gdeliver", proc=X3)
    events.insert(index + 1, dict(events[index]))


@mutation("A2", "one node counts a member more")
def _(events: list[Event]) -> None:
    events[find(events, ev="gring", proc=X1)]["members"] = [1, 2]


@mutation("A2", "a ring whose number falls")
def _(events: list[Event]) -> None:
    for event in events:
        if event["ev"] == "gring" and event["ring"] == [1, 20]:
            event["ring"] = [1, 2]


@mutation("A3", "what was ordered does not reach its sender")
def _(events: list[Event]) -> None:
    del events[find(events, ev="gdeliver", proc=X1, msg=f"{X1}/2")]


@mutation("A4", "of two who move together one lacks the last message")
def _(events: list[Event]) -> None:
    del events[find(events, ev="gdeliver", proc=X2, msg=f"{X3}/2")]


@mutation("A5", "an answer before its question")
def _(events: list[Event]) -> None:
    question = find(events, ev="gdeliver", proc=X3, msg=f"{X1}/2")
    answer = find(events, ev="gdeliver", proc=X3, msg=f"{X2}/1")
    swap(events, question, answer)


@mutation("A6", "two messages in another order at one")
def _(events: list[Event]) -> None:
    one, other = (find(events, ev="gdeliver", proc=X3, msg=msg) for msg in (f"{X3}/1", f"{X1}/3"))
    swap(events, one, other)


@mutation("A7", "one lacks a SAFE message that the others have")
def _(events: list[Event]) -> None:
    del events[find(events, ev="gdeliver", proc=X3, msg=f"{X2}/2")]


@mutation("A10", "who was frozen is given something new before it is told")
def _(events: list[Event]) -> None:
    delivery = events.pop(find(events, ev="gdeliver", proc=X3, msg=f"{X3}/3"))
    ring = find(events, ev="gring", proc=X3, members=[3])
    sent = find(events, ev="gsend", proc=X3, msg=f"{X3}/3")
    told = [event for event in events[ring - 1 : ring + 1] if event.get("proc") == X3]
    for event in told:
        events.remove(event)
    assert sent > ring - 1
    place = find(events, ev="gsend", proc=X3, msg=f"{X3}/3")
    for offset, event in enumerate([delivery, *told]):
        event["t"] = events[place]["t"] + (offset + 1) / 10
        events.insert(place + 1 + offset, event)


@mutation("A11", "who parted is not seen to leave")
def _(events: list[Event]) -> None:
    index = find(events, ev="gring", proc=X1, members=[1, 2])
    assert events[index - 1]["ev"] == "gconf"
    del events[index - 1]


@mutation("B1", "a membership without the one who is given it")
def _(events: list[Event]) -> None:
    conf = events[find(events, ev="gconf", proc=X1, left=[[3, 301, "nodedown"]])]
    conf["members"] = [[2, 201]]


@mutation("B1", "a first membership that is not the own join")
def _(events: list[Event]) -> None:
    del events[find(events, ev="gconf", proc=X2)]


@mutation("B2", "a member that came from nowhere")
def _(events: list[Event]) -> None:
    events[find(events, ev="gconf", proc=X1, left=[[3, 301, "nodedown"]])]["members"].append([9, 9])


@mutation("B2", "a node goes down without a new ring")
def _(events: list[Event]) -> None:
    events[find(events, ev="gconf", proc=X1, left=[[3, 301, "leave"]])]["left"] = [[3, 301, "nodedown"]]


@mutation("B2", "a process is called dead that goes on")
def _(events: list[Event]) -> None:
    events[find(events, ev="gconf", proc=X1, left=[[3, 301, "nodedown"]])]["left"] = [[3, 301, "procdown"]]
    for event in list(events):
        own = event.get("proc") == X3 and event["ev"] in ("gleave", "gout")
        if own or event.get("left") == [[3, 301, "leave"]]:
            events.remove(event)


@mutation("B3", "a membership at another place")
def _(events: list[Event]) -> None:
    one = find(events, ev="gconf", proc=X1, left=[[3, 301, "leave"]])
    swap(events, one, find(events, ev="gdeliver", proc=X1, msg=f"{X1}/5"))


@mutation("B4", "a member of a node that is not in the ring")
def _(events: list[Event]) -> None:
    conf = events[find(events, ev="gconf", proc=X1, left=[[3, 301, "nodedown"]])]
    conf["members"], conf["left"] = [[1, 101], [2, 201], [3, 301]], []


@mutation("B5", "a message from outside the group")
def _(events: list[Event]) -> None:
    conf = events[find(events, ev="gconf", proc=X2, joined=[[3, 301, "nodeup"]])]
    conf["members"], conf["joined"] = [[1, 101], [2, 201]], []


@mutation("B5", "a message after the leave")
def _(events: list[Event]) -> None:
    out = find(events, ev="gout", proc=X3)
    events.insert(out + 1, {**events[find(events, ev="gdeliver", proc=X1, msg=f"{X1}/5")], "proc": X3, "node": 3})


@mutation("B6", "a message with other content")
def _(events: list[Event]) -> None:
    events[find(events, ev="gdeliver", proc=X2)]["crc"] += 1


@mutation("B6", "a message that is not whole")
def _(events: list[Event]) -> None:
    events[find(events, ev="gdeliver", proc=X2)]["size"] = -1


@mutation("B6", "two messages of one sender change places")
def _(events: list[Event]) -> None:
    one, other = (find(events, ev="gdeliver", proc=X3, msg=msg) for msg in (f"{X1}/2", f"{X1}/3"))
    swap(events, one, other)


@mutation("B7", "an accepted message has no outcome")
def _(events: list[Event]) -> None:
    del events[find(events, ev="gordered", proc=X1)]


@mutation("B7", "an unknown outcome is not told by number")
def _(events: list[Event]) -> None:
    dead = events.index(next(event for event in events if event["ev"] == "fail"))
    unknown = find(events, ev="gunknown", proc=X2)
    events[unknown]["msgs"] = []
    del events[dead]


@mutation("B7", "an accepted message dies with its sender though the node lives on")
def _(events: list[Event]) -> None:
    """Another process on node 2, in the group all the time, sees everything but that message."""
    dead = next(event for event in events if event["ev"] == "fail")
    for event in [event for event in events if event.get("proc") == X2 and event["ev"] in ("gconf", "gdeliver")]:
        events.insert(events.index(event) + 1, {**event, "proc": "n2y1#1"})
    later = [event for event in events if event["t"] > dead["t"] + 5 and event.get("proc") == X1]
    events.insert(events.index(later[0]), {**later[0], "proc": "n2y1#1", "node": 2, "pid": 201})
    unknown = [event for event in events if event["ev"] in ("gunknown", "gfail") and event.get("proc") == X2]
    for event in unknown:
        events.remove(event)


@mutation("B8", "a refused message is delivered")
def _(events: list[Event]) -> None:
    refused = events[find(events, ev="grefuse")]
    sent = events[find(events, ev="gsend", msg=refused["msg"])]
    before = find(events, ev="gdeliver", proc=X1, msg=f"{X1}/5")
    fields = {key: sent[key] for key in ("msg", "size", "crc")}
    events.insert(events.index(refused) + 1, {**events[before], **fields, "t": refused["t"] + 0.1})


@mutation("B8", "more is on its way than may be")
def _(events: list[Event]) -> None:
    for event in events:
        if event["ev"] in ("gsend", "gdeliver") and event.get("msg") == f"{X3}/2":
            event["size"] = 2**30
    sent = find(events, ev="gsend", msg=f"{X3}/2")
    events.insert(sent + 1, {**events[sent], "msg": f"{X3}/99", "size": 1, "t": events[sent]["t"] + 0.1})
    events.insert(sent + 2, {**events[sent], "ev": "grefuse", "msg": f"{X3}/99", "t": events[sent]["t"] + 0.2})


@mutation("B9", "a message of a ring before its sync is complete")
def _(events: list[Event]) -> None:
    ring = find(events, ev="gring", proc=X2, members=[1, 2])
    message = events.pop(find(events, ev="gdeliver", proc=X2, msg=f"{X1}/4"))
    events.insert(ring, message | {"t": events[ring]["t"] - 0.1})


@mutation("C13", "a ghost in the end")
def _(events: list[Event]) -> None:
    conf = events[find(events, -1, ev="gconf", proc=X1)]
    conf["members"].append([9, 9])


@mutation("C14", "a last word that one never gets")
def _(events: list[Event]) -> None:
    del events[find(events, -1, ev="gdeliver", proc=X1)]


@mutation("B10", "a message before the end of the suspension")
def _(events: list[Event]) -> None:
    del events[find(events, ev="gresume", proc=X1)]


@pytest.mark.parametrize(("prop", "name", "mutate"), MUTATIONS, ids=[f"{prop}: {name}" for prop, name, _ in MUTATIONS])
def test_each_fault_is_found_by_its_property(prop: str, name: str, mutate: Mutate) -> None:
    events = good()
    broken = copy.deepcopy(events)
    mutate(broken)
    found = check(broken, only={prop}, limits=GroupLimits(outstanding_bytes_max=1_000_000))
    assert [violation.prop for violation in found[:1]] == [prop]


def test_a_good_log_passes() -> None:
    assert check(good()) == []


def test_every_property_has_a_fault() -> None:
    assert {prop for prop, _, _ in MUTATIONS} == set(GROUP_PROPERTIES)


def test_an_unknown_property_is_refused() -> None:
    with pytest.raises(ValueError, match="no such property: B99"):
        check([], only={"B99"})
