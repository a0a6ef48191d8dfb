"""`rondo doctor` on hosts of their own: broken in one way, where the right finding has to come first; and sound."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import rondo as rondo_package
from rondo.config.key import write_key
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Host, Lab
from rondo.testing.lab.rondo_node import REPOSITORY
from rondo.testing.lab.waiting import wait_for

pytestmark = pytest.mark.namespaces

PORT = 5405
OF_THE_MACHINE = ("disk", "kernel", "compiled")
"""Checks that may warn on the machine of a test although the node is sound: the warnings are true."""

CONFIGURATION = """\
totem {{
    version: 2
    cluster_name: doctor
    transport: {transport}
    keyfile: {key}
    token: {token_ms}
    {totem}
}}
nodelist {{
    node {{
        nodeid: 1
        ring0_addr: {first}
    }}
    node {{
        nodeid: 2
        ring0_addr: 10.77.0.2
    }}
}}
system {{
    qb_ipc: no
    {system}
}}
"""

Findings = list[dict[str, str]]
Broken = Callable[[Lab], None]


def write(
    lab: Lab, *, first: str = "10.77.0.1", totem: str = "", system: str = "", transport: str = "udpu", more: str = "",
    token_ms: int = 1000,
) -> None:  # fmt: skip
    """Write the configuration file of node 1, where the doctor runs."""
    directory = lab.host(1).directory
    key = directory.parent / "key"
    text = (
        CONFIGURATION.format(key=key, first=first, totem=totem, system=system, transport=transport, token_ms=token_ms)
        + more
    )
    (directory / "corosync.conf").write_text(text)


def run_dir(host: Host) -> str:
    """The run directory of a host. It must be unique: hosts share process numbers, and processes are found by it."""
    return f"/run/rondo-{os.getpid()}-{host.number}"


def rondo(host: Host, *arguments: str, check: bool = False, under: Sequence[str] = (), tree: Path = REPOSITORY) -> str:
    """Run `rondo ARGUMENTS` of a source tree on a host. Returns its output."""
    argv = [*under, sys.executable, "-m", "rondo.cli.main", *arguments, "--run-dir", run_dir(host)]
    environment = {"PYTHONPATH": str(tree), "RONDO_STATE_DIR": str(host.directory / "state")}
    done = host.run(argv, check=check, environment=environment)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def doctor(lab: Lab, number: int = 1, under: Sequence[str] = ()) -> Findings:
    """The findings on a host where no node runs. `under`: a command that runs the doctor."""
    file = str(lab.host(1).directory / "corosync.conf")
    found: Findings = json.loads(
        rondo(lab.host(number), "doctor", "--json", "-c", file, "--nodeid", str(number), under=under)
    )
    return found


def bad(found: Findings) -> list[tuple[str, str]]:
    return [(each["check"], each["level"]) for each in found if each["level"] != "ok"]


def of_the_set_up(found: Findings) -> list[dict[str, str]]:
    return [each for each in found if each["level"] != "ok" and each["check"] not in OF_THE_MACHINE]


def firewall(*rules: str) -> Broken:
    def break_it(lab: Lab) -> None:
        script = "add table inet f\n" + "\n".join(rules) + "\n"
        lab.host(1).run(["nft", "-f", "-"], script=script)

    return break_it


def hosts_file(lab: Lab) -> None:
    """Bind the own name to 127.0.1.1 in /etc/hosts, as Debian's installer does."""
    file = lab.host(1).directory / "hosts"
    file.write_text("127.0.0.1 localhost\n127.0.1.1 alpha\n")
    lab.host(1).run(["mount", "--bind", str(file), "/etc/hosts"])
    write(lab, first="alpha")


def full_disk(lab: Lab) -> None:
    lab.host(1).run(["mkdir", "-p", run_dir(lab.host(1))])
    lab.host(1).run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", run_dir(lab.host(1))])


def throttled(lab: Lab) -> None:
    file = lab.host(1).directory / "runtime"
    file.write_text("10000\n")
    lab.host(1).run(["mount", "--bind", str(file), "/proc/sys/kernel/sched_rt_runtime_us"])
    write(lab, system="sched_rr: yes")


def port_taken(lab: Lab) -> None:
    code = f"import socket; s=socket.socket(type=socket.SOCK_DGRAM); s.bind(('', {PORT})); print(); s.recv(1)"
    process = lab.host(1).start([sys.executable, "-uc", code], "thief")
    wait_for(process.output, lambda text: text != "", "the port is taken", 60)


def page_taken(lab: Lab) -> None:
    write(lab, more="web {\n}")
    code = "import socket; s = socket.create_server(('127.0.0.1', 5480)); print(); s.accept()"
    process = lab.host(1).start([sys.executable, "-uc", code], "thief")
    wait_for(process.output, lambda text: text != "", "the port is taken", 60)


def multicast_dropped(*rules: str) -> Broken:
    """Drop multicast by these rules; unicast passes."""

    def break_it(lab: Lab) -> None:
        write(lab, transport="udp")
        firewall(*rules)(lab)

    return break_it


