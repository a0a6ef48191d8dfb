"""The state of a node, for the page and for `rondo top`. Calls block, and only one thread at a time may make them.

Connections are kept between two calls. The configuration is read again only when its file has changed.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import rondo
from rondo.config import NodeConfig
from rondo.ipc.surveyor import Answers, Surveyor
from rondo.metrics.seen import Seen, look_with
from rondo.node.log_formats import iso_time
from rondo.node.supervision import RESOLVED_CONFIGURATION, SERVICES, processes, record
from rondo.node.supervision.logfiles import MergedLog, configured_files, log_files
from rondo.node.supervision.survey import configuration, is_healthy
from rondo.paths import PathError, socket_endpoint
from rondo.report.secrets import secrets_of
from rondo.sam.commands import Sam
from rondo.timeline.events import Event as TimelineEvent
from rondo.timeline.events import event_of

ANSWER_S = 1.0
EVENTS_MAX = 200
"""The last events that are kept."""
APPLICATIONS_MAX = 200
LOG_FILE_BYTES_MAX = 64 * 1024
"""Of each file of the log so much of its end is looked at for the last lines."""
SAM_PAUSE_S = 5.0
"""After SAM did not answer it is not asked for so long."""

_SHOWN = ("id", "state", "pid", "instance", "started", "restarts", "policy", "message", "history")
"""Of an application: not its command line, which may hold a password."""


class Looker:
    """Looks at one node again and again."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._surveyor = Surveyor(run_dir, SERVICES)
        self._held: list[processes.Grip] = []
        """The node's processes: found again when one of them has gone, or another one answers than before."""
        self._silent: set[str] = set()
        """Services that did not answer then."""
        self._noted = record.Kept(run_dir)
        self._config: NodeConfig | None = None
        self._config_path = str(run_dir / RESOLVED_CONFIGURATION)
        self._config_stamp = 0
        self._sam: Sam | None = None
        self._sam_not_before_s = 0.0
        self._log: MergedLog | None = None

    def see(self, *, with_usage: bool = True) -> Seen:
        """Ask all services for their state, and the kernel for what their processes use."""
        answers: Answers = self._surveyor.ask("status", ANSWER_S)
        config = self._configuration()
        silent = {name for name, answer in answers.items() if answer is None}
        if silent != self._silent or not self._knows_processes():
            self._drop_processes()
            self._held, self._silent = processes.grips(self._run_dir, processes.find(self._run_dir)), silent
        found = [grip.found for grip in self._held]
        return look_with(self._run_dir, answers, config, found, self._noted.read(), with_usage=with_usage)

    def _knows_processes(self) -> bool:
        """True if the processes that were found still run, supervisord among them."""
        names = {grip.found.name for grip in self._held}
        return processes.SUPERVISORD in names and processes.do_all_run(self._held)

    def _drop_processes(self) -> None:
        for grip in self._held:
            grip.close()
        self._held = []

    def status(self) -> dict[str, Any]:
        """The answer of /api/v1/status."""
        seen = self.see(with_usage=False)
        totem = seen.answers.get("totem", {})
        config = seen.config
        return {
            "schema": 1,
            "software": f"rondo {rondo.__version__}",
            "time": iso_time(time.time(), milliseconds=True),
            "cluster": config.cluster_name if config is not None else "",
            "transport": config.transport if config is not None else "",
            "token_timeout_ms": config.token_timeout_ms if config is not None else None,
            "healthy": is_healthy(seen.status),
            "nodes": _nodes(seen),
            "rotation_us": totem.get("rotation_us"),
            "rotation_worst_us": totem.get("rotations", {}).get("worst_us"),
            "status": seen.status,
            "applications": self._applications(),
        }

    def healthy(self) -> bool:
        """True if the node does its work."""
        return is_healthy(self.see(with_usage=False).status)

    def new_events(self) -> list[TimelineEvent]:
        """The events since the last call. The first call gives the latest events that are kept."""
        if self._log is None:
            files, configured = log_files(self._run_dir), configured_files(self._run_dir, SERVICES)
            self._log = MergedLog(files, configured)
        return [event for line in self._log.read() if (event := event_of(line)) is not None][-EVENTS_MAX:]

    def last_lines(self, count: int) -> list[tuple[str, str]]:
        """The last lines of the node's log, the newest last: the process, and what it said, secrets cut."""
        log = MergedLog(log_files(self._run_dir), configured_files(self._run_dir, SERVICES))
        secrets = secrets_of(self._configuration())
        lines = log.last(count, LOG_FILE_BYTES_MAX)
        return [(line.source, secrets.cut(line.text.encode()).decode(errors="replace")) for line in lines]

    def _configuration(self) -> NodeConfig | None:
        with contextlib.suppress(OSError):
            stamp = os.stat(self._config_path).st_mtime_ns
            if stamp != self._config_stamp:
                self._config, self._config_stamp = configuration(self._run_dir), stamp
        return self._config

    def _applications(self) -> list[dict[str, Any]]:
        """The applications of SAM. There are none while SAM does not answer."""
        now_s = time.monotonic()
        if now_s < self._sam_not_before_s:
            return []
        try:
            if self._sam is None:
                self._sam = Sam(socket_endpoint(self._run_dir, "gateway.sock"))
            listed = self._sam.status(timeout_s=ANSWER_S)[:APPLICATIONS_MAX]
        except (rondo.Error, PathError):
            self._sam_not_before_s = now_s + SAM_PAUSE_S
            self._drop_sam()
            return []
        return [{name: each[name] for name in _SHOWN} for each in listed]

    def _drop_sam(self) -> None:
        if self._sam is not None:
            self._sam.close()
            self._sam = None

    def close(self) -> None:
        """Close all connections and descriptors."""
        self._drop_processes()
        self._drop_sam()
        self._surveyor.close()


def _nodes(seen: Seen) -> list[dict[str, Any]]:
    """Every node of the nodelist and of the ring, with what this one knows of it."""
    config, status = seen.config, seen.status
    ids = set(status["members"]) | (set(config.members) if config is not None else set())
    absent = {each["node"]: each for each in status["absent"]}
    return [
        {
            "node": node,
            "name": config.node_names.get(node, "") if config is not None else "",
            "addresses": _addresses(config, node),
            "member": node in status["members"],
            "since": absent.get(node, {}).get("since"),
            "links": status["links"].get(str(node), []),
        }
        for node in sorted(ids)
    ]


def _addresses(config: NodeConfig | None, node: int) -> list[str]:
    if config is None:
        return []
    return list(config.knet.addresses.get(node, {}).values()) or list(config.members.get(node, ()))
