"""A cluster of one system, in a laboratory of its own: started, waited for, and driven through its clients.

The nodes run as their users run them: Rondo's with `rondo start`, supervisord and all services; C Corosync's in the
foreground, with its daemon's defaults. Only the places of files differ from the defaults.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.lab.client import Client
from bench.lab.systems import ASYNCIO, LIBCPG, RONDO, System
from rondo.config import key
from rondo.ipc.control import ControlError, ask
from rondo.testing.lab.faults import Faults
from rondo.testing.lab.netns import Host, Lab, processes_in_namespace_of
from rondo.testing.lab.process import Process
from rondo.testing.lab.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
C_SOURCE = REPOSITORY / "bench" / "clients" / "cpg_client.c"
READY_TIMEOUT_S = 120.0
LAST_LINES = 15


class BenchError(Exception):
    """The measurement cannot go on; the text says why."""


class Node:
    """One node in its host."""

    def __init__(self, system: System, host: Host, addresses: dict[int, list[str]], directory: Path) -> None:
        self.system = system
        self.host = host
        self.run_dir = host.directory / "run"
        self.configuration = host.directory / "corosync.conf"
        self._log = host.directory / "corosync.log"
        self._starting: Process | None = None
        log, own = self._places()
        self.configuration.write_text(system.configuration(addresses, str(directory / "authkey"), log, own))

    def _places(self) -> tuple[dict[str, str], dict[str, str]]:
        if self.system.program == RONDO:
            return {"to_syslog": "no"}, {}
        state = self.host.directory / "state"
        state.mkdir()
        log = {
            "to_syslog": "no", "to_stderr": "no", "to_logfile": "yes", "logfile": str(self._log), "timestamp": "hires"
        }  # fmt: skip
        return log, {"state_dir": str(state), "move_to_root_cgroup": "no"}

    def start(self) -> None:
        """Start it, without waiting for it."""
        if self.system.program == RONDO:
            self.run_dir.mkdir(mode=0o700, exist_ok=True)
            argv = [
                sys.executable, "-m", "rondo.cli.main", "start", "-c", str(self.configuration), "--run-dir",
                str(self.run_dir), "--state-dir", str(self.host.directory / "state"),
            ]  # fmt: skip
        else:
            argv = ["corosync", "-f", "-c", str(self.configuration)]
        self._starting = self.host.start(argv, "start", {"PYTHONPATH": str(REPOSITORY)})

    def members(self) -> list[int]:
        """The members of its ring by its own account, once it can be used there; none before."""
        if self.system.program == RONDO:
            try:
                answer = ask(self.run_dir, "cpg", "status")
            except ControlError:
                return []
            return list(answer["ring"]["members"]) if answer.get("state") == "operational" else []
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        _, _, last = text.rpartition("Sync members[")
        if "Completed service synchronization, ready to provide service." not in last:
            return []
        return [int(word) for word in last.partition(": ")[2].partition("\n")[0].split()]

    def log(self) -> str:
        """What the ring's process has logged so far."""
        path = self.run_dir / "log" / "totem.log" if self.system.program == RONDO else self._log
        return path.read_text(errors="replace") if path.exists() else ""

    def check(self) -> None:
        """Raise BenchError if it could not be started, or has ended."""
        assert self._starting is not None
        status = self._starting.exit_status
        if status is not None and (status != 0 or self.system.program != RONDO):
            output = (self.host.directory / "start.out").read_text(errors="replace") + self.log()
            last = "\n".join(output.splitlines()[-LAST_LINES:])
            raise BenchError(f"{self.system.name}: node {self.host.number} ended with {status}:\n{last}")

    def processes(self) -> dict[str, int]:
        """The pids of its processes by name, without clients and without what keeps the laboratory."""
        found = {}
        for pid in processes_in_namespace_of(self.host.holder_pid):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if words[0].rpartition("/")[2] == "corosync":
                found["corosync"] = pid
            elif "supervisor.supervisord" in words:
                found["supervisord"] = pid
            elif named := [word for word in words if word.startswith("services.")]:
                found[named[0].removeprefix("services.")] = pid
        return found


class Cluster:
    """So many nodes of one system. Use it in a `with` statement; it has started when `wait` returns."""

    def __init__(self, system: System, node_count: int, directory: Path, *, guests: int = 0) -> None:
        """`guests`: so many hosts more, with the highest numbers, have no node."""
        self.system = system
        self._stack = ExitStack()
        directory.mkdir(parents=True)
        self.lab = self._stack.enter_context(Lab(directory, node_count + guests))
        self.faults = Faults(self.lab)
        if system.links > 1:
            self.lab.add_second_link()
        hosts = {number: self.lab.host(number) for number in range(1, node_count + 1)}
        addresses = {n: [host.address_of_link(link) for link in self.lab.links] for n, host in hosts.items()}
        key.write_key(directory / "authkey", 1024)
        self.nodes = {number: Node(system, host, addresses, directory) for number, host in hosts.items()}
        self._directory = directory
        self._clients = 0

    def start(self) -> None:
        """Start all nodes at once."""
        for node in self.nodes.values():
            node.start()

    def wait(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until all are in one ring. Raises BenchError."""
        wanted = sorted(self.nodes)
        for node in self.nodes.values():

            def look(node: Node = node) -> list[int]:
                node.check()
                return node.members()

            what = f"{self.system.name}: node {node.host.number} in a ring of {len(wanted)}"
            wait_for(look, lambda members: members == wanted, what, timeout_s)

    def client(self, number: int, group: str) -> Client:
        """A new client of node `number`, a member of that group; it is ready when `Client.wait_ready` returns."""
        node = self.nodes[number]
        self._clients += 1
        if self.system.client == LIBCPG:
            argv = [str(compiled_client(self._directory)), group]
        else:
            module = "aio_client" if self.system.client == ASYNCIO else "rondo_client"
            argv = [sys.executable, "-m", f"bench.clients.{module}", str(node.run_dir), group]
        return Client(node.host, argv, f"client{self._clients}", {"PYTHONPATH": str(REPOSITORY)})

    def processes(self) -> dict[str, int]:
        """All processes of all nodes, as NODE.NAME."""
        return {
            f"{number}.{name}": pid for number, node in self.nodes.items() for name, pid in node.processes().items()
        }

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def compiled_client(directory: Path) -> Path:
    """The measuring application for C, compiled on the spot. Raises BenchError with what the compiler says."""
    program = directory / "cpg_client"
    if not program.exists():
        argv = ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(C_SOURCE), "-lcpg"]
        try:
            done = subprocess.run(argv, capture_output=True, text=True)
        except FileNotFoundError:
            raise BenchError(
                "there is no gcc (Debian: gcc, libcpg-dev), which the client of C Corosync needs"
            ) from None
        if done.returncode != 0:
            raise BenchError(f"{' '.join(argv)}: {done.stderr.strip()} (Debian: gcc, libcpg-dev)")
    return program
