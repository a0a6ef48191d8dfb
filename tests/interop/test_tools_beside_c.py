"""Debian's tools of Corosync on Rondo nodes and on C nodes of the same configuration: they say the same.

What they cannot say the same is left out by name here, and explained in docs/OPERATING.md.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rondo.testing.lab.waiting import wait_for
from tests.interop.beside import TIMEOUT_S, Side, both_sides
from tests.interop.cpg_member import CpgMember

pytestmark = [pytest.mark.corosync, pytest.mark.namespaces, pytest.mark.slow, pytest.mark.timeout(400)]

Sides = tuple[Side, Side]
RINGS = (sys.executable, str(Path(__file__).with_name("cfg_program.py")), "rings")
ACCIDENTAL = (
    (r"^Date: .*$", "Date: WHEN"),
    (r"^(Ring ID: +\w+)\.\w+$", r"\1.SEQUENCE"),
)

ONLY_C = (
    # Of services that are not here: load tests, and the watch on memory, load and the hardware watchdog.
    "internal_configuration.service.4.", "internal_configuration.service.6.", "internal_configuration.service.7.",
    "resources.system.", "resources.watchdog_timeout",
    "runtime.services.mon.", "runtime.services.pload.", "runtime.services.wd.",
    # Of knet, by a ring that does not use it.
    "runtime.config.totem.interface.0.knet_", "runtime.config.totem.knet_",
    # What acts there: the blackbox.
    "runtime.blackbox.",
    # What the file says; Rondo has what is in force, totem.crypto_* and runtime.config.totem.*
    "logging.logfile", "system.move_to_root_cgroup", "totem.secauth", "totem.token",
)  # fmt: skip
ONLY_RONDO = (
    # What is in force though the file does not say it.
    "logging.", "nodelist.node.0.quorum_votes", "nodelist.node.1.quorum_votes", "nodelist.node.2.quorum_votes",
    "system.qb_ipc", "totem.crypto_", "totem.interface.0.mcastport", "totem.netmtu",
    "runtime.config.totem.consensus_early",
)  # fmt: skip
ONLY_C_STATISTICS = (
    # Of what nothing here counts; each with its reason there.
    "stats.ipcs.service0.PROGRAM.overload", "stats.ipcs.service0.PROGRAM.recv_retries", "stats.pg.msg_reserved",
    "stats.srp.avg_", "stats.srp.continuous_sendmsg_failures", "stats.srp.firewall_enabled_or_nic_failure",
)  # fmt: skip
ONLY_RONDO_STATISTICS = (
    # What is written to clear; and counters of its own.
    "stats.clear.", "stats.srp.consensus_early", "stats.srp.frame_bytes_", "stats.srp.join_flushed", "stats.srp.mcast_",
    "stats.srp.messages_",
    "stats.srp.rx_dropped_by_kernel", "stats.srp.stranger_", "stats.srp.token_", "stats.srp.unreachable_port",
)  # fmt: skip


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    """Three nodes each."""
    with both_sides(tmp_path, 3) as sides:
        yield sides


def without_accidents(text: str) -> str:
    for pattern, instead in ACCIDENTAL:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


def both(sides: Sides, *argv: str) -> str:
    """What a command says on either side, which must be the same."""
    rondo, c = (without_accidents(side.said(*argv)) for side in sides)
    assert rondo == c, argv
    return c


def test_cfgtool(sides: Sides) -> None:
    def cfgtool(*arguments: str) -> str:
        return both(sides, "corosync-cfgtool", *arguments)

    assert "nodeid:          3:\tconnected" in cfgtool("-s")
    cfgtool("-b", "-s")
    assert both(sides, *RINGS) == "1 |0 10.77.0.1|OK|\n"
    cfgtool("-n")
    assert cfgtool("-a", "2") == "10.77.0.2\n"
    cfgtool("-a", "7")
    for side in sides:
        side.edit("token: 5000", "token: 5100")
    cfgtool("-R")
    assert both(sides, "corosync-cmapctl", "-g", "runtime.config.totem.token").endswith("(u32) = 5100\n")
    cfgtool("-L")
    cfgtool("-k", "7")
    cfgtool("-k", "3")
    for side in sides:
        side.wait_said(r"= left$", "corosync-cmapctl", "-g", "runtime.members.3.status")
    cfgtool("-n")
    cfgtool("-s")
    cfgtool("-H")
    for side in sides:
        side.wait_ended()
    assert "exit status 1\n" in cfgtool("-s")


def test_links_of_knet(tmp_path: Path) -> None:
    with both_sides(tmp_path, 3, transport="knet") as sides:
        for states in (("n33", "n33"), ("n33", "n13"), ("n31", "n11")):
            wanted = "1 " + " ".join(f"|{link} 10.{77 + link}.0.1|{state}|" for link, state in enumerate(states))
            for side in sides:
                if states == ("n33", "n13"):
                    side.lab.unplug(2, link=1)
                elif states == ("n31", "n11"):
                    side.lose()
                side.wait_said(f"^{re.escape(wanted)}$", *RINGS)
            both(sides, "corosync-cfgtool", "-s", "-b")
            both(sides, "corosync-cfgtool", "-s")


def test_cpgtool(sides: Sides) -> None:
    groups = ["bank", "a\x01b", "x y"]
    for side in sides:
        members = [
            CpgMember(host, group, f"member{number}")
            for number, group in enumerate(groups)
            for host in side.hosts[: 1 + number % 2]
        ]
        for member in members:
            member.wait_members(*(each for each in members if each.group == member.group))

    def listed(side: Side, *arguments: str) -> str:
        """Groups in the order of their names: that of C is accidental."""
        text = side.said("corosync-cpgtool", *arguments)
        # A process stands at the begin of its line, or between delimiters behind its group.
        text = re.sub(r"^(\s*|[^;\n]*;)\d+(?=\s|;)", r"\1PID", text, flags=re.MULTILINE)
        head, *rest = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
        return "".join([head, *sorted(rest)])

    for arguments in ((), ("-e",), ("-n",), ("-n", "-e"), ("-d", ";"), ("-d", ";", "-e")):
        rondo, c = (listed(side, *arguments) for side in sides)
        assert rondo == c, arguments
        assert "bank" in c


def test_quorumtool(sides: Sides) -> None:
    def quorumtool(*arguments: str) -> str:
        return both(sides, "corosync-quorumtool", *arguments)

    for arguments in (
        ("-s",),
        ("-l",),
        ("-i",),
        ("-l", "-p"),
        ("-s", "-p"),
        ("-l", "-H"),
        ("-l", "-o", "n"),
        ("-l", "-a"),
    ):
        quorumtool(*arguments)

    def settled(line: str) -> None:
        """What is asked for is in force once all nodes have heard of it, and the tool does not wait for that."""
        for side in sides:
            side.wait_said(line, "corosync-quorumtool", "-s")

    quorumtool("-e", "5")
    settled("^Expected votes: +5$")
    assert "Expected votes:   5" in quorumtool("-s")
    quorumtool("-e", "1")
    quorumtool("-e", "3")
    settled("^Expected votes: +3$")
    quorumtool("-v", "2", "-n", "2")
    settled("^Total votes: +4$")
    settled("^Expected votes: +4$")  # a C node learns of these by a further message
    assert "Total votes:      4" in quorumtool("-s")
    quorumtool("-v", "1", "-n", "9")
    quorumtool("-f")
    quorumtool("-s")


def test_quorumtool_watches(sides: Sides) -> None:
    shown: list[list[str]] = []
    for side in sides:
        watcher = side.start("watcher", "corosync-quorumtool", "-m")

        def totals(watcher=watcher) -> list[int]:  # type: ignore[no-untyped-def]
            return [_votes_listed(step) for step in _steps(watcher.output())]

        wait_for(totals, lambda seen: seen[-1] == 3, "it shows the votes", TIMEOUT_S)
        side.lose()
        wait_for(totals, lambda seen: seen[-1] == 2, "it has seen the loss", TIMEOUT_S)
        side.regain()
        wait_for(totals, lambda seen: seen[-1] == 3, "it has seen the node again", TIMEOUT_S)
        assert watcher.alive
        shown.append(_steps(without_accidents(watcher.output())))
    assert shown[0] == shown[1]
    assert [_votes_listed(step) for step in shown[0]] == [0, 3, 2, 3]


def _steps(text: str) -> list[str]:
    """What was shown, each status once.

    The tool asks for the status whenever something has changed, and a member is listed before its votes are counted.
    Whether it asks between the two depends on the time, on either side, so such a status is left out. So is one that is
    being printed.
    """
    before, *statuses = re.split(r"^Quorum information$", text, flags=re.MULTILINE)
    blocks = [before]
    for block in statuses:
        total = re.search(r"^Total votes: +(\d+)", block, re.MULTILINE)
        if total is not None and _votes_listed(block) == int(total[1]):
            blocks.append(block)
    return [block for number, block in enumerate(blocks) if number == 0 or block != blocks[number - 1]]


def _votes_listed(block: str) -> int:
    """The votes of the members that a status lists."""
    return sum(int(votes) for votes in re.findall(r"^ +\d+ +(\d+) n\d", block, re.MULTILINE))


def test_cmapctl_keys(sides: Sides) -> None:
    def cmapctl(*arguments: str) -> str:
        return both(sides, "corosync-cmapctl", *arguments)

    values = {"i8": "8", "u16": "16", "i32": "32", "u64": "64", "flt": "1.5", "dbl": "2.5", "str": "text"}
    for kind, value in values.items():
        cmapctl("-s", f"my.{kind}", kind, value)
        assert cmapctl("-g", f"my.{kind}").startswith(f"my.{kind} ({kind}) = {value}")
    file = "/run/value"
    for side in sides:
        side.host.path(file).write_bytes(bytes(range(40)))
    cmapctl("-s", "my.bin", "bin", file)
    assert "my.bin (bin)" in cmapctl("my.")
    cmapctl("-b", "my.")
    cmapctl("-b", "-g", "my.bin")
    cmapctl("-q", "-g", "my.str")
    cmapctl("-d", "my.str")
    cmapctl("-g", "my.str")
    cmapctl("-d", "my.str")
    cmapctl("-D", "my.")
    cmapctl("my.")
    cmapctl("-s", "totem.cluster_name", "str", "x")
    cmapctl("-s", "my key", "str", "x")
    cmapctl("-s", "my.u8", "u8", "300")
    for side in sides:
        side.host.path(file).write_text("a.one u8 1\na.two str two\n^a.one\nb.one u8 1\n^^b.\n")
    cmapctl("-p", file)
    assert cmapctl("a.") == "a.two (str) = two\n"
    assert cmapctl("b.") == "exit status 1\n", "there is none"


def test_cmapctl_forces_a_new_ring(sides: Sides) -> None:
    for side in sides:

        def rings(side: Side = side) -> int:
            """How many rings its log tells of."""
            return int(side.said("corosync-cmapctl", "-m", "stats", "-g", "stats.srp.operational_entered").split()[-1])

        before = rings()
        side.said("corosync-cmapctl", "-s", "runtime.force_gather", "str", "yes")
        wait_for(rings, lambda seen, before=before: seen > before, "another ring", TIMEOUT_S)  # type: ignore[misc]
        side.wait_said("^Nodes: +3$", "corosync-quorumtool", "-s")
        side.wait_said("= no$", "corosync-cmapctl", "-g", "runtime.force_gather")
    assert both(sides, "corosync-cmapctl", "-g", "runtime.force_gather") == "runtime.force_gather (str) = no\n"


def test_cmapctl_lists(sides: Sides) -> None:
    differences = {"icmap": (ONLY_C, ONLY_RONDO), "stats": (ONLY_C_STATISTICS, ONLY_RONDO_STATISTICS)}
    for map_, (only_c, only_rondo) in differences.items():
        rondo, c = (_kinds(side.said("corosync-cmapctl", "-m", map_)) for side in sides)
        assert [key for key in sorted(c.keys() - rondo.keys()) if not key.startswith(only_c)] == []
        assert [key for key in sorted(rondo.keys() - c.keys()) if not key.startswith(only_rondo)] == []
        common = rondo.keys() & c.keys()
        assert {key: rondo[key] for key in common} == {key: c[key] for key in common}


def _kinds(text: str) -> dict[str, str]:
    """The types of the listed keys; programs and functions, which are others on each side, go by one name."""
    found = {}
    for key, kind in re.findall(r"^(\S+) \((\w+)\) = ", text, re.MULTILINE):
        found[re.sub(r"^(stats\.ipcs\.service\d+)\.\d+\.0x\w+\.", r"\1.PROGRAM.", key)] = kind
    return found


def test_cmapctl_tracks(sides: Sides) -> None:
    def track(side: Side, option: str, name: str) -> str:
        tracker = side.start(f"track{option}", "corosync-cmapctl", option, name)

        def touched() -> str:
            side.said("corosync-cmapctl", "-s", "a.key", "u8", "0")
            side.said("corosync-cmapctl", "-d", "a.key")
            return tracker.output()

        wait_for(touched, lambda text: "create> a.key" in text, "it tracks", TIMEOUT_S)
        for arguments in ("-s a.key str one", "-s a.key str two", "-s a.key u8 3", "-s a.keys u8 4", "-d a.key"):
            side.said("corosync-cmapctl", *arguments.split())
        text = wait_for(tracker.output, lambda text: "delete> a.key (u8) = 3" in text, "the last change", TIMEOUT_S)
        side.said("corosync-cmapctl", "-d", "a.keys")
        return text[text.index("create> a.key (str)") :]

    for option, name in (("-t", "a.key"), ("-T", "a.")):
        rondo, c = (track(side, option, name) for side in sides)
        assert rondo == c, option


def test_cmapctl_tracks_statistics(sides: Sides) -> None:
    for side in sides:
        tracker = side.start("track", "corosync-cmapctl", "-m", "stats", "-T", "stats.ipcs.service2.")
        # It says nothing when it has begun; but the map itself counts what it has asked for: the map, and to track.
        requests = rf"^stats\.ipcs\.service0\.{tracker.pid}\.0x\w+\.requests \(u64\) = [2-9]$"
        side.wait_said(requests, "corosync-cmapctl", "-m", "stats", "stats.ipcs.service0.")
        member = CpgMember(side.host, "bank")
        member.wait_members(member)
        key = rf"stats\.ipcs\.service2\.{member.address[1]}\.0x\w+\.procname"
        _wait_told(tracker.output, rf"^create> {key} \(str\) = \S+")
        member.kill()
        _wait_told(tracker.output, rf"^delete> {key}")


def _wait_told(output: Callable[[], str], pattern: str) -> None:
    wait_for(output, lambda text: re.search(pattern, text, re.MULTILINE) is not None, pattern, TIMEOUT_S)
