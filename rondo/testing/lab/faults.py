"""What goes wrong on the network of a lab: one-way cuts, partitions and random loss, made at the switch.

Every fault is a rule on frames that the bridge forwards from one port to another, so it hits ARP and neighbour
discovery as well as data, and needs nothing inside the hosts. The rules in force are always put in place together,
in one transaction of nftables; counters tell how many frames each has dropped, so that a test can make sure that
its fault happened.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from rondo.testing.lab.netns import Lab

TABLE = "rondo_faults"
# `numgen` draws from 0 .. this - 1: loss can be given to a hundredth of a percent.
DRAWS = 10_000


@dataclass(frozen=True)
class Fault:
    """Frames from one host to another are dropped, `loss_percent` of them by chance, if they match.

    `match` is an nftables expression such as `udp length > 1000`; empty means every frame. `link`: of one link between
    them alone; None: of all.
    """

    source: int
    destination: int
    loss_percent: float = 100.0
    match: str = ""
    link: int | None = None


class Faults:
    """The faults in force in a lab; they add up until `heal`."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._faults: list[Fault] = []
        self._by_chance = False

    def cut(self, sources: Iterable[int], destinations: Iterable[int], match: str = "") -> None:
        """Let nothing (that matches) pass from the sources to the destinations; the other way stays open."""
        self.lose(100.0, sources, destinations, match)

    def partition(self, *sides: Iterable[int]) -> None:
        """Separate the sides from each other, in both directions; hosts on no side still reach everybody."""
        groups = [set(side) for side in sides]
        for group in groups:
            others = set().union(*groups) - group
            self._add(Fault(source, destination) for source in group for destination in others)
        self._apply()

    def isolate(self, number: int) -> None:
        """Separate one host from all others."""
        self.partition({number}, set(self._lab.hosts) - {number})

    def lose(
        self,
        percent: float,
        sources: Iterable[int] | None = None,
        destinations: Iterable[int] | None = None,
        match: str = "",
        link: int | None = None,
    ) -> None:
        """Lose that part of the frames, by chance, on each path from the sources to the destinations (default: all)."""
        assert 0 < percent <= 100
        everybody = list(self._lab.hosts)
        targets = everybody if destinations is None else list(destinations)
        self._add(
            Fault(source, destination, percent, match, link)
            for source in (everybody if sources is None else sources)
            for destination in targets
            if source != destination
        )
        self._apply()

    def replace(self, faults: Iterable[Fault]) -> None:
        """Have exactly these faults in force."""
        self._faults.clear()
        self._add(faults)
        self._apply()

    def heal(self) -> None:
        """End all faults; cables that were pulled stay out (see `Lab.plug`)."""
        self._faults.clear()
        self._apply()

    def dropped(self) -> int:
        """Return how many frames the faults in force have dropped; the count starts anew with every change of them."""
        listing = json.loads(self._lab.switch.run(["nft", "--json", "list", "ruleset"]).stdout)
        expressions = [part for item in listing["nftables"] if "rule" in item for part in item["rule"]["expr"]]
        return sum(int(part["counter"]["packets"]) for part in expressions if "counter" in part)

    def _add(self, faults: Iterable[Fault]) -> None:
        self._faults += [fault for fault in faults if fault not in self._faults]

    def _rules(self, fault: Fault) -> list[str]:
        parts = [fault.match]
        if fault.loss_percent < 100:
            parts.append(f"numgen random mod {DRAWS} < {round(fault.loss_percent * DRAWS / 100)}")
        what, port_of = " ".join([*parts, "counter drop"]), self._lab.port_of
        return [
            f'iifname "{port_of(fault.source, link)}" oifname "{port_of(fault.destination, link)}" {what}'
            for link in (self._lab.links if fault.link is None else (fault.link,))
        ]

    def _apply(self) -> None:
        """Replace all rules; the table is named first because only what exists can be deleted."""
        by_chance = any(fault.loss_percent < 100 for fault in self._faults)
        if by_chance != self._by_chance:
            self._lab.keep_apart(by_chance)  # each datagram has its own chance, not a group of them one
            self._by_chance = by_chance
        lines = [f"table bridge {TABLE}", f"delete table bridge {TABLE}"]
        if self._faults:
            rules = [f"add rule bridge {TABLE} forward {each}" for fault in self._faults for each in self._rules(fault)]
            lines += [
                f"add table bridge {TABLE}",
                f"add chain bridge {TABLE} forward {{ type filter hook forward priority 0; policy accept; }}",
                *rules,
            ]
        self._lab.switch.run(["nft", "-f", "-"], script="\n".join(lines) + "\n")
