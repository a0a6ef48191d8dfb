"""A ledger of accounts, kept on several nodes at once: what Rondo is for, in one file.

Every node runs this program. Each has the whole ledger in memory and changes it by nothing but the messages of one
process group. The group gives all of them the same messages in the same order, so all ledgers stay equal, and any of
them may be killed at any time:

    python examples/replicated_ledger.py --nodes 1,2,3 --rate 10        # on each of the nodes 1, 2 and 3

Four rules are all there is to it.

1. *Change only in order.* To transfer money means to multicast the wish, and to carry it out when it comes back in the
   order of the group. Whether the account has enough is decided there, on equal ledgers, and so alike everywhere.
2. *Once.* Every transfer has an identifier. If a connection is lost nobody knows what became of the transfers
   that were on their way; they are simply sent again, and who has had one already ignores the second.
3. *Who joins asks.* It multicasts "need". At that point of the order all ledgers are equal, and the first member that
   has one sends it. The newcomer keeps the transfers that come after its own "need" until the ledger arrives.
4. *The majority goes on.* If the nodes are split, the part with most of them (of equal halves that with the lowest
   node) goes on; the others put their ledger aside and ask when they are back. A transfer counts as done when
   it was carried out in that part and all members there are known to have it (Guarantee.SAFE).

If no part was a majority for a while, all have put theirs aside. They then go on with the latest of those, once a
majority of the nodes has one, for that is certain to include one that saw the last transfer. And if all nodes are
there and none has anything, a new ledger begins. The ledger is in memory alone: if all nodes stop it is gone.

It is ended by the end of its standard input or Ctrl-C. The line "finish" there ends the transfers; when all nodes have
finished, each prints its ledger. With --json it says what happens as JSON, one object a line. With --watched-ms 1000 it
has SAM watch it: if it crashes, or hangs for longer than that, SAM starts it again, and rule 3 brings it up to date.
"""

import argparse
import hashlib
import json
import os
import random
import secrets
import select
import sys
import time
from collections.abc import Iterable
from typing import Any

import rondo

GROUP = "ledger"
ACCOUNTS = ("anna", "bert", "cleo", "dora", "emil")
INITIAL_BALANCE = 1000
AMOUNT_MAX = 400
UNCONFIRMED_MAX = 200
"""So many transfers of one node may be on their way."""

Wish = dict[str, Any]
"""A message of the group, as a JSON object: what it is in "do", and what belongs to that."""


class Ledger:
    """Balances, and every transfer that was carried out or refused, in order. Equal histories give equal ledgers."""

    def __init__(self, balances: dict[str, int] | None = None, history: Iterable[str] = (), era: int = 0) -> None:
        self.balances = dict.fromkeys(ACCOUNTS, INITIAL_BALANCE) if balances is None else balances
        self.history = list(history)
        self.era = era
        """Counts the majorities that it went through. Of two ledgers that were put aside the later era is the later."""
        self._known = set(self.history)

    def transfer(self, wish: Wish) -> None:
        """Carry out one transfer, unless it was before. Without enough on the account it comes to nothing."""
        if wish["id"] in self._known:
            return
        self._known.add(wish["id"])
        self.history.append(wish["id"])
        if self.balances[wish["from"]] >= wish["amount"]:
            self.balances[wish["from"]] -= wish["amount"]
            self.balances[wish["to"]] += wish["amount"]

    def __contains__(self, transfer_id: str) -> bool:
        return transfer_id in self._known

    def fingerprint(self) -> str:
        """The same for equal ledgers, and for no others."""
        return hashlib.sha256(json.dumps([self.balances, self.history], sort_keys=True).encode()).hexdigest()[:16]


