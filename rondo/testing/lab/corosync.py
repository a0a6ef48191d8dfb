"""Debian's Corosync 3.1 in a host of a lab: start it, kill it, ask it, and read its log with suspicion.

It runs in the foreground as root of the host's namespaces (a user namespace is enough), with its configuration,
state and log in the host's directory and its pid file and shared memory in the host's own `/run` and `/dev/shm`.
"""

import re
import signal

from rondo.testing.lab.netns import Host
from rondo.testing.lab.process import Process
from rondo.testing.lab.ring_config import AnyConfig
from rondo.testing.lab.ring_nodes import RingNode, View

LOG_LINE = re.compile(r"^(\w{3} +\d+ [\d:.]+ )?\[\d+\] \S+ corosync ?(?P<level>\w+) +\[\w+ *\] (?P<text>.*)$")
"""While it reads its configuration anew, the daemon sometimes leaves out the time, and the blank before the level."""
NEW_MEMBERSHIP = "A new membership ("
SYNC_MEMBERS = re.compile(r"Sync members\[\d+\]:(?P<members>[ \d]+)$", re.MULTILINE)
RING_IDENTIFIER = re.compile(r"(?P<representative>[0-9a-f]+)\.(?P<sequence>[0-9a-f]+)\) was formed")
SYNCHRONIZED = "Completed service synchronization, ready to provide service."
MEMBER_STATUS = re.compile(r"^runtime\.members\.(\d+)\.status \(str\) = (\w+)$", re.MULTILINE)

UNSUSPICIOUS_LEVELS = ("debug", "trace", "info", "notice")
SUSPICIOUS_WORDS = re.compile(
    r"assert|abort|error|invalid|malformed|wrong|unknown|unable|cannot|can't|too (big|long|short)", re.IGNORECASE
)
ALLOWED = (
    # What the daemon says of the machine it runs on, and of being frozen by a test.
    r"Could not increase RLIMIT_MEMLOCK, not locking memory",
    r"Could not lock memory of service to avoid page faults",
    r"Watchdog not enabled by configuration",
    r"resource \w+ missing a recovery key",
    r"Corosync main process was not scheduled .*for",
    # We have asked for its members before it was ready to serve anybody.
    r"Denied connection, is not ready",
    # It drops joins while it empties its socket, as the protocol wants; C nodes alone do that to each other.
    r"Discarding (JOIN|LEAVE) message during flush",
)
KNOWN_ABORT = "orf_token_rtr"


class CorosyncNode(RingNode):
    """One Corosync daemon; its node identifier is the number of its host."""

    may_start_with_others = False

    def __init__(self, host: Host, config: AnyConfig) -> None:
        super().__init__(host)
        self.log_path = host.directory / "corosync.log"
        self.config_path = host.directory / "corosync.conf"
        self._forgiven_lines = 0
        """So many lines that former lives have said on standard error are of a death that is forgiven."""
        self._viewed: tuple[str, View] | None = None
        """The log at the time of the last view of a ready ring, and that view."""
        state_directory = host.directory / "corosync-state"
        state_directory.mkdir()
        self.config_path.write_text(
            config.text(
                # Realtime priority would let three daemons starve the test; the rest is for want of real root.
                system={"sched_rr": "no", "move_to_root_cgroup": "no", "state_dir": str(state_directory)},
                logging={
                    "to_syslog": "no",
                    "to_stderr": "no",
                    "to_logfile": "yes",
                    "logfile": str(self.log_path),
                    "timestamp": "hires",
                },
            )
        )

    def start_after_known_abort(self) -> bool:
        """After the assertion of C Corosync that `Cluster.start` tells of; after no other end."""
        process = self.process
        if process.alive or process.exit_status != -signal.SIGABRT or KNOWN_ABORT not in process.output():
            return False
        self._note_unexpected_end()
        self._faults.remove(f"ended by itself, with exit status {process.exit_status}")
        self._forgiven_lines = len(process.output().splitlines())
        self.start()
        return True

    def _launch(self) -> Process:
        self._viewed = None
        return self.host.start(["corosync", "-f", "-c", str(self.config_path)], "corosync")

    def _leave(self) -> None:
        """Do what `systemctl stop` does."""
        self.host.run(["corosync-cfgtool", "-H", "--force"])

    def members(self) -> list[int]:
        """Return the members of its ring by its own account, ascending; none while it does not answer."""
        answer = self.host.run(["corosync-cmapctl", "runtime.members"], check=False)
        statuses = MEMBER_STATUS.findall(answer.stdout)
        return sorted(int(nodeid) for nodeid, status in statuses if status == "joined")

    def log(self) -> str:
        """Return its log so far, of all its lives."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def view(self) -> View | None:
        """Return the ring it is in: its identifier from the log, its members from the runtime keys.

        The keys change before the log tells of the ring. So the log's last word of members, which stands just before
        the ring's identifier, must be the same as the keys'; otherwise the node is between two rings.

        While the log stays the same the node is not asked again. Each question is a process, and tests look at a node
        twenty times a second.
        """
        log = self.log()
        if self._viewed is not None and self._viewed[0] == log:
            return self._viewed[1]
        before, formed, after = log.rpartition(NEW_MEMBERSHIP)
        match = RING_IDENTIFIER.match(after)
        logged = SYNC_MEMBERS.findall(before)
        if not formed or match is None or not logged:
            return None
        members = self.members()
        if not members or sorted(map(int, logged[-1].split())) != members:
            return None
        view = View(
            representative=int(match["representative"], 16),
            sequence=int(match["sequence"], 16),
            members=tuple(members),
            ready=SYNCHRONIZED in after,
        )
        self._viewed = (log, view) if view.ready else None
        return view

    def _suspicious_lines(self) -> list[str]:
        """Return every line above the level `notice`, every line with a word such as `assert`, and standard error.

        Left out is what speaks of the machine and not of the ring.
        """
        errors = [] if self._process is None else self._process.output().splitlines()[self._forgiven_lines :]
        return [line for line in whole_lines(self.log()) if _is_suspicious(line)] + errors


def whole_lines(text: str) -> list[str]:
    """Return the lines of a log, without the one that is being written."""
    return text[: text.rfind("\n") + 1].splitlines()


def _is_suspicious(line: str) -> bool:
    match = LOG_LINE.match(line)
    if match is None:
        return True
    if any(re.search(expression, match["text"]) for expression in ALLOWED):
        return False
    return match["level"] not in UNSUSPICIOUS_LEVELS or SUSPICIOUS_WORDS.search(match["text"]) is not None
