"""For every property, faults that break it and nothing else: a good trace, and what is done to it.

They prove two things of the checker: each property notices what it is there for, and each has a responsibility of its
own, for with its check switched off nothing else notices.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.checker import scenarios
from tests.checker.base import Event
from tests.checker.model import content

Mutate = Callable[[list[Event]], None]


@dataclass(frozen=True, slots=True)
class Mutation:
    """A fault that exactly one property must find."""

    prop: str
    name: str
    scenario: Callable[[], list[Event]]
    mutate: Mutate

    def traces(self) -> tuple[list[Event], list[Event]]:
        """The good trace and the bad one."""
        good = self.scenario()
        bad = copy.deepcopy(good)
        self.mutate(bad)
        return good, bad


MUTATIONS: list[Mutation] = []


def mutation(prop: str, name: str, scenario: Callable[[], list[Event]]) -> Callable[[Mutate], Mutate]:
    """Decorator: enter a fault into the table."""

    def enter(mutate: Mutate) -> Mutate:
        MUTATIONS.append(Mutation(prop, name, scenario, mutate))
        return mutate

    return enter


def find(events: list[Event], nth: int = 0, **fields: Any) -> int:
    """Index of the nth event that has all these fields."""
    hits = [index for index, event in enumerate(events) if all(event.get(key) == fields[key] for key in fields)]
    return hits[nth]


def insert_after(events: list[Event], index: int, ev: str, /, **fields: Any) -> None:
    """Let the same node do something more, right after the event at `index`."""
    base = {key: events[index][key] for key in ("t", "node", "inc")}
    events.insert(index + 1, base | {"ev": ev} | fields)


def into_transition(events: list[Event], index: int) -> None:
    """Move a delivery behind the transitional configuration that closes its ring at its node."""
    delivery = events.pop(index)
    later = find(events, ev="conf", kind="trans", node=delivery["node"], old=delivery["ring"])
    delivery["cfg"] = events[later]["cfg"]
    events.insert(later + 1, delivery)


@mutation("A1", "a message arrives with other content", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, ev="deliver", node=2)]["hash"] = "other"


@mutation("A1", "a message arrives before it is sent", scenarios.one_alone)
def _(events: list[Event]) -> None:
    events.insert(find(events, ev="send", node=1), events.pop(find(events, ev="deliver", node=1)))


@mutation("A1", "a message is sent twice", scenarios.steady)
def _(events: list[Event]) -> None:
    index = find(events, ev="send", node=1)
    events.insert(index + 1, dict(events[index]))


@mutation("A1", "a node that has failed goes on", scenarios.crash)
def _(events: list[Event]) -> None:
    index = find(events, ev="fail")
    insert_after(events, index, "submit", msg=[3, 1, 77], hash="late", size=1, level="agreed")


@mutation("A2", "a delivery names a configuration that is not installed yet", scenarios.departure)
def _(events: list[Event]) -> None:
    delivery = events[find(events, ev="deliver", node=3)]
    trans = find(events, ev="conf", kind="trans", node=3, old=delivery["ring"])
    delivery["cfg"] = events[trans]["cfg"]


@mutation("A2", "one node counts a member more than the others", scenarios.departure)
def _(events: list[Event]) -> None:
    conf = events[find(events, ev="conf", kind="reg", node=2, members=[1, 2])]
    conf["members"], conf["joined"] = [1, 2, 4], [4]
    events[find(events, ev="conf", kind="trans", node=2, old=conf["ring"])]["left"] = [4]
    events[find(events, -1, ev="conf", kind="reg", node=2)]["left"] = [4]


@mutation("A3", "a node leaves a ring without its own last message", scenarios.unheard)
def _(events: list[Event]) -> None:
    del events[find(events, ev="deliver", node=3)]


@mutation("A4", "of two who move together one lacks the last message of the other", scenarios.departure)
def _(events: list[Event]) -> None:
    del events[find(events, ev="deliver", node=2, msg=[1, 1, 2])]


@mutation("C8", "of two who move together one lacks the last message of a node that left", scenarios.departure_after_3)
def _(events: list[Event]) -> None:
    del events[find(events, ev="deliver", node=2, msg=[3, 1, 1])]


@mutation("A5", "an answer arrives without its question", scenarios.answer)
def _(events: list[Event]) -> None:
    del events[find(events, ev="deliver", node=3, msg=[1, 1, 1])]


@mutation("A5", "an answer arrives before its question", scenarios.answer)
def _(events: list[Event]) -> None:
    question = events.pop(find(events, ev="deliver", node=3, msg=[1, 1, 1]))
    events.insert(find(events, ev="deliver", node=3, msg=[2, 1, 1]) + 1, question)


@mutation("A6", "a gap in a regular configuration", scenarios.concurrent)
def _(events: list[Event]) -> None:
    del events[find(events, ev="deliver", node=3, msg=[1, 1, 1])]


@mutation("A6", "two independent messages in another order", scenarios.concurrent)
def _(events: list[Event]) -> None:
    first = events.pop(find(events, ev="deliver", node=3, msg=[1, 1, 1]))
    events.insert(find(events, ev="deliver", node=3, msg=[2, 1, 1]) + 1, first)


@mutation("A6", "the change comes before a message at one node, after it at another", scenarios.departure)
def _(events: list[Event]) -> None:
    into_transition(events, find(events, ev="deliver", node=2, msg=[1, 1, 2]))


@mutation("A6", "the change comes before a SAFE message at one node, after it at another", scenarios.safe_last)
def _(events: list[Event]) -> None:
    into_transition(events, find(events, ev="deliver", node=2, level="safe"))


@mutation("A6", "a message of a node outside beyond a hole", scenarios.hole)
def _(events: list[Event]) -> None:
    beyond = dict(events[find(events, ev="deliver", node=1, msg=[2, 1, 1])])
    trans = find(events, ev="conf", kind="trans", node=3, old=beyond["ring"])
    events.insert(trans + 1, beyond | {"node": 3, "cfg": events[trans]["cfg"]})


@mutation("A7", "a SAFE message is delivered before all members have it", scenarios.safe_last)
def _(events: list[Event]) -> None:
    delivery = events.pop(find(events, ev="deliver", node=1, level="safe"))
    events.insert(find(events, ev="packet_in", node=3, ring=delivery["ring"], seq=delivery["seq"]), delivery)


@mutation("A7", "a SAFE message is delivered, but not by a member that goes its own way", scenarios.safe_last)
def _(events: list[Event]) -> None:
    del events[find(events, ev="deliver", node=3, level="safe")]


@mutation("A7", "a SAFE message is delivered in a ring that a member has not installed", scenarios.half_installed)
def _(events: list[Event]) -> None:
    index = find(events, 1, ev="conf", kind="reg", node=1, members=[1, 2])
    ring, cfg = events[index]["ring"], events[index]["cfg"]
    place = {"msg": [1, 1, 9], "cfg": cfg, "ring": ring, "seq": 90, "level": "safe"}
    insert_after(events, index, "deliver", hash="alone", size=1, **place)
    insert_after(events, index, "send", **place)
    insert_after(events, index, "submit", msg=[1, 1, 9], hash="alone", size=1, level="safe")
    for node in (2, 1):
        events.insert(
            index + 1,
            {
                "t": 0,
                "node": node,
                "inc": 1,
                "ev": "packet_in",
                "ring": ring,
                "seq": 90,
                "origin": 1,
                "hash": "p",
                "encapsulated": False,
            },
        )


@mutation("A8", "a member never delivers a message of the last ring", scenarios.last_words)
def _(events: list[Event]) -> None:
    del events[find(events, -1, ev="deliver", node=2, level="agreed")]


@mutation("A9", "a message changes its level", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, ev="deliver", node=2, level="agreed")]["level"] = "safe"


@mutation("A9", "a message overtakes a SAFE one", scenarios.held_back)
def _(events: list[Event]) -> None:
    later = events.pop(find(events, ev="deliver", node=3, msg=[2, 1, 1]))
    events.insert(find(events, ev="deliver", node=3, msg=[1, 1, 1]), later)


@mutation("A10", "a node wakes up and talks on in a ring that is gone", scenarios.pause)
def _(events: list[Event]) -> None:
    index = find(events, ev="thaw", node=3)
    before = events[find(events, ev="deliver", node=3)]
    place = {"msg": [3, 1, 9], "cfg": before["cfg"], "ring": before["ring"], "seq": 90, "level": "agreed"}
    insert_after(events, index, "deliver", hash="late", size=1, **place)
    insert_after(events, index, "send", **place)
    insert_after(events, index, "submit", msg=[3, 1, 9], hash="late", size=1, level="agreed")


@mutation("A11", "a node that parted is not listed as left", scenarios.departure)
def _(events: list[Event]) -> None:
    events[find(events, ev="conf", kind="trans", node=3, left=[1, 2])]["left"] = [1]


@mutation("A11", "a node is taken along that was never in Recovery with us", scenarios.half_installed)
def _(events: list[Event]) -> None:
    ring = events[find(events, ev="conf", kind="trans", node=1, members=[1, 2])]["new"]
    del events[find(events, ev="state", state="recovery", node=2, ring=ring)]


@mutation("C1", "a configuration without the node itself", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, ev="conf", kind="reg", node=1)]["members"] = []


@mutation("C2", "a ring with a lower sequence than the one before", scenarios.steady)
def _(events: list[Event]) -> None:
    high = events[find(events, ev="conf", kind="reg", members=[1, 2, 3])]["ring"]
    for event in events:
        if event["ev"] in ("conf", "send", "deliver"):
            event["cfg"] = f"{event['cfg']}:".replace(f":1:{high[1]}:", ":1:3:")[:-1]
            for key in ("ring", "old", "new"):
                if event.get(key) == high:
                    event[key] = [1, 3]


@mutation("C3", "a life that begins in another ring than its own", scenarios.steady)
def _(events: list[Event]) -> None:
    conf = events[find(events, ev="conf", kind="trans", node=2)]
    conf["ring"] = conf["old"] = [2, 2]
    conf["cfg"] = f"t:2:2:{conf['new'][0]}:{conf['new'][1]}"


@mutation("C4", "a message that nobody sent", scenarios.one_alone)
def _(events: list[Event]) -> None:
    index = find(events, ev="deliver", node=1)
    events.insert(index + 1, events[index] | {"msg": [1, 1, 99]})


@mutation("C4", "a message in a place that it was not given", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, ev="deliver", node=2)]["seq"] += 1


@mutation("C5", "a message twice", scenarios.steady)
def _(events: list[Event]) -> None:
    index = find(events, ev="deliver", node=2)
    events.insert(index + 1, dict(events[index]))


@mutation("C5", "a message once in the ring and once more in its transitional configuration", scenarios.departure)
def _(events: list[Event]) -> None:
    index = find(events, ev="deliver", node=3)
    again = dict(events[index])
    into_transition(events, index)
    events.insert(index, again)


@mutation("C6", "a message of the ring before", scenarios.departure)
def _(events: list[Event]) -> None:
    delivery = events.pop(find(events, -1, ev="deliver", node=3))
    later = find(events, ev="conf", kind="reg", node=3, members=[3], left=[1, 2])
    delivery["cfg"] = events[later]["cfg"]
    events.insert(later + 1, delivery)


@mutation("C7", "a message sent in a ring that is gone", scenarios.steady)
def _(events: list[Event]) -> None:
    send = events[find(events, ev="send", node=1)]
    send["cfg"] = events[find(events, ev="conf", kind="reg", node=1)]["cfg"]


@mutation("C9", "a transitional set with a node that was in another ring", scenarios.steady)
def _(events: list[Event]) -> None:
    reg = find(events, ev="conf", kind="reg", node=2, members=[1, 2, 3])
    trans = find(events, ev="conf", kind="trans", node=2, new=events[reg]["ring"])
    events[trans]["members"] = [1, 2]
    events[reg]["joined"] = [3]


@mutation("C10", "two take each other along, to different rings", scenarios.two_halves)
def _(events: list[Event]) -> None:
    trans = find(events, ev="conf", kind="trans", node=2, left=[1])
    events[trans]["members"], events[trans]["left"] = [1, 2], []
    reg = events[find(events, ev="conf", kind="reg", node=2, ring=events[trans]["new"])]
    reg["joined"], reg["left"] = [], []


@mutation("C11", "a node lacks what precedes a SAFE message", scenarios.safe_after)
def _(events: list[Event]) -> None:
    del events[find(events, ev="deliver", node=3, msg=[1, 1, 1])]
    into_transition(events, find(events, ev="deliver", node=3, msg=[3, 1, 1]))


@mutation("C12", "two messages of one sender change places", scenarios.departure)
def _(events: list[Event]) -> None:
    first = events.pop(find(events, ev="deliver", node=3, msg=[1, 1, 1]))
    events.insert(find(events, ev="deliver", node=3, msg=[1, 1, 2]) + 1, first)


@mutation("C13", "the last ring is not the component", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, ev="stable")]["component"] = [1, 2, 3, 9]


@mutation("C14", "an accepted message is never sent", scenarios.steady)
def _(events: list[Event]) -> None:
    index = find(events, ev="submit", node=1)
    insert_after(events, index, "submit", msg=[1, 1, 99], hash=content((1, 1, 99)), size=1, level="agreed")


@mutation("C15", "the sender never delivers its message of the last ring", scenarios.last_words)
def _(events: list[Event]) -> None:
    del events[find(events, -1, ev="deliver", node=1, level="agreed")]


@mutation("C16", "a SAFE message of the last ring is never delivered", scenarios.last_words_safe)
def _(events: list[Event]) -> None:
    del events[find(events, -1, ev="deliver", node=2, level="safe")]


@mutation("D1", "a token is accepted twice", scenarios.steady)
def _(events: list[Event]) -> None:
    index = find(events, -1, ev="token_in", node=2)
    events.insert(index + 1, dict(events[index]))


@mutation("D1", "a token goes on with the number that it came with", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, -1, ev="token_out", node=2)]["token_seq"] -= 1


@mutation("D2", "a discarded packet is asked for", scenarios.steady)
def _(events: list[Event]) -> None:
    freed = events[find(events, ev="discard", node=1)]
    events[find(events, -1, ev="token_out", node=2, ring=freed["ring"])]["requested"] = [freed["upto"]]


@mutation("D2", "a token with more received than sent", scenarios.steady)
def _(events: list[Event]) -> None:
    token = events[find(events, -1, ev="token_in", node=2)]
    token["aru"] = token["seq"] + 1


@mutation("D3", "a packet changes on its way", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, ev="packet_in", node=2)]["hash"] = "other"


@mutation("D3", "a number is given out twice", scenarios.loss)
def _(events: list[Event]) -> None:
    events[find(events, ev="packet_out", new=False)]["new"] = True


@mutation("D4", "a packet is freed that a member never received", scenarios.steady)
def _(events: list[Event]) -> None:
    freed = events[find(events, ev="discard", node=1)]
    del events[find(events, ev="packet_in", node=2, ring=freed["ring"], seq=freed["upto"])]


@mutation("D5", "the flow control count is off by one", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, -1, ev="token_in", node=2)]["fcc"] += 1


@mutation("D6", "a node sends more than its window", scenarios.burst)
def _(events: list[Event]) -> None:
    events[:] = scenarios.burst(max_messages=30)


@mutation("D6", "a node sends more than it found to be allowed", scenarios.burst)
def _(events: list[Event]) -> None:
    events[find(events, ev="token_out", new=17)]["allowed"] = 16


@mutation("D7", "a ring that is not above what its representative had heard of", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, -1, ev="join_seen", node=1)]["ring_seq"] += 100


@mutation("D7", "a ring number from an earlier life", scenarios.crash)
def _(events: list[Event]) -> None:
    index = find(events, ev="start", node=3, inc=2)
    for event in events[index:]:
        if event["ev"] == "state" and event["state"] != "gather" and event["ring"][0] == 3:
            event["ring"] = [3, 5]


@mutation("D8", "a process is forgotten in Gather", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, -1, ev="state", state="gather", node=2)]["proc"] = [2, 3]


@mutation("D8", "a commit token comes a third time", scenarios.steady)
def _(events: list[Event]) -> None:
    index = find(events, -1, ev="commit_in", node=2)
    insert_after(events, index, "commit_in", ring=events[index]["ring"], token_seq=99, index=3)


@mutation("D9", "a queue beyond its bound", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, ev="buffers", node=2)]["new"] = 100_000


@mutation("D10", "a timer that its state does not use", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, ev="state", state="gather", node=2) + 1]["armed"].append("merge")


@mutation("D10", "a timer armed twice", scenarios.steady)
def _(events: list[Event]) -> None:
    events[find(events, ev="timers", node=2)]["armed"].append("pause")