def clock_differs(lab: Lab) -> None:
    """Have the other host answer ICMP timestamp requests (RFC 792) with another time of the day. Bytes 12 to 15 of the
    answer say when the request came."""
    wrong_ms = (int(time.time() * 1000) + 3_600_000) % DAY_MS
    script = f"""add table ip f
{CHAIN.format("output", "accept").replace("inet", "ip")}
add rule ip f output icmp type timestamp-reply @th,96,32 set {wrong_ms}
"""
    lab.host(2).run(["nft", "-f", "-"], script=script)


def large_lost(lab: Lab) -> None:
    """Drop large packets silently, as a tunnel with a small MTU does."""
    Faults(lab).cut([1], [2], match="meta length > 1300")


DAY_MS = 86_400_000
CHAIN = "add chain inet f {0} {{ type filter hook {0} priority 0; policy {1}; }}"
SET_UPS: dict[str, tuple[Broken, str, str]] = {
    "rules that drop the port, in": (
        firewall(CHAIN.format("input", "accept"), f"add rule inet f input udp dport {PORT} drop"), "firewall", "fault",
    ),
    "a policy that drops, in": (
        firewall(CHAIN.format("input", "drop"), "add rule inet f input ct state established,related accept"),
        "firewall", "fault",
    ),
    "rules that reject, out": (
        firewall(
            CHAIN.format("output", "accept"), "add rule inet f output ip daddr 10.77.0.0/24 udp dport 5000-6000 reject"
        ),
        "firewall", "fault",
    ),
    "a name on loopback": (hosts_file, "names", "fault"),
    "an interface that is down": (lambda lab: lab.host(1).interface_down(), "addresses", "fault"),
    "an address of another host": (lambda lab: write(lab, first="10.77.0.9"), "addresses", "fault"),
    "rules that drop multicast, in": (
        multicast_dropped(CHAIN.format("input", "accept"), "add rule inet f input ip daddr 224.0.0.0/4 drop"),
        "firewall", "fault",
    ),
    "rules that drop multicast, out": (
        multicast_dropped(CHAIN.format("output", "accept"), "add rule inet f output ip daddr 239.0.0.0/8 drop"),
        "firewall", "fault",
    ),
    "a port of the page that is taken": (page_taken, "ports", "warn"),
    "a clock that is an hour off": (clock_differs, "clock", "warn"),
    "a disk that is full": (full_disk, "disk", "fault"),
    "real time that is throttled": (throttled, "realtime", "fault"),
    "a port that is taken": (port_taken, "ports", "fault"),
    "a way that loses large packets": (large_lost, "mtu", "fault"),
    "a netmtu above the interface's": (lambda lab: write(lab, totem="netmtu: 3000"), "mtu", "warn"),
    "a key that others can read": (lambda lab: (lab.host(1).directory.parent / "key").chmod(0o644), "key", "fault"),
    "a host that is gone": (lambda lab: lab.unplug(2), "reach", "warn"),
}  # fmt: skip


@pytest.mark.parametrize("name", SET_UPS)
def test_the_right_finding_comes_first(make_lab: Callable[[int], Lab], name: str) -> None:
    break_it, check, level = SET_UPS[name]
    lab = make_lab(2)
    write_key(lab.host(1).directory.parent / "key")
    write(lab)
    break_it(lab)
    found = doctor(lab)
    assert found[0]["check"] == check, found[0]
    assert found[0]["level"] == level, found[0]
    assert found[0]["what"]
    assert found[0]["mend"]


def test_a_limit_that_a_node_cannot_live_with_comes_first(make_lab: Callable[[int], Lab]) -> None:
    lab = make_lab(2)
    write_key(lab.host(1).directory.parent / "key")
    write(lab)
    found = doctor(lab, under=["prlimit", "--nofile=128:128"])
    assert (found[0]["check"], found[0]["level"]) == ("kernel", "fault"), found[0]
    assert "128 open files" in found[0]["what"]


def start(lab: Lab, number: int, tree: Path = REPOSITORY) -> None:
    file = str(lab.host(1).directory / "corosync.conf")
    rondo(lab.host(number), "start", "-c", file, "--nodeid", str(number), check=True, tree=tree)


def members(host: Host) -> list[int]:
    found: dict[str, Any] = json.loads(rondo(host, "status", "--json"))
    return list(found["members"] or [])


@pytest.mark.slow
def test_a_ring_that_is_sound_and_then_cut(make_lab: Callable[[int], Lab]) -> None:
    """A firewall elsewhere that drops the ring's packets alone: this machine's rules are good, and the other pings."""
    lab = make_lab(2)
    write_key(lab.host(1).directory.parent / "key")
    write(lab)
    assert [of_the_set_up(doctor(lab, number)) for number in (1, 2)] == [[], []]
    start(lab, 1)
    start(lab, 2)
    wait_for(lambda: members(lab.host(1)), lambda found: found == [1, 2], "both are in the ring", 60)
    # Each has heard of the other's ring before it hears of its set-up.
    found = wait_for(lambda: running(lab), lambda found: of_the_set_up(found) == [], "nothing is found", 60)
    assert {"check", "level", "what", "where", "mend"} == found[0].keys()
    Faults(lab).cut([2], [1], match=f"udp dport {PORT}")
    wait_for(lambda: members(lab.host(1)), lambda found: found == [1], "the other is gone", 60)
    found = wait_for(lambda: running(lab), lambda found: found[0]["check"] == "firewall", "the firewall is told", 60)
    assert bad(found)[0] == ("firewall", "fault"), found[0]
    assert "node 2" in found[0]["where"]
    for number in (1, 2):
        rondo(lab.host(number), "stop", check=True)


