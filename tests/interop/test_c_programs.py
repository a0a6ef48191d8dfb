"""C programs on Debian's libcpg at Rondo nodes: with programs on Rondo's client in one group, one order, whole."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest

from rondo.testing.lab.netns import Lab
from rondo.testing.lab.node import Node
from rondo.testing.lab.ring_config import PATIENT
from rondo.testing.lab.waiting import wait_for
from services.control.samples import SAMPLE_S
from tests.interop import hostile_client
from tests.interop.c_programs import NodeMember, compiled, nodes_of, result_of, start_load, wait_until_whole
from tests.interop.cpg_member import CpgMember, Event, expected_messages

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces]

CS_OK, CS_ERR_LIBRARY = 1, 2
GROUP = "bank"
TIMEOUT_S = 90.0
LONG_SIZES = [1, 1_047_552, 1_047_553, 3_000_000]


@pytest.fixture
def nodes(lab: Lab, tmp_path: Path) -> Iterator[list[Node]]:
    """Three nodes in one ring, which serve C programs."""
    with nodes_of(lab, tmp_path, totem=PATIENT) as nodes:
        yield nodes


def messages_of(member: CpgMember) -> list[Event]:
    return member.events("message")


def test_c_and_python_programs_see_one_order(nodes: list[Node]) -> None:
    members: list[CpgMember] = []
    for node in nodes:
        members.append(CpgMember(node.host, GROUP, "c"))
        members.append(NodeMember(node, GROUP, "python"))
    for member in members:
        member.wait_members(*members)
    chance = random.Random(5)
    sizes = {
        member: [*(chance.randint(1, 20_000) for _ in range(200)), *LONG_SIZES, *(chance.randint(1, 200),) * 200]
        for member in members
    }
    for number, member in enumerate(members):
        member.send(f"t{number}", sizes[member])
    total = sum(map(len, sizes.values()))
    first, *others = (member.wait_messages(total, TIMEOUT_S) for member in members)
    assert len(first) == total
    for other in others:
        assert other == first
    for number, member in enumerate(members):
        of_this = [event for event in first if [event["node"], event["pid"]] == member.address]
        assert of_this == expected_messages(member, f"t{number}", sizes[member])


@pytest.mark.parametrize(("size_min", "size_max", "count"), [(64, 64, 20_000), (1, 5000, 5000), (1, 3_000_000, 20)])
def test_compiled_programs_at_full_speed_see_one_order(
    nodes: list[Node], tmp_path: Path, size_min: int, size_max: int, count: int
) -> None:
    program = compiled(tmp_path, "load")
    total = count * len(nodes)
    loads = [start_load(node.host, program, GROUP, len(nodes), count, size_min, size_max, total) for node in nodes]
    found = [result_of(load, TIMEOUT_S) for load in loads]
    assert [(each["total"], each["wrong"]) for each in found] == [(str(total), "0")] * len(nodes)
    assert len({each["order"] for each in found}) == 1
    for node in nodes:
        counters = node.told("qb_gateway")["counters"]
        assert (counters["cut"], counters["messages_refused"], counters["messages_lost"]) == (0, 0, 0)


@pytest.mark.parametrize("service", ["cpg", "ipc_gateway", "sam"])
def test_nobody_notices_that_a_service_is_killed(nodes: list[Node], tmp_path: Path, service: str) -> None:
    program = compiled(tmp_path, "load")
    count = 20_000
    total = count * len(nodes)
    loads = [start_load(node.host, program, GROUP, len(nodes), count, 1, 500, total) for node in nodes]
    victim = nodes[0]
    for _ in range(5):
        wait_for(lambda: victim.pids(service), bool, f"{service} runs", TIMEOUT_S)
        events = victim.told("qb_gateway")["counters"]["events"]
        victim.send(signal.SIGKILL, service)
        wait_for(
            lambda: victim.status("qb_gateway").get("counters", {}).get("events", 0),
            lambda seen, before=events: seen > before or not any(load.alive for load in loads),  # type: ignore[misc]
            "messages flow again",
            TIMEOUT_S,
        )
    found = [result_of(load, TIMEOUT_S) for load in loads]
    assert [(each["total"], each["wrong"]) for each in found] == [(str(total), "0")] * len(nodes)
    assert len({each["order"] for each in found}) == 1


def test_the_end_of_the_ring_process_is_a_change_of_the_ring(nodes: list[Node]) -> None:
    members = [CpgMember(node.host, GROUP) for node in nodes]
    for member in members:
        member.wait_members(*members)
    victim, other = members[0], members[1]
    seen = len(victim.events("membership"))
    nodes[0].send(signal.SIGKILL, "totem")
    gone = wait_for(lambda: victim.events("membership")[seen:], lambda new: len(new) >= 2, "two changes", TIMEOUT_S)
    assert gone[0]["members"] == [victim.address]
    assert sorted(gone[0]["left"]) == sorted([*member.address, "nodedown"] for member in members[1:])
    for member in members:
        member.wait_members(*members)
    for member in (victim, other):
        member.send("after", [1000])
        assert member.wait_answer("send")["result"] == CS_OK
    for member in members:
        assert len(member.wait_messages(2)) == 2
    assert messages_of(members[0]) == messages_of(members[1]) == messages_of(members[2])


def test_when_the_gateway_is_killed_its_programs_hear_of_it_and_can_come_back(nodes: list[Node]) -> None:
    first, other = CpgMember(nodes[0].host, GROUP), CpgMember(nodes[1].host, GROUP)
    for member in (first, other):
        member.wait_members(first, other)
    nodes[0].send(signal.SIGKILL, "qb_gateway")
    assert first.wait_end() == 1
    assert first.events("disconnected")[-1]["result"] == CS_ERR_LIBRARY
    left = other.wait_members(other)["left"]
    assert left == [[*first.address, "procdown"]]
    wait_until_whole(nodes)
    again = CpgMember(nodes[0].host, GROUP, "again")
    for member in (again, other):
        member.wait_members(again, other)
    shared = nodes[0].host.run(["sh", "-c", "ls /dev/shm | grep -c rondo-qb"], check=False).stdout.strip()
    assert shared == "1", "what the killed gateway left in shared memory is swept"


CUT = [
    "truncates-event-header",
    "truncates-event-data",
    "truncates-request-header",
    "truncates-request-data",
    "announces-nothing",
    "spoils-read-index",
    "spoils-lengths",
]
"""Deeds of `hostile_client.py` that the gateway must notice, ..."""
SCRIBBLES = ["scribbles"] * 3
"""... one that it need not: its own library may be the first whom it keeps from going on; ..."""
PATIENCE_S = 1.0
"""... and everybody else is served within this time."""
SERVED_MIN = 5


def serve_within_a_second(member: CpgMember, busy: Callable[[], bool]) -> int:
    """Have a member send and get single messages as long as something is under way, and a few more; how many.

    A machine that is busy with other things keeps one or the other waiting, so it is the median that must be in time.
    """
    took_s: list[float] = []
    before = len(messages_of(member))
    while busy() or len(took_s) < SERVED_MIN:
        began_s = time.monotonic()
        tag = f"n{len(took_s)}"
        member.send(tag, [100])
        served = member.wait_messages(before + len(took_s) + 1, TIMEOUT_S)
        assert served[-1] == expected_messages(member, tag, [100])[0]
        took_s.append(time.monotonic() - began_s)
    assert median(took_s) < PATIENCE_S
    return len(took_s)


@pytest.fixture
def node(make_lab: Callable[[int], Lab], tmp_path: Path) -> Iterator[Node]:
    """A single node, which serves C programs."""
    with nodes_of(make_lab(1), tmp_path) as nodes:
        yield nodes[0]


@pytest.mark.slow
def test_who_spoils_shared_memory_harms_himself_alone(node: Node) -> None:
    bystander = CpgMember(node.host, GROUP, "bystander")
    bystander.wait_members(bystander)
    gateway = node.pids("qb_gateway")
    ends = {}
    for deed in CUT + SCRIBBLES:
        cut = node.told("qb_gateway")["counters"]["cut"]
        argv = [sys.executable, hostile_client.__file__, "hostile", deed]
        hostile = node.host.start(argv, deed)
        serve_within_a_second(bystander, lambda hostile=hostile: hostile.alive)  # type: ignore[misc]
        ends[deed] = hostile.exit_status
        assert "joined" in hostile.output()
        assert node.pids("qb_gateway") == gateway, deed
        if deed in CUT:
            assert node.told("qb_gateway")["counters"]["cut"] == cut + 1, deed
    assert {deed: ends[deed] for deed in CUT} == dict.fromkeys(CUT, hostile_client.ENDED)

    def members() -> list[list[int]]:
        return [[each["node"], each["pid"]] for group in node.told("cpg")["groups"] for each in group["members"]]

    wait_for(members, lambda seen: seen == [bystander.address], "none of them in a group any more", TIMEOUT_S)


def test_a_program_lives_on_in_the_child_that_it_forked(node: Node) -> None:
    program = node.host.start([sys.executable, hostile_client.__file__, "hostile", "forks"], "forks")
    parent = program.pid
    assert program.wait(TIMEOUT_S) == 0
    wait_for(lambda: "child is served" in program.output(), bool, "the child's word", TIMEOUT_S)
    groups = [(each["group"], each["members"]) for each in node.told("cpg")["groups"]]
    assert groups == [("hostile", [{"node": 1, "pid": parent}])]


def test_a_stopped_program_holds_nobody_up_and_gets_all_in_order(node: Node) -> None:
    stopped, sender = CpgMember(node.host, GROUP, "stopped"), CpgMember(node.host, GROUP, "sender")
    for member in (stopped, sender):
        member.wait_members(stopped, sender)
    pid = stopped.address[1]
    os.kill(pid, signal.SIGSTOP)
    sender.send("many", [1000] * 5000)
    sender.wait_messages(5000, TIMEOUT_S)
    assert len(messages_of(stopped)) < 5000
    os.kill(pid, signal.SIGCONT)
    assert stopped.wait_messages(5000, TIMEOUT_S) == messages_of(sender)


def test_corosync_cpgtool_lists_groups_and_members(node: Node) -> None:
    members = [CpgMember(node.host, group, group) for group in ("a", "b")]
    for member in members:
        member.wait_members(member)
    listed = node.host.run(["corosync-cpgtool"]).stdout
    names = node.host.run(["corosync-cpgtool", "-n"]).stdout.split()
    assert names == ["a", "b"]
    for member in members:
        node_id, pid = member.address
        assert re.search(rf"^\s*{pid}\s+{node_id} \({re.escape(node.host.address)}\)", listed, re.MULTILINE), listed


@pytest.mark.root
def test_who_may_connect(make_lab: Callable[[int], Lab], tmp_path: Path) -> None:
    allowed, stranger = 65533, 65532
    with nodes_of(make_lab(1), tmp_path, uidgid={"uid": allowed}) as (node,):

        def connect_as(user: int) -> tuple[int, str]:
            other = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
            done = node.host.run([*other, "corosync-cpgtool", "-n"], check=False)
            return done.returncode, done.stderr

        assert connect_as(0) == (0, "")
        assert connect_as(allowed) == (0, "")
        status, why = connect_as(stranger)
        assert status != 0
        assert "error 11" in why
        wait_for(lambda: node.log("qb_gateway"), lambda text: f"user {stranger}" in text, "who was refused", TIMEOUT_S)


def test_corosync_cmapctl_lists_sets_deletes_and_tracks_keys(node: Node) -> None:
    def cmapctl(*arguments: str) -> str:
        return node.host.run(["corosync-cmapctl", *arguments], check=False).stdout

    listed = cmapctl().splitlines()
    assert "totem.cluster_name (str) = lab" in listed
    assert "nodelist.node.0.nodeid (u32) = 1" in listed
    assert listed == sorted(listed, key=lambda line: line.split(" ")[0])
    for kind, value in (("u32", "5"), ("i64", "6"), ("str", "text"), ("u8", "255")):
        cmapctl("-s", "my.key", kind, value)
        assert cmapctl("-g", "my.key") == f"my.key ({kind}) = {value}\n"
    cmapctl("-d", "my.key")
    assert cmapctl("-g", "my.key") == ""
    refused = node.host.run(["corosync-cmapctl", "-s", "totem.cluster_name", "str", "x"], check=False)
    assert "CS_ERR_ACCESS" in refused.stderr
    stats = cmapctl("-m", "stats")
    assert "stats.srp." in stats
    assert re.search(r"^stats\.ipcs\.service0\.\d+\.0x\w+\.procname \(str\) = corosync-cmapct$", stats, re.MULTILINE)
    before = int(cmapctl("-m", "stats", "-g", "stats.srp.orf_token_rx").split()[-1])

    def cleared() -> int:
        assert cmapctl("-C", "totem") == ""
        return int(cmapctl("-m", "stats", "-g", "stats.srp.orf_token_rx").split()[-1])

    # Tokens are counted on. A busy machine may take longer from one command to the next than for all before them.
    wait_for(cleared, lambda seen: seen < before, "fewer tokens than before", TIMEOUT_S)
    assert "runtime.services.cmap.service_id (u16) = 0" in listed
    output = node.host.directory / "track.out"
    with output.open("wb") as file:
        tracker = node.host.popen(["stdbuf", "-oL", "corosync-cmapctl", "-T", "a."], stdin=subprocess.PIPE, stdout=file)

    def change_and_look() -> str:
        cmapctl("-s", "a.first", "u64", str(time.monotonic_ns()))
        return output.read_text()

    wait_for(
        change_and_look,
        lambda text: "a.first" in text,
        "a change",
        TIMEOUT_S,
    )
    cmapctl("-s", "a.key", "str", "hello")
    cmapctl("-d", "a.key")
    wait_for(output.read_text, lambda text: "delete> a.key (str) = hello" in text, "the deletion", TIMEOUT_S)
    assert "create> a.key (str) = hello" in output.read_text()
    tracker.kill()


def test_corosync_cmapctl_tracks_statistics_through_a_kill_of_control(node: Node) -> None:
    output = node.host.directory / "statistics.out"
    with output.open("wb") as file:
        tracker = node.host.popen(
            ["stdbuf", "-oL", "corosync-cmapctl", "-m", "stats", "-t", "stats.ipcs.global.closed"],
            stdin=subprocess.PIPE,
            stdout=file,
        )

    def change_and_look() -> list[int]:
        node.host.run(["corosync-cmapctl", "-g", "totem.cluster_name"])
        told = re.findall(r"^modify> stats\.ipcs\.global\.closed \(u64\) = (\d+)$", output.read_text(), re.MULTILINE)
        return list(map(int, told))

    began_s = time.monotonic()
    wait_for(change_and_look, lambda seen: len(seen) >= 2, "two changes", TIMEOUT_S)
    node.send(signal.SIGKILL, "control")
    seen = wait_for(change_and_look, lambda seen: len(seen) >= 5, "changes that the next control told of", TIMEOUT_S)
    # A restarted control compares at once, whenever its predecessor did so last.
    assert len(seen) <= 2 + (time.monotonic() - began_s) / SAMPLE_S, "not more often than they are compared"
    assert seen == sorted(set(seen)), "the next control tells nothing that was told before"
    tracker.kill()


@pytest.mark.parametrize("service", ["control", "totem"])
def test_who_watches_keys_and_quorum_keeps_its_connections(
    make_lab: Callable[[int], Lab], tmp_path: Path, service: str
) -> None:
    with nodes_of(make_lab(1), tmp_path, quorum={"provider": "corosync_votequorum"}) as (node,):
        host = node.host
        outputs = [host.directory / "keys.out", host.directory / "quorum.out"]
        watching = (["corosync-cmapctl", "-T", "a."], ["corosync-quorumtool", "-m"])
        watchers = []
        for argv, output in zip(watching, outputs, strict=True):
            with output.open("wb") as file:
                watchers.append(host.popen(["stdbuf", "-oL", *argv], stdin=subprocess.PIPE, stdout=file))

        def told() -> list[int]:
            return [int(n) for n in re.findall(r"> a\.key \(u32\) = (\d+)$", outputs[0].read_text(), re.MULTILINE)]

        def set_to(number: int) -> list[int]:
            host.run(["corosync-cmapctl", "-s", "a.key", "u32", str(number)])
            return told()

        def rings() -> set[str]:
            return set(re.findall(r"^Ring ID: +(\S+)$", outputs[1].read_text(), re.MULTILINE))

        numbers = iter(range(1, 10_000))
        first = wait_for(lambda: set_to(next(numbers)), bool, "it is told of keys", TIMEOUT_S)[0]
        wait_for(rings, bool, "it is told of the ring", TIMEOUT_S)
        for _ in range(3):
            killed = node.pids(service)
            node.send(signal.SIGKILL, service)
            wait_for(lambda: node.pids(service), lambda now, old=killed: now not in ([], old), "another", TIMEOUT_S)  # type: ignore[misc]
            last = next(numbers)
            set_to(last)
            wait_for(told, lambda seen, last=last: seen[-1] == last, "the change of a key", TIMEOUT_S)  # type: ignore[misc]
            known = rings()
            host.run(["corosync-cmapctl", "-s", "runtime.force_gather", "str", "yes"])
            wait_for(rings, lambda seen, known=known: seen > known, "another ring", TIMEOUT_S)  # type: ignore[misc]
        assert told() == list(range(first, last + 1)), "each change once"
        assert [watcher.poll() for watcher in watchers] == [None, None]
        assert node.told("qb_gateway")["counters"]["cut"] == 0


def test_keys_outlive_the_kill_of_control_under_a_c_program(node: Node) -> None:
    node.host.run(["corosync-cmapctl", "-s", "my.key", "u32", "5"])
    cut = node.told("qb_gateway")["counters"]["cut"]
    for _ in range(3):
        node.send(signal.SIGKILL, "control")
        assert node.host.run(["corosync-cmapctl", "-g", "my.key"]).stdout == "my.key (u32) = 5\n"
    assert node.told("qb_gateway")["counters"]["cut"] == cut


def test_corosync_quorumtool_and_cfgtool_see_votes_and_nodes(lab: Lab, tmp_path: Path) -> None:
    with nodes_of(lab, tmp_path, quorum={"provider": "corosync_votequorum"}) as nodes:
        host = nodes[0].host

        def said(*argv: str) -> str:
            return host.run(list(argv), check=False).stdout

        def wait_said(wanted: list[str], *argv: str) -> None:
            def has_all(text: str) -> bool:
                return all(re.search(line, text, re.MULTILINE) for line in wanted)

            wait_for(lambda: said(*argv), has_all, f"{wanted} from {argv}", TIMEOUT_S)

        votes = [r"^Quorate:\s+Yes$", r"^Total votes:\s+3$", r"^Quorum:\s+2"]
        wait_said(votes, "corosync-quorumtool", "-s")
        wait_said(["nodeid: 2 reachable", "nodeid: 3 reachable"], "corosync-cfgtool", "-n")
        with (host.directory / "watch.out").open("wb") as file:
            watcher = host.popen(["stdbuf", "-oL", "corosync-quorumtool", "-m"], stdout=file)
        output = host.directory / "watch.out"
        wait_for(output.read_text, lambda text: "Quorate:" in text, "quorumtool watches", TIMEOUT_S)
        for node in nodes[1:]:
            node.kill()
        wait_for(
            output.read_text,
            lambda text: re.search(r"Quorate:\s+No", text) is not None,
            "it hears of the loss",
            TIMEOUT_S,
        )
        assert watcher.poll() is None
        assert re.search(r"^Quorate:\s+No$", said("corosync-quorumtool", "-s"), re.MULTILINE)
