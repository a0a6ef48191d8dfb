"""A ledger of accounts, kept on several nodes at once, any of which may be killed at any time: what Rondo is for.

`python examples/replicated_ledger.py 10` on each node makes ten transfers a second. A line of its input ends them and
asks for the ledger; the end of the input ends it. With 1000 behind the rate SAM restarts it when silent for 1000 ms."""

import contextlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from random import choice, randbytes, randint
from threading import Event

import rondo
from rondo.recipes import Replicated, replicated

ACCOUNTS, INITIAL_BALANCE, AMOUNT_MAX, CALLERS = ("anna", "bert", "cleo", "dora", "emil"), 1000, 400, 8


def say(event: str, **what: object) -> None:
    print(json.dumps({"event": event, **what}) + "\n", end="", flush=True)


class Ledger(Replicated):
    def __init__(self, cluster: rondo.Cluster) -> None:
        self.balances, self.history = dict.fromkeys(ACCOUNTS, INITIAL_BALANCE), list[str]()
        super().__init__(cluster, "ledger")

    @replicated
    def transfer(self, name: str, source: str, target: str, amount: int) -> None:
        self.history.append(name)
        if self.balances[source] >= amount:  # without enough it comes to nothing, on all nodes alike
            self.balances[source] -= amount
            self.balances[target] += amount

    def members_changed(self, members: tuple[rondo.Member, ...]) -> None:
        say("members", nodes=[member.node for member in members])

    def work(self, rate: float, ending: Event) -> None:
        while not ending.wait(1 / rate):
            with contextlib.suppress(rondo.NoQuorum, rondo.Timeout):  # perhaps done, and not told
                self.transfer(name := randbytes(12).hex(), choice(ACCOUNTS), choice(ACCOUNTS), randint(1, AMOUNT_MAX))
                say("done", ids=[name])


if __name__ == "__main__":
    with rondo.connect(timeout=30.0) as cluster, Ledger(cluster) as ledger, ThreadPoolExecutor(CALLERS) as pool:
        say("current", transfers=len(ledger.history))
        if len(sys.argv) > 2:
            rondo.sam.initialize(int(sys.argv[2]), rondo.sam.Policy.RESTART)
            rondo.sam.register()
            rondo.sam.health_check_callback(lambda: True)
            rondo.sam.start()
        ending = Event()
        callers = [pool.submit(ledger.work, float(sys.argv[1]) / CALLERS, ending) for _ in range(CALLERS)]
        while sys.stdin.readline():
            ending.set()
            wait(callers)
            say("ledger", **ledger.read(lambda: {"balances": ledger.balances, "history": ledger.history}))
        ending.set()
