"""Broken set-ups in directories: the right finding comes first. And what is made of what a running node says."""

import copy
import dataclasses
import json
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rondo.cli.main import main
from rondo.config.key import write_key
from rondo.doctor import configuration, machine, ping, reach, running
from rondo.doctor.examine import CHECKS, examine
from rondo.doctor.finding import Finding, Level, fault, ok, warn, worst_first
from rondo.doctor.subject import Subject, subject_of
from rondo.node import compiled
from tests.ports import reserve_port
from tests.unit.config.machines import FakeMachine
from tests.unit.metrics.sample import ANSWERS

CONFIGURATION = """\
totem {{
    version: 2
    cluster_name: test
    transport: udpu
    keyfile: {key}
    interface {{
        mcastport: {port}
    }}
    {totem}
}}
nodelist {{
    node {{
        nodeid: 1
        ring0_addr: {first}
    }}
    node {{
        nodeid: 2
        ring0_addr: {second}
    }}
}}
{more}
"""


@dataclasses.dataclass
class SetUp:
    """A configuration of two nodes with a key, in a directory; sound until something is changed."""

    directory: Path
    port: int
    first: str = "127.0.0.1"
    second: str = "127.0.0.2"
    totem: str = ""
    more: str = ""

    @property
    def key(self) -> Path:
        return self.directory / "key"

    @property
    def file(self) -> Path:
        return self.directory / "corosync.conf"

    def write(self) -> None:
        self.file.write_text(CONFIGURATION.format(**{**vars(self), "key": self.key}))

    def subject(self, fake: FakeMachine | None = None) -> Subject:
        """What the doctor looks at, as node 1."""
        self.write()
        return subject_of(self.directory / "run", str(self.file), 1, fake)


