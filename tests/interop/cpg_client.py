"""A member of a closed process group on a C Corosync node: the C library `libcpg`, by ctypes, driven by lines of JSON.

    python cpg_client.py GROUP

It runs inside the host of the node and joins GROUP at once. Each line of standard input is a command:

    {"do": "send", "tag": "a", "sizes": [100, 70000]}      two messages, made by `message_bytes("a", 0, 100)` and so on
    {"do": "leave"}   {"do": "members"}   {"do": "quit"}

After `leave` nothing more can be done with the group: a C node refuses a second join on the same connection.

Each line of standard output is an event, in the order in which the library delivered them:

    {"event": "message", "group": "g", "node": 1, "pid": 7, "size": 100, "sha256": "...", "head": "its first bytes"}
    {"event": "membership", "group": "g", "members": [[1, 7]], "joined": [[1, 7, "join"]], "left": []}
    {"event": "ring", "representative": 1, "sequence": 8, "members": [1, 2]}
    {"event": "answer", "do": "members", "result": 1, "members": [[1, 7]]}      result: cs_error_t, 1 is CS_OK
    {"event": "disconnected", "result": 2}                                      the node is gone; the client ends

The layouts are those of the header <corosync/cpg.h>.
"""

import ctypes
import hashlib
import json
import os
import select
import sys
import time
from collections.abc import Callable
from typing import Any

CS_OK = 1
CS_ERR_TRY_AGAIN = 6
CS_DISPATCH_ALL = 2
CPG_MODEL_V1 = 1
CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF = 1
CPG_TYPE_AGREED = 2
NAME_SIZE_MAX = 128
MEMBERS_MAX = 128
REASONS = {0: "undefined", 1: "join", 2: "leave", 3: "nodedown", 4: "nodeup", 5: "procdown"}

HEAD_SIZE = 32
TRY_AGAIN_PAUSE_S = 0.002
TRY_AGAIN_TIMEOUT_S = 30.0
INPUT_CHUNK_SIZE = 65536


class Name(ctypes.Structure):
    """struct cpg_name"""

    _fields_ = (("length", ctypes.c_uint32), ("value", ctypes.c_ubyte * NAME_SIZE_MAX))


class Address(ctypes.Structure):
    """struct cpg_address"""

    _fields_ = (("nodeid", ctypes.c_uint32), ("pid", ctypes.c_uint32), ("reason", ctypes.c_uint32))


class RingId(ctypes.Structure):
    """struct cpg_ring_id"""

    _fields_ = (("nodeid", ctypes.c_uint32), ("seq", ctypes.c_uint64))


class IoVector(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_char_p), ("size", ctypes.c_size_t))


DeliverFunction = ctypes.CFUNCTYPE(
    None,
    ctypes.c_uint64,
    ctypes.POINTER(Name),
    ctypes.c_uint32,
    ctypes.c_uint32,
    ctypes.c_void_p,
    ctypes.c_size_t,
)
MembershipFunction = ctypes.CFUNCTYPE(
    None,
    ctypes.c_uint64,
    ctypes.POINTER(Name),
    ctypes.POINTER(Address),
    ctypes.c_size_t,
    ctypes.POINTER(Address),
    ctypes.c_size_t,
    ctypes.POINTER(Address),
    ctypes.c_size_t,
)
RingFunction = ctypes.CFUNCTYPE(
    None,
    ctypes.c_uint64,
    RingId,
    ctypes.c_uint32,
    ctypes.POINTER(ctypes.c_uint32),
)


class ModelData(ctypes.Structure):
    """cpg_model_v1_data_t"""

    _fields_ = (
        ("model", ctypes.c_int),
        ("deliver", DeliverFunction),
        ("membership", MembershipFunction),
        ("ring", RingFunction),
        ("flags", ctypes.c_uint),
    )


def message_bytes(tag: str, number: int, size: int) -> bytes:
    """Return a message of that size whose every byte follows from tag and number, and which begins with them."""
    label = f"{tag}:{number}:".encode()
    return (label + hashlib.shake_128(label).digest(size))[:size]


def report(event: str, **fields: Any) -> None:
    """Write one event."""
    print(json.dumps({"event": event, **fields}), flush=True)


def text_of(name: Any) -> str:
    return bytes(name.contents.value[: name.contents.length]).decode()


def on_message(handle: int, group: Any, node: int, pid: int, message: int | None, size: int) -> None:
    content = ctypes.string_at(message, size) if message else b""
    head = content[:HEAD_SIZE].decode("ascii", errors="replace")
    digest = hashlib.sha256(content).hexdigest()
    report("message", group=text_of(group), node=node, pid=pid, size=size, sha256=digest, head=head)


def on_membership(
    handle: int,
    group: Any,
    members: Any,
    member_count: int,
    left: Any,
    left_count: int,
    joined: Any,
    joined_count: int,
) -> None:
    def changes(addresses: Any, count: int) -> list[list[int | str]]:
        return [[one.nodeid, one.pid, REASONS.get(one.reason, str(one.reason))] for one in addresses[:count]]

    present = [[one.nodeid, one.pid] for one in members[:member_count]]
    came, gone = changes(joined, joined_count), changes(left, left_count)
    report("membership", group=text_of(group), members=present, joined=came, left=gone)


