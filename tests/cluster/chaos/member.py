"""An application under test: a member of process groups that sends, receives, and writes down what it saw.

    python -m tests.cluster.chaos.member --socket ipc://... --name n1a --log FILE --rate 100 --groups a [--churn b]

It uses the client as any application would. Its log has one JSON object a line (docs in tests/checker/groups); a
message is written down before it is sent, so that a process that is killed has never sent what its log does not have.
Commands come as lines of standard input: `quiet` (send no more), `last` (say a last word in each group, and go on
receiving), end of file (leave and end).

A connection that is over for good is made anew, as a *life* of its own: `name#2`.
"""

import argparse
import json
import os
import random
import select
import time
import zlib
from collections import deque
from dataclasses import dataclass

import rondo

POLL_S = 0.01
EVENTS_AT_ONCE = 200
WAITING_MAX = 3000
CONNECT_TIMEOUT_S = 5.0
LAST_WORD = "last"
SIZES = ((0.80, 0, 400), (0.97, 400, 8_000), (0.995, 8_000, 100_000), (1.0, 100_000, 1_600_000))
"""(cumulative share, from bytes, to bytes). Most messages are small; a few exceed one message of the ring."""
SAFE_SHARE = 0.1


@dataclass
class Waiting:
    """A message that was sent and has no outcome yet."""

    number: int
    request: rondo.Request
    is_accepted: bool = False


