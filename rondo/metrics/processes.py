"""Metrics of the node as a whole and of its processes."""

from __future__ import annotations

import rondo
from rondo.metrics.metric import NODES_MAX, Kind, Metric, Values
from rondo.metrics.seen import Seen
from rondo.node.supervision import SERVICES
from rondo.node.supervision.survey import is_healthy

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
LEFT_OUT = Metric(
    "rondo_metrics_series_left_out",
    Kind.GAUGE,
    "Series that this scrape has left out because a metric was at its bound",
)

METRICS = (
    INFO, HEALTHY, UP, RESTARTS, CPU, MEMORY, STARTED, LOG_LOST, ABSENT, CONFIG_VERSION, KEYS, CONTROL_WATCHES, COMMITS,
    APPLICATIONS, LEFT_OUT,
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
    for name, usage in seen.usage.items():
        values.set(CPU, usage.cpu_seconds, name)
        values.set(MEMORY, usage.resident_bytes, name)
        values.set(STARTED, usage.started_unix_seconds, name)
    control, sam = seen.answers.get("control", {}), seen.answers.get("sam", {})
    for node, version in control.get("config_versions", {}).items():
        values.set(CONFIG_VERSION, version, node)
    values.set(KEYS, control.get("keys"))
    values.set(CONTROL_WATCHES, control.get("watches"))
    values.set(COMMITS, control.get("commits"))
    for state in APPLICATIONS.values if sam else ():
        values.set(APPLICATIONS, sam["applications"].get(state, 0), state)
