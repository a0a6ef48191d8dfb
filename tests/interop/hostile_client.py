"""A program on libcpg that spoils what it shares with the node.

    python hostile_client.py GROUP DEED

It joins GROUP, does the deed again and again, has the node look at what it has spoilt, and ends with status 3 once its
connection is ended, or with 0 if that was not done for a while. Its first line of output says that it has joined.
"""

import contextlib
import ctypes
import mmap
import os
import random
import re
import select
import sys
import time
from collections.abc import Callable

CS_OK = 1
COMPLETE = 0xA1A1A1A1
AGREED = 2
SEMAPHORE_OFFSET = 8208
PATIENCE_S = 8.0
POLL_MS = 20
ENDED = 3


class Vector(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_char_p), ("size", ctypes.c_size_t))


class Victim:
    """The files that it shares with the node, by `request-header`, `event-data` and so on."""

    def __init__(self) -> None:
        with open("/proc/self/maps") as maps:
            found = re.findall(r"(/dev/shm/\S+/qb-(\w+)-cpg-(\w+))", maps.read())
        self.paths = {f"{ring}-{part}": path for path, ring, part in found}
        self._maps = {}
        for name, path in self.paths.items():
            with open(path, "r+b") as file:
                self._maps[name] = mmap.mmap(file.fileno(), 0)

    def words(self, name: str) -> memoryview:
        mapped = self._maps[name]
        return memoryview(mapped)[: len(mapped) // 4 * 4].cast("I")

    def post(self, name: str) -> None:
        """sem_post on the semaphore of a ring."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._maps[name])) + SEMAPHORE_OFFSET
        ctypes.CDLL(None).sem_post(ctypes.c_void_p(address))


def truncate(name: str) -> Callable[[Victim], None]:
    return lambda victim: os.truncate(victim.paths[name], 0)


def scribble(victim: Victim) -> None:
    """Write random bytes anywhere except into the semaphore on which it waits itself."""
    for _ in range(1000):
        words = victim.words(random.choice(sorted(victim.paths)))
        words[random.randrange(len(words))] = random.getrandbits(32)


def announce_nothing(victim: Victim) -> None:
    victim.post("request-header")


def announce_and_truncate(victim: Victim) -> None:
    victim.post("request-header")
    os.truncate(victim.paths["request-data"], 0)


def spoil_read_index(victim: Victim) -> None:
    victim.words("event-header")[1] = 0xFFFFFFFF


def spoil_lengths(victim: Victim) -> None:
    words = victim.words("request-data")
    for at in range(0, len(words) - 1, 2):
        words[at], words[at + 1] = 0x7FFFFFFF, COMPLETE
    victim.post("request-header")


DEEDS: dict[str, Callable[[Victim], None]] = {
    "truncates-event-header": truncate("event-header"),
    "truncates-event-data": truncate("event-data"),
    "truncates-request-header": truncate("request-header"),
    "truncates-request-data": announce_and_truncate,
    "scribbles": scribble,
    "announces-nothing": announce_nothing,
    "spoils-read-index": spoil_read_index,
    "spoils-lengths": spoil_lengths,
}


def live_on_in_a_child(library: ctypes.CDLL, handle: ctypes.c_uint64) -> int:
    """The parent ends; the child goes on with the connection."""
    if os.fork():
        # Without what the interpreter does at its end: the connection is the child's.
        os._exit(0)
    node = ctypes.c_uint()
    time.sleep(1)  # long enough for the node to notice that the parent is dead
    if library.cpg_local_get(handle, ctypes.byref(node)) == CS_OK:
        print("child is served", flush=True)
    time.sleep(PATIENCE_S)
    return 0


USES_LIBRARY = ("truncates-event-header", "truncates-event-data", "spoils-read-index", "scribbles")
"""After these a multicast of the library's has the node look at what was spoilt; after the others a byte does."""


def main(group: str, deed: str) -> int:
    library = ctypes.CDLL("libcpg.so.4")
    handle = ctypes.c_uint64()
    assert library.cpg_initialize(ctypes.byref(handle), None) == CS_OK
    name = ctypes.create_string_buffer(len(group).to_bytes(4, "little") + group.encode(), 132)
    assert library.cpg_join(handle, name) == CS_OK
    print("joined", flush=True)
    if deed == "forks":
        return live_on_in_a_child(library, handle)
    descriptor = ctypes.c_int()
    assert library.cpg_fd_get(handle, ctypes.byref(descriptor)) == CS_OK
    ended = select.poll()
    ended.register(descriptor.value, select.POLLHUP)
    victim = Victim()
    vector = Vector(b"x" * 200, 200)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        DEEDS[deed](victim)
        if deed in USES_LIBRARY:
            library.cpg_mcast_joined(handle, AGREED, ctypes.byref(vector), 1)
        else:
            with contextlib.suppress(OSError):
                os.write(descriptor.value, b"!")
        if any(events & select.POLLHUP for _, events in ended.poll(POLL_MS)):
            return ENDED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
