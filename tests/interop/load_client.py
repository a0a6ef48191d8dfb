"""What `c/load.c` does, on Rondo's own client: send as fast as one is let, and check all that one is given.

    python -m tests.interop.load_client ENDPOINT GROUP MEMBERS COUNT SIZE_MIN SIZE_MAX TOTAL LONG_EVERY LONG_MAX

Messages and what is printed at the end are the same as there, the digest of the order too.
"""

import sys
import threading
import time

import rondo

CONNECT_TIMEOUT_S = 60.0
QUIET_S = 60.0
U32, U64 = (1 << 32) - 1, (1 << 64) - 1
NUMBER_BYTES = 4
STEP = 7
STEP_INVERSE = 183
"""7 * 183 = 1 modulo 256: where in the repeated pattern the bytes of a message begin."""


class Messages:
    """Sizes and contents of messages, by their number."""

    def __init__(self, size_min: int, size_max: int, long_every: int, long_max: int) -> None:
        self._size_min, self._size_max = size_min, size_max
        self._long_every, self._long_max = long_every, long_max
        period = bytes(STEP * place & 255 for place in range(256))
        self._pattern = period * (max(size_max, long_max) // 256 + 2)

    def content(self, number: int) -> bytes:
        """The whole message."""
        drawn = number * 2654435761 & U32
        if number % self._long_every == self._long_every - 1:
            size = self._long_max if number < self._long_every else 1 + drawn % self._long_max
        else:
            size = self._size_min + drawn % (self._size_max - self._size_min + 1)
        first = number * STEP_INVERSE & 255
        return (number.to_bytes(NUMBER_BYTES, "little") + self._pattern[first + NUMBER_BYTES : first + size])[:size]


class Checked:
    """Checks the delivered messages."""

    def __init__(self, messages: Messages) -> None:
        self.total = self.wrong = 0
        self.order = 14695981039346656037
        self._messages = messages
        self._next: dict[rondo.Member, int] = {}

    def take(self, message: rondo.Message) -> None:
        """Check the next message of the order."""
        sender = message.sender
        number = self._next.get(sender, 0)
        self._next[sender] = number + 1
        self.wrong += message.data != self._messages.content(number)
        self.total += 1
        for value in (sender.node, sender.pid, number):
            self.order = (self.order ^ value) * 1099511628211 & U64


def send(group: rondo.Group, messages: Messages, count: int) -> None:
    """Multicast; each call waits while there is no room."""
    for number in range(count):
        group.mcast(messages.content(number), timeout=None)


def main(endpoint: str, name: str, *numbers: int) -> None:
    """One member, from its joining to the end."""
    members, count, size_min, size_max, total, long_every, long_max = numbers
    messages = Messages(size_min, size_max, long_every, long_max)
    checked = Checked(messages)
    with rondo.connect(endpoint, timeout=CONNECT_TIMEOUT_S) as cluster:
        group = cluster.cpg.join(name, timeout=CONNECT_TIMEOUT_S)
        sender = threading.Thread(target=send, args=(group, messages, count), daemon=True)
        began_s = 0.0
        while checked.total < total:
            event = group.poll(QUIET_S)
            if isinstance(event, rondo.Message):
                checked.take(event)
            elif isinstance(event, rondo.Membership) and len(event.members) == members and not began_s:
                began_s = time.monotonic()
                sender.start()
            elif not isinstance(event, rondo.Membership | rondo.RingChange):
                raise SystemExit(f"unexpected: {event}")
        took_s = time.monotonic() - began_s
        said = (
            f"total {checked.total} wrong {checked.wrong} order {checked.order:016x} try_again 0 seconds {took_s:.3f}"
        )
        print(said, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