class Log:
    """The log file. Lines are gathered and written with one system call."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._lines: list[str] = []
        self.head = ""

    def add(self, ev: str, **fields: object) -> None:
        """Add an event with the present time."""
        rest = f", {json.dumps(fields)[1:-1]}" if fields else ""
        self._lines.append(f'{{"t": {time.monotonic():.6f}, "ev": "{ev}", {self.head}{rest}}}\n')

    def flush(self) -> None:
        """Write the gathered lines."""
        if self._lines:
            os.write(self._descriptor, "".join(self._lines).encode())
            self._lines.clear()


def payload(name: str, size: int) -> bytes:
    """A message of at least its own name; the rest tells a piece of one message from a piece of another."""
    head = f"{name}|{size}|".encode()
    return (head + (head * (size // len(head) + 1)))[: max(size, len(head))]


class Member:
    """One life: a connection and its groups."""

    def __init__(self, options: argparse.Namespace, log: Log, life: int, randomness: random.Random) -> None:
        self._options = options
        self._log = log
        self.life = f"{options.name}#{life}"
        self._random = randomness
        self._cluster = rondo.connect(options.socket, timeout=CONNECT_TIMEOUT_S)
        self._pid = self._cluster.pid
        log.head = f'"proc": "{self.life}", "node": {self._cluster.node_id}, "pid": {self._pid}'
        log.add("gstart")
        self._groups: dict[str, rondo.Group] = {}
        self._waiting: dict[str, deque[Waiting]] = {}
        self._failed: dict[str, dict[int, str]] = {}
        """By group: messages whose send failed, and whose number an UnknownOutcome has still to name."""
        self._sent = 0
        self.quiet = False
        self._due = time.monotonic()
        self._churn_due = time.monotonic() + self._random.uniform(0.2, 2.0)
        for name in options.groups:
            self._join(name)

    def _join(self, name: str) -> None:
        self._log.add("gjoin", group=name)
        self._log.flush()
        self._groups[name] = self._cluster.cpg.join(name, timeout=None)
        self._waiting[name] = deque()

    def turn(self) -> None:
        """Send what is due, take events, and record the outcomes of sent messages."""
        now = time.monotonic()
        while not self.quiet and self._due <= now and self._groups:
            self._due += self._random.expovariate(self._options.rate)
            self._due = max(self._due, now - 1.0)
            self._send(self._random.choice(sorted(self._groups)))
        if self._options.churn and not self.quiet and now >= self._churn_due:
            self._churn_due = now + self._random.uniform(0.2, 3.0)
            self._change_membership(self._options.churn)
        for name in list(self._groups):
            self._take(name)
            self._sweep(name)
        self._log.flush()

    def _size(self) -> int:
        draw = self._random.random()
        return next(self._random.randint(low, high) for share, low, high in SIZES if draw <= share)

    def _send(self, group: str) -> None:
        if len(self._waiting[group]) >= WAITING_MAX:
            return
        level = "safe" if self._random.random() < SAFE_SHARE else "agreed"
        self._mcast(group, self._size(), level, timeout=0)

    def _mcast(self, group: str, size: int, level: str, timeout: float | None, **fields: object) -> None:
        self._sent += 1
        name = f"{self.life}/{self._sent}"
        data = payload(name, size)
        self._log.add("gsend", group=group, msg=name, size=len(data), crc=zlib.crc32(data), level=level, **fields)
        self._log.flush()
        guarantee = rondo.Guarantee.SAFE if level == "safe" else rondo.Guarantee.AGREED
        try:
            request = self._groups[group].mcast(data, guarantee, timeout=timeout)
        except rondo.TryAgain:
            self._log.add("grefuse", group=group, msg=name, why="TryAgain")
            return
        self._waiting[group].append(Waiting(self._sent, request))

    def last_word(self) -> None:
        """Send a last message to each group that the application is in all the time. It waits for room."""
        for name in list(self._groups):
            if name != self._options.churn:
                self._mcast(name, 0, "safe", timeout=None, word=LAST_WORD)

    def _change_membership(self, name: str) -> None:
        if name in self._groups:
            self._log.add("gleave", group=name)
            self._log.flush()
            self._groups[name].leave()
            self._drain_left(name)
        else:
            self._join(name)

    def _drain_left(self, name: str) -> None:
        """Record the remaining events of a group, up to the one that says that this process has left."""
        try:
            while (event := self._groups[name].poll(timeout=0)) is not None:
                self._write(name, event)
        except rondo.NotExist:
            pass
        self._sweep(name)
        self._log.add("gout", group=name)
        del self._groups[name], self._waiting[name]

    def _take(self, name: str) -> None:
        group = self._groups[name]
        event = group.poll(timeout=POLL_S if len(self._groups) == 1 else POLL_S / 2)
        for _ in range(EVENTS_AT_ONCE):
            if event is None:
                return
            self._write(name, event)
            event = group.poll(timeout=0)
        if event is not None:
            self._write(name, event)

    def _write(self, name: str, event: rondo.Event) -> None:
        match event:
            case rondo.Message(sender=who, data=data, configuration=configuration):
                ident, size = _name_of(data)
                whole = size == len(data)
                self._log.add(
                    "gdeliver", group=name, msg=ident, size=len(data) if whole else -1, crc=zlib.crc32(data),
                    sender=[who.node, who.pid], trans=configuration is rondo.Configuration.TRANSITIONAL,
                )  # fmt: skip
            case rondo.Membership(members=members, joined=joined, left=left):
                self._log.add(
                    "gconf", group=name, members=[[m.node, m.pid] for m in members],
                    joined=[[c.node, c.pid, str(c.reason)] for c in joined],
                    left=[[c.node, c.pid, str(c.reason)] for c in left],
                )  # fmt: skip
            case rondo.RingChange(ring=ring, members=nodes):
                self._log.add("gring", group=name, ring=[ring.representative, ring.sequence], members=list(nodes))
            case rondo.UnknownOutcome(requests=numbers):
                self._sweep(name)
                failed = self._failed.setdefault(name, {})
                for each in self._waiting[name]:
                    if each.request.is_done and each.request.error is not None:
                        failed.setdefault(each.request.number, f"{self.life}/{each.number}")
                unknown = [failed.pop(number) for number in numbers if number in failed]
                self._log.add("gunknown", group=name, msgs=unknown, count=len(numbers))
            case rondo.Disconnected(reason=reason):
                self._log.add("gdown", group=name, why=reason)
            case rondo.Reconnected():
                self._log.add("gup", group=name)
            case rondo.Suspended(reason=reason):
                self._log.add("gsuspend", group=name, why=reason)
            case rondo.Resumed():
                self._log.add("gresume", group=name)

    def _sweep(self, name: str) -> None:
        """Record which messages have been accepted and which have been ordered since the last call."""
        waiting = self._waiting[name]
        accepted = []
        for each in waiting:
            if not each.is_accepted:
                if not each.request.is_accepted:
                    break
                each.is_accepted = True
                accepted.append(f"{self.life}/{each.number}")
        if accepted:
            self._log.add("gaccept", group=name, msgs=accepted)
        ordered = []
        while waiting and waiting[0].request.is_done:
            each = waiting.popleft()
            error = each.request.error
            message = f"{self.life}/{each.number}"
            if error is None:
                ordered.append(message)
            elif isinstance(error, rondo.Disconnected) and "was accepted" not in str(error):
                self._failed.setdefault(name, {})[each.request.number] = message
                self._log.add("gfail", group=name, msg=message, why=str(error))
            else:
                self._log.add("grefuse", group=name, msg=message, why=type(error).__name__)
        if ordered:
            self._log.add("gordered", group=name, msgs=ordered)

    def close(self) -> None:
        """Write the log, and close the connection."""
        self._log.flush()
        self._cluster.close()

    def over(self, error: rondo.Error) -> None:
        """Record that the connection has been lost for good."""
        self._log.add("gover", why=str(error))
        self.close()


def _name_of(data: bytes) -> tuple[str, int]:
    """The sender and the size that a message claims."""
    try:
        name, size, _ = data[:80].split(b"|", 2)
        return name.decode(), max(int(size), len(b"|".join((name, size, b""))))
    except ValueError:
        return repr(data[:40]), -1


class Commands:
    """Reads lines of standard input without blocking."""

    def __init__(self) -> None:
        self._buffer = b""
        self.ended = False

    def take(self) -> list[str]:
        """The commands received since the last call."""
        while not self.ended and select.select([0], [], [], 0)[0]:
            read = os.read(0, 4096)
            self._buffer += read
            self.ended = not read
        *lines, self._buffer = self._buffer.split(b"\n")
        return [line.decode() for line in lines]


def _connected(options: argparse.Namespace, log: Log, life: int, randomness: random.Random) -> Member:
    while True:
        try:
            return Member(options, log, life, randomness)
        except (rondo.Timeout, rondo.Disconnected) as error:
            log.add("gabsent", why=str(error))
            log.flush()
            time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--groups", required=True, type=lambda text: text.split(","))
    parser.add_argument("--churn", help="a group that is joined and left again and again")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    log, commands = Log(options.log), Commands()
    randomness = random.Random(f"{options.seed} {options.name}")
    log.head = f'"proc": "{options.name}#0", "node": 0, "pid": {os.getpid()}'
    life, quiet = 1, False
    member = _connected(options, log, life, randomness)
    while not commands.ended:
        try:
            for command in commands.take():
                quiet = True
                if command == "last":
                    member.last_word()
            member.quiet = quiet
            member.turn()
        except rondo.Error as error:
            member.over(error)
            life += 1
            member = _connected(options, log, life, randomness)
    member.close()


if __name__ == "__main__":
    main()
