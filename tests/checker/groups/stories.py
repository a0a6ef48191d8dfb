"""An ideal cluster that writes good logs of group members, and the story that the mutations break."""

from __future__ import annotations

import zlib
from typing import Any

from tests.checker.base import Event
from tests.checker.groups.base import Member

GROUP = "g"


class Ideal:
    """Nodes in rings, one process on each; what each sees follows at once from what is done."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._t = 0.0
        self._ring_of: dict[int, tuple[int, int]] = {}
        self._nodes_of: dict[int, list[int]] = {}
        self._sequence = 0
        self._members: dict[int, list[Member]] = {}
        """What each node takes for the membership."""
        self._lives: dict[int, int] = {}
        self._sent: dict[str, int] = {}

    def add(self, ev: str, node: int | None = None, **fields: Any) -> Event:
        """An event of the process of a node, or of the harness."""
        self._t += 1.0
        event: Event = {"t": self._t, "ev": ev, **fields}
        if node is not None:
            event |= {"proc": self.proc(node), "node": node, "pid": self.pid(node)}
            if ev not in ("gstart", "gover"):
                event["group"] = GROUP
        self.events.append(event)
        return event

    def proc(self, node: int) -> str:
        return f"n{node}x{self._lives.setdefault(node, 1)}#1"

    def pid(self, node: int) -> int:
        return 100 * node + self._lives.setdefault(node, 1)

    def _inside(self, node: int) -> bool:
        return (node, self.pid(node)) in self._members.get(node, [])

    def _conf(self, node: int, joined: list[list[Any]], left: list[list[Any]]) -> None:
        self.add(
            "gconf", node, members=[list(m) for m in sorted(self._members[node])], joined=joined, left=left
        )  # fmt: skip

    def join(self, node: int) -> None:
        """The node's process joins."""
        self.add("gstart", node)
        self.add("gjoin", node)
        member = (node, self.pid(node))
        for each in self._nodes_of[node]:
            self._members.setdefault(each, []).append(member)
        for each in self._nodes_of[node]:
            if self._inside(each):
                self._conf(each, [[*member, "join"]], [])

    def leave(self, node: int) -> None:
        """It leaves."""
        self.add("gleave", node)
        self._gone((node, self.pid(node)), "leave")
        self.add("gout", node)

    def kill(self, node: int) -> None:
        """It is killed; a next one is another process."""
        self.add("fail", name=self.proc(node).partition("#")[0])
        member = (node, self.pid(node))
        self._lives[node] += 1
        self._gone(member, "procdown")

    def _gone(self, member: Member, reason: str) -> None:
        for each in self._nodes_of[member[0]]:
            inside = self._inside(each)
            self._members[each].remove(member)
            if inside:
                self._conf(each, [], [[*member, reason]])

    def submit(self, node: int, level: str = "agreed", word: str | None = None) -> str:
        """It sends; accepted at once, ordered with `order`."""
        proc = self.proc(node)
        number = self._sent[proc] = self._sent.get(proc, 0) + 1
        msg = f"{proc}/{number}"
        more = {} if word is None else {"word": word}
        self.add("gsend", node, msg=msg, size=len(msg), crc=zlib.crc32(msg.encode()), level=level, **more)
        self.add("gaccept", node, msgs=[msg])
        return msg

    def order(self, msg: str, node: int, sender: Member | None = None, trans: tuple[int, ...] = ()) -> None:
        """It gets its place: all in the ring of `node` deliver it; `trans`: those who do so in the transitional one."""
        sender = sender or (node, self.pid(node))
        for each in self._nodes_of[node]:
            if self._inside(each):
                self.add(
                    "gdeliver", each, msg=msg, size=len(msg), crc=zlib.crc32(msg.encode()), sender=list(sender),
                    trans=each in trans,
                )  # fmt: skip
        if self._inside(sender[0]) and sender[1] == self.pid(sender[0]):
            self.add("gordered", sender[0], msgs=[msg])

    def send(self, node: int, level: str = "agreed", word: str | None = None) -> str:
        """Submit and order."""
        msg = self.submit(node, level, word)
        self.order(msg, node)
        return msg

    def rings(self, *parts: list[int]) -> None:
        """The nodes form these rings."""
        for part in parts:
            self._sequence += 4
            ring = (min(part), self._sequence)
            before = {node: list(self._members.get(node, [])) for node in part}
            stay = {
                node: [other for other in part if self._ring_of.get(other) == self._ring_of.get(node)] for node in part
            }
            for node in part:
                self._change(node, part, stay[node], before, ring)
            for node in part:
                self._ring_of[node], self._nodes_of[node] = ring, list(part)

    def _change(
        self, node: int, part: list[int], stay: list[int], before: dict[int, list[Member]], ring: tuple[int, int]
    ) -> None:
        inside = self._inside(node)
        gone = [member for member in before[node] if member[0] not in stay]
        self._members[node] = [member for member in before[node] if member[0] in stay]
        if inside and gone:
            self._conf(node, [], [[*member, "nodedown"] for member in gone])
        came = sorted({m for other in part if other not in stay for m in before[other] if m[0] == other})
        self._members[node] += came
        if inside and came:
            self._conf(node, [[*member, "nodeup"] for member in came], [])
        if inside:
            self.add("gring", node, ring=list(ring), members=sorted(part))


def good() -> list[Event]:
    """Joins, messages of both levels, a pause, a partition and its end, a leave, refusals, unknown outcomes, a kill."""
    world = Ideal()
    world.rings([1, 2, 3])
    for node in (1, 2, 3):
        world.join(node)
    world.add("gsuspend", 1, why="the gateway was killed")
    world.add("gresume", 1)
    world.send(1)
    world.rings([1, 2, 3])
    for node in (1, 2, 3, 1):
        world.send(node)
    world.send(2, "safe")
    world.send(3)
    world.add("freeze")["node"] = 3
    world.rings([1, 2], [3])
    world.send(1)
    world.add("thaw")["node"] = 3
    world.send(3)
    world.rings([1, 2, 3])
    world.send(3, "safe")
    world.send(2)
    world.leave(3)
    world.send(1)
    world.join(3)
    world.send(3)
    refused = world.submit(1)
    world.events = [event for event in world.events if event.get("msgs") != [refused]]
    world.add("grefuse", 1, msg=refused, why="TryAgain")
    unknown = world.submit(2)
    world.add("gunknown", 2, msgs=[unknown], count=1)
    world.add("gfail", 2, msg=unknown, why="unknown")
    world.kill(2)
    world.send(1)
    world.join(2)
    world.rings([1, 2, 3])
    world.send(2)
    world.add("stable")
    for node in (1, 2, 3):
        world.send(node, word="last")
    world.add("end")
    return world.events
