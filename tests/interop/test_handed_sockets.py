"""C programs on a node that root has started for a user without rights: to them it is root's, as Corosync is."""

import contextlib
import os
import pwd
import secrets
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rondo.node.c_sockets import NAMES
from rondo.node.supervision import C_PROGRAMS, processes
from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.ring_config import RingConfig
from rondo.testing.lab.waiting import wait_for
from tests.interop.c_programs import wait_until_whole
from tests.interop.cpg_member import CpgMember
from tests.interop.executives import RondoExecutive
from tests.interop.pacemaker_cluster import PREFERRED, TIMEOUT_S, Cluster

pytestmark = [pytest.mark.root, pytest.mark.corosync, pytest.mark.namespaces, pytest.mark.timeout(400)]

USER = "nobody"
ROOT = struct.pack("2i", 0, 0)
CREDENTIALS = """
import socket, sys
for name in sys.argv[1:]:
    with socket.socket(socket.AF_UNIX) as program:
        program.connect((b"\\0" + name.encode()).ljust(108, b"\\0"))
        print(program.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[4:].hex())
"""


@pytest.fixture
def lab(make_lab: Callable[[int], Lab]) -> Lab:
    """Of one host."""
    return make_lab(1)


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    """One node with quorum. Its user cannot read the directories of the test."""
    host, token = lab.host(1), f"handed-{os.getpid()}-{secrets.token_hex(4)}"
    path = f"/run/{token}.conf"
    config = RingConfig.of_lab(lab, "udpu", named=True, quorum={})
    host.path(path).write_text(config.text(system={"qb_ipc": "auto"}))
    node = Node(host, Path(path), token, USER)
    node.launch()
    try:
        node.wait_until_started()
        wait_until_whole([node])
        yield node
    finally:
        print(node.start_output(), node.log(C_PROGRAMS))
        node.kill()


def _rights(pid: int) -> tuple[set[int], set[int], int]:
    """The users of a process (real, effective, saved), its groups, and its capabilities, also those it may take."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    groups = found["Gid"] + found["Groups"]
    return set(map(int, found["Uid"])), set(map(int, groups)), int(found["CapPrm"][0], 16)


def _holders(node: Node) -> dict[str, int]:
    """How many of the listening sockets of C programs each process of the node holds."""
    lines = node.host.run(["cat", "/proc/net/unix"]).stdout.splitlines()
    wanted = {f"@{name}".ljust(108, "@") for name in NAMES}
    inodes = {f"socket:[{line.split()[6]}]" for line in lines if line.split()[-1] in wanted and line.split()[5] == "01"}
    found = {}
    for each in processes.find(node.run_dir):
        links = set()
        for link in Path(f"/proc/{each.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a connection of a program that has just ended
                links.add(os.readlink(link))
        found[each.name] = len(links & inodes)
    return {name: count for name, count in found.items() if count}


def _served_by_root(node: Node) -> bool:
    """True if the kernel tells a program so, for all five names."""
    told = node.host.run([sys.executable, "-c", CREDENTIALS, *NAMES]).stdout.split()
    return told == [ROOT.hex()] * len(NAMES)


def test_root_makes_the_sockets_and_none_of_the_processes_is_roots(node: Node) -> None:
    pids = node.pids()
    assert len(pids) >= len(("supervisord", "totem", "cpg", "control", "ipc_gateway", C_PROGRAMS, "sam"))
    user = pwd.getpwnam(USER)
    assert [_rights(pid) for pid in pids] == [({user.pw_uid}, {user.pw_gid}, 0)] * len(pids)
    assert _served_by_root(node)
    assert _holders(node) == {"supervisord": len(NAMES), C_PROGRAMS: len(NAMES)}
    member = CpgMember(node.host, "group", "member")
    member.wait_members(member)
    assert node.host.run(["corosync-cmapctl", "-g", "totem.cluster_name"]).stdout.endswith("= lab\n")
    wait_for(
        lambda: node.host.run(["corosync-quorumtool", "-s"], check=False).stdout,
        lambda said: "Quorate:          Yes" in said,
        "it has quorum",
        TIMEOUT_S,
    )


def test_a_program_that_comes_between_two_gateways_waits_for_the_second(node: Node) -> None:
    killed = node.pids(C_PROGRAMS)
    node.send(signal.SIGSTOP, processes.SUPERVISORD)  # nothing is started until the program waits
    node.send(signal.SIGKILL, C_PROGRAMS)
    program = node.host.start(["corosync-cmapctl", "-g", "totem.cluster_name"], "between")
    wait_for(lambda: _waiting_to_be_accepted(node, "cmap"), lambda count: count == 1, "it waits", TIMEOUT_S)
    node.send(signal.SIGCONT, processes.SUPERVISORD)
    assert wait_for(lambda: program.exit_status, lambda status: status is not None, "its end", TIMEOUT_S) == 0
    assert program.output().endswith("= lab\n")
    assert node.pids(C_PROGRAMS) not in ([], killed)
    assert _served_by_root(node)
    assert _holders(node) == {"supervisord": len(NAMES), C_PROGRAMS: len(NAMES)}


def _waiting_to_be_accepted(node: Node, name: str) -> int:
    """How many programs wait in the backlog of a service's socket."""
    lines = [line.split() for line in node.host.run(["ss", "--listening", "--unix", "--no-header"]).stdout.splitlines()]
    return next(int(words[2]) for words in lines if words[4].rstrip("@") == f"@{name}")


@pytest.mark.slow
@pytest.mark.pacemaker
def test_pacemaker_takes_it_for_an_executive_of_root(lab: Lab, node: Node) -> None:
    cluster = Cluster(lab, [RondoExecutive(node)], {})
    try:
        cluster.form()
        cluster.stop_pacemaker(PREFERRED)
    finally:
        print(cluster.pacemakers[PREFERRED].log()[-20_000:])
    assert node.suspicious() == []