@pytest.mark.slow
def test_a_sound_ring_of_knet(make_lab: Callable[[int], Lab]) -> None:
    """Nothing is found before the start and in the ring."""
    lab = make_lab(2)
    write_key(lab.host(1).directory.parent / "key")
    write(lab, transport="knet")
    assert of_the_set_up(doctor(lab)) == []
    start(lab, 1)
    start(lab, 2)
    wait_for(lambda: members(lab.host(1)), lambda found: found == [1, 2], "both are in the ring", 60)
    wait_for(lambda: of_the_set_up(running(lab)), lambda found: found == [], "nothing is found", 60)


@pytest.mark.slow
def test_a_time_out_that_the_measured_rotations_ask_for(make_lab: Callable[[int], Lab]) -> None:
    """The other node's ring process stood still for fourteen of the twenty seconds, and so did the token, from when the
    idle ring passed it on."""
    lab = make_lab(2)
    write_key(lab.host(1).directory.parent / "key")
    write(lab, totem="token_coefficient: 0", token_ms=20_000, system="service_timeout: 60000")
    start(lab, 1)
    start(lab, 2)
    wait_for(lambda: members(lab.host(1)), lambda found: found == [1, 2], "both are in the ring", 60)
    pid = json.loads(rondo(lab.host(2), "status", "--json"))["services"]["totem"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(14.0)
    os.kill(pid, signal.SIGCONT)
    found = wait_for(lambda: running(lab), lambda found: found[0]["check"] == "token", "the rotation is told", 60)
    assert found[0]["level"] == "warn"
    wanted_ms = int(found[0]["mend"].split()[2])
    assert wanted_ms >= 30_000
    assert found[0]["mend"] == f"write totem.token: {wanted_ms} on all nodes"


@pytest.mark.slow
def test_nodes_of_different_versions(make_lab: Callable[[int], Lab], tmp_path: Path) -> None:
    """Node 2 runs from a source tree that is the same but for its version."""
    for package in ("rondo", "services"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    version = tmp_path / "rondo/__init__.py"
    changed = version.read_text().replace(f'__version__ = "{rondo_package.__version__}"', '__version__ = "0.0.9"')
    version.write_text(changed)
    lab = make_lab(2)
    write_key(lab.host(1).directory.parent / "key")
    write(lab)
    start(lab, 1)
    start(lab, 2, tree=tmp_path)
    wait_for(lambda: members(lab.host(1)), lambda found: found == [1, 2], "both are in the ring", 60)
    found = wait_for(lambda: running(lab), lambda found: "versions" in found[0]["what"], "it is told", 60)
    assert bad(found)[0] == ("nodes", "warn"), found[0]
    assert "2: rondo 0.0.9" in found[0]["what"]
    rondo(lab.host(2), "stop", check=True, tree=tmp_path)


@pytest.mark.slow
def test_nodes_with_different_configurations(make_lab: Callable[[int], Lab]) -> None:
    lab = make_lab(2)
    write_key(lab.host(1).directory.parent / "key")
    write(lab)
    start(lab, 1)
    write(lab, totem="fail_recv_const: 5000")
    start(lab, 2)
    write(lab)
    wait_for(lambda: members(lab.host(1)), lambda found: found == [1, 2], "both are in the ring", 60)
    found = wait_for(lambda: running(lab), lambda found: "differ" in found[0]["what"], "what differs is told", 60)
    assert bad(found)[0] == ("nodes", "warn"), found[0]
    assert "totem differ" in found[0]["what"]
    assert found[0]["where"] == "node 2"


@pytest.mark.slow
def test_multicast_that_is_lost_on_the_way(make_lab: Callable[[int], Lab]) -> None:
    """In one direction, between two machines whose own rules are good."""
    lab = make_lab(2)
    write_key(lab.host(1).directory.parent / "key")
    write(lab, transport="udp")
    start(lab, 1)
    start(lab, 2)
    wait_for(lambda: members(lab.host(1)), lambda found: found == [1, 2], "both are in the ring", 60)
    wait_for(lambda: of_the_set_up(running(lab)), lambda found: found == [], "nothing is found", 60)
    Faults(lab).cut([1], [2], match="ip daddr 224.0.0.0/4")
    found = wait_for(lambda: running(lab), lambda found: found[0]["check"] == "multicast", "what is lost is told", 90)
    assert bad(found)[0] == ("multicast", "fault")
    assert found[0]["where"] == "node 2"


def running(lab: Lab) -> Findings:
    """The findings on host 1, where a node runs."""
    found: Findings = json.loads(rondo(lab.host(1), "doctor", "--json"))
    return found
