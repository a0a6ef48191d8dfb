"""Process groups over two C Corosync nodes and a complete Rondo node: applications on both sides are one group.

Hosts 1 and 2 have the C nodes with applications on the C library, host 3 has Rondo with applications on Rondo's client.
What all members have seen is compared as a whole: messages and membership changes, in one sequence.
"""

import json
import random
import re
import sys
from collections.abc import Mapping
from functools import partial

import pytest

from rondo.testing.lab.complete_node import CompleteNode
from rondo.testing.lab.corosync import CorosyncNode
from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.ring_config import PATIENT, RingConfig, Transport
from rondo.testing.lab.ring_nodes import Cluster
from rondo.testing.lab.rondo_node import REPOSITORY, RUN_DIRECTORY
from rondo.testing.lab.waiting import wait_for
from tests.interop.cpg_member import CpgMember, Event, expected_messages
from tests.interop.rondo_member import RondoMember

pytestmark = [
    pytest.mark.corosync,
    pytest.mark.namespaces,
    pytest.mark.parametrize("transport", ["udpu", "udp"]),
    pytest.mark.timeout(400),
]

CS_OK = 1
GROUP = "bank"
RONDO = 3
MESSAGES_EACH_WAY = 10_000
TRAFFIC_TIMEOUT_S = 120.0
# A C node and Rondo cut longer messages in parts of about 1 MiB: below, at and above one part, and several.
LONG_SIZES = [1_000_000, 1_048_576, 1_048_577, 1_500_000, 3_000_000, 10_000_000]
GROUP_LINE = re.compile(r"^(?P<name>\S+)$")
MEMBER_LINE = re.compile(r"^\s+(?P<pid>\d+)\s+(?P<node>\d+) \(")


@pytest.fixture
def cluster(lab: Lab, transport: Transport) -> Cluster:
    """Two C nodes and a complete Rondo node in one ring."""
    return mixed_cluster(lab, transport, PATIENT)


def mixed_cluster(lab: Lab, transport: Transport, totem: Mapping[str, str | int]) -> Cluster:
    config = RingConfig.of_lab(lab, transport, totem=totem)
    cluster = Cluster(
        CompleteNode(host, config) if number == RONDO else CorosyncNode(host, config)
        for number, host in lab.hosts.items()
    )
    cluster.start()
    return cluster


def join_everywhere(lab: Lab) -> list[CpgMember]:
    """A member on each node, each of which sees all three. The last to join is Rondo's."""
    members = [CpgMember(lab.host(1), GROUP), CpgMember(lab.host(2), GROUP)]
    for member in members:
        member.wait_members(*members)
    members.append(RondoMember(lab.host(RONDO), GROUP))
    for member in members:
        member.wait_members(*members)
    return members


def history(member: CpgMember, last_joined: CpgMember) -> list[Event]:
    """Messages and membership changes as this member saw them, from the one in which `last_joined` came."""
    events = [event for event in member.events() if event["event"] in ("message", "membership")]
    came = [*last_joined.address, "join"]
    first = next(i for i, event in enumerate(events) if event["event"] == "membership" and came in event["joined"])
    return [
        {**event, **{key: sorted(event[key]) for key in ("members", "joined", "left")}}
        if event["event"] == "membership"
        else event
        for event in events[first:]
    ]


def check_histories(*members: CpgMember, last_joined: CpgMember) -> list[Event]:
    """Check that all have seen the same, in the same order; return it."""
    first, *others = (history(member, last_joined) for member in members)
    for member, other in zip(members[1:], others, strict=True):
        for number, (one, two) in enumerate(zip(first, other, strict=False)):
            assert one == two, f"event {number} at {members[0].host.name} and {member.host.name}"
        assert len(first) == len(other)
    return first


def check_messages(seen: list[Event], sender: CpgMember, tag: str, sizes: list[int]) -> None:
    """Check that what came from `sender` is what it sent, whole and in its order."""
    from_sender = [event for event in seen if event["event"] == "message" and event["pid"] == sender.address[1]]
    wanted = expected_messages(sender, tag, sizes)
    assert [event["size"] for event in from_sender] == sizes
    assert from_sender == wanted


def groups_of_cpgtool(host: Host) -> dict[str, list[tuple[int, int]]]:
    """The groups by the word of Corosync's own tool: (node, pid) of the members, sorted."""
    groups: dict[str, list[tuple[int, int]]] = {}
    name = ""
    for line in host.run(["corosync-cpgtool"]).stdout.splitlines()[1:]:
        if member := MEMBER_LINE.match(line):
            groups[name].append((int(member["node"]), int(member["pid"])))
        elif group := GROUP_LINE.match(line):
            name = group["name"].removesuffix("\\x00")
            groups[name] = []
    return {name: sorted(members) for name, members in groups.items()}


def groups_of_rondo(host: Host) -> dict[str, list[tuple[int, int]]]:
    """The same by the word of `rondo cpg groups`."""
    argv = [sys.executable, "-m", "rondo.cli.main", "cpg", "groups", "--json", "--run-dir", RUN_DIRECTORY]
    answer = host.run(argv, environment={"PYTHONPATH": str(REPOSITORY)}).stdout
    return {
        entry["group"]: [(member["node"], member["pid"]) for member in entry["members"]] for entry in json.loads(answer)
    }