class Replica:
    """What one node makes of the events of the group: rules 1 to 4. No I/O; `outbox` is what it wants to send."""

    def __init__(self, me: rondo.Member, nodes: frozenset[int]) -> None:
        self.me = me
        self.nodes = nodes
        self.ledger: Ledger | None = None
        """None while this node has none: it has just come, or was cut off."""
        self.aside: Ledger | None = None
        """What it had before it was cut off."""
        self.confirmed: list[str] = []
        """Own transfers that are done for good; whoever reads them empties the list."""
        self.outbox: list[Wish] = []
        self.finished: set[int] = set()
        """Nodes that will send no more transfers."""
        self._members: tuple[rondo.Member, ...] = ()
        self._holders: set[rondo.Member] = set()
        """Members that have a ledger. All members agree on it, as on everything that follows from the order alone."""
        self._needs: dict[rondo.Member, Wish] = {}
        """Who has asked for a ledger since the last change of membership."""
        self._backlog: list[Wish] = []
        """Transfers since the own request."""
        self._waiting: dict[str, Wish] = {}
        """Own transfers that are not confirmed."""
        self._tentative: list[str] = []
        """Own transfers that came while the ring changed: done if this node is in the majority afterwards."""

    def wish_transfer(self, transfer_id: str, source: str, target: str, amount: int) -> None:
        """Ask the group for a transfer."""
        wish = {"do": "transfer", "id": transfer_id, "from": source, "to": target, "amount": amount}
        self._waiting[transfer_id] = wish
        self.outbox.append(wish)

    @property
    def unconfirmed(self) -> int:
        """How many own transfers are on their way."""
        return len(self._waiting)

    def handle(self, event: rondo.Event) -> None:
        """The next event of the group."""
        match event:
            case rondo.Message(sender=sender, data=data, configuration=configuration):
                self._on_wish(sender, json.loads(data), configuration is rondo.Configuration.TRANSITIONAL)
            case rondo.Membership(members=members, left=left):
                # A node that was gone for a moment is in both.
                self._holders -= {change.member for change in left}
                self._on_membership(members)
            case rondo.Disconnected():
                self._put_aside()
            case rondo.Reconnected():
                self._on_membership(self._members)

    # -- who is there

    def _on_membership(self, members: tuple[rondo.Member, ...]) -> None:
        self._members = members
        self._holders &= set(members)
        self._needs.clear()
        self._backlog.clear()
        if not self._is_majority({member.node for member in members}):
            self._put_aside()
            return
        if self.ledger is not None:
            self.ledger.era += 1
        else:
            self._ask()
        self._confirm(self._tentative)
        self._tentative.clear()

    def _is_majority(self, present: set[int]) -> bool:
        """Of equal halves, the one with the lowest node."""
        if 2 * len(present) == len(self.nodes):
            return min(self.nodes) in present
        return 2 * len(present) > len(self.nodes)

    def _put_aside(self) -> None:
        """The others may go on without this node."""
        self.aside = self.ledger or self.aside
        self.ledger = None
        self._holders.clear()
        self._backlog.clear()
        self._tentative.clear()

    def _ask(self) -> None:
        aside = self.aside
        rank = [] if aside is None else [aside.era, len(aside.history)]
        token = secrets.token_hex(8)
        self.outbox.append({"do": "need", "token": token, "members": as_lists(self._members), "aside": rank})

    # -- messages

    def _on_wish(self, sender: rondo.Member, wish: Wish, transitional: bool) -> None:
        match wish["do"]:
            case "transfer":
                self._on_transfer(sender, wish, transitional)
            case "need":
                self._on_need(sender, wish)
            case "ledger":
                self._on_ledger(wish)
            case "finished":
                self.finished.add(sender.node)

    def _on_transfer(self, sender: rondo.Member, wish: Wish, transitional: bool) -> None:
        if self.ledger is None:
            self._backlog.append(wish)
            return
        self.ledger.transfer(wish)
        if sender == self.me and transitional:
            self._tentative.append(wish["id"])
        elif sender == self.me:
            self._confirm([wish["id"]])

    def _confirm(self, transfer_ids: list[str]) -> None:
        self.confirmed += [each for each in transfer_ids if self._waiting.pop(each, None)]

    def _on_need(self, sender: rondo.Member, wish: Wish) -> None:
        if wish["members"] != as_lists(self._members):
            return  # Asked before the last change of membership, after which it has asked again.
        self._needs[sender] = wish
        self._holders.discard(sender)
        if sender == self.me:
            self._backlog.clear()
        if not self._holders:
            self._begin_again()
        elif self.me == min(self._holders):
            self._answer(wish)

    def _answer(self, need: Wish) -> None:
        assert self.ledger is not None
        self.outbox.append(
            {
                "do": "ledger",
                "token": need["token"],
                "balances": self.ledger.balances,
                "history": self.ledger.history,
                "era": self.ledger.era,
                "holders": as_lists(self._holders),
                "finished": sorted(self.finished),
            }
        )

    def _begin_again(self) -> None:
        """Nobody has a ledger. Once all have said what they put aside, all know alike which one is the latest."""
        aside = {member: need["aside"] for member, need in self._needs.items() if need["aside"]}
        all_are_here = {member.node for member in self._members} == self.nodes
        if len(self._needs) < len(self._members) or not (
            all_are_here or self._is_majority({member.node for member in aside})
        ):
            return
        self._backlog.clear()
        latest = max(aside, key=lambda member: (aside[member], member), default=None)
        self._holders = set(self._members) if latest is None else {latest}
        others = [need for member, need in self._needs.items() if member not in self._holders]
        self._needs = {member: need for member, need in self._needs.items() if member not in self._holders}
        if self.me in self._holders:
            ledger = self.aside or Ledger()
            ledger.era += 1
            self._take(ledger)
            for need in others:
                self._answer(need)

    def _on_ledger(self, wish: Wish) -> None:
        """Only the answer to a request that still stands counts, and all see alike whether it does."""
        asker = next((member for member, need in self._needs.items() if need["token"] == wish["token"]), None)
        if asker is None:
            return
        del self._needs[asker]
        self._holders.add(asker)
        if asker == self.me and self.ledger is None:
            self._holders |= {rondo.Member(node, pid) for node, pid in wish["holders"]}
            self.finished |= set(wish["finished"])
            self._take(Ledger(wish["balances"], wish["history"], wish["era"]))

    def _take(self, ledger: Ledger) -> None:
        """Begin with this ledger and what has come since; send again what is not in it."""
        for wish in self._backlog:
            ledger.transfer(wish)
        self._backlog.clear()
        self.ledger, self.aside = ledger, None
        self._confirm([each for each in self._waiting if each in ledger])
        self.outbox += self._waiting.values()


