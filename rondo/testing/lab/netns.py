"""A laboratory of hosts on one machine: each host is a network namespace, all are plugged into one switch.

    n1 (10.77.0.1, fd77::1) ── port1 ┐
    n2 (10.77.0.2, fd77::2) ── port2 ┼ bridge br0, in a namespace of its own ("the switch")
    n3 (10.77.0.3, fd77::3) ── port3 ┘

A host also has a mount namespace, with a `/run` and a `/dev/shm` of its own, so that daemons with fixed paths run
side by side. Without root the whole lab lives in one user namespace, where the calling user is root; with root it
needs none.

Each namespace is kept by a holder process (`namespace_holder.py`) and programs enter it with `nsenter`, which
becomes the program: what runs in a host is a real child of the test. Nothing is pinned in the file system. When a
lab is closed, or the test that made it dies in whatever way, the holders kill all that is left in their namespaces
and the kernel removes these.

What goes wrong on the network is made at the switch: see `faults.py`.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from rondo.testing.lab import namespace_holder
from rondo.testing.lab.process import Process
from rondo.testing.lab.requirements import namespace_support, tool_environment

HOSTS_MAX = 254
COMMAND_TIMEOUT_S = 60.0
HOLDER_TIMEOUT_S = 60.0
BRIDGE = "br0"
INTERFACE = "eth0"
SECOND_INTERFACE = "eth1"
# What Linux gives an interface: as many segments in one group as 16 bits can count.
GSO_SEGMENTS_DEFAULT = 65535


class LabError(Exception):
    """The laboratory could not be set up or changed."""


class Namespace:
    """One network and mount namespace with the processes that the test started in it."""

    def __init__(self, name: str, directory: Path, entry: Sequence[str], user_namespace: bool) -> None:
        """Make the namespace; `entry` is the command prefix under which it is made. `ready` must be waited for."""
        self.name = name
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        holder = [sys.executable, "-I", "-S", namespace_holder.__file__]
        self._holder = subprocess.Popen(
            [*entry, "--net", "--mount", *holder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=tool_environment(),
            start_new_session=True,  # an interrupt from the keyboard is for the test, which then closes the lab
        )
        user = ["--user", "--preserve-credentials"] if user_namespace else []
        self._kinds = [*(["user"] if user_namespace else []), "net", "mnt"]
        self._enter = ["nsenter", f"--target={self._holder.pid}", *user, "--net", "--mount", "--"]
        self._children: list[subprocess.Popen[bytes]] = []

    @property
    def entry(self) -> list[str]:
        """The words before a command with which it runs here."""
        return list(self._enter)

    @property
    def holder_pid(self) -> int:
        return self._holder.pid

    @property
    def namespaces(self) -> list[str]:
        """The files of its namespaces, in the order in which a process enters them."""
        return [f"/proc/{self.holder_pid}/ns/{kind}" for kind in self._kinds]

    def wait_until_ready(self) -> None:
        """Wait for the holder's word that the namespaces are there."""
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            raise LabError(f"the namespaces of {self.name} could not be made (see the test's standard error)")

    def path(self, inside: str) -> Path:
        """Return a path through which the test can read a file that is at `inside` in the host (say, in its /run)."""
        return Path(f"/proc/{self.holder_pid}/root") / inside.lstrip("/")

    def popen(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program here, in the host's directory; it is killed at the latest when the lab is closed."""
        child = subprocess.Popen(
            [*self._enter, "env", f"--chdir={self.directory}", *argv],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**tool_environment(), **(environment or {})},
            start_new_session=True,
        )
        self._children.append(child)
        return child

    def start(self, argv: Sequence[str], name: str, environment: Mapping[str, str] | None = None) -> Process:
        """Start a program whose output goes to `NAME.out` in the host's directory, appended to what is there."""
        output_path = self.directory / f"{name}.out"
        with output_path.open("ab") as output:
            popen = self.popen(argv, environment=environment, stdout=output, stderr=subprocess.STDOUT)
        return Process(popen, f"{self.name}/{name}", output_path)

    def run(
        self,
        argv: Sequence[str],
        *,
        script: str | None = None,
        check: bool = True,
        timeout_s: float = COMMAND_TIMEOUT_S,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, `script` on its standard input; with `check`, failure raises LabError."""
        done = subprocess.run(
            [*self._enter, "env", f"--chdir={self.directory}", *argv],
            input=script or "",
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env={**tool_environment(), **(environment or {})},
        )
        if check and done.returncode != 0:
            raise LabError(f"{self.name}: `{' '.join(argv)}` ended with {done.returncode}: {done.stderr.strip()}")
        return done

    def ip(self, *commands: str) -> None:
        """Run `ip` commands, in one batch."""
        self.run(["ip", "-batch", "-"], script="\n".join(commands) + "\n")

    def close(self) -> None:
        """Kill everything that runs here and let the namespaces go. May be called again."""
        for child in self._children:
            child.kill()
        for child in self._children:
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    # What it was told and did not read any more is of no use, and must not hide why this is the end.
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        self._children.clear()
        self._end_holder()

    def _end_holder(self) -> None:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        try:
            if self._holder.poll() is None:
                # A line besides the end of file: a process forked off by the test may still hold the pipe open.
                self._holder.stdin.write(b"\n")
            self._holder.stdin.close()
        except BrokenPipeError:
            pass  # it ended by itself
        try:
            self._holder.wait(HOLDER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._holder.kill()
            self._holder.wait()
        self._holder.stdout.close()


class Host(Namespace):
    """A host: `number` N has the addresses 10.77.0.N and fd77::N on its interface eth0."""

    def __init__(self, number: int, directory: Path, entry: Sequence[str], user_namespace: bool) -> None:
        super().__init__(f"n{number}", directory, entry, user_namespace)
        self.number = number
        self.address = f"10.77.0.{number}"
        self.address6 = f"fd77::{number:x}"
        self.port = f"port{number}"
        self.mac = f"02:00:0a:4d:00:{number:02x}"

    def address_of_link(self, link: int, *, ipv6: bool = False) -> str:
        """Its address on the first link or on the second."""
        return f"fd{77 + link}::{self.number:x}" if ipv6 else f"10.{77 + link}.0.{self.number}"

    def bring_up(self) -> None:
        """Its loopback, and its interface."""
        self.ip("link set lo up", *self._to_bring_up())

    def interface_up(self) -> None:
        """Give the interface its addresses and bring it up."""
        self.ip(*self._to_bring_up())

    def _to_bring_up(self) -> tuple[str, ...]:
        return (
            f"addr replace {self.address}/24 brd + dev {INTERFACE}",
            f"addr replace {self.address6}/64 dev {INTERFACE} nodad",
            f"link set {INTERFACE} up",
        )

    def interface_down(self) -> None:
        """Take the interface down, as `ifdown` does: its addresses go too."""
        self.ip(f"link set {INTERFACE} down", f"addr flush dev {INTERFACE}")


class Lab:
    """Hosts 1..N and the switch between them; a context manager.

    `directory` receives one directory for each host. Raises LabError, with everything undone, if something is refused.
    """

    def __init__(self, directory: Path, host_count: int) -> None:
        assert 1 <= host_count <= HOSTS_MAX
        user_namespace, missing = namespace_support()
        if missing is not None:
            raise LabError(missing)
        self._namespaces: list[Namespace] = []
        self._kept_apart = 0
        self._interfaces = {INTERFACE: (BRIDGE, "")}
        """Of each host: the bridge that it is plugged into, and what ends the name of its port there."""
        self.hosts: dict[int, Host] = {}
        try:
            self._make(directory, host_count, user_namespace)
        except BaseException:
            self.close()
            raise

    def _make(self, directory: Path, host_count: int, user_namespace: bool) -> None:
        first = ["unshare", *(["--user", "--map-root-user"] if user_namespace else [])]
        self.switch = Namespace("switch", directory / "switch", first, user_namespace)
        self._namespaces.append(self.switch)
        self.switch.wait_until_ready()
        enter = ["nsenter", f"--target={self.switch.holder_pid}", "--user", "--preserve-credentials", "--"]
        further = [*(enter if user_namespace else []), "unshare"]
        for number in range(1, host_count + 1):
            host = Host(number, directory / f"n{number}", further, user_namespace)
            self._namespaces.append(host)
            self.hosts[number] = host
        for host in self.hosts.values():
            host.wait_until_ready()
        self._connect()

    def _connect(self) -> None:
        """Plug every host into the bridge."""
        commands = [
            # Without a querier on the net, snooping would end the forwarding of multicast after some minutes.
            f"link add {BRIDGE} type bridge mcast_snooping 0 stp_state 0 forward_delay 0",
            f"link set {BRIDGE} up",
        ]
        for host in self.hosts.values():
            peer = f"peer name {INTERFACE} address {host.mac} netns {host.holder_pid}"
            commands += [f"link add {host.port} type veth {peer}", f"link set {host.port} master {BRIDGE} up"]
        self.switch.ip(*commands)
        with ThreadPoolExecutor() as pool:  # each waits for a program
            list(pool.map(Host.bring_up, self.hosts.values()))

    @property
    def links(self) -> range:
        """The numbers of the links that each host has."""
        return range(len(self._interfaces))

    def port_of(self, number: int, link: int) -> str:
        """The switch's end of a host's cable."""
        return f"{self.hosts[number].port}{'b' * link}"

    def add_second_link(self) -> None:
        """Give each host a second interface, eth1 with 10.78.0.N and fd78::N, on a bridge of its own."""
        commands = [f"link add {BRIDGE}2 type bridge stp_state 0 forward_delay 0", f"link set {BRIDGE}2 up"]
        for host in self.hosts.values():
            second = f"{host.port}b"
            commands.append(f"link add {second} type veth peer name {SECOND_INTERFACE} netns {host.holder_pid}")
            commands.append(f"link set {second} master {BRIDGE}2 up")
        self.switch.ip(*commands)
        for host in self.hosts.values():
            host.ip(
                f"addr add {host.address_of_link(1)}/24 dev {SECOND_INTERFACE}",
                f"addr add {host.address_of_link(1, ipv6=True)}/64 dev {SECOND_INTERFACE} nodad",
                f"link set {SECOND_INTERFACE} up",
            )
        self._interfaces[SECOND_INTERFACE] = (f"{BRIDGE}2", "b")

    def host(self, number: int) -> Host:
        """Return host `number`."""
        return self.hosts[number]

    def set_mtu(self, size: int) -> None:
        """Let the links carry IP packets of up to `size` bytes whole; at first it is 1500."""
        for interface, (bridge, suffix) in self._interfaces.items():
            self.switch.ip(*(f"link set {host.port}{suffix} mtu {size}" for host in self.hosts.values()))
            self.switch.ip(f"link set {bridge} mtu {size}")
            for host in self.hosts.values():
                host.ip(f"link set {interface} mtu {size}")

    def unplug(self, number: int, link: int = 0) -> None:
        """Pull the cable of a host: it loses the carrier, and keeps its addresses."""
        self.switch.ip(f"link set {self.port_of(number, link)} down")

    def plug(self, number: int, link: int = 0) -> None:
        """Put the cable back."""
        self.switch.ip(f"link set {self.port_of(number, link)} up")

    def keep_apart(self, wanted: bool) -> None:
        """Let datagrams that one call has sent as a group (UDP_SEGMENT) leave apart, as on a wire; False: no more.

        Otherwise such a group crosses the bridge as one frame, which a rule would drop, or a recorder see, as a whole.
        Calls may be nested.
        """
        self._kept_apart += 1 if wanted else -1
        if self._kept_apart in ((1,) if wanted else (0,)):
            segments_max = 1 if wanted else GSO_SEGMENTS_DEFAULT
            for host in self.hosts.values():
                host.ip(*(f"link set {interface} gso_max_segs {segments_max}" for interface in self._interfaces))

    def close(self) -> None:
        """End everything. May be called again."""
        for namespace in reversed(self._namespaces):
            namespace.close()

    def outputs(self, lines_max: int = 40) -> str:
        """Return the end of what every program wrote, for the report of a failed test."""
        parts = []
        for namespace in self._namespaces:
            for path in sorted(namespace.directory.glob("*.out")) + sorted(namespace.directory.glob("*.log")):
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines_max:]
                parts.append("\n".join([f"--- {namespace.name}: {path.name} (last {lines_max} lines)", *lines]))
        return "\n".join(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def processes_in_namespace_of(pid: int) -> list[int]:
    """Return the processes that share the network namespace of `pid`, that one included."""
    wanted = os.readlink(f"/proc/{pid}/ns/net")
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns/net") == wanted:
                found.append(int(entry.name))
        except OSError:  # gone, or somebody else's
            continue
    return found