def traffic_sizes(seed: str, count: int) -> list[int]:
    """Sizes from 1 B to 300 kB, most of them small, and some at which a packet is just full."""
    chance = random.Random(seed)
    usual = [chance.choice((chance.randint(1, 200), chance.randint(1, 1500))) for _ in range(count * 97 // 100)]
    larger = [chance.randint(1_500, 20_000) for _ in range(count * 5 // 200)]
    largest = [chance.randint(20_000, 300_000) for _ in range(count - len(usual) - len(larger) - 2)]
    sizes = [*usual, *larger, *largest, 1, 300_000]
    chance.shuffle(sizes)
    return sizes


def test_ten_thousand_messages_each_way_in_one_order(lab: Lab, cluster: Cluster) -> None:
    members = join_everywhere(lab)
    first, second, ours = members
    sizes = {
        first: traffic_sizes("a", MESSAGES_EACH_WAY // 2),
        second: traffic_sizes("b", MESSAGES_EACH_WAY // 2),
        ours: traffic_sizes("c", MESSAGES_EACH_WAY),
    }
    for member, tag in zip(members, "abc", strict=True):
        member.send(tag, sizes[member])
    for member in members:
        member.wait_messages(2 * MESSAGES_EACH_WAY, TRAFFIC_TIMEOUT_S)
        assert member.wait_answer("send")["result"] == CS_OK
    seen = check_histories(*members, last_joined=ours)
    for member, tag in zip(members, "abc", strict=True):
        check_messages(seen, member, tag, sizes[member])
    assert cluster.suspicious() == {}


def test_messages_longer_than_a_mebibyte_arrive_whole(lab: Lab, cluster: Cluster) -> None:
    members = join_everywhere(lab)
    for member, tag in zip(members, "abc", strict=True):
        member.send(tag, LONG_SIZES)
    for member in members:
        member.wait_messages(3 * len(LONG_SIZES), TRAFFIC_TIMEOUT_S)
        assert member.wait_answer("send")["result"] == CS_OK
    seen = check_histories(*members, last_joined=members[-1])
    for member, tag in zip(members, "abc", strict=True):
        check_messages(seen, member, tag, LONG_SIZES)
    assert cluster.suspicious() == {}


def test_both_sides_know_the_members_and_what_becomes_of_them(lab: Lab, cluster: Cluster) -> None:
    first, second, ours = join_everywhere(lab)
    other = RondoMember(lab.host(RONDO), "other", name="other")
    other.wait_members(other)
    wanted = {
        GROUP: [(node, pid) for node, pid in sorted([first.address, second.address, ours.address])],
        "other": [(other.address[0], other.address[1])],
    }
    # Who has joined knows it; the other nodes may be a little later.
    for number in (1, 2):
        host = lab.host(number)
        wait_for(partial(groups_of_cpgtool, host), lambda seen: seen == wanted, f"groups at {host.name}", 60.0)
    assert groups_of_rondo(lab.host(RONDO)) == wanted

    for member in (first, ours):
        member.tell(do="members")
        answer = member.wait_answer("members")
        assert answer["result"] == CS_OK
        assert sorted(answer["members"]) == sorted([first.address, second.address, ours.address])

    second.kill()
    for member in (first, ours):
        assert member.wait_members(first, ours)["left"] == [[*second.address, "procdown"]]
    again = CpgMember(lab.host(2), GROUP, name="again")
    for member in (first, ours):
        assert member.wait_members(first, again, ours)["joined"] == [[*again.address, "join"]]
    other.kill()
    ours.kill()
    for member in (first, again):
        assert member.wait_members(first, again)["left"] == [[*ours.address, "procdown"]]
    wait_for(lambda: groups_of_cpgtool(lab.host(1)), lambda seen: "other" not in seen, "group `other` to end", 60.0)
    back = RondoMember(lab.host(RONDO), GROUP, name="back")
    for member in (first, again, back):
        member.wait_members(first, again, back)
    back.tell(do="leave")
    for member in (first, again, back):
        assert member.wait_members(first, again)["left"] == [[*back.address, "leave"]]
    assert back.wait_end() == 0
    assert cluster.suspicious() == {}


def test_the_death_of_a_node_is_told_on_both_sides(lab: Lab, transport: Transport) -> None:
    cluster = mixed_cluster(lab, transport, {})
    first, second, ours = join_everywhere(lab)
    cluster.nodes[2].kill()
    cluster.wait_ring(1, 3)
    for member in (first, ours):
        assert member.wait_members(first, ours)["left"] == [[*second.address, "nodedown"]]
    cluster.nodes[2].start()
    cluster.wait_ring(1, 2, 3)
    again = CpgMember(lab.host(2), GROUP, name="again")
    for member in (first, ours, again):
        assert member.wait_members(first, again, ours)["joined"] == [[*again.address, "join"]]
    cluster.nodes[RONDO].kill()
    cluster.wait_ring(1, 2)
    for member in (first, again):
        assert member.wait_members(first, again)["left"] == [[*ours.address, "nodedown"]]
    check_histories(first, again, last_joined=again)
    assert cluster.suspicious() == {}
