"""Crashes while a node sends: the process may die between any two packets of a list that the ring hands out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.totem.wire.frames import Kind

if TYPE_CHECKING:
    from services.totem.ring.events import State
    from tests.simulation.world import World

_KIND_AT = 3


@dataclass(slots=True)
class CrashPoint:
    """Where a node dies: while it sends a list of packets. `lists` = 1: the next list that counts, 2: the one after."""

    lists: int
    state: State | None = None
    """Only lists that the ring made in this state count. None: only lists with both data and the token."""
    behind_token: bool = False
    """Only lists with data behind the token count. The node then dies after the token, and before the last packet."""

    def among(self, state: State, packets: list[tuple[int, bytes]], world: World) -> int | None:
        """How many of these packets leave before the node dies. None: it survives this list, made in this state."""
        kinds = [data[_KIND_AT] for _, data in packets]
        wanted = Kind.MCAST in kinds and Kind.TOKEN in kinds if self.state is None else state == self.state
        if not packets or not wanted:
            return None
        first = 1
        if self.behind_token:
            first = kinds.index(Kind.TOKEN) + 1
            if Kind.MCAST not in kinds[first:]:
                return None
        self.lists -= 1
        if self.lists > 0:
            return None
        sent = first + world.draw(len(packets) - first + (not self.behind_token))
        if Kind.TOKEN in kinds[:sent] and Kind.MCAST in kinds[sent:]:
            world.counts["crash_between_token_and_data"] += 1
        elif Kind.TOKEN in kinds[:sent]:
            world.counts["crash_right_after_token"] += 1
        elif Kind.TOKEN in kinds and Kind.MCAST in kinds[:sent]:
            world.counts["crash_between_data_and_token"] += 1
        return sent
