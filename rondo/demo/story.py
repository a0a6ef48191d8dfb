"""The course of the demo, with a commentary while it runs."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rondo.cli.output import CommandError
from rondo.cli.progress import Progress
from rondo.demo.application import Application, ChildApplication
from rondo.demo.cluster import TOKEN_TIMEOUT_MS, DemoCluster, DemoNode, address_of
from rondo.demo.network import Network
from rondo.demo.proof import Claim, prove
from rondo.demo.replicated_ledger import ACCOUNTS, INITIAL_BALANCE
from rondo.demo.watched import INTERVAL_MS, WatchedApplication

RATE = 100.0
"""Transfers a second of each node."""
PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.05
TOLD_SECONDS = 1.0
"""A ledger has reported its earlier transfers within this time."""
LOG_LINES_SHOWN = 20
WATCHED = 1
"""The node whose ledger SAM starts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The size and duration of the demo."""

    nodes: int
    seconds: float
    """How long transfers flow, without the time in which nodes start and come back."""
    why_network_is_whole: str = ""
    """Why the network between the nodes cannot be cut; empty if it can be."""


class Story:
    """One run of the demo."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._began = time.monotonic()
        self._applications: dict[int, Application] = {}
        self._claims: list[Claim] = []
        """Claims that were checked before the end."""
        self._ended: dict[str, list[str]] = {}
        """Transfers that were confirmed to killed applications."""

    def run(self) -> bool:
        """Run the demo; True if every claim held. Raises CommandError if it could not be carried out."""
        with DemoCluster(self._plan.nodes) as cluster:
            held = False
            try:
                held = self._run(cluster)
                return held
            finally:
                if not held:
                    self._tell_more(cluster)
                for application in self._applications.values():
                    application.kill()
                self._say("cleaning up")

    def _run(self, cluster: DemoCluster) -> bool:
        nodes = cluster.nodes
        victim = nodes[max(nodes)]
        part = self._plan.seconds / 5
        self._begin(cluster)
        self._watch(part)
        self._hang()
        self._watch(part)
        self._split(cluster, part)
        self._watch(part)
        self._kill(victim, [node for node in nodes.values() if node is not victim])
        self._watch(part)
        self._bring_back(victim, cluster)
        self._watch(part)
        return self._prove()

    def _begin(self, cluster: DemoCluster) -> None:
        count = len(cluster.nodes)
        addresses = f"{address_of(1)} to {address_of(count)}" if count > 1 else address_of(1)
        self._say(f"starting {count} nodes on {addresses}, UDP port {cluster.port}, unicast, in {cluster.directory}")
        self._say("their packets are encrypted, with a fresh key")
        self._say(f"token time-out {TOKEN_TIMEOUT_MS} ms instead of 3000, so that a death is noticed sooner")
        with Progress(f"starting {count} nodes"):
            cluster.start()
        self.until("all nodes are in one ring", lambda: self._ring_of(cluster.nodes.values(), count))
        self._say(f"all {count} nodes are in one ring; starting a replicated ledger on each")
        for node in cluster.nodes.values():
            self._start_application(node, cluster)
        self.until("all ledgers are there", self._all_current)
        self._say(f"each node keeps the same {len(ACCOUNTS)} accounts and wishes for {RATE:.0f} transfers a second")

    def _start_application(self, node: DemoNode, cluster: DemoCluster) -> None:
        if node.node_id == WATCHED:
            watched = WatchedApplication(node.node_id, node.endpoint, RATE, cluster.directory)
            self._applications[node.node_id] = self._watched = watched
            return
        errors = cluster.directory / f"ledger-{node.node_id}.err"
        self._applications[node.node_id] = ChildApplication(node.node_id, node.endpoint, RATE, errors)

    @staticmethod
    def _ring_of(nodes: Iterable[DemoNode], count: int) -> bool:
        return all(len(node.members()) == count for node in nodes)

    def _all_current(self) -> bool:
        return all(application.taken_over is not None for application in self._applications.values())

    def _hang(self) -> None:
        """One application hangs. SAM notices its silence, ends it and starts the next instance."""
        watched = self._watched
        peers = [each for each in self._applications.values() if each is not watched]
        said_before = {each: len(each.memberships) for each in peers}
        began = time.monotonic()
        pid = watched.hang()
        self._say(
            f"SIGSTOP to the ledger on node {WATCHED} (process {pid}): it hangs, and no longer tells SAM, which has"
        )
        self._say(
            f"started it, that it is healthy: a warning is due after {INTERVAL_MS} ms, the kill after as many more"
        )

        def all_say(is_there: bool) -> bool:
            news = (each.memberships[said_before[each] :] for each in peers)
            return all(any((WATCHED in nodes) == is_there for nodes in told) for told in news)

        self.until("its peers have seen it go", lambda: all_say(False))
        names = " ".join(str(each.node_id) for each in peers)
        self._say(f"after {time.monotonic() - began:.1f} s its peers on {names} say: node {WATCHED} has left the group")
        said_before = {each: self._index_of_leaving(each, said_before[each]) for each in peers}
        self.until("it is back", lambda: watched.is_restarted(1) and all_say(True))
        self._say(
            f"after {time.monotonic() - began:.1f} s they say that it is back: instance 1, with {watched.taken_over} "
            "transfers that it got from them"
        )
        (end,) = watched.status()["history"]
        self._say(f"SAM says of instance 0: {end['why']}; {end['text']}")

    @staticmethod
    def _index_of_leaving(peer: Application, start: int) -> int:
        return next(at for at in range(start, len(peer.memberships)) if WATCHED not in peer.memberships[at])

    def _split(self, cluster: DemoCluster, seconds: float) -> None:
        """Most nodes on one side and one on the other: only the side that has quorum goes on."""
        nodes = list(cluster.nodes.values())
        if len(nodes) < 3:
            self._say("two nodes are not split here: one of two votes is no majority, so both sides would stop")
            return
        network = Network(self._plan.why_network_is_whole)
        if network.why_whole:
            self._split_by_stopping(nodes, network.why_whole, seconds)
            return
        minority, majority = nodes[-1], nodes[:-1]
        names = " ".join(str(node.node_id) for node in majority)
        self._say(f"cutting the network between node {minority.node_id} and nodes {names}; nothing is killed")
        network.cut([address_of(minority.node_id)], [address_of(node.node_id) for node in majority])
        self.until("each side has a ring of its own", lambda: self._ring_of([minority], 1))
        self.until("the others go on", lambda: self._ring_of(majority, len(majority)) and majority[0].is_quorate())
        self._without_quorum(minority, seconds)
        self._say("mending the network")
        network.heal()
        self._catch_up(minority, nodes)

    def _split_by_stopping(self, nodes: list[DemoNode], why: str, seconds: float) -> None:
        minority, *majority = nodes
        names = " ".join(str(node.node_id) for node in majority)
        self._say(
            f"the network cannot be cut here ({why}): instead all processes of nodes {names} are stopped (SIGSTOP)"
        )
        for node in majority:
            node.pause()
        try:
            self.until("the one that is left has a ring of its own", lambda: self._ring_of([minority], 1))
            self._without_quorum(minority, seconds)
        finally:
            for node in majority:
                node.resume()
        self._say(f"nodes {names} go on (SIGCONT)")
        self._catch_up(minority, nodes)

    def _without_quorum(self, minority: DemoNode, seconds: float) -> None:
        """Meanwhile the ledger there accepts no transfer."""
        application = self._applications[minority.node_id]
        self.until(f"node {minority.node_id} has lost quorum", lambda: not minority.is_quorate())
        self._say(f"node {minority.node_id} has lost quorum: 1 vote of {len(self._applications)}")
        self._watch(TOLD_SECONDS)
        before = len(application.done)
        self._watch(seconds)
        more = len(application.done) - before
        text = f"without quorum the ledger on node {minority.node_id} takes no transfers: {more} in {seconds:.1f} s"
        self._claims.append(Claim(text, more == 0))

    def _catch_up(self, minority: DemoNode, nodes: list[DemoNode]) -> None:
        application = self._applications[minority.node_id]
        before = len(application.done)
        self.until("all nodes are in one ring again", lambda: self._ring_of(nodes, len(nodes)))
        self.until("node has quorum again", minority.is_quorate)
        self.until("its ledger goes on", lambda: len(application.done) > before)
        self._say(f"node {minority.node_id} has quorum again; its ledger has caught up and goes on")

    def _kill(self, victim: DemoNode, others: list[DemoNode]) -> None:
        self._say(f"kill -9 of everything on node {victim.node_id}: supervisord, all services, the ledger")
        killed = time.monotonic()
        application = self._applications.pop(victim.node_id)
        victim.kill()
        application.kill()
        self._ended[f"node {victim.node_id} before"] = application.done
        self.until("the others have noticed", lambda: self._ring_of(others, len(others)))
        names = " ".join(str(node.node_id) for node in others)
        self._say(f"after {time.monotonic() - killed:.1f} s nodes {names} have formed a ring of their own and go on")

    def _bring_back(self, victim: DemoNode, cluster: DemoCluster) -> None:
        self._say(f"starting node {victim.node_id} again, with an empty ledger")
        with Progress(f"starting node {victim.node_id}"):
            victim.launch()
            victim.wait_until_ready()
        self._start_application(victim, cluster)
        self.until("the ledger is there again", self._all_current)
        self.until("all nodes are in one ring", lambda: self._ring_of(cluster.nodes.values(), len(cluster.nodes)))
        taken_over = self._applications[victim.node_id].taken_over
        self._say(f"node {victim.node_id} got the ledger with {taken_over} transfers from the others and goes on")

    def _prove(self) -> bool:
        self._say("ending the transfers and comparing the ledgers")
        for _ in range(2):  # their reports are final once all have ended their transfers
            for application in self._applications.values():
                application.report = None
                application.finish()
            self.until("all ledgers are told", lambda: all(each.report for each in self._applications.values()))
        done = self._ended | {f"node {node_id}": each.done for node_id, each in self._applications.items()}
        reports = {node_id: each.report for node_id, each in self._applications.items() if each.report}
        for application in self._applications.values():
            application.leave()
        claims = prove(reports, done, len(ACCOUNTS) * INITIAL_BALANCE)
        claims += self._claims
        for claim in claims:
            self._tell_claim(claim)
        return all(claim.holds for claim in claims)

    def _tell_claim(self, claim: Claim) -> None:
        self._say(f"{'holds ' if claim.holds else 'BROKEN'}  {claim.text}")

    def _tell_more(self, cluster: DemoCluster) -> None:
        """Print what helps to find out why it failed."""
        for node in cluster.nodes.values():
            print("\n".join(node.last_lines(LOG_LINES_SHOWN)))
        for application in self._applications.values():
            print(f"node {application.node_id}: its group consisted of nodes {application.memberships}")

    # -- time and words

    def _watch(self, seconds: float) -> None:
        """Let it run, and print the progress once a second."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            self._check()
            counts = "  ".join(f"node {node_id}: {len(each.done)}" for node_id, each in self._applications.items())
            self._say(f"transfers done by  {counts}")

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for it. Raises CommandError if it takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with Progress(f"waiting until {what}"):
            while not condition():
                self._check()
                if time.monotonic() > deadline:
                    raise CommandError(f"it has not come to pass within {PATIENCE_SECONDS:g} s that {what}")
                time.sleep(LOOK_SECONDS)

    def _check(self) -> None:
        for application in self._applications.values():
            application.check()

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.1f} s  {text}", flush=True)