@pytest.fixture(name="set_up")
def _set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SetUp]:
    monkeypatch.setattr(running, "ANSWER_S", 0.01)  # no gateway runs here
    monkeypatch.setenv("RONDO_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "run").mkdir()
    with ExitStack() as stack:
        made = SetUp(tmp_path, reserve_port(stack))
        write_key(made.key)
        yield made


def first_of(subject: Subject) -> tuple[str, Level]:
    """Check and level of what comes first."""
    found = examine(subject)[0]
    return found.check, found.level


# -- sound, then broken


def test_a_sound_set_up_has_no_finding_but_good_ones(set_up: SetUp) -> None:
    bad = [each for each in examine(set_up.subject()) if each.level is not Level.OK]
    # What is said of a machine with hardly any room, or with old compiled modules, is true.
    assert [each for each in bad if each.check not in ("disk", "kernel", "compiled")] == []


def test_an_error_of_the_file(set_up: SetUp) -> None:
    set_up.totem = "token: never"
    found = examine(set_up.subject())[0]
    assert (found.check, found.level) == ("configuration", Level.FAULT)
    assert found.where.startswith(f"{set_up.file}:")


def test_a_name_that_resolves_to_loopback(set_up: SetUp) -> None:
    set_up.first, set_up.second = "alpha", "10.0.0.2"
    fake = FakeMachine(host="alpha", addresses=("10.0.0.1/24",), names={"alpha": ["127.0.1.1"]})
    found = examine(set_up.subject(fake))[0]
    assert (found.check, found.level) == ("names", Level.FAULT)
    assert "127.0.1.1" in found.what
    assert "/etc/hosts" in found.mend


def test_a_name_that_nobody_knows(set_up: SetUp) -> None:
    set_up.first, set_up.second = "10.0.0.1", "beta"
    assert first_of(set_up.subject(FakeMachine(addresses=("10.0.0.1/24",)))) == ("names", Level.FAULT)


def test_an_address_of_another_machine(set_up: SetUp) -> None:
    set_up.first, set_up.second = "192.0.2.1", "192.0.2.2"
    assert first_of(set_up.subject(FakeMachine(addresses=("10.0.0.1/24",)))) == ("addresses", Level.FAULT)


def test_a_machine_that_is_no_node(set_up: SetUp) -> None:
    set_up.first, set_up.second = "192.0.2.1", "192.0.2.2"
    set_up.write()
    subject = subject_of(set_up.directory / "run", str(set_up.file), None, FakeMachine(addresses=("10.0.0.1/24",)))
    found = examine(subject)[0]
    assert (found.check, found.level) == ("addresses", Level.FAULT)
    assert "no node has the name" in found.what


def test_a_port_that_somebody_has(set_up: SetUp) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", set_up.port))
        found = examine(set_up.subject())[0]
    assert (found.check, found.level) == ("ports", Level.FAULT)
    assert f"process {os.getpid()}" in found.what


def test_the_port_of_the_page_that_somebody_has(set_up: SetUp) -> None:
    """The node works without its page: a warning."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        set_up.more = f"web {{\n    port: {other.getsockname()[1]}\n}}"
        found = [each for each in examine(set_up.subject()) if each.check == "ports"]
    assert [each.level for each in found] == [Level.WARN]
    assert f"process {os.getpid()}" in found[0].what
    assert "web.port" in found[0].mend


@pytest.mark.parametrize(("mode", "level"), [(0o644, Level.WARN), (0o400, None)])
def test_a_token_that_others_can_read(set_up: SetUp, mode: int, level: Level | None) -> None:
    token = set_up.directory / "token"
    token.write_text("0123456789abcdef")
    token.chmod(mode)
    set_up.more = f"web {{\n    token_file: {token}\n}}"
    found = list(configuration.page(set_up.subject()))
    assert [each.level for each in found] == ([level] if level else [])
    assert [each.what for each in found] == (["others have access to the token (mode 0644)"] if level else [])


def test_a_key_that_is_not_there(set_up: SetUp) -> None:
    set_up.key.unlink()
    assert first_of(set_up.subject()) == ("key", Level.FAULT)


def test_a_key_that_others_can_read(set_up: SetUp) -> None:
    set_up.key.chmod(0o644)
    found = examine(set_up.subject())[0]
    assert (found.check, found.level, found.mend) == ("key", Level.FAULT, f"chmod 400 {set_up.key}")


def test_a_key_that_everybody_can_replace(set_up: SetUp) -> None:
    set_up.directory.chmod(0o777)
    assert ("key", Level.FAULT) in [(each.check, each.level) for each in examine(set_up.subject())]


def test_limits_that_a_node_cannot_live_with(set_up: SetUp) -> None:
    set_up.write()
    argv = [sys.executable, "-m", "rondo.cli.main", "doctor", "--json", "-c", str(set_up.file), "--nodeid", "1"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

    done = subprocess.run(
        [*argv, "--run-dir", str(set_up.directory / "run")], capture_output=True, text=True, preexec_fn=limit
    )
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found[0]["check"], found[0]["level"]) == ("kernel", "fault")


@pytest.mark.parametrize(
    ("runtime", "level"), [("0", Level.FAULT), ("100000", Level.FAULT), ("950000", None), ("-1", None)]
)
def test_real_time_that_is_throttled(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch, runtime: str, level: Level | None
) -> None:
    values = {"kernel.sched_rt_runtime_us": int(runtime), "kernel.sched_rt_period_us": 1_000_000}
    monkeypatch.setattr(machine, "sysctl", values.get)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    set_up.more = "system {\n    sched_rr: yes\n}"
    found = [each.level for each in machine.realtime(set_up.subject())]
    assert found == [level or Level.OK]


def test_buffers_that_the_kernel_does_not_grant(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also to root: in a container it has no CAP_NET_ADMIN."""
    granted = {socket.SO_RCVBUF: 212_992, socket.SO_SNDBUF: machine.BUFFER_BYTES}
    monkeypatch.setattr(machine, "granted_bytes", lambda plain, _forced: granted[plain])
    monkeypatch.setattr(machine, "sysctl", lambda _name: None)
    found = list(machine.kernel(set_up.subject()))
    assert [each.where for each in found] == ["net.core.rmem_max"]
    assert "may have 212992 bytes" in found[0].what
    assert found[0].mend.startswith("sysctl -w net.core.rmem_max=2097152")


def test_the_buffer_that_is_granted_is_the_one_that_the_ring_would_get() -> None:
    """All of it with CAP_NET_ADMIN, and no more than the limit without."""
    most = machine.sysctl("net.core.rmem_max") or 0
    got = machine.granted_bytes(socket.SO_RCVBUF, 33)
    assert got in (machine.BUFFER_BYTES, min(most, machine.BUFFER_BYTES))
    assert machine.granted_bytes(socket.SO_RCVBUF, socket.SO_RCVBUF) == min(most or got, machine.BUFFER_BYTES)


def test_few_lines_for_syslog(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "sysctl", {"net.unix.max_dgram_qlen": 10}.get)
    monkeypatch.setattr(machine, "granted_bytes", lambda _plain, _forced: machine.BUFFER_BYTES)
    assert [each.level for each in machine.kernel(set_up.subject())] == [Level.OK]
    set_up.more = "logging {\n    to_syslog: yes\n}"
    assert [each.where for each in machine.kernel(set_up.subject())] == ["net.unix.max_dgram_qlen"]


def test_the_buffer_is_that_of_the_ring_process() -> None:
    source = (Path(__file__).parents[3] / "services/totem/transport/sockets.py").read_text(encoding="utf-8")
    found = re.search(r"^SOCKET_BUFFER_BYTES = (\d+) \* (\d+)$", source, re.MULTILINE)
    assert found is not None
    assert int(found[1]) * int(found[2]) == machine.BUFFER_BYTES


def test_compiled_modules_of_another_source(set_up: SetUp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiled, "is_there", lambda: True)
    monkeypatch.setattr(compiled, "is_of_its_source", lambda: False)
    assert [each.level for each in machine.code(set_up.subject())] == [Level.WARN]
    monkeypatch.setattr(compiled, "is_of_its_source", lambda: True)
    assert [each.level for each in machine.code(set_up.subject())] == [Level.OK]
    monkeypatch.setattr(compiled, "is_there", lambda: False)
    assert [each.level for each in machine.code(set_up.subject())] == [Level.OK]


def test_no_way_to_a_node(set_up: SetUp) -> None:
    set_up.first, set_up.second = "10.0.0.1", "255.255.255.255"
    found = list(configuration.addresses(set_up.subject(FakeMachine(addresses=("10.0.0.1/24",)))))
    assert [(each.check, each.level) for each in found] == [("addresses", Level.FAULT)]


def test_netmtu_above_what_the_interface_takes(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up.first, set_up.second, set_up.totem = "10.0.0.1", "10.0.0.2", "netmtu: 4000"
    monkeypatch.setattr(reach, "interface_mtu", lambda _name: 1500)
    monkeypatch.setattr(ping, "answering", lambda _ips, _size=0: set())
    monkeypatch.setattr(ping, "may_ask", lambda _ip: True)
    found = list(reach.mtu(set_up.subject(FakeMachine(addresses=("10.0.0.1/24",)))))
    assert [(each.level, "netmtu: 1500" in each.mend) for each in found] == [(Level.WARN, True)]


# -- what a running node says


def running_subject(set_up: SetUp, **totem: Any) -> Subject:
    """Both nodes are in the ring, but for what is changed."""
    subject = set_up.subject()
    answers = copy.deepcopy(ANSWERS)
    links: dict[str, list[dict[str, Any]]] = {}
    answers["totem"] |= {
        "absent": [], "strangers": [], "paths": {}, "links": links, "security": None, "why_isolated": "", "deaf": [],
        "pid": os.getpid(), "not_scheduled": 0,
    }  # fmt: skip
    answers["totem"]["counters"] = {"operational_token_lost": 0, "rx_dropped_by_kernel": 0}
    answers["totem"]["rotations"] = {"bounds_ns": [1 << 20, 1 << 30], "counts": [5000, 0, 0], "worst_us": 900}
    answers["totem"] |= totem
    answers["control"] |= {"config_versions": {"1": 4, "2": 4}, "differing": {}}
    services = {name: {"state": "running", "restarts": 0, "last_end": ""} for name in answers}
    status = {"state": "operational", "why": "", "supervisor": {"state": "running"}, "services": services}
    subject.answers, subject.status = {**answers}, status
    return subject


def bad(found: list[Finding]) -> list[tuple[str, Level]]:
    return [(each.check, each.level) for each in found if each.level is not Level.OK]


def test_a_sound_running_node_has_no_finding_but_good_ones(set_up: SetUp) -> None:
    subject = running_subject(set_up)
    checks = (running.processes, running.nodes, running.token, reach.peers, reach.mtu)
    assert bad([each for check in checks for each in check(subject)]) == []


def test_the_token_time_out_that_the_measured_rotations_ask_for(set_up: SetUp) -> None:
    times = {"bounds_ns": [1 << 20, 1 << 31], "counts": [4000, 3, 0], "worst_us": 1_900_000}
    found = list(running.token(running_subject(set_up, rotations=times)))
    assert bad(found) == [("token", Level.WARN)]
    assert found[0].mend == "write totem.token: 4500 on all nodes"


@pytest.mark.parametrize(
    ("worst_ms", "timeout_ms", "wanted_ms"),
    [(100, 1000, 1500), (600, 1000, 1500), (900, 1000, 2000), (4000, 3000, 8000)],
)
def test_a_wanted_time_out_leaves_room_for_twice_the_worst(worst_ms: float, timeout_ms: int, wanted_ms: int) -> None:
    assert running.wanted_timeout_ms(worst_ms, timeout_ms) == wanted_ms


def test_a_quantile_is_the_bound_below_which_so_many_lie() -> None:
    assert running.quantile_ns([10, 20, 40], [990, 9, 1, 0], 0.999) == 20
    assert running.quantile_ns([10, 20, 40], [990, 8, 2, 0], 0.999) == 40
    assert running.quantile_ns([10, 20], [0, 0, 5], 0.999) == 20


def test_a_stranger_is_a_fault_with_the_line_to_change(set_up: SetUp) -> None:
    why = "it has this node's own id; give each node its own nodeid"
    stranger = {"address": "10.0.0.9", "why": why, "seconds_ago": 1.0}
    found = list(running.nodes(running_subject(set_up, strangers=[stranger])))
    assert bad(found) == [("nodes", Level.FAULT)]
    assert found[0].mend == "give each node its own nodeid"


def test_configurations_that_differ(set_up: SetUp) -> None:
    subject = running_subject(set_up)
    control = subject.answers["control"]
    assert control is not None
    control["config_versions"] = {"1": 4, "2": 3}
    found = list(running.nodes(subject))
    assert bad(found) == [("nodes", Level.WARN)]
    assert found[0].where == "node 2"


@pytest.mark.parametrize(
    ("changed", "what", "mend"),
    [
        ({"totem": "token: 4000"}, "totem.token", "rondo reload"),
        ({"more": "web {\n}"}, "web: the file has another value", "rondo stop and rondo start"),
        ({}, "", ""),
    ],
    ids=["can change", "cannot change", "the same"],
)
def test_a_file_that_was_changed_since_the_start(set_up: SetUp, changed: dict[str, str], what: str, mend: str) -> None:
    """Whatever its config_version says."""
    subject = running_subject(set_up)
    for name, value in changed.items():
        setattr(set_up, name, value)
    subject.loaded = set_up.subject().loaded
    found = [each for each in configuration.configuration(subject) if each.level is not Level.OK]
    assert [what in each.what and mend in each.mend for each in found] == ([True] if what else [])


def test_another_configuration_in_force_at_another_node(set_up: SetUp) -> None:
    subject = running_subject(set_up)
    control = subject.answers["control"]
    assert control is not None
    control["differing"] = {"2": ["nodelist", "totem"]}
    found = list(running.nodes(subject))
    assert bad(found) == [("nodes", Level.WARN)]
    assert (found[0].where, found[0].mend) == ("node 2", "write the same corosync.conf on all nodes; rondo reload")
    assert "nodelist, totem differ" in found[0].what


def test_a_process_that_does_not_run(set_up: SetUp) -> None:
    subject = running_subject(set_up)
    subject.status["services"]["cpg"] |= {"state": "restarting", "restarts": 3, "last_end": "killed by signal 9"}
    assert bad(list(running.processes(subject))) == [("processes", Level.FAULT), ("processes", Level.WARN)]


def test_a_process_that_runs_and_cannot_do_its_work(set_up: SetUp) -> None:
    subject = running_subject(set_up)
    subject.status["services"]["web"]["why"] = "127.0.0.1:5480: Address already in use"
    found = list(running.processes(subject))
    assert bad(found) == [("processes", Level.WARN)]
    assert "Address already in use" in found[0].what


def test_a_link_of_a_member_that_is_down(set_up: SetUp) -> None:
    link = {"link": 1, "up": False, "local": "10.1.0.1", "remote": "10.1.0.2", "port": 5406}
    found = list(running.nodes(running_subject(set_up, links={"2": [link]})))
    assert bad(found) == [("links", Level.FAULT)]


@pytest.mark.parametrize(
    ("answers", "deaf", "expected"),
    [
        (True, [], ("firewall", Level.FAULT)),
        (True, [2], ("reach", Level.WARN)),
        (False, [], ("reach", Level.WARN)),
    ],
)
def test_a_node_that_is_away(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch, answers: bool, deaf: list[int], expected: tuple[str, Level]
) -> None:
    monkeypatch.setattr(ping, "answering", lambda ips, _size=0: set(ips) if answers else set())
    monkeypatch.setattr(ping, "may_ask", lambda _ip: True)
    assert bad(list(reach.peers(running_subject(set_up, members=[1], deaf=deaf)))) == [expected]


def test_silence_says_nothing_where_this_user_may_not_ask(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "answering", lambda _ips, _size=0: set())
    monkeypatch.setattr(ping, "may_ask", lambda _ip: False)
    found = list(reach.peers(running_subject(set_up, members=[1])))
    assert bad(found) == []
    assert "more rights" in found[0].what


def test_a_path_that_loses_large_packets(set_up: SetUp) -> None:
    path = {"2": {"path": "loses_large", "passes": 1300, "asked": 3}}
    found = list(reach.mtu(running_subject(set_up, paths=path)))
    assert bad(found) == [("mtu", Level.FAULT)]
    assert "netmtu: 1300" in found[0].mend


# -- the rest


def test_the_worst_comes_first_and_equals_keep_their_order() -> None:
    found = [ok("a", ""), warn("b", ""), fault("c", ""), warn("d", ""), fault("e", "")]
    assert [each.check for each in worst_first(found)] == ["c", "e", "b", "d", "a"]


def test_a_check_that_fails_takes_no_other_along(set_up: SetUp, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = set_up.subject()
    monkeypatch.setattr(FakeMachine, "interface_addresses", lambda _self: 1 / 0)
    subject.machine = FakeMachine()
    found = examine(subject)
    assert any("could not be looked at" in each.what for each in found)
    assert {each.check for each in found} >= {"key", "disk", "processes"}
    assert len(CHECKS) > 10


def test_the_command_prints_findings_and_fails_on_a_fault(set_up: SetUp, capsys: pytest.CaptureFixture[str]) -> None:
    set_up.key.unlink()
    set_up.write()
    arguments = ["doctor", "-c", str(set_up.file), "--nodeid", "1", "--run-dir", str(set_up.directory / "run")]
    assert main([*arguments, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert all(each.keys() == {"check", "level", "what", "where", "mend"} for each in found)
    assert main(arguments) == 1
    assert capsys.readouterr().out.startswith("fault  key ")


@pytest.mark.parametrize("ahead_ms", [0, 5000, -5000, 40_000_000])
def test_a_timestamp_tells_how_far_a_clock_is_ahead(ahead_ms: int) -> None:
    """Also over midnight."""
    for asked_ms in (43_200_000, 100, ping.DAY_MS - 10):
        received_ms = (asked_ms + 10 + ahead_ms) % ping.DAY_MS
        request = ping.timestamp_request(7, asked_ms)
        reply = bytes([14]) + request[1:12] + received_ms.to_bytes(4, "big") + received_ms.to_bytes(4, "big")
        assert ping.difference_ms(reply, (asked_ms + 20) % ping.DAY_MS) == ahead_ms


@pytest.mark.parametrize("data", [b"", bytes(20), bytes([14]) + bytes(10), bytes([14]) + bytes(7) + b"\xff" * 12])
def test_what_is_no_timestamp_tells_nothing(data: bytes) -> None:
    assert ping.difference_ms(data, 5) is None


def test_a_node_alone_is_looked_at_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COROSYNC_MAIN_CONFIG_FILE", "")
    monkeypatch.setattr("rondo.paths.CONFIG_FILE_DEFAULT", str(tmp_path / "none"))
    monkeypatch.setenv("RONDO_STATE_DIR", str(tmp_path))
    found = examine(subject_of(tmp_path))
    # Another node of this machine may have the port.
    assert [each for each in found if each.level is Level.FAULT and each.check != "ports"] == []