def on_ring(handle: int, ring: RingId, count: int, members: Any) -> None:
    report("ring", representative=ring.nodeid, sequence=ring.seq, members=members[:count])


class Client:
    """A connection to the node and the one group it is used for."""

    def __init__(self, group: str) -> None:
        self._library = ctypes.CDLL("libcpg.so.4")
        self._handle = ctypes.c_uint64()
        name = group.encode()
        self._group = Name(len(name), (ctypes.c_ubyte * NAME_SIZE_MAX)(*name))
        # Kept, because the library calls through it for as long as the connection lives.
        self._model = ModelData(
            CPG_MODEL_V1,
            DeliverFunction(on_message),
            MembershipFunction(on_membership),
            RingFunction(on_ring),
            CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF,
        )
        handle, model = ctypes.byref(self._handle), ctypes.byref(self._model)
        self._must(lambda: int(self._library.cpg_model_initialize(handle, CPG_MODEL_V1, model, None)))
        descriptor = ctypes.c_int()
        self._must(lambda: int(self._library.cpg_fd_get(self._handle, ctypes.byref(descriptor))))
        self.descriptor = descriptor.value

    def _must(self, call: Callable[[], int]) -> None:
        """Call, again while the node says so; end the client if that fails."""
        result = self._insist(call)
        if result != CS_OK:
            report("disconnected", result=result)
            sys.exit(1)

    def _insist(self, call: Callable[[], int]) -> int:
        """Call until the answer is not `try again`; what is delivered meanwhile is taken, or nobody would get on."""
        deadline = time.monotonic() + TRY_AGAIN_TIMEOUT_S
        while (result := call()) == CS_ERR_TRY_AGAIN and time.monotonic() < deadline:
            if self._handle.value:
                self.dispatch()
            time.sleep(TRY_AGAIN_PAUSE_S)
        return result

    def dispatch(self) -> None:
        """Report what has arrived; end the client if the node is gone."""
        result = self._library.cpg_dispatch(self._handle, CS_DISPATCH_ALL)
        if result not in (CS_OK, CS_ERR_TRY_AGAIN):
            report("disconnected", result=result)
            sys.exit(1)

    def join(self) -> int:
        return self._insist(lambda: int(self._library.cpg_join(self._handle, ctypes.byref(self._group))))

    def leave(self) -> int:
        return self._insist(lambda: int(self._library.cpg_leave(self._handle, ctypes.byref(self._group))))

    def send(self, tag: str, sizes: list[int]) -> int:
        """Multicast messages; return the first result that is not CS_OK, or that."""
        for number, size in enumerate(sizes):
            vector = IoVector(message_bytes(tag, number, size), size)
            result = self._insist(lambda vector=vector: self._multicast(vector))  # type: ignore[misc]
            if result != CS_OK:
                return result
            if select.select([self.descriptor], [], [], 0)[0]:
                self.dispatch()
        return CS_OK

    def _multicast(self, vector: IoVector) -> int:
        return int(self._library.cpg_mcast_joined(self._handle, CPG_TYPE_AGREED, ctypes.byref(vector), 1))

    def members(self) -> tuple[int, list[list[int]]]:
        """Return the result and the members of the group, [node, pid] each."""
        addresses = (Address * MEMBERS_MAX)()
        count = ctypes.c_int()
        reference, group = ctypes.byref(count), ctypes.byref(self._group)
        result = self._insist(lambda: int(self._library.cpg_membership_get(self._handle, group, addresses, reference)))
        return result, [[one.nodeid, one.pid] for one in addresses[: count.value]]

    def obey(self, command: dict[str, Any]) -> bool:
        """Carry out a command and report its result; return whether to go on."""
        match command["do"]:
            case "send":
                report("answer", do="send", result=self.send(command["tag"], command["sizes"]))
            case "leave":
                report("answer", do="leave", result=self.leave())
            case "members":
                result, members = self.members()
                report("answer", do="members", result=result, members=members)
            case "quit":
                self._must(lambda: int(self._library.cpg_finalize(self._handle)))
                return False
            case other:
                raise ValueError(f"unknown command {other!r}")
        return True


def main(group: str) -> None:
    client = Client(group)
    report("answer", do="join", result=client.join())
    pending = b""
    while True:
        readable, _, _ = select.select([client.descriptor, sys.stdin.fileno()], [], [])
        if client.descriptor in readable:
            client.dispatch()
        if sys.stdin.fileno() in readable:
            chunk = os.read(sys.stdin.fileno(), INPUT_CHUNK_SIZE)
            *lines, pending = (pending + chunk).split(b"\n")
            if not chunk or not all(client.obey(json.loads(line)) for line in lines):
                return


if __name__ == "__main__":
    main(sys.argv[1])
