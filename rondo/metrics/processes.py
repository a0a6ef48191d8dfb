"""Metrics of the node as a whole and of its processes."""

from __future__ import annotations

from typing import Any

import rondo
from rondo.config.node import NodeConfig
from rondo.metrics.metric import NODES_MAX, Kind, Metric, Values
from rondo.metrics.seen import Seen
from rondo.node import compiled
from rondo.node.supervision import SERVICES
from rondo.node.supervision.survey import is_healthy

RESTARTS_COUNTER = "restarts"
"""Of SAM's counters; it has a metric of its own."""
_PROCESSES_MAX = len(SERVICES) + 1

INFO = Metric(
    "rondo_info", Kind.GAUGE, "1, with the version of Rondo, the cluster's name and this node's id",
    ("version", "cluster", "node", "name", "transport"),
)  # fmt: skip
HEALTHY = Metric(
    "rondo_node_healthy", Kind.GAUGE, "1 if this node is in a ring and all its processes run, as `rondo status --check`"
)
UP = Metric(
    "rondo_process_up", Kind.GAUGE, "1 if the process answers; supervisord: if it runs", ("process",), _PROCESSES_MAX
)
RESTARTS = Metric(
    "rondo_process_restarts_total", Kind.COUNTER, "How often a process was started again since `rondo start`",
    ("process",), _PROCESSES_MAX,
)  # fmt: skip
CPU = Metric(
    "rondo_process_cpu_seconds_total", Kind.COUNTER, "Processor time that a process has used", ("process",),
    _PROCESSES_MAX,
)  # fmt: skip
MEMORY = Metric(
    "rondo_process_resident_memory_bytes", Kind.GAUGE, "Memory that a process has in use", ("process",), _PROCESSES_MAX
)
STARTED = Metric(
    "rondo_process_start_time_seconds", Kind.GAUGE, "When a process was started, in seconds since 1970", ("process",),
    _PROCESSES_MAX,
)  # fmt: skip
HINDERED = Metric(
    "rondo_process_hindered", Kind.GAUGE, "1 if a process runs and cannot do its work; `rondo status` says why. "
    "With qb_ipc: auto a qb_gateway may wait until another executive has gone",
    ("process",), _PROCESSES_MAX,
)  # fmt: skip
COMPILED = Metric(
    "rondo_process_compiled", Kind.GAUGE, "1 if a process runs the compiled modules, and they are of their source",
    ("process",), _PROCESSES_MAX,
)  # fmt: skip
LOG_LOST = Metric(
    "rondo_log_lines_lost_total", Kind.COUNTER, "Log lines that could not be written, or not as fast as they came",
    ("process",), _PROCESSES_MAX,
)  # fmt: skip
ABSENT = Metric(
    "rondo_absent_since_seconds", Kind.GAUGE,
    "Since when a node of the nodelist has not been in the ring, in seconds since 1970; no series for members",
    ("node",), NODES_MAX,
)  # fmt: skip
CONFIG_VERSION = Metric(
    "rondo_config_version", Kind.GAUGE, "config_version that each member has told", ("node",), NODES_MAX
)
CONFIG_DIFFERS = Metric(
    "rondo_config_differing_sections", Kind.GAUGE,
    "In how many sections the configuration in force at another member differs; no series where none does", ("node",),
    NODES_MAX,
)  # fmt: skip
RELOADING = Metric("rondo_control_reloading", Kind.GAUGE, "1 while the nodes agree on a new configuration")
TRACKERS = Metric("rondo_control_shutdown_trackers", Kind.GAUGE, "Programs that are asked before the node is stopped")
SAMPLES = Metric("rondo_control_statistics_waiting", Kind.GAUGE, "Questions about statistics that wait for a look")
KEYS = Metric("rondo_cmap_keys", Kind.GAUGE, "Keys of cmap")
CONTROL_WATCHES = Metric("rondo_control_watches", Kind.GAUGE, "Questions of clients that wait for a change")
COMMITS = Metric("rondo_control_commits_total", Kind.COUNTER, "Changes that control has committed in this ring's epoch")
APPLICATIONS = Metric(
    "rondo_sam_applications", Kind.GAUGE, "Applications of SAM by state", ("state",), 16,
    {
        "registered": "it runs and has told SAM that it does",
        "started": "it runs",
        "waiting": "it is about to be started",
        "waiting for quorum": "its policy has it wait until there is quorum",
        "stopped": "it was stopped, or is done",
        "failed": "it failed and is not started again",
    },
)  # fmt: skip
SAM_RESTARTS = Metric("rondo_sam_restarts_total", Kind.COUNTER, "How often SAM has started an application again")
SAM_KEEPER = Metric(
    "rondo_sam_keeper_up", Kind.GAUGE, "1 if the parent of the applications runs; none is needed before"
)
SAM_NOT_SHOWN = Metric(
    "rondo_sam_processes_not_shown", Kind.GAUGE, "Processes of applications for which cmap has no room"
)
NOTICES_WAITING = Metric(
    "rondo_notify_waiting", Kind.GAUGE, "Events that a command or webhook has not been told of yet"
)
PAGES = Metric("rondo_web_pages_known", Kind.GAUGE, "Other nodes whose pages have told this one their figures")
LEFT_OUT = Metric(
    "rondo_metrics_series_left_out",
    Kind.GAUGE,
    "Series that this scrape has left out because a metric was at its bound",
)