def as_lists(members: Iterable[rondo.Member]) -> list[list[int]]:
    """Members as JSON can hold them, sorted."""
    return [[member.node, member.pid] for member in sorted(members)]


class Program:
    """The replica at work: connected to its node, sending transfers, telling how it goes."""

    def __init__(self, cluster: rondo.Cluster, options: argparse.Namespace) -> None:
        self._options = options
        self._group = cluster.cpg.join(GROUP)
        self._replica = Replica(rondo.Member(cluster.node_id, cluster.pid), options.nodes)
        self._life = secrets.token_hex(4)
        """Tells the transfers of this process from those of an earlier one on the same node."""
        self._random = random.Random(self._life)
        self._sent = 0
        self._next_transfer = time.monotonic()
        self._has_ledger = False
        self._finishing = False
        self._said_finished = False
        self._reported = False

    def run(self) -> None:
        """Until the standard input ends."""
        if self._options.watched_ms:
            rondo.sam.initialize(self._options.watched_ms, rondo.sam.Policy.RESTART)
            rondo.sam.register()
            rondo.sam.start()
        while self._take_commands():
            if self._options.watched_ms:
                rondo.sam.health_check_send()
            event = self._group.poll(timeout=min(0.1, max(0.0, self._next_transfer - time.monotonic())))
            if event is not None:
                self._replica.handle(event)
                if isinstance(event, rondo.Membership):
                    self._say({"event": "members", "nodes": [member.node for member in event.members]})
            self._want_transfers()
            self._send()
            self._tell()
        self._group.leave(timeout=2.0)

    def _take_commands(self) -> bool:
        """False at the end of the standard input."""
        while select.select([sys.stdin], [], [], 0)[0]:
            text = os.read(sys.stdin.fileno(), 4096)
            if not text:
                return False
            self._finishing = self._finishing or b"finish" in text
        return True

    def _want_transfers(self) -> None:
        """Wish for transfers at the rate that was asked for, while there is a ledger to wish for them on."""
        replica, now = self._replica, time.monotonic()
        if replica.ledger is None or self._finishing or replica.unconfirmed >= UNCONFIRMED_MAX:
            self._next_transfer = now + 1 / self._options.rate
        elif now >= self._next_transfer:
            self._sent += 1
            self._next_transfer += 1 / self._options.rate
            source, target = self._random.sample(ACCOUNTS, 2)
            transfer_id = f"{replica.me.node}.{self._life}.{self._sent}"
            replica.wish_transfer(transfer_id, source, target, self._random.randint(1, AMOUNT_MAX))
        if self._finishing and not self._said_finished and replica.ledger is not None and not replica.unconfirmed:
            self._said_finished = True
            replica.outbox.append({"do": "finished"})

    def _send(self) -> None:
        outbox = self._replica.outbox
        while outbox:
            try:
                self._group.mcast(json.dumps(outbox[0]).encode(), guarantee=rondo.Guarantee.SAFE, timeout=0.2)
            except rondo.TryAgain:
                return
            del outbox[0]

    def _tell(self) -> None:
        replica = self._replica
        if (replica.ledger is not None) != self._has_ledger:
            self._has_ledger = replica.ledger is not None
            transfers = len(replica.ledger.history) if replica.ledger is not None else 0
            self._say({"event": "current" if self._has_ledger else "without ledger", "transfers": transfers})
        if replica.confirmed:
            self._say({"event": "done", "ids": replica.confirmed})
            replica.confirmed = []
        if replica.ledger is not None and replica.finished >= replica.nodes and not self._reported:
            self._reported = True
            ledger = replica.ledger
            report = {"balances": ledger.balances, "history": ledger.history, "fingerprint": ledger.fingerprint()}
            self._say({"event": "ledger", "node": replica.me.node, **report})

    def _say(self, what: dict[str, Any]) -> None:
        if self._options.json:
            print(json.dumps(what), flush=True)
        elif what["event"] == "ledger":
            print(
                f"{len(what['history'])} transfers, fingerprint {what['fingerprint']}, {what['balances']}", flush=True
            )
        elif what["event"] == "members":
            print(f"members: nodes {what['nodes']}", flush=True)
        elif what["event"] != "done":
            print(f"{what['event']} ({what['transfers']} transfers)", flush=True)


def main() -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(description="A ledger that is kept on several nodes at once.")
    parser.add_argument("--nodes", required=True, type=_nodes, metavar="1,2,3", help="all nodes that keep the ledger")
    parser.add_argument("--rate", type=float, default=10.0, metavar="R", help="transfers a second (default: 10)")
    parser.add_argument("--socket", metavar="ENDPOINT", help="the node to connect to (default: $RONDO_SOCKET)")
    parser.add_argument("--watched-ms", type=int, default=0, metavar="MS", help="have SAM watch this process")
    parser.add_argument("--json", action="store_true", help="say what happens as JSON, one object a line")
    options = parser.parse_args()
    try:
        with rondo.connect(options.socket, timeout=30.0) as cluster:
            Program(cluster, options).run()
    except rondo.Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _nodes(text: str) -> frozenset[int]:
    return frozenset(int(each) for each in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
