"""`rondo.testing.Loopback`: a cluster in one process, for tests of applications that take milliseconds.

    loopback = Loopback(nodes=3)
    one, two = loopback.connect(1), loopback.connect(2)      # as rondo.connect() gives them
    group = one.cpg.join("bank")
    loopback.partition({1}, {2, 3})                          # memberships and ring changes follow
    loopback.heal()

There is no node, no socket and no time in it. What is sent is delivered at once, in the order in which it was sent. A
test that wants to see what happens in between calls `hold()`: then nothing happens but by `step()`, which does one
thing that may happen next, drawn from the seed, or `settle()`, which does all. A fault in between finds messages under
way: some nodes have them then, others do not, and SAFE ones come as `transitional`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rondo._client.arguments import number_of, truth_of
from rondo.errors import Disconnected, InvalidParameter
from rondo.testing.arguments import node_of, sides_of
from rondo.testing.loopback.client import LoopbackCluster, LoopbackGroup
from rondo.testing.loopback.network import Network
from rondo.testing.loopback.session import LoopbackRequest, Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rondo.testing.loopback import aio

__all__ = ["Loopback", "LoopbackCluster", "LoopbackGroup", "LoopbackRequest"]

NODES_MAX = 1024
SEED_MAX = 2**64


class Loopback:
    """Nodes 1 to `nodes`, and the processes that connect to them. Raises InvalidParameter for what makes no sense.

    `provider` False: the nodes count no votes, and every side of a split is quorate. `seed` decides what `step` draws.
    May be used from several threads.
    """

    def __init__(self, nodes: int = 3, *, provider: bool = True, seed: int = 0) -> None:
        number_of(seed, "seed", -SEED_MAX, SEED_MAX)
        self.network = Network(range(1, number_of(nodes, "nodes", 1, NODES_MAX) + 1), seed)
        self.condition = threading.Condition(threading.RLock())
        self.has_provider = truth_of(provider, "provider")
        self._is_held = False

    # -- processes -----------------------------------------------------------------------------------------------

    def connect(self, node: int = 1) -> LoopbackCluster:
        """A new process on a node. Raises Disconnected if the node is down."""
        return LoopbackCluster(self, self._new_session(node))

    async def connect_aio(self, node: int = 1) -> aio.LoopbackCluster:
        """The same for asyncio, as `rondo.aio.connect()` gives it."""
        from rondo.testing.loopback import aio

        return aio.LoopbackCluster(self.connect(node))

    def _new_session(self, node: int) -> Session:
        node_of(node, self.network.nodes)
        with self.condition:
            if node not in self.network.up:
                raise Disconnected(f"there is no node {node} that is up")
            session = Session(self.network.next_member(node), [self.condition.notify_all])
            self.network.sessions.append(session)
            return session

    def _session_of(self, cluster: LoopbackCluster) -> Session:
        session = getattr(cluster, "session", None)
        if session not in self.network.sessions:
            raise InvalidParameter(f"cluster: a connection of this Loopback that is open; not {cluster!r:.80}")
        return cluster.session

    def kill(self, cluster: LoopbackCluster) -> None:
        """A process dies as by kill -9. What it has sent may be lost, from some message on."""
        with self.condition:
            self.network.lose(self._session_of(cluster))
            cluster.session.end(Disconnected("the process was killed"))
            self.network.sessions.remove(cluster.session)
            self.run_on()

    def disconnect(self, cluster: LoopbackCluster, reason: str = "the node has given up the session") -> None:
        """A process loses its session: `Disconnected`, and `UnknownOutcome` for what was under way."""
        with self.condition:
            self.network.lose(self._session_of(cluster))
            cluster.session.disconnect(reason)
            self._go_on()

    def reconnect(self, cluster: LoopbackCluster) -> None:
        """The process that was disconnected gets a new session, and joins its groups again."""
        with self.condition:
            self.network.back(self._session_of(cluster))
            self._go_on()

    def suspend(self, cluster: LoopbackCluster, reason: str = "the connection has broken") -> None:
        """A process is unsure whether its node is there: `Suspended`."""
        with self.condition:
            self._session_of(cluster).suspend(reason)
            self._go_on()

    def resume(self, cluster: LoopbackCluster) -> None:
        """The connection is there again: `Resumed`."""
        with self.condition:
            self._session_of(cluster).resume()
            self._go_on()

    # -- nodes and the network between them ----------------------------------------------------------------------

    def partition(self, *sides: Iterable[int]) -> None:
        """Separate the sides; nodes on none of them are a side of their own."""
        with self.condition:
            self.network.split(sides_of(sides, self.network.nodes))
            self._go_on()

    def heal(self) -> None:
        """All nodes that are up hear each other again."""
        self.partition(self.network.nodes)

    def kill_node(self, node: int) -> None:
        """A node dies. Its processes live on, cut off, as they do when a node's executive is killed."""
        node_of(node, self.network.nodes)
        with self.condition:
            if node in self.network.up:
                self.network.node_down(node)
                self._go_on()

    def start_node(self, node: int) -> None:
        """A node that was killed is back, and its processes join their groups again."""
        node_of(node, self.network.nodes)
        with self.condition:
            if node not in self.network.up:
                self.network.node_up(node)
                self._go_on()

    # -- what happens when ---------------------------------------------------------------------------------------

    def hold(self) -> None:
        """From here on nothing happens but by `step` and `settle`."""
        self._is_held = True

    def release(self) -> None:
        """Things happen by themselves again."""
        with self.condition:
            self._is_held = False
            self._go_on()

    def step(self) -> bool:
        """One thing happens that may happen next. False if there is none."""
        with self.condition:
            stepped = self.network.step()
            self.condition.notify_all()
            return stepped

    def settle(self) -> None:
        """All that is under way happens."""
        with self.condition:
            self.network.settle()
            self.condition.notify_all()

    def run_on(self) -> None:
        """Let happen what happens by itself; for those who hold `condition`."""
        if not self._is_held:
            self.network.settle_in_order()

    def _go_on(self) -> None:
        self.run_on()
        self.condition.notify_all()