METRICS = (
    INFO, HEALTHY, UP, RESTARTS, CPU, MEMORY, STARTED, HINDERED, COMPILED, LOG_LOST, ABSENT, CONFIG_VERSION,
    CONFIG_DIFFERS, RELOADING, TRACKERS, SAMPLES, KEYS, CONTROL_WATCHES, COMMITS, APPLICATIONS, SAM_RESTARTS,
    SAM_KEEPER, SAM_NOT_SHOWN, NOTICES_WAITING, PAGES, LEFT_OUT,
)  # fmt: skip


def collect(seen: Seen, values: Values) -> None:
    """The metrics of processes, of this node, of control's keys, and of SAM's applications."""
    status, config = seen.status, seen.config
    if config is not None:
        values.set(
            INFO, 1, rondo.__version__, config.cluster_name, config.node_id, config.node_name, config.transport
        )  # fmt: skip
    values.set(HEALTHY, int(is_healthy(status)))
    values.set(UP, int(status["supervisor"]["state"] == "running"), "supervisord")
    for name, service in status["services"].items():
        if service["state"] != "off":
            values.set(UP, int(service["state"] == "running"), name)
            values.set(RESTARTS, service["restarts"], name)
            values.set(LOG_LOST, seen.answers.get(name, {}).get("log_lines_dropped"), name)
            if name in seen.answers:
                values.set(HINDERED, int(bool(service.get("why")) and not _may_wait(name, config)), name)
                values.set(COMPILED, int(seen.answers[name]["code"] == compiled.COMPILED), name)
    for name, usage in seen.usage.items():
        values.set(CPU, usage.cpu_seconds, name)
        values.set(MEMORY, usage.resident_bytes, name)
        values.set(STARTED, usage.started_unix_seconds, name)
    _control(seen.answers.get("control", {}), values)
    _sam(seen.answers.get("sam"), values)
    values.set(NOTICES_WAITING, seen.answers.get("notify", {}).get("waiting"))
    if (web := seen.answers.get("web")) is not None:
        values.set(PAGES, len(web["nodes_known"]))


def _may_wait(name: str, config: NodeConfig | None) -> bool:
    """Whether this process may wait until another executive gives up the names of the sockets for C programs."""
    return name == "qb_gateway" and config is not None and config.qb_ipc == "auto"


def _control(control: dict[str, Any], values: Values) -> None:
    for node, version in control.get("config_versions", {}).items():
        values.set(CONFIG_VERSION, version, node)
    for node, sections in control.get("differing", {}).items():
        values.set(CONFIG_DIFFERS, len(sections), node)
    if "is_reloading" in control:
        values.set(RELOADING, int(control["is_reloading"]))
    values.set(TRACKERS, control.get("shutdown_trackers"))
    values.set(SAMPLES, control.get("samples_waiting"))
    values.set(KEYS, control.get("keys"))
    values.set(CONTROL_WATCHES, control.get("watches"))
    values.set(COMMITS, control.get("commits"))


def _sam(sam: dict[str, Any] | None, values: Values) -> None:
    if sam is None:
        return
    for state in APPLICATIONS.values:
        values.set(APPLICATIONS, sam["applications"].get(state, 0), state)
    values.set(SAM_RESTARTS, sam["counters"].get(RESTARTS_COUNTER, 0))
    values.set(SAM_KEEPER, int(sam["keeper_pid"] is not None))
    values.set(SAM_NOT_SHOWN, sam["processes_not_shown"])
