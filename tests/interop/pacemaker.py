"""Debian's Pacemaker on the nodes of a lab, as it is installed: one on each host, driven by its own tools.

Its fixed places, /var/lib/pacemaker and /var/log/pacemaker, are file systems of the host's own, and stay when a node is
killed, as a disk does; /run and /dev/shm are the host's own already, and so are the abstract sockets. Nothing of a
Pacemaker that the machine itself may have is touched.
"""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from rondo.testing.lab.netns import Host, processes_in_namespace_of
from rondo.testing.lab.process import Process
from rondo.testing.lab.waiting import wait_for

STOP_TIMEOUT_S = 60.0
DAEMONS = "pacemaker"
"""The names of all its processes begin so."""

# A node that starts waits so long for a DC before it has one elected (20 s by default); there is nobody to fence with.
FIRST_CIB = """
<cib validate-with="pacemaker-3.9" admin_epoch="0" epoch="1" num_updates="0">
  <configuration>
    <crm_config>
      <cluster_property_set id="options">
        <nvpair id="options-dc-deadtime" name="dc-deadtime" value="2s"/>
        <nvpair id="options-stonith-enabled" name="stonith-enabled" value="false"/>
      </cluster_property_set>
    </crm_config>
    <nodes/>
    <resources/>
    <constraints/>
  </configuration>
  <status/>
</cib>
"""
DUMMY = """
<primitive id="dummy" class="ocf" provider="pacemaker" type="Dummy">
  <operations><op id="dummy-monitor" name="monitor" interval="2s" timeout="20s"/></operations>
</primitive>
"""
DUMMY_STATE = "/run/Dummy-dummy.state"
PLACES = """
set -e
for place in /var/lib/pacemaker /var/log/pacemaker; do
    mkdir -p $place
    mount -t tmpfs -o mode=755 tmpfs $place
    chown hacluster:haclient $place
done
for place in blackbox cib cores pengine; do
    install -d -o hacluster -g haclient -m 750 /var/lib/pacemaker/$place
done
mkdir -p /run/resource-agents
install -d -o hacluster -g haclient -m 750 /run/crm
cat > /var/lib/pacemaker/cib/cib.xml
chown hacluster:haclient /var/lib/pacemaker/cib/cib.xml
chmod 600 /var/lib/pacemaker/cib/cib.xml
"""


@dataclass(frozen=True)
class Seen:
    """What `crm_mon` shows: the elected node, whether it has quorum, who is online, on standby, and who runs what."""

    dc: str | None = None
    has_quorum: bool = False
    online: tuple[str, ...] = ()
    standby: tuple[str, ...] = ()
    running: tuple[tuple[str, str], ...] = ()
    """Pairs of a resource and the node where it is started."""


class Pacemaker:
    """The Pacemaker of one host."""

    def __init__(self, host: Host) -> None:
        """Make its directories, with a first configuration. It does not run yet."""
        self.host = host
        self._process: Process | None = None
        host.run(["sh", "-c", PLACES], script=FIRST_CIB)

    @property
    def pid(self) -> int:
        """The process of `pacemakerd`."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start `pacemakerd`, which starts the others. Does not wait."""
        self._process = self.host.start(["pacemakerd"], "pacemakerd")

    def stop(self) -> int:
        """Have it stop its resources and leave, as systemd does; its exit status."""
        assert self._process is not None
        return self._process.terminate(STOP_TIMEOUT_S)

    def pids(self) -> dict[int, str]:
        """Its processes that run now, with their names."""
        found = {}
        for pid in processes_in_namespace_of(self.host.holder_pid):
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if name.startswith(DAEMONS):
                    found[pid] = name
        return found

    def daemons(self) -> dict[int, str]:
        """`pacemakerd` and those that it has started, with their names. Not those that they have forked off to run a
        program: such a one has the name of its parent until it runs that program."""
        found = {}
        for pid, name in self.pids().items():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text()
                parent = int(stat.rpartition(")")[2].split()[1])
                if self.pid in (pid, parent):
                    found[pid] = name
        return found

    def kill(self) -> None:
        """Kill all its processes, `pacemakerd` first, which would start others again; what is in /run goes too, as
        with a machine that loses its power: a resource that was started here is not any more."""

        def left() -> dict[int, str]:
            pids = self.pids()
            for pid in sorted(pids, key=lambda pid: pids[pid] != "pacemakerd"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return pids if self._process is None or self._process.exit_status is not None else {0: "pacemakerd"}

        wait_for(left, lambda pids: not pids, f"{self.host.name}: the end of Pacemaker", STOP_TIMEOUT_S)
        self.host.run(["sh", "-c", f"rm -rf {DUMMY_STATE} /run/crm/*"])

    def see(self) -> Seen:
        """What it shows at present; an empty `Seen` while it does not answer."""
        done = self.host.run(["crm_mon", "-1", "--output-as=xml"], check=False)
        if done.returncode != 0:
            return Seen()
        root = ElementTree.fromstring(done.stdout)
        dc = root.find("summary/current_dc")
        nodes = root.findall("nodes/node")
        return Seen(
            dc=None if dc is None else dc.get("name"),
            has_quorum=dc is not None and dc.get("with_quorum") == "true",
            online=tuple(sorted(node.get("name", "") for node in nodes if node.get("online") == "true")),
            standby=tuple(sorted(node.get("name", "") for node in nodes if node.get("standby") == "true")),
            running=tuple(
                (resource.get("id", ""), node.get("name", ""))
                for resource in root.findall("resources/resource")
                if resource.get("role") == "Started"
                for node in resource.findall("node")
            ),
        )

    def add_dummy(self, node: str) -> None:
        """Add the resource `dummy` to the configuration of the cluster; it prefers a node."""
        preference = f'<rsc_location id="dummy-prefers" rsc="dummy" node="{node}" score="100"/>'
        for scope, element in (("resources", DUMMY), ("constraints", preference)):
            self.host.run(["cibadmin", "--create", f"--scope={scope}", f"--xml-text={element}"])

    def standby(self, name: str, wanted: bool) -> None:
        """Put a node on standby, or take it back into use."""
        self.host.run(["crm_standby", f"--node={name}", f"--update={'on' if wanted else 'off'}"])

    def dummy_is_started(self) -> bool:
        """Whether the resource `dummy` is started on this host, by its own account: the file that it keeps."""
        return self.host.path(DUMMY_STATE).exists()

    def log(self) -> str:
        """What its processes logged."""
        path = self.host.path("/var/log/pacemaker/pacemaker.log")
        return path.read_text(errors="replace") if path.exists() else ""
