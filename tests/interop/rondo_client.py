"""A member of a closed process group on a Rondo node: Rondo's own client, driven by the same lines of JSON, and with
the same events, as `cpg_client.py`, so that what both have seen can be compared as it is.

    python -m tests.interop.rondo_client ENDPOINT GROUP

After `leave` it ends by itself.
"""

import hashlib
import json
import sys
import threading
from typing import Any

import rondo
from tests.interop.cpg_client import CS_OK, HEAD_SIZE, message_bytes

CONNECT_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0

_output_lock = threading.Lock()


def report(event: str, **fields: Any) -> None:
    """Write one event; both threads do."""
    line = json.dumps({"event": event, **fields}) + "\n"
    with _output_lock:
        sys.stdout.write(line)
        sys.stdout.flush()


def report_event(event: rondo.Event, group: str) -> None:
    """Write an event of the group in the words of `cpg_client.py`."""
    match event:
        case rondo.Message():
            digest = hashlib.sha256(event.data).hexdigest()
            head = event.data[:HEAD_SIZE].decode("ascii", errors="replace")
            node, pid = event.sender.node, event.sender.pid
            report("message", group=group, node=node, pid=pid, size=len(event.data), sha256=digest, head=head)
        case rondo.Membership():
            members = [[member.node, member.pid] for member in event.members]
            came = [[change.node, change.pid, change.reason.value] for change in event.joined]
            gone = [[change.node, change.pid, change.reason.value] for change in event.left]
            report("membership", group=group, members=members, joined=came, left=gone)
        case rondo.RingChange():
            ring = event.ring
            report("ring", representative=ring.representative, sequence=ring.sequence, members=list(event.members))
        case _:
            report(type(event).__name__.lower(), detail=str(event))


def send(group: rondo.Group, tag: str, sizes: list[int]) -> None:
    """Multicast messages; return when the last is in the order."""
    requests = [group.mcast(message_bytes(tag, number, size)) for number, size in enumerate(sizes)]
    for request in requests:
        request.ordered(timeout=ANSWER_TIMEOUT_S)


def obey(cluster: rondo.Cluster, group: rondo.Group, command: dict[str, Any]) -> None:
    """Carry out a command and report its result, a code of Corosync's."""
    result: dict[str, Any] = {"result": CS_OK}
    try:
        match command["do"]:
            case "send":
                send(group, command["tag"], command["sizes"])
            case "leave":
                group.leave(timeout=ANSWER_TIMEOUT_S)
            case "members":
                found = [entry["members"] for entry in cluster.cpg.groups() if entry["group"] == group.name]
                result["members"] = [[one["node"], one["pid"]] for one in found[0]] if found else []
            case other:
                raise ValueError(f"unknown command {other!r}")
    except rondo.Error as error:
        result["result"] = int(error.code)
    report("answer", do=command["do"], **result)


def obey_all(cluster: rondo.Cluster, group: rondo.Group) -> None:
    """Carry out what standard input says, line by line."""
    for line in sys.stdin:
        obey(cluster, group, json.loads(line))


def main(endpoint: str, name: str) -> None:
    with rondo.connect(endpoint, timeout=CONNECT_TIMEOUT_S) as cluster:
        group = cluster.cpg.join(name, timeout=ANSWER_TIMEOUT_S)
        report("answer", do="join", result=CS_OK)
        threading.Thread(target=obey_all, args=(cluster, group), daemon=True).start()
        for event in group:
            report_event(event, group.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
