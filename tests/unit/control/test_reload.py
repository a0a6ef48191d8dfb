"""Reloads: all change at one place of the order, or nobody does, whoever dies or leaves meanwhile."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from rondo.config import NodeConfig, load, resolve
from rondo.config.candidate import candidate
from rondo.protocol.codes import Code
from rondo.protocol.control_gateway import Op
from rondo.protocol.totem_control import is_safe
from services.control.cfg import wire
from services.control.cfg.reload import VOTE_NS_MAX, Candidate, Reload
from services.control.machine import Machine
from services.control.setup import Setup, setup_of
from tests.unit.control.world import Host, World

NODE = "    node {{\n        nodeid: {0}\n        ring0_addr: 127.0.0.{0}\n        name: n{0}\n    }}\n"


def text_of(
    *nodes: int, token: int = 1000, quorum: str = "", more: str = "", votes: dict[int, int] | None = None
) -> str:
    blocks = "".join(NODE.format(node) for node in nodes)
    for node, count in (votes or {}).items():
        blocks = blocks.replace(f"name: n{node}\n", f"name: n{node}\n        quorum_votes: {count}\n")
    return (
        "totem {\n    version: 2\n    cluster_name: t\n    transport: udpu\n    secauth: off\n"
        f"    token: {token}\n}}\n"
        f"nodelist {{\n{blocks}}}\nquorum {{\n    provider: corosync_votequorum\n{quorum}}}\n{more}"
    )


class Files(World):
    """Nodes that have a file each, and read it when a reload has them do so."""

    def __init__(self, directory: Path, *nodes: int) -> None:
        self.directory = directory
        for node in nodes:
            self.write(text_of(*nodes), node)
        super().__init__(*nodes)
        self.form(*nodes)

    def path(self, node: int) -> Path:
        return self.directory / f"{node}.conf"

    def write(self, text: str, *nodes: int) -> None:
        for node in nodes or self.hosts:
            self.path(node).write_text(text)

    def setup(self, node: int) -> Setup:
        return setup_of(resolve(load(self.path(node), node_id=node), state_dir="/tmp"))

    def ask_reload(self, node: int) -> int:
        """Have a client of this node ask for a reload. Returns the number of its request."""
        host = self.hosts[node]
        number = host.send(Op.RELOAD)
        members = list(host.machine.core.members)
        assert host.machine.take_sources(self.now_ns) == {"totem"}
        host.machine.answer_with({"totem": {"rondo_members": members}}, self.now_ns)
        host.pump()
        self.deliver()
        return number

    def read(self, *nodes: int) -> None:
        """These read their files, if they are to."""
        for node in nodes or tuple(self.hosts):
            core = self.hosts[node].machine.core
            if core.reload.check_wanted:
                found = candidate(core.setup.packed)
                core.checked(core.reload.check_number, Candidate(found["config"], found["faults"], found["changed"]))  # type: ignore[arg-type]
                self.hosts[node].pump()
                self.deliver()

    def reload(self, node: int) -> Any:
        """The result of a reload that this node asks for."""
        number = self.ask_reload(node)
        self.read()
        code, result = self.hosts[node].answers.pop(number)
        assert code == Code.OK
        return result

    def tokens(self) -> list[int]:
        """totem.token of each node, in the configuration in force."""
        return [NodeConfig.from_msgpack(h.machine.core.setup.packed).token_timeout_ms for h in self.hosts.values()]


@pytest.fixture
def three(tmp_path: Path) -> Files:
    return Files(tmp_path, 1, 2, 3)


def test_all_change_at_one_message(three: Files) -> None:
    three.write(text_of(1, 2, 3, token=2000))
    number = three.ask_reload(2)
    three.read(1, 2)
    assert three.tokens() == [1650] * 3
    assert number not in three.hosts[2].answers
    three.read(3)
    assert three.tokens() == [2650] * 3
    code, result = three.hosts[2].answers.pop(number)
    assert code == Code.OK
    assert result["faults"] == []
    assert result["changed"][0] == "totem.token"
    assert three.hosts[1].machine.core.keys.get("runtime.config.totem.token").value == 2650  # type: ignore[union-attr]


def test_a_faulty_file_on_one_node_changes_nothing_anywhere_and_all_say_whose(three: Files) -> None:
    three.write(text_of(1, 2, 3, token=2000))
    three.write(text_of(1, 2, 3, token=2000).replace("token: 2000", "token: soon"), 3)
    result = three.reload(1)
    assert three.tokens() == [1650] * 3
    (fault,) = result["faults"]
    assert (fault["node"], fault["name"]) == (3, "n3")
    assert fault["fault"].startswith(f"{three.path(3)}:6: totem.token: ")
    for host in three.hosts.values():
        assert any(f"node 3: {three.path(3)}:6" in line for line in host.machine.core.notices)
        assert not host.machine.core.reload.is_pending
    three.write(text_of(1, 2, 3, token=2000))
    assert three.reload(1)["faults"] == []
    assert three.tokens() == [2650] * 3


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (text_of(1, 2, 3, token=5000), "totem"),
        (text_of(1, 2, 3, 4, token=2000), "nodelist"),
        (text_of(1, 2, 3, token=2000, quorum="    expected_votes: 5\n"), "quorum"),
    ],
)
def test_files_that_differ_change_nothing(three: Files, text: str, name: str) -> None:
    three.write(text_of(1, 2, 3, token=2000))
    three.write(text, 2)
    faults = three.reload(1)["faults"]
    assert {
        "node": 2,
        "name": "n2",
        "fault": f"{name} differs from node 1's file; write the same on all nodes",
    } in faults
    assert three.tokens() == [1650] * 3


def test_what_cannot_change_is_refused_by_name(three: Files) -> None:
    three.write(text_of(1, 2, 3).replace("secauth: off", "secauth: off\n    netmtu: 1400"))
    fault = three.reload(1)["faults"][0]["fault"]
    assert fault.startswith(f"{three.path(1)}:6: totem.netmtu: ")
    assert "cannot change while the node runs" in fault


def test_a_member_of_the_ring_cannot_be_removed(three: Files) -> None:
    three.write(text_of(1, 2), 1, 2)
    faults = {each["node"]: each["fault"] for each in three.reload(1)["faults"]}
    assert "node 3 is in the ring and not in the list; stop it first" in faults[1]
    assert 3 not in faults


def test_nodes_are_removed_and_added_and_votes_follow(three: Files) -> None:
    three.form(1, 2)
    del three.hosts[3]
    three.write(text_of(1, 2))
    assert three.reload(2)["changed"][0] == "nodelist"
    status = three.hosts[1].ask(Op.QUORUM)[1]
    assert (status["expected_votes"], status["quorum"], status["quorate"]) == (2, 2, True)
    keys = dict(three.hosts[1].machine.core.keys.items("nodelist."))
    assert "nodelist.node.2.nodeid" not in keys
    three.write(text_of(1, 2, 3, 4, 5))
    assert three.reload(1)["faults"] == []
    for host in three.hosts.values():
        status = host.ask(Op.QUORUM)[1]
        assert (status["expected_votes"], status["quorum"], status["quorate"]) == (5, 3, False)


def test_votes_that_cannot_be_counted_are_refused(three: Files) -> None:
    three.write(text_of(1, 2, 3, votes={1: 200, 2: 200, 3: 200}))
    assert "more than 255" in three.reload(1)["faults"][0]["fault"]


def test_a_reload_undoes_what_programs_have_set_and_keeps_their_own_keys(three: Files) -> None:
    host = three.hosts[1]
    host.ask(Op.SET, key="quorum.expected_votes", type=6, value=4)
    host.ask(Op.SET, key="my.key", type=6, value=4)
    assert host.ask(Op.QUORUM)[1]["expected_votes"] == 4
    assert three.reload(2)["faults"] == []
    assert host.ask(Op.QUORUM)[1]["expected_votes"] == 3
    assert host.ask(Op.GET, key="quorum.expected_votes")[0] == Code.NOT_EXIST
    assert host.ask(Op.GET, key="my.key") == (Code.OK, [6, 4])


def test_watchers_see_when_it_happens(three: Files) -> None:
    host = three.hosts[1]
    after = host.ask(Op.WATCH, of="keys")[1]["number"]
    three.write(text_of(1, 2, 3, token=2000))
    three.reload(2)
    events = host.ask(Op.WATCH, of="keys", after=after)[1]["events"]
    progress = [event["new"][1] for event in events if event["key"] == "config.reload_in_progress"]
    assert progress == [1, 0]


@pytest.mark.parametrize("when", ["before a vote", "before the last vote"])
def test_a_ring_change_ends_it(three: Files, when: str) -> None:
    three.write(text_of(1, 2, 3, token=2000))
    number = three.ask_reload(1)
    if when == "before the last vote":
        three.read(1, 2)
    three.form(1, 2)
    three.read()
    assert three.tokens() == [1650] * 3
    _, result = three.hosts[1].answers.pop(number)
    assert "the ring changed meanwhile" in result["faults"][0]["fault"]
    three.form(1, 2, 3)
    assert three.reload(1)["faults"] == []
    assert three.tokens() == [2650] * 3


def test_what_the_old_ring_agreed_on_does_nothing_in_the_next_one(three: Files) -> None:
    """The one that proposed had not sent it before the ring changed."""
    three.write(text_of(1, 2, 3, token=2000))
    three.ask_reload(1)
    three.read(1, 2)
    core = three.hosts[3].machine.core
    found = candidate(core.setup.packed)
    core.checked(core.reload.check_number, Candidate(found["config"], (), ()))  # type: ignore[arg-type]
    three.hosts[3].pump()
    vote = three.hosts[3].reader.next_message()
    assert vote is not None
    for host in three.hosts.values():
        host.reader.message(host.position(), 3, vote)
        host.pump()
    late = three.hosts[1].reader.next_message()
    assert late is not None
    assert is_safe(late)
    three.form(1, 2, 3)
    for host in three.hosts.values():
        host.reader.message(host.position(), 1, late)
        host.pump()
    three.read()
    assert three.tokens() == [1650] * 3


@pytest.mark.parametrize("victim", [1, 2])
@pytest.mark.parametrize("point", ["proposed", "read", "voted", "changed"])
def test_control_may_be_killed_at_any_point(three: Files, victim: int, point: str) -> None:
    three.write(text_of(1, 2, 3, token=2000))
    three.ask_reload(1)
    if point == "read":
        core = three.hosts[victim].machine.core
        core.checked(core.reload.check_number, Candidate(*_found(core.setup.packed)))
        three.hosts[victim].start()  # what it had in its hands is lost, and it reads again
    elif point != "proposed":
        three.read(victim)
    if point == "changed":
        three.read()
        # The file that a successor starts with may be the former one.
        three.path(victim).write_text(text_of(1, 2, 3))
    three.hosts[victim].start()
    three.deliver()
    three.read()
    assert three.tokens() == [2650] * 3


def _found(packed: bytes) -> tuple[Any, Any, Any]:
    found = candidate(packed)
    return found["config"], found["faults"], found["changed"]


def test_who_does_not_answer_is_named(three: Files) -> None:
    three.write(text_of(1, 2, 3, token=2000))
    number = three.ask_reload(1)
    three.read(1, 2)
    host = three.hosts[1]
    assert host.machine.next_deadline_ns() == three.now_ns + VOTE_NS_MAX
    three.now_ns += VOTE_NS_MAX
    host.pump()
    three.deliver()
    _, result = host.answers.pop(number)
    assert [(each["node"], each["fault"]) for each in result["faults"]] == [(3, "has not answered within 30 s")]
    three.read(3)
    assert three.tokens() == [1650] * 3
    assert not three.hosts[3].machine.core.reload.is_pending


def test_two_at_a_time(three: Files) -> None:
    three.write(text_of(1, 2, 3, token=2000))
    first = three.ask_reload(1)
    again = three.ask_reload(1)
    other = three.ask_reload(2)
    assert three.hosts[2].answers.pop(other)[0] == Code.TRY_AGAIN
    three.read()
    assert three.hosts[1].answers.pop(first) == three.hosts[1].answers.pop(again)


def test_two_that_propose_at_once(three: Files) -> None:
    """Neither has heard of the other: the first in the order counts."""
    three.write(text_of(1, 2, 3, token=2000))
    asked = {}
    for node in (1, 2):
        host = three.hosts[node]
        asked[node] = host.send(Op.RELOAD)
        host.machine.take_sources(three.now_ns)
        host.machine.answer_with({"totem": {"rondo_members": [1, 2, 3]}}, three.now_ns + node)
        host.pump()
    three.deliver()
    three.read()
    assert three.hosts[1].answers.pop(asked[1])[1]["faults"] == []
    assert "a reload by node 1 is in progress" in three.hosts[2].answers.pop(asked[2])[1]["faults"][0]["fault"]
    assert three.tokens() == [2650] * 3


def _c_reload(source: int) -> bytes:
    return struct.pack("<i4xi4xI4xQ", 1 << 16 | 3, 32, source, 0x55D0_1234_5678)


def test_a_c_node_has_each_read_for_itself(three: Files) -> None:
    three.write(text_of(1, 2, 3, token=2000))
    three.write(text_of(1, 2, 3).replace("token:", "tokn"), 3)
    for host in three.hosts.values():
        host.reader.message(host.position(), 9, _c_reload(9))
        host.pump()
    three.read()
    assert three.tokens() == [2650, 2650, 1650]
    assert any("stays as it is" in line for line in three.hosts[3].machine.core.notices)


def test_a_c_node_that_reloads_meanwhile_ends_it_and_is_followed(three: Files) -> None:
    three.write(text_of(1, 2, 3, token=2000))
    number = three.ask_reload(1)
    three.read(1)
    for host in three.hosts.values():
        host.reader.message(host.position(), 9, _c_reload(9))
        host.pump()
    assert three.hosts[1].answers.pop(number)[1]["faults"][0]["node"] == 9
    three.read()
    assert three.tokens() == [2650] * 3


@pytest.mark.parametrize("token", [2000, 3000])
def test_a_proposal_does_not_take_the_place_of_what_a_c_node_has_asked_for(three: Files, token: int) -> None:
    """Also not one that is refused, or that meets another file than the C node did."""
    three.write(text_of(1, 2, 3, token=2000))
    for host in three.hosts.values():
        host.reader.message(host.position(), 9, _c_reload(9))
        host.pump()
    number = three.ask_reload(1)
    three.read()
    assert three.tokens() == [2650] * 3
    three.write(text_of(1, 2, 3, token=token), 1, 2)
    three.read()
    faults = three.hosts[1].answers.pop(number)[1]["faults"]
    assert [fault["node"] for fault in faults] == ([] if token == 2000 else [3])
    assert three.tokens() == [2650] * 3


def test_c_nodes_see_messages_of_their_own_kind() -> None:
    """A RELOAD_CONFIG, and before it RINGREENABLE, which does nothing there."""
    reload = wire.encode_reload(2, 77)
    assert struct.unpack("<i4xi4xI4xQ", reload)[:3] == (1 << 16 | 3, 32, 2)
    assert wire.decode(reload) == wire.Reload(2, 77)
    assert wire.decode(_c_reload(9)) == wire.Reload(9, None)
    said = wire.encode_among_rondo(2, [0, 1, [2]])
    assert struct.unpack_from("<i4xi4xI", said) == (1 << 16, len(said), 2)
    assert len(said) > 32
    assert wire.decode(said) == wire.AmongRondo([0, 1, [2]])
    assert not is_safe(said)


@pytest.mark.parametrize(
    "body",
    [
        None, [], [0], [0, -1, []], [0, 1, ["x"]], [0, 1, [1] * 385], [1, 1, 1, [], 7], [1, 1, 1, [1], []],
        [1, 1, 1, ["x"] * 5, []], [1, 1, 1, [], [["a", "b"]]], [2, 1, [1], b""], [3, 1, 1], [False, 1, [1]],
    ],
)  # fmt: skip
def test_nonsense_is_refused(body: Any) -> None:
    with pytest.raises(wire.MalformedError):
        Reload(1).heard(2, body, 0)


def test_votes_of_strangers_and_second_votes_do_not_count() -> None:
    reload = Reload(1)
    reload.heard(2, [0, 5, [1, 2]], 0)
    for sender, ident in ((3, (2, 5)), (2, (2, 6)), (2, (1, 5))):
        reload.heard(sender, [1, *ident, ["a fault"], []], 0)
    assert reload.is_pending
    reload.heard(2, [1, 2, 5, [], []], 0)
    reload.heard(2, [1, 2, 5, ["a fault"], []], 0)
    assert reload.is_pending
    assert reload.unmatched == 4


def test_a_new_control_knows_whether_all_have_agreed() -> None:
    reload = Reload(1)
    reload.heard(2, [0, 5, [1, 2]], 0)
    reload.checked(reload.check_number, Candidate(b"new", []))
    reload.heard(1, [1, 2, 5, [], []], 0)
    too_soon = Reload.restore(1, reload.snapshot())
    too_soon.heard_reload(2, 5)
    assert too_soon.adopt is None
    reload.heard(2, [1, 2, 5, [], []], 0)
    agreed = Reload.restore(1, reload.snapshot())
    agreed.heard_reload(2, 5)
    assert agreed.adopt is not None
    assert agreed.adopt.config == b"new"


def test_a_waiting_client_is_told_when_the_ring_process_dies(three: Files) -> None:
    number = three.ask_reload(1)
    host: Host = three.hosts[1]
    machine: Machine = host.machine
    machine.totem_lost()
    host.take_answers()
    assert host.answers.pop(number)[0] == Code.LIBRARY


def test_a_file_that_was_read_for_an_earlier_reload_does_not_count() -> None:
    """It may have been written again meanwhile."""
    reload = Reload(1)
    reload.heard_reload(2, None)
    earlier = reload.check_number
    reload.heard_reload(2, None)
    reload.checked(earlier, Candidate(b"old", []))
    assert reload.adopt is None
    assert reload.check_wanted
    reload.checked(reload.check_number, Candidate(b"new", []))
    assert reload.adopt == Candidate(b"new", [])
